"""A still before a moving camera: the flow is the motion's formula and what the frames do; speeds are as stated."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.light.motions import (
    MOTIONS,
    FromRest,
    MotionStyle,
    move_between,
    moving_frames,
    peak_speed_px,
    still_scene,
)
from eventsim.light.scenes import speeds_px

STYLE = MotionStyle(height=48, width=72, speed_px=200.0)


def middle_out(height: int, width: int) -> np.ndarray:
    """Every pixel's place from the view's middle: [2, H, W]."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x - (width - 1) / 2, y - (height - 1) / 2])


def test_view_starts_covered_by_the_picture(texture):
    """A picture of the view's shape: its borders are the view's borders."""
    picture = texture[:96, :144]
    first = still_scene(picture, "pan", STYLE, 0).luminance(0)
    expected = cv2.resize(picture, (72, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(first - expected).mean() < 0.02
    assert np.corrcoef(first.ravel(), expected.ravel())[0, 1] > 0.98


@given(seed=st.integers(0, 2**63 - 1), t_us=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_pan_is_constant_and_as_fast_as_stated(texture, seed, t_us):
    flow = still_scene(texture, "pan", STYLE, seed).flow(t_us, t_us + 10_000)
    np.testing.assert_allclose(flow, np.broadcast_to(flow[:, :1, :1], flow.shape), atol=1e-4)
    assert np.linalg.norm(flow[:, 0, 0]) == pytest.approx(2.0, abs=1e-4)


@given(seed=st.integers(0, 2**63 - 1), t_us=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_zoom_is_radial_and_the_same_at_any_time(texture, seed, t_us):
    scene = still_scene(texture, "zoom", STYLE, seed)
    rate = STYLE.speed_px / STYLE.mean_radius_px
    place, flow = middle_out(48, 72), scene.flow(t_us, t_us + 10_000)
    factor = math.exp(rate * 0.01) if flow[0, 0, -1] > 0 else math.exp(-rate * 0.01)
    np.testing.assert_allclose(flow, (factor - 1) * place, atol=2e-4)
    assert np.linalg.norm(flow, axis=0).mean() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("motion", MOTIONS)
def test_flow_takes_one_frame_to_another(texture, motion):
    scene = still_scene(texture, motion, STYLE, 3)
    first, second = scene.luminance(2_000), scene.luminance(14_000)
    flow = scene.flow(2_000, 14_000)
    y, x = np.mgrid[:48, :72].astype(np.float32)
    back = cv2.remap(second, x + flow[0], y + flow[1], cv2.INTER_CUBIC)
    inside = (slice(6, -6), slice(6, -6))
    error, change = np.abs(back - first)[inside].mean(), np.abs(second - first)[inside].mean()
    assert error < 0.004
    assert error < 0.25 * change or change < 0.004


@pytest.mark.parametrize("motion", MOTIONS)
def test_move_between_is_the_scenes_flow(texture, motion):
    scene = still_scene(texture, motion, STYLE, 1)
    corner = move_between(scene, 1_000, 30_000) @ np.array([5.0, 7.0, 1.0])
    np.testing.assert_allclose(corner[:2] / corner[2] - [5, 7], scene.flow(1_000, 30_000)[:, 7, 5], atol=1e-4)


@pytest.mark.parametrize("motion", ["tremor", "drift"])
def test_waves_have_the_stated_speed_over_time(texture, motion):
    """Root mean square over 6 seeds and 20 s; mean squares of each seed are within a few per cent."""
    squares = [
        np.mean(speeds_px(still_scene(texture, motion, STYLE, seed), 20e6, samples=300) ** 2) for seed in range(6)
    ]
    # `speeds_px` looks at a square as wide as the view, whose corners turn faster; the finite difference of 1 ms
    # rounds off waves of 100 Hz by 2 %.
    assert np.sqrt(np.mean(squares)) == pytest.approx(STYLE.speed_px, rel=0.1)


def test_tremor_stays_within_about_a_pixel(texture):
    path = [move_between(still_scene(texture, "tremor", STYLE, seed), 0, t)[:2, 2]
            for seed in range(5) for t in range(0, 100_000, 2_000)]  # fmt: skip
    excursion = np.linalg.norm(path, axis=1)
    assert 0.3 < np.percentile(excursion, 90) < 2.0


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("duration_us", [1_000, 50_000])
def test_frames_reach_exactly_to_the_end_in_small_steps(texture, motion, duration_us):
    scene = still_scene(texture, motion, STYLE, 2)
    frames = moving_frames(scene, motion, duration_us=duration_us)
    times = [t for t, _ in frames]
    assert (times[0], times[-1], len(times)) == (0, duration_us, frames.count)
    assert peak_speed_px(scene, duration_us) / frames.fps <= 0.5 * 1.01


@pytest.mark.parametrize("motion", MOTIONS)
def test_same_seed_same_motion_in_any_view(texture, motion):
    """In pixels, for what does not depend on how far a pixel is from the middle."""
    other = MotionStyle(height=60, width=100, speed_px=200.0)
    places = [
        still_scene(texture, motion, style, 9).path.coordinates(30_000) * style.focal_px for style in (STYLE, other)
    ]
    np.testing.assert_allclose(places[0][:2], places[1][:2], atol=1e-9)
    unlike = still_scene(texture, motion, STYLE, 10).path.coordinates(30_000)
    assert not np.allclose(unlike * STYLE.focal_px, places[0]) or motion == "zoom"


def test_paths_begin_at_rest(texture):
    for motion in MOTIONS:
        assert not still_scene(texture, motion, STYLE, 4).path.coordinates(0.0).any()
    assert isinstance(still_scene(texture, "drift", STYLE, 4).path, FromRest)


def test_an_unknown_motion_and_a_speed_of_zero_are_refused(texture):
    with pytest.raises(ValueError, match="expected a motion among tremor, pan, zoom, drift, got 'jump'"):
        still_scene(texture, "jump", STYLE, 0)
    with pytest.raises(ValueError, match="expected speed_px above 0"):
        MotionStyle(height=4, width=4, speed_px=0)
