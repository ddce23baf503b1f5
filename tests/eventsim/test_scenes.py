"""Scenes: exact flow, depth and poses, checked against each other and against the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim import Scene, render_scene
from eventsim.light.paths import Trajectory, rotation_matrix
from eventsim.light.planes import Plane
from eventsim.light.scenes import SceneStyle, draw_scene, speeds_px
from eventsim.light.textures import shrunk


def blobs(height: int = 150, width: int = 200) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(0).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return (smooth - smooth.min()) / np.ptp(smooth)


def drawn(seed: int = 1, **style) -> Scene:
    return draw_scene(blobs(), SceneStyle(height=90, width=120, **style), seed)


def still_path(**coordinates: float) -> Trajectory:
    """A path that at t = 0 is at rest and at t = 1/4 s is where `coordinates` (x, y, z, rx, ry, rz) say."""
    names = ("x", "y", "z", "rx", "ry", "rz")
    amplitude = np.array([[coordinates.get(name, 0.0)] for name in names])
    return Trajectory(amplitude, np.ones((6, 1)), np.zeros((6, 1)))


def fronto_parallel(depth: float = 1.0, texel: float = 0.01, endless: bool = True) -> Plane:
    size = np.array([100, 80]) * texel
    origin = np.array([-size[0] / 2, -size[1] / 2, depth])
    return Plane(blobs(80, 100), origin, np.array([texel, 0, 0]), np.array([0, texel, 0]), endless)


def test_flow_warps_the_second_picture_onto_the_first():
    from scipy.ndimage import map_coordinates

    scene = drawn()
    first, second = scene.luminance(100_000), scene.luminance(131_250)
    flow = scene.flow(100_000, 131_250)
    rows, columns = np.mgrid[:90, :120].astype(np.float32)
    x, y = columns + flow[0], rows + flow[1]
    inside = (x > 2) & (x < 117) & (y > 2) & (y < 87)
    warped = map_coordinates(second, [y, x], order=3)
    residual, unwarped = (np.abs(other - first)[inside].mean() for other in (warped, second))
    assert residual < 0.05 * unwarped


def test_flow_of_a_sideways_step_is_focal_length_times_step_over_depth():
    scene = Scene([fronto_parallel(depth=2.0)], still_path(x=0.1), 40, 60, focal_px=100.0)
    flow = scene.flow(0, 250_000)
    np.testing.assert_allclose(flow[0], -100 * 0.1 / 2, atol=1e-4)
    np.testing.assert_allclose(flow[1], 0, atol=1e-4)


def test_a_camera_that_rolls_sees_the_picture_turn_the_other_way():
    scene = Scene([fronto_parallel()], still_path(rz=0.1), 41, 61, focal_px=100.0)
    rows, columns = np.mgrid[:41, :61]
    x, y = columns - 30, rows - 20
    expected = np.stack([x * np.cos(0.1) + y * np.sin(0.1) - x, y * np.cos(0.1) - x * np.sin(0.1) - y])
    np.testing.assert_allclose(scene.flow(0, 250_000), expected, atol=1e-3)


def test_flow_agrees_with_depth_and_poses():
    """Back-project by depth, move by the poses, project again: no homography involved."""
    scene = drawn(seed=5)
    t0, t1 = 40_000, 90_000
    (r0, c0), (r1, c1) = scene.path.pose(t0), scene.path.pose(t1)
    rows, columns = np.mgrid[:90, :120]
    centred = (
        np.stack([columns - 59.5, rows - 44.5, np.full((90, 120), scene.focal_px)]).reshape(3, -1) / scene.focal_px
    )
    world = r0 @ (centred * scene.depth(t0).ravel()) + c0[:, None]
    x, y, z = r1.T @ (world - c1[:, None])
    expected = np.stack([scene.focal_px * x / z + 59.5 - columns.ravel(), scene.focal_px * y / z + 44.5 - rows.ravel()])
    np.testing.assert_allclose(scene.flow(t0, t1).reshape(2, -1), expected, atol=2e-3)


def test_flow_there_and_back_is_nothing():
    scene = drawn(seed=3)
    assert np.abs(scene.flow(70_000, 70_000)).max() < 1e-4


def test_nearer_plane_hides_the_farther():
    near = Plane(np.ones((11, 11), np.float32), np.array([-0.05, -0.05, 1.0]), np.array([0.01, 0, 0]),
                 np.array([0, 0.01, 0]), endless=False)  # fmt: skip
    scene = Scene([near, fronto_parallel(depth=2.0)], still_path(x=0.1), 40, 60, focal_px=100.0)
    depth, flow = scene.depth(0), scene.flow(0, 250_000)
    assert depth[20, 30] == pytest.approx(1.0)
    assert depth[2, 2] == pytest.approx(2.0)
    assert flow[0, 20, 30] == pytest.approx(-10.0, abs=1e-3)
    assert flow[0, 2, 2] == pytest.approx(-5.0, abs=1e-3)


def test_nothing_seen_is_unknown():
    small = fronto_parallel(texel=0.001, endless=False)
    scene = Scene([small], still_path(), 40, 60, focal_px=100.0)
    assert np.isinf(scene.depth(0)[0, 0])
    assert np.isnan(scene.flow(0, 1000)[:, 0, 0]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_do_not_depend_on_threads(threads):
    scene = drawn()
    np.testing.assert_array_equal(scene.luminance(5e5, threads=threads), scene.luminance(5e5))


def test_same_seed_same_scene_and_speed_as_asked():
    first, again, other = drawn(seed=2), drawn(seed=2), drawn(seed=3)
    np.testing.assert_array_equal(first.luminance(1e5), again.luminance(1e5))
    assert (first.luminance(1e5) != other.luminance(1e5)).any()
    assert speeds_px(first, 10e6).mean() == pytest.approx(70.0, rel=0.1)


def test_frames_come_at_the_asked_times():
    frames = render_scene(drawn(), duration_us=100_000, fps=320)
    times = [t for t, _ in frames]
    assert len(times) == frames.count == 33
    assert times[0] == 0
    assert times[-1] == 100_000
    assert times[::8] == [0, 25_000, 50_000, 75_000, 100_000]


def test_inertial_measurements_are_the_paths_derivatives():
    path = Trajectory(np.array([[0.1], [0], [0], [0], [0], [0.2]]), np.full((6, 1), 0.5), np.zeros((6, 1)))
    acceleration_x, _, _, _, _, spin_z = path.inertial(0)
    assert acceleration_x == pytest.approx(0, abs=1e-6)
    assert spin_z == pytest.approx(0.2 * np.pi, rel=1e-4)
    quarter = path.inertial(500_000)
    rotation = rotation_matrix(np.array([0, 0, 0.2]))
    np.testing.assert_allclose(quarter[:3], rotation.T @ [-0.1 * np.pi**2, 0, 0], rtol=1e-4)


def test_scene_needs_a_plane():
    with pytest.raises(ValueError, match="plane"):
        Scene([], still_path())


@pytest.mark.parametrize("size", [(128, 128), (260, 346)])
def test_pictures_of_ordinary_size_become_textures_as_they_are(size):
    picture, style = blobs(427, 640), SceneStyle(height=size[0], width=size[1])
    assert shrunk(picture, *size) is picture
    zoom = np.exp(np.random.default_rng(0).uniform(np.log(0.7), np.log(2.5)))
    assert draw_scene(picture, style, 0).planes[0].texture.shape == (round(427 * 2 * zoom), round(640 * 2 * zoom))


@pytest.mark.parametrize("shape", [(4000, 6000), (6000, 4000), (100, 40_000)])
def test_large_photographs_are_shrunk_in_proportion(shape):
    small = shrunk(np.full(shape, 0.5, np.float32), 260, 346)
    assert small.size == pytest.approx(640**2, rel=0.02)
    assert small.shape[1] / small.shape[0] == pytest.approx(shape[1] / shape[0], rel=0.02)
    np.testing.assert_allclose(small, 0.5, rtol=1e-5)


def test_a_larger_view_keeps_more_of_a_photograph():
    picture = np.zeros((2000, 3000), np.float32)
    assert shrunk(picture, 720, 1280).size == pytest.approx(1280**2, rel=0.01)
