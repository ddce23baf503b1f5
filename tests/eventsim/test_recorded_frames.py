"""The frames beside a recording's events."""

import numpy as np
import pytest

from eventsim import EventCamera
from eventsim.errors import InputError
from eventsim.io.recorded_frames import recorded_frames
from eventsim.light.scenes import SceneStyle, draw_scene
from eventsim.synthesize.recording import EPOCH_US, Recording, record_scene
from eventsim.view import write_picture


@pytest.fixture
def listed(tmp_path):
    """Three pictures and their list; and what the pictures hold."""
    pictures = np.random.default_rng(0).integers(0, 255, (3, 6, 8), np.uint8)
    for index, picture in enumerate(pictures):
        write_picture(tmp_path / f"{index}.png", np.repeat(picture[..., None], 3, axis=2))
    (tmp_path / "images.txt").write_text("# seconds name\n0.5 0.png\n0.75, 1.png\n\n1.000001 2.png\n")
    return tmp_path / "images.txt", pictures


def test_listed_pictures_come_with_their_times(listed):
    path, pictures = listed
    found = list(recorded_frames(path))
    assert [t_us for t_us, _ in found] == [500_000, 750_000, 1_000_001]
    for (_, picture), expected in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(picture, expected)


def test_frames_of_our_mvsec_files(tmp_path):
    texture = np.random.default_rng(0).random((60, 80), dtype=np.float32)
    scene = draw_scene(texture, SceneStyle(height=24, width=32), 0)
    recording = Recording(duration_us=100_000, frame_hz=32)
    list(record_scene(tmp_path / "short", scene, EventCamera.preset("clean", height=24, width=32), recording))
    found = list(recorded_frames(tmp_path / "short_data.hdf5"))
    assert [t_us - EPOCH_US for t_us, _ in found] == recording.grey_us
    assert all(picture.shape == (24, 32) and picture.std() > 0 for _, picture in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5 0.png\n0.5 1.png\n", "after 500000 us"),
        ("0.5\n", "line 1"),
        ("soon 0.png\n", "line 1"),
        ("0.5 9.png\n", "nothing there"),
        ("# nothing\n", "none"),
        ("0.5 images.txt\n", "no picture"),
    ],
)
def test_faults_of_a_list_are_named(listed, text, message):
    path, _ = listed
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        list(recorded_frames(path))


@pytest.mark.parametrize("name", ["missing.aedat4", "frames.avi"])
def test_other_files_are_refused(tmp_path, name):
    if "avi" in name:
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(InputError, match=name):
        recorded_frames(tmp_path / name)
