"""DSEC's sequences, from tiny files of its own layout."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from torch.utils.data import DataLoader

from eventsim import Events
from eventsim.errors import InputError
from eventsim.io.dsec import DsecEvents, RectifyMap, write_events
from flownet import temporal_distribution
from flownet.datasets.batch import join
from flownet.datasets.dsec import DsecSequences
from flownet.datasets.dsec_files import DsecSequence, find_sequences, read_flow_png
from flownet.datasets.splits import Part, Split
from flownet.datasets.windows import Draws

START, HEIGHT, WIDTH = 55_609_600_000, 48, 64
IMAGES = START + 50_000 * np.arange(15)
FLOWS = [2, 4, 6, 12]  # first image of each: a pause after the third


def flow_values(number: int) -> np.ndarray:
    """uint16 [H, W, 3]: dx, dy, known."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    known = (x + y) % 3 > 0
    return np.stack([2**15 + 128 * number + x, 2**15 - 64 * y, known], axis=-1).astype(np.uint16)


def make_sequence(root: Path, name: str = "zurich_city_01_a", seed: int = 0) -> Path:
    folder, rng = root / name, np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 700_000, 20_000)) + START
    x, y = rng.integers(0, WIDTH, len(t)), rng.integers(0, HEIGHT, len(t))
    t[0], t[-1] = START, START + 700_000
    write_events(folder / "events/left/events.h5", Events(t, x, y, rng.random(len(t)) < 0.5, WIDTH, HEIGHT))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    RectifyMap(np.stack([columns + 2.4, rows * 0.9], axis=2)).write(folder / "events/left/rectify_map.h5")
    for part in ("images/left/rectified", "flow/forward"):
        (folder / part).mkdir(parents=True)
    (folder / "images/timestamps.txt").write_text("\n".join(map(str, IMAGES)) + "\n")
    for number in range(len(IMAGES)):
        picture = rng.integers(1, 255, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / f"images/left/rectified/{number:06d}.png"), picture)
    lines = ["# from_timestamp_us, to_timestamp_us", *(f"{IMAGES[n]}, {IMAGES[n + 2]}" for n in FLOWS)]
    (folder / "flow/forward_timestamps.txt").write_text("\n".join(lines) + "\n")
    for number in FLOWS:
        cv2.imwrite(str(folder / f"flow/forward/{number:06d}.png"), flow_values(number)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dsec")
    make_sequence(folder)
    return folder


def plain(root: Path, **options) -> DsecSequences:
    return DsecSequences([root], **{"crop": None, "augment": "none"} | options)


def test_a_window_is_the_interval_of_a_flow(root):
    samples = plain(root, flow=True)
    assert len(samples) == 4
    window, sequence = samples.window(1), DsecSequence(root / "zurich_city_01_a")
    events = sequence.events(int(IMAGES[4]), int(IMAGES[6]))
    np.testing.assert_array_equal(window.slices, temporal_distribution(events, 5))
    values = flow_values(4)
    expected = (values[..., :2].transpose(2, 0, 1).astype(np.float32) - 2**15) / 128
    flow = window.flow[0].numpy()
    known = values[..., 2] > 0
    np.testing.assert_array_equal(flow[:, known], expected[:, known])
    assert np.isnan(flow[:, ~known]).all()
    assert flow[0, 1, 0] == 4
    for frame, number in zip(window.frames, (4, 6), strict=True):
        path = root / f"zurich_city_01_a/images/left/rectified/{number:06d}.png"
        np.testing.assert_array_equal(frame, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def test_events_are_rectified_or_as_the_sensor_saw_them(root):
    folder = root / "zurich_city_01_a"
    raw = DsecEvents(folder / "events/left/events.h5").window(START, START + 10_000)
    seen = DsecSequence(folder, rectify=False).events(START, START + 10_000)
    np.testing.assert_array_equal(seen.x, raw.x)
    moved = DsecSequence(folder).events(START, START + 10_000)
    x, y = np.rint(raw.x + np.float32(2.4)), np.rint(raw.y * np.float32(0.9))
    inside = x < WIDTH
    np.testing.assert_array_equal(moved.x, x[inside])
    np.testing.assert_array_equal(moved.y, y[inside])
    np.testing.assert_array_equal(moved.t, raw.t[inside])


def test_intervals_from_image_to_image_know_the_flow_at_their_second_end(root):
    samples = plain(root, flow=True, interval="images", dt=2)
    assert samples.starts[:, 1].tolist() == FLOWS
    window = samples.window(0)
    assert window.slices.shape == (10, 2, HEIGHT, WIDTH)
    assert window.frames.shape == (3, HEIGHT, WIDTH)
    assert window.flow[0].isnan().all()
    assert window.flow[1].isfinite().any()
    every = plain(root, interval="images")
    assert len(every) == len(IMAGES) - 1
    assert every.window(0).flow is None


def test_windows_do_not_cross_a_pause(root):
    samples = plain(root, flow=True, dt=2)
    ticks = samples.ticks[0]
    assert ticks.tolist() == [IMAGES[n] for n in (2, 4, 6, 8, 12, 14)]
    assert samples.starts[:, 1].tolist() == [0, 1]
    assert samples.window(0).flow[1].isnan().all()


def test_patches_workers_and_caches_give_the_same(root, tmp_path):
    options = {"flow": True, "crop": (32, 32), "augment": "paper", "patches": 2}
    samples = DsecSequences([root], **options)
    expected = [join([samples[n], samples[n + 1]]) for n in (0, 2)]
    for cache in (None, "memory", tmp_path / "kept"):
        kept = pickle.loads(pickle.dumps(DsecSequences([root], cache=cache, **options)))
        for workers in (0, 2):
            loader = DataLoader(kept, batch_size=2, sampler=Draws(0, 4), num_workers=workers, collate_fn=join)
            for found, batch in zip(loader, expected, strict=True):
                np.testing.assert_array_equal(found.slices, batch.slices)
                np.testing.assert_array_equal(found.flow, batch.flow)
                np.testing.assert_array_equal(found.frames, batch.frames)


def test_archives_unpacked_side_by_side(root, tmp_path):
    whole = root / "zurich_city_01_a"
    for part, archive in (("events", "train_events"), ("images", "train_images"), ("flow", "train_optical_flow")):
        (tmp_path / archive / whole.name).mkdir(parents=True)
        (tmp_path / archive / whole.name / part).symlink_to(whole / part)
    found, expected = plain(tmp_path, flow=True), plain(root, flow=True)
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.window(2).slices, expected.window(2).slices)
    np.testing.assert_array_equal(found.window(2).flow, expected.window(2).flow)


def test_images_of_another_camera_are_turned_into_the_events_view(root, tmp_path):
    """Half the focal length, and no turn between the cameras: twice the picture."""
    folder = make_sequence(tmp_path)
    small = np.random.default_rng(3).random((HEIGHT // 8, WIDTH // 8))
    picture = cv2.resize(small, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture = np.uint8(255 * np.clip(picture, 0, 1))
    for path in (folder / "images/left/rectified").glob("*.png"):
        cv2.imwrite(str(path), picture)
    with pytest.raises(InputError, match=r"calibration/cam_to_cam\.yaml"):
        plain(tmp_path).window(0)
    inner = {"camRect0": [50, 50, WIDTH / 2, HEIGHT / 2], "camRect1": [100, 100, WIDTH, HEIGHT]}
    same = np.eye(4).tolist()
    calibration = {
        "intrinsics": {name: {"camera_matrix": values} for name, values in inner.items()},
        "extrinsics": {"T_10": same, "R_rect0": np.eye(3).tolist(), "R_rect1": np.eye(3).tolist()},
    }
    (folder / "calibration").mkdir()
    (folder / "calibration/cam_to_cam.yaml").write_text(yaml.safe_dump(calibration))
    rectified, raw = (plain(tmp_path, rectify=each).window(0).frames[0].numpy() for each in (True, False))
    np.testing.assert_array_equal(rectified, picture[::2, ::2])
    # The sensor's pixel (x, y) lies at (x + 2.4, 0.9 y) in the rectified view.
    assert abs(int(raw[40, 20]) - int(picture[72, 45])) <= 12
    np.testing.assert_array_equal(raw[0, :50], cv2.remap(picture, *_row(50), cv2.INTER_LINEAR)[0])
    (folder / "calibration/cam_to_cam.yaml").write_text("intrinsics: {}")
    with pytest.raises(InputError, match="DSEC's keys"):
        plain(tmp_path).window(0)


def _row(number: int) -> tuple[np.ndarray, np.ndarray]:
    x = (2 * (np.arange(number, dtype=np.float32) + np.float32(2.4)))[None]
    return x, np.zeros_like(x)


def test_without_images(root, tmp_path):
    folder = make_sequence(tmp_path)
    for path in sorted((folder / "images").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    samples = plain(tmp_path, flow=True, frames=False)
    assert samples[0].frames.abs().sum() == 0
    assert samples[0].flow.isfinite().any()
    with pytest.raises(InputError, match=r"images/timestamps\.txt"):
        plain(tmp_path, flow=True)


def test_splits_name_sequences(tmp_path):
    for name in ("a", "b"):
        make_sequence(tmp_path, name)
    split = Split(name="mine", source="me", sequences={"b": Part(seconds=((0.05, 0.35),))})
    samples = plain(tmp_path, interval="images", split=split)
    assert [sequence.name for sequence in samples.sequences] == ["b"]
    assert samples.starts[:, 1].tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match=r"split test, also interlaken_00_b.*found a, b"):
        plain(tmp_path, split="test")
    assert [path.name for path in find_sequences([tmp_path], "left")] == ["a", "b"]


def spoilt(folder: Path, what: str) -> None:
    flow = folder / "flow/forward/000004.png"
    if what == "8 bit":
        cv2.imwrite(str(flow), flow_values(4).astype(np.uint8))
    elif what == "a flow missing":
        flow.unlink()
    elif what == "an image missing":
        (folder / "images/left/rectified/000003.png").unlink()
    elif what == "times":
        (folder / "flow/forward_timestamps.txt").write_text("1, x\n")
    elif what == "no times":
        (folder / "flow/forward_timestamps.txt").unlink()
    elif what == "images at other times":
        (folder / "images/timestamps.txt").write_text("\n".join(str(time + 9_000) for time in IMAGES))
    else:
        (folder / "events/left/rectify_map.h5").unlink()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("8 bit", r"000004\.png: expected a PNG of 16 bit, 48x64, three channels, found uint8"),
        ("a flow missing", r"forward: expected 4 files \*\.png, one a time, found 3"),
        ("an image missing", r"rectified: expected 15 files \*\.png, one a time, found 14"),
        ("times", r"forward_timestamps\.txt: expected lines of 2 whole numbers"),
        ("no times", r"expected flow/forward_timestamps\.txt, found nothing there"),
        ("images at other times", r"expected an image within 1000 us of .*, found the nearest at"),
        ("no map", r"expected rectify_map\.h5 beside the events"),
    ],
)
def test_what_does_not_belong_together_is_named(tmp_path, what, words):
    spoilt(make_sequence(tmp_path), what)
    with pytest.raises(InputError, match=words):
        _ = [plain(tmp_path, flow=True).window(number) for number in range(4)]


@pytest.mark.parametrize(
    "options",
    [
        {"dt": 0},
        {"interval": "x"},
        {"camera": "x"},
        {"flow": True, "rectify": False},
        {"flow": True, "camera": "right"},
    ],
)
def test_options_that_cannot_be(root, options):
    with pytest.raises(ValueError, match="expected"):
        plain(root, **options)


def test_a_crop_larger_than_the_sensor_and_no_sequences(root, tmp_path):
    with pytest.raises(InputError, match=r"256x256 pixels \(the crop\), found 48x64"):
        DsecSequences([root])
    with pytest.raises(InputError, match=r"sequences of DSEC"):
        DsecSequences([tmp_path])


def test_flow_of_another_size(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), flow_values(0))
    assert read_flow_png(tmp_path / "a.png", HEIGHT, WIDTH).shape == (2, HEIGHT, WIDTH)
    with pytest.raises(InputError, match="480x640"):
        read_flow_png(tmp_path / "a.png", 480, 640)
