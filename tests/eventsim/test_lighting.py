"""Light over time: brightness, flicker, corners, exposure; and frames as dense as motion and light need."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from eventsim import render_scene
from eventsim.light.lighting import Lighting
from eventsim.light.motions import Pan
from eventsim.light.paths import Trajectory
from eventsim.light.scenes import Scene, SceneStyle, draw_scene
from eventsim.light.timing import adaptive_frames, exposed, step_times


@pytest.fixture(scope="module")
def scene(texture) -> Scene:
    return draw_scene(texture, SceneStyle(height=60, width=80, speed_px=100.0), 1)


def test_without_options_light_stays_as_it_is(scene):
    picture = scene.luminance(0)
    np.testing.assert_array_equal(Lighting().applied(picture, 12_345), picture)
    assert Lighting().longest_step_us == np.inf


def test_gain_and_change_multiply():
    light = Lighting(gain=2.0, change=0.5, change_hz=1.0)
    assert light.factor(0) == pytest.approx(2.0)
    assert light.factor(250_000) == pytest.approx(2 * np.exp(0.5))
    assert light.factor(750_000) == pytest.approx(2 * np.exp(-0.5))


def test_flicker_has_its_depth_and_rate():
    light = Lighting(flicker_depth=0.4, flicker_hz=120.0)
    factors = [light.factor(t_us) for t_us in np.linspace(0, 1e6 / 120, 101)]
    assert (min(factors), max(factors)) == pytest.approx((0.6, 1.0))
    assert light.factor(3333) == pytest.approx(light.factor(3333 + 1e6 / 120))


def test_corners_lose_their_share():
    lit = Lighting(vignetting=0.3).applied(np.ones((41, 61), np.float32), 0)
    assert lit[20, 30] == pytest.approx(1.0)
    np.testing.assert_allclose([lit[0, 0], lit[-1, 0], lit[0, -1], lit[-1, -1]], 0.7, rtol=1e-6)


def test_frames_are_lit(scene):
    light = Lighting(gain=0.5)
    plain, lit = (list(render_scene(scene, duration_us=2000, fps=1000, lighting=each)) for each in (None, light))
    np.testing.assert_array_equal(lit[2][1], plain[2][1] * np.float32(0.5))


@pytest.mark.parametrize("field", ["gain", "change_hz", "flicker_hz", "exposure_us", "flicker_depth", "vignetting"])
def test_impossible_light_is_refused(field):
    with pytest.raises(ValueError, match=f"expected {field}"):
        Lighting(**{field: -1.0})
    if field in ("flicker_depth", "vignetting"):
        with pytest.raises(ValueError, match="at most 1"):
            Lighting(**{field: 1.1})


def test_nothing_moves_more_than_half_a_pixel_from_step_to_step(scene):
    times = list(step_times(scene, [0, 250_000, 500_000]))
    assert times == sorted(set(times))
    assert {0, 250_000, 500_000} <= set(times)
    assert times[-1] == 500_000
    moved = [np.linalg.norm(scene.flow(a, b), axis=0).max() for a, b in pairwise(times)]
    assert max(moved) < 0.55
    assert np.median(moved) > 0.2  # and not much less


def test_steps_follow_the_speed_of_the_moment(texture):
    """A camera that sways: many steps in the middle of its way, few at the turning points."""
    sway = Trajectory(np.array([[0.5], [0], [0], [0], [0], [0]]), np.full((6, 1), 0.5), np.zeros((6, 1)))
    still = draw_scene(texture, SceneStyle(height=60, width=80, tilt=0.0), 0)
    scene = replace(still, path=sway)
    times = np.array(list(step_times(scene, [0, 1_000_000])))
    steps = np.diff(times)
    fast, slow = steps[times[:-1] < 100_000], steps[(times[:-1] > 470_000) & (times[:-1] < 530_000)]
    assert np.median(slow) > 3 * np.median(fast)


def test_a_camera_at_rest_needs_few_frames_and_flicker_many(texture):
    scene = replace(draw_scene(texture, SceneStyle(height=60, width=80), 0), path=Pan(np.zeros(6)))
    assert len(list(step_times(scene, [0, 1_000_000]))) < 15
    flicker = Lighting(flicker_depth=0.5, flicker_hz=100.0)
    assert np.diff(list(step_times(scene, [0, 100_000], lighting=flicker))).max() <= 625
    with pytest.raises(ValueError, match="two stops"):
        list(step_times(scene, [0]))


def test_adaptive_frames_are_the_scene_at_their_times(scene):
    frames = list(adaptive_frames(scene, stops_us=[0, 20_000]))
    assert [t for t, _ in frames] == list(step_times(scene, [0, 20_000]))
    for t_us, luminance in frames[::5]:
        np.testing.assert_array_equal(luminance, scene.luminance(t_us))


def test_exposure_blurs_along_the_motion(texture):
    """A pan of 400 pixels a second, exposed for 10 ms: the mean over 4 pixels."""
    still = draw_scene(texture, SceneStyle(height=60, width=80, tilt=0.0), 0)
    scene = replace(still, path=Pan(np.array([400 / still.focal_px, 0, 0, 0, 0, 0])))
    blurred = exposed(scene, 50_000, Lighting(exposure_us=10_000))
    fine = np.mean([scene.luminance(t_us) for t_us in np.linspace(45_000, 55_000, 201)], axis=0)
    assert np.abs(blurred - fine).max() < 0.002
    assert np.abs(blurred - scene.luminance(50_000)).max() > 0.01
    np.testing.assert_array_equal(exposed(scene, 50_000, Lighting()), scene.luminance(50_000))


def test_exposure_averages_flicker(scene):
    """Over whole periods the mean of 1 - depth (1 + cos) / 2 is 1 - depth / 2."""
    rest = replace(scene, path=Pan(np.zeros(6)))
    light = Lighting(flicker_depth=0.6, flicker_hz=100.0, exposure_us=20_000)
    np.testing.assert_allclose(exposed(rest, 100_000, light), 0.7 * rest.luminance(0), rtol=1e-4)
