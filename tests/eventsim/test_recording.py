"""Scenes recorded into files: times that rise to the end, ground truth as the scene's, light, lens and spikes."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from eventsim import EventCamera, SpikeCamera, open_spikes, reconstruct_tfp
from eventsim.errors import OutputExistsError
from eventsim.io.mvsec import open_recording
from eventsim.io.poses import Poses, read_poses, write_poses
from eventsim.light.frames import grey_picture
from eventsim.light.lens import lens_of
from eventsim.light.lighting import Lighting
from eventsim.light.rooms import draw_room
from eventsim.light.scenes import SceneStyle, draw_scene
from eventsim.light.timing import exposed
from eventsim.synthesize.recording import Recording, record_scene

DAVIS = EventCamera.preset("davis346")


def test_times_rise_to_the_end_and_truth_is_the_scenes(texture, tmp_path):
    scene = draw_scene(texture, SceneStyle(height=40, width=48), 0)
    recording = Recording(duration_us=200_000)
    times = list(record_scene(tmp_path / "a", scene, DAVIS, recording))
    assert times == sorted(times)
    assert times[-1] == 200_000
    with open_recording(tmp_path / "a") as found:
        np.testing.assert_array_equal(found.flow_maps[1], scene.flow(50_000, 100_000))
        np.testing.assert_array_equal(found.depth_maps[1], scene.depth(50_000))
        np.testing.assert_array_equal(found.image(3), grey_picture(scene.luminance(93_750)))
        np.testing.assert_allclose(found.image_ts, 1.5e9 + np.arange(7) / 32, atol=1e-6)
        assert found.event_inds[0] == -1


@pytest.mark.parametrize("kind", ["room", "objects"])
def test_flow_warps_every_next_grey_frame_onto_the_one_before(texture, tmp_path, kind):
    """The residual beside that of zero flow, where the point is still seen; maps at the frames' own rate are exact."""
    import cv2

    scene = draw_room(kind, [texture], SceneStyle(height=80, width=96, speed_px=60.0), 3)
    for _ in record_scene(tmp_path / "a", scene, DAVIS, Recording(duration_us=500_000, flow_hz=32.0)):
        pass
    y, x = np.mgrid[:80, :96].astype(np.float32)
    with open_recording(tmp_path / "a") as found:
        residuals = []
        for k in range(len(found.image_ts) - 1):
            flow, (first, second) = found.flow_maps[k], (found.image(j).astype(np.float32) for j in (k, k + 1))
            u, v = x + flow[0], y + flow[1]
            seen = ~scene.occluded(*(round((t - 1.5e9) * 1e6) for t in found.image_ts[k : k + 2]))
            seen &= (u > 1) & (u < 94) & (v > 1) & (v < 78)
            warped = cv2.remap(second, u, v, cv2.INTER_CUBIC)
            residuals.append([np.abs(picture - first)[seen].mean() for picture in (warped, second)])
    residual, unwarped = np.mean(residuals, axis=0)
    assert residual < 0.25 * unwarped
    assert residual < 1.0  # grey levels: of them 0.3 are rounding


def test_depth_and_poses_of_the_file_give_its_flow(texture, tmp_path):
    """With a lens, from the rectified depth and the poses alone: MVSEC's own way to its ground truth."""
    style = SceneStyle(height=60, width=80, speed_px=60.0)
    lens = lens_of("equidistant:-0.05,0.01,-0.05,0.02", height=60, width=80, focal_px=style.focal)
    scene = draw_room("room", [texture], style, 2, lens=lens)
    for _ in record_scene(tmp_path / "a", scene, DAVIS, Recording(duration_us=100_000)):
        pass
    with h5py.File(tmp_path / "a_gt.hdf5") as file:
        group = file["davis/left"]
        depth, rectified = group["depth_image_raw"][0], group["depth_image_rect"][0]
        (first, second), flow = group["pose"][:2], group["flow_dist"][0]
        np.testing.assert_array_equal(group["odometry"][:], group["pose"][:])
        assert group["blended_image_rect"].shape == (3, 60, 80, 3)
    np.testing.assert_array_equal(rectified, replace(scene, lens=None).depth(0))
    points = lens.unproject(np.stack(np.meshgrid(np.arange(80.0), np.arange(60.0))))
    there = np.stack([*points, np.ones((60, 80)), 1 / depth]) * depth
    x, y, z, _ = np.tensordot(np.linalg.inv(second) @ first, there, 1)
    expected = lens.project(np.stack([x / z, y / z])) - np.stack(np.meshgrid(np.arange(80), np.arange(60)))
    np.testing.assert_allclose(flow, expected, atol=1e-3)


def test_grey_frames_are_exposed_and_events_are_not(texture, tmp_path):
    scene = draw_scene(texture, SceneStyle(height=40, width=48, speed_px=150.0), 0)
    light = Lighting(exposure_us=20_000.0)
    for name, lighting in (("a", None), ("b", light)):
        for _ in record_scene(tmp_path / name, scene, DAVIS, Recording(duration_us=100_000, lighting=lighting)):
            pass
    with open_recording(tmp_path / "a") as sharp, open_recording(tmp_path / "b") as blurred:
        np.testing.assert_array_equal(blurred.image(1), grey_picture(exposed(scene, 31_250, light)))
        assert (blurred.image(1) != sharp.image(1)).mean() > 0.1
        np.testing.assert_array_equal(sharp.events().t, blurred.events().t)


def test_flicker_makes_events_where_nothing_moves_far(texture, tmp_path):
    scene = draw_scene(texture, SceneStyle(height=40, width=48, speed_px=5.0), 0)
    counts = []
    for name, depth in (("a", 0.0), ("b", 0.6)):
        light = Lighting(flicker_depth=depth)
        for _ in record_scene(tmp_path / name, scene, DAVIS, Recording(duration_us=100_000, lighting=light)):
            pass
        with open_recording(tmp_path / name) as found:
            counts.append(len(found))
    assert counts[1] > 3 * counts[0]


def test_the_spike_camera_sees_the_same_light_in_the_same_pass(texture, tmp_path):
    scene = draw_scene(texture, SceneStyle(height=40, width=48, speed_px=5.0), 0)
    camera, recording = SpikeCamera.preset("ideal"), Recording(duration_us=50_000)
    for name, beside in {"both": camera, "alone": None}.items():
        for _ in record_scene(tmp_path / name, scene, DAVIS, recording, spike_camera=beside, seed=3):
            pass
    stream = open_spikes(tmp_path / "both_spikes.h5")
    assert (stream.height, stream.width, len(stream)) == (40, 48, round(0.05 * camera.readout_hz))
    assert np.abs(reconstruct_tfp(stream, len(stream)) - scene.luminance(25_000)).mean() < 0.02
    with open_recording(tmp_path / "both") as both, open_recording(tmp_path / "alone") as alone:
        np.testing.assert_array_equal(both.events().t, alone.events().t)
        np.testing.assert_array_equal(both.image(1), alone.image(1))
    with pytest.raises(OutputExistsError, match=r"both_spikes\.h5"):
        next(record_scene(tmp_path / "both", scene, DAVIS, recording, spike_camera=camera))


@pytest.mark.parametrize("field", ["duration_us", "frame_hz", "flow_hz", "imu_hz"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_lengths_and_rates_must_be_positive(field, value):
    with pytest.raises(ValueError, match=f"expected {field} above 0"):
        Recording(**{field: value})


def test_a_recording_shorter_than_a_grey_frame_lasts_to_its_end():
    recording = Recording(duration_us=10_000)
    assert (recording.grey_us, recording.stops_us) == ([0], [0, 10_000])


def test_the_command_makes_a_room_with_spikes_from_poses(command, pictures, tmp_path):
    seconds = np.arange(20) * 0.05 + 1.5e9
    positions = np.stack([0.1 * np.sin(seconds), 0 * seconds, 0.2 * (seconds - seconds[0])], axis=1)
    write_poses(tmp_path / "path.txt", Poses(seconds, positions, np.tile([0, 0, 0, 1.0], (20, 1))))
    options = ["--kind", "room", "--textures", pictures, "--poses", tmp_path / "path.txt", "--size", 48, 64,
               "--lens", "equidistant", "--flicker-depth", 0.2, "--exposure-ms", 5, "--quiet"]  # fmt: skip
    said = command("eventsim", "scene", tmp_path / "walk", *options, "--duration", 0.2, "--spikes", "vidar")
    assert said.returncode == 0, said.stderr
    names = {path.name for path in tmp_path.iterdir()} - {"path.txt"}
    assert names == {"walk_data.hdf5", "walk_gt.hdf5", "walk_spikes.h5", "walk.run.json"}
    stream = open_spikes(tmp_path / "walk_spikes.h5")
    assert (stream.height, stream.width, len(stream)) == (48, 64, 4000)
    moved = read_poses(tmp_path / "walk_gt.hdf5").positions
    np.testing.assert_allclose(moved[2] - moved[0], positions[2] - positions[0], atol=1e-4)
    settings = json.loads((tmp_path / "walk.run.json").read_text())["settings"]
    assert (settings["kind"], settings["lens"]) == ("room", "equidistant")
    said = command("eventsim", "scene", tmp_path / "long", *options, "--duration", 2)
    assert said.returncode == 1
    assert "path.txt: expected poses of 2.05 s" in said.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "cave", "--textures", "PICTURES"], "expected a kind of scene among plane, room"),
        ([], "one of --picture, --textures and --drawn, found neither"),
        (["--textures", "PICTURES", "--lens", "fishy"], "expected a lens"),
        (["--textures", "PICTURES", "--poses", "nowhere.txt"], "nowhere.txt: expected a file of poses"),
        (["--textures", "nowhere"], "nowhere: expected a picture"),
        (["--textures", "PICTURES", "--vignetting", 2], "expected vignetting of at most 1"),
    ],
)
def test_the_command_names_what_is_wrong(command, pictures, tmp_path, options, words):
    given = [pictures if option == "PICTURES" else option for option in options]
    said = command("eventsim", "scene", tmp_path / "walk", *given, "--duration", 0.1, "--size", 40, 50)
    assert said.returncode == 1
    assert words in said.stderr
    assert not list(tmp_path.iterdir())
