"""Scenes of several planes: flow, depth, occlusion and light against ray casting that is done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError
from eventsim.light.lens import Lens
from eventsim.light.paths import Along, Trajectory
from eventsim.light.planes import Plane
from eventsim.light.rooms import KINDS, draw_room
from eventsim.light.scenes import Scene, SceneStyle, speeds_px
from eventsim.light.textures import PictureFiles, ellipse_outline

STYLE = SceneStyle(height=60, width=80, speed_px=40.0)
BENT = Lens(model="equidistant", coefficients=(-0.05, 0.01, -0.05, 0.02), focal_px=(52.0, 51.0), centre_px=(40.0, 30.5))
LENSES = pytest.mark.parametrize("lens", [None, BENT], ids=["pinhole", "equidistant"])
_AT_REST = Trajectory(*(np.zeros((6, 1)) for _ in range(3)))


@pytest.fixture(scope="module")
def pictures(texture) -> list[np.ndarray]:
    return [texture, texture[::-1].copy(), 0.3 + 0.5 * texture.T]


def straight(*velocity: float) -> Along:
    return Along(_AT_REST, np.zeros(6), np.array(velocity, float))


def board(depth: float, side: float, light: float = 1.0, **options) -> Plane:
    """A square of 41x41 texels about the optical axis."""
    texel = side / 40
    return Plane(np.full((41, 41), light, np.float32), np.array([-side / 2, -side / 2, depth]),
                 np.array([texel, 0, 0]), np.array([0, texel, 0]), endless=False, **options)  # fmt: skip


def pinhole_points(scene: Scene) -> np.ndarray:
    """Where each pixel's ray meets depth 1: [3, H, W]."""
    y, x = np.mgrid[: scene.height, : scene.width].astype(float)
    if scene.lens is not None:
        points = scene.lens.unproject(np.stack([x, y]))
    else:
        points = np.stack([x - (scene.width - 1) / 2, y - (scene.height - 1) / 2]) / scene.focal_px
    return np.stack([*points, np.ones_like(x)])


def to_pixels(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Pixels [2, ...] of points [3, ...] in the camera's axes."""
    flat = points[:2] / points[2]
    if scene.lens is not None:
        return scene.lens.project(flat)
    middle = np.array([(scene.width - 1) / 2, (scene.height - 1) / 2]).reshape(2, *(1,) * (points.ndim - 1))
    return flat * scene.focal_px + middle


def hits(scene: Scene, t_us: float, origin: np.ndarray, rays: np.ndarray) -> list[np.ndarray]:
    """How far along rays [3, ...] from an origin, in rays' lengths, each plane is met; infinite where it is not."""
    found = []
    for plane in scene.planes:
        right, down, corner = plane.axes(t_us).T
        normal = np.cross(right, down)
        with np.errstate(divide="ignore", invalid="ignore"):
            far = ((corner - origin) @ normal) / np.tensordot(normal, rays, 1)
            there = origin.reshape(3, *(1,) * (rays.ndim - 1)) + rays * far - corner.reshape(3, *(1,) * (rays.ndim - 1))
            u, v = (np.tensordot(axis, there, 1) / (axis @ axis) for axis in (right, down))
        rows, columns = plane.texture.shape
        on = far > 0
        if not plane.endless:
            on &= (u >= 0) & (u <= columns - 1) & (v >= 0) & (v <= rows - 1)
        if plane.outline is not None:
            inside = np.zeros(on.shape, bool)
            inside[on] = plane.outline[np.rint(v[on]).astype(int), np.rint(u[on]).astype(int)] >= 0
            on &= inside
        found.append(np.where(on, far, np.inf))
    return found


@LENSES
@pytest.mark.parametrize("kind", KINDS)
def test_depth_and_planes_are_those_of_ray_casting(pictures, kind, lens):
    scene = draw_room(kind, pictures, STYLE, 3, lens=lens)
    view = scene.view(300_000)
    rotation, position = scene.path.pose(300_000)
    far = np.stack(hits(scene, 300_000, position, np.tensordot(rotation, pinhole_points(scene), 1)))
    nearest = far.argmin(axis=0)
    # Outlines are compared texel by texel here, and between texels there.
    same = view.planes == nearest
    assert same.mean() > (0.98 if kind == "objects" else 0.9999)
    np.testing.assert_allclose(view.depth[same], far.min(axis=0)[same], rtol=1e-5)


@LENSES
@pytest.mark.parametrize("kind", KINDS)
def test_flow_is_that_of_depth_and_poses(pictures, kind, lens):
    scene = draw_room(kind, pictures, STYLE, 5, lens=lens)
    t0, t1 = 200_000, 233_000
    view, flow = scene.view(t0), scene.flow(t0, t1)
    (r0, c0), (r1, c1) = scene.path.pose(t0), scene.path.pose(t1)
    world = np.tensordot(r0, pinhole_points(scene) * view.depth, 1) + c0.reshape(3, 1, 1)
    for index, plane in enumerate(scene.planes):
        if plane.path is not None:  # with the object, from its pose at t0 to that at t1
            (q0, p0), (q1, p1) = plane.path.pose(t0), plane.path.pose(t1)
            there = view.planes == index
            world[:, there] = q1 @ q0.T @ (world[:, there] - p0[:, None]) + p1[:, None]
    expected = to_pixels(scene, np.tensordot(r1.T, world - c1.reshape(3, 1, 1), 1))
    y, x = np.mgrid[: scene.height, : scene.width]
    assert np.abs(flow - (expected - np.stack([x, y]))).max() < 1e-3
    assert np.linalg.norm(flow, axis=0).mean() > 0.3


@LENSES
@pytest.mark.parametrize("kind", ["room", "objects"])
def test_occlusion_is_that_of_rays_from_the_other_pose(pictures, kind, lens):
    """A ray from the camera at t1 to each point that is seen at t0: is a plane met before the point?"""
    scene = draw_room(kind, pictures, replace(STYLE, speed_px=120.0), 1, lens=lens)
    t0, t1 = 100_000, 220_000
    view, occluded = scene.view(t0), scene.occluded(t0, t1)
    flow = scene.flow(t0, t1)
    y, x = np.mgrid[: scene.height, : scene.width]
    there = np.stack([x + flow[0], y + flow[1]])
    outside = ~((there[0] >= -0.5) & (there[0] <= 79.5) & (there[1] >= -0.5) & (there[1] <= 59.5))
    rays = pinhole_points(replace(scene, lens=None))
    rays[:2] = scene.lens.unproject(there) if lens else (there - np.array([39.5, 29.5])[:, None, None]) / scene.focal_px
    rotation, position = scene.path.pose(t1)
    far = np.stack(hits(scene, t1, position, np.tensordot(rotation, rays, 1)))
    own = np.take_along_axis(far, view.planes[None].astype(int), 0)[0]
    expected = outside | (np.nan_to_num(far.min(axis=0), nan=np.inf) < own * (1 - 1e-4))
    assert (occluded == expected).mean() > 0.99
    assert occluded[outside].all()
    if kind == "objects":
        assert (occluded & ~outside).sum() > 20


def test_an_object_hides_and_uncovers_what_it_passes():
    """A square of 20.5 pixels moves 8 pixels to the right over a background at rest."""
    background = Plane(np.full((9, 9), 0.2, np.float32), np.array([0, 0, 2.0]), np.array([1.0, 0, 0]),
                       np.array([0, 1.0, 0]))  # fmt: skip
    moving = board(1.0, 0.205, path=straight(0.8, 0, 0, 0, 0, 0))
    scene = Scene([background, moving], straight(*np.zeros(6)), 41, 61, focal_px=100.0)
    flow, occluded = scene.flow(0, 100_000), scene.occluded(0, 100_000)
    on = scene.view(0).planes == 1
    assert on.sum() == 21 * 21
    np.testing.assert_allclose(flow[0, on], 8, atol=1e-4)
    np.testing.assert_array_equal(flow[:, ~on], 0)
    expected = np.zeros((41, 61), bool)
    expected[10:31, 41:49] = True  # what the square moves over
    np.testing.assert_array_equal(occluded, expected)
    assert scene.occluded(100_000, 0).sum() == expected.sum()


def test_points_that_leave_the_view_are_occluded():
    plane = Plane(np.ones((9, 9), np.float32), np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
    scene = Scene([plane], straight(0.05, 0, 0, 0, 0, 0), 20, 30, focal_px=100.0)
    occluded = scene.occluded(0, 1_000_000)  # everything goes 5 pixels to the left
    assert occluded[:, :5].all()
    assert not occluded[:, 5:].any()


def test_edges_are_smoothed_over_one_pixel():
    """The light of a bright board on black is its area in pixels, however it lies between them."""
    for shift in (0.0, 0.13, 0.5, 0.77):
        scene = Scene([board(1.0, 0.2)], straight(shift / 100, 0, 0, 0, 0, 0), 41, 61, focal_px=100.0)
        assert scene.luminance(1_000_000).sum() == pytest.approx(400, rel=1e-3)


def test_a_cut_out_shape_has_its_area():
    outline = ellipse_outline(41, 41)
    scene = Scene([board(1.0, 0.4, outline=outline)], straight(*np.zeros(6)), 61, 61, focal_px=100.0)
    assert scene.luminance(0).sum() == pytest.approx(np.pi * 18.5**2, rel=0.02)  # a texel is a pixel


def test_planes_that_meet_share_the_pixels_of_their_seam(pictures):
    """A small step of the camera makes small changes, where without smoothing whole pixels would change plane."""
    room = draw_room("room", pictures, STYLE, 7)
    flat = [replace(plane, texture=np.full_like(plane.texture, k / 6)) for k, plane in enumerate(room.planes)]
    scene = replace(room, planes=flat)
    steps = [scene.luminance(t_us) for t_us in range(0, 10_000, 500)]
    changes = np.abs(np.diff(steps, axis=0))
    moved = max(scene.largest_px(t_us, t_us + 500) for t_us in range(0, 10_000, 500))
    assert changes.max() < 3 * moved < 1 / 6  # the least difference between two planes


def test_far_textures_are_shown_smaller(texture):
    """Fine stripes far away become their mean instead of a pattern of their own."""
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (64, 32))
    axes = (np.array([0, 0, 8.0]), np.array([0.0117, 0, 0]), np.array([0, 0.0117, 0]))
    rough = Scene([Plane(stripes, *axes)], straight(*np.zeros(6)), 20, 20, focal_px=100.0)
    smooth = Scene([Plane(stripes, *axes, sharpness=1.0)], straight(*np.zeros(6)), 20, 20, focal_px=100.0)
    assert rough.luminance(0).std() > 0.2
    assert smooth.luminance(0).std() < 0.02
    assert smooth.luminance(0).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
@LENSES
def test_pictures_do_not_depend_on_threads(pictures, kind, lens):
    scene = draw_room(kind, pictures, STYLE, 2, lens=lens)
    one, three = scene.view(4e5, threads=1), scene.view(4e5, threads=3)
    for name in ("luminance", "depth", "planes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
    np.testing.assert_array_equal(scene.view(4e5, light=False).depth, one.depth)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_scene_of_the_speed_that_was_asked_for(pictures, kind):
    first, again, other = (draw_room(kind, pictures, STYLE, seed) for seed in (2, 2, 3))
    np.testing.assert_array_equal(first.luminance(1e5), again.luminance(1e5))
    assert (first.luminance(1e5) != other.luminance(1e5)).any()
    still = replace(first, planes=[plane for plane in first.planes if plane.endless])
    assert speeds_px(still, 10e6).mean() == pytest.approx(40, rel=0.1)


@given(seed=st.integers(0, 2**32), t_us=st.floats(0, 10e6), kind=st.sampled_from(["room", "corridor", "objects"]))
@settings(max_examples=8, deadline=None)
def test_a_room_is_closed_wherever_the_camera_comes(pictures, seed, t_us, kind):
    view = draw_room(kind, pictures, STYLE, seed).view(t_us)
    assert (view.planes >= 0).all()
    assert view.depth.min() > 0.02


@LENSES
@pytest.mark.parametrize("kind", KINDS)
def test_flow_warps_the_second_picture_onto_the_first(pictures, kind, lens):
    from scipy.ndimage import map_coordinates

    scene = draw_room(kind, pictures, replace(STYLE, speed_px=80.0), 1, lens=lens)
    first, second = scene.luminance(500_000), scene.luminance(531_000)
    flow, seen = scene.flow(500_000, 531_000), ~scene.occluded(500_000, 531_000)
    y, x = np.mgrid[:60, :80]
    there = np.stack([y + flow[1], x + flow[0]])
    seen &= (there[0] > 1) & (there[0] < 58) & (there[1] > 1) & (there[1] < 78)
    warped = map_coordinates(second, np.nan_to_num(there), order=3)
    residual, unwarped = (np.abs(picture - first)[seen].mean() for picture in (warped, second))
    assert residual < 0.2 * unwarped


@LENSES
def test_largest_motion_is_not_below_that_of_any_pixel(pictures, lens):
    scene = draw_room("room", pictures, STYLE, 6, lens=lens)
    for t_us in range(0, 1_000_000, 250_000):
        most = np.linalg.norm(scene.flow(t_us, t_us + 2000), axis=0).max()
        assert scene.largest_px(t_us, t_us + 2000) == pytest.approx(most, rel=0.05)


def test_a_given_path_finds_room(pictures):
    path = straight(0.5, 0.1, -0.4, 0, 0.02, 0)
    for kind in ("room", "objects", "plane"):
        scene = draw_room(kind, pictures, STYLE, 0, path=path, duration_us=10e6, depth=3.0)
        assert all((scene.view(t_us).planes >= 0).all() for t_us in (0, 5e6, 10e6))


def test_unknown_kinds_and_no_pictures_are_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="among plane, room, corridor, objects, got 'cave'"):
        draw_room("cave", pictures, STYLE, 0)
    with pytest.raises(ValueError, match="at least one picture"):
        draw_room("room", [], STYLE, 0)
    with pytest.raises(InputError, match="nothing there"):
        PictureFiles(tmp_path / "none")
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(InputError, match="expected pictures"):
        PictureFiles(tmp_path)


def test_outlines_must_fit_their_plane():
    with pytest.raises(ValueError, match="outline"):
        board(1.0, 0.2, outline=np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match="2x2"):
        Plane(np.ones((1, 9), np.float32), np.zeros(3), np.zeros(3), np.zeros(3))
