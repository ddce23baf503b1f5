"""Voxel grid, count image and time surface against their equations, and against tonic 1.7.0 where it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tonic.functional import to_frame_numpy, to_timesurface_numpy, to_voxel_grid_numpy

from eventsim.streams.events import Events
from flownet.encodings import count_image, time_surface, voxel_grid

START = 1_600_000_000_000_000


def random_events(seed: int, number: int, span: int = 10_000, width: int = 7, height: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, span, number)) + START
    x, y = rng.integers(0, width, number), rng.integers(0, height, number)
    return Events(t, x, y, rng.random(number) < 0.4, width, height)


@st.composite
def any_events(draw: st.DrawFn) -> Events:
    return random_events(draw(st.integers(0, 99)), draw(st.integers(0, 60)), draw(st.sampled_from([1, 3, 50, 10**6])))


def signed(events: Events) -> NDArray[np.void]:
    """As tonic takes them, but with -1 and 1 for polarities."""
    out = np.empty(len(events), [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
    for name in ("x", "y", "t"):
        out[name] = getattr(events, name)
    out["p"] = np.where(events.p, 1, -1)
    return out


def grid_by_the_equation(events: Events, bins: int, start: int, stop: int) -> NDArray[np.float64]:
    grid = np.zeros((bins, events.height, events.width))
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        place = (bins - 1) * int(t - start) / (stop - start) if stop > start else 0.0
        for b in range(bins):
            grid[b, y, x] += (1 if p else -1) * max(0.0, 1 - abs(b - place))
    return grid


@settings(max_examples=60, deadline=None)
@given(any_events(), st.integers(1, 7))
def test_voxel_grid_is_the_equation(events: Events, bins: int) -> None:
    ends = (int(events.t[0]), int(events.t[-1])) if len(events) else (0, 0)
    expected = grid_by_the_equation(events, bins, *ends)
    np.testing.assert_allclose(voxel_grid(events, bins), expected, rtol=1e-5, atol=1e-5)
    window = (START + 2, START + 40)
    expected = grid_by_the_equation(events.window(*window), bins, *window)
    np.testing.assert_allclose(voxel_grid(events, bins, window), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(any_events(), st.integers(1, 7))
def test_voxel_grid_loses_no_event(events: Events, bins: int) -> None:
    on, off = count_image(events).numpy()
    np.testing.assert_allclose(voxel_grid(events, bins).sum(0), on - off, atol=1e-4)


def test_voxel_grid_is_tonics_in_all_but_the_last_bin() -> None:
    """Tonic places times at B (t - t0) / (t1 - t0), the paper at B - 1 times that.

    So its grid of B - 1 bins holds the first B - 1 of ours, and what belongs in the last is lost.
    """
    events = random_events(1, 3_000)
    found = voxel_grid(events, 6).numpy()
    tonics = to_voxel_grid_numpy(signed(events), (7, 5, 2), 5)
    np.testing.assert_allclose(found[:5], tonics[:, 0], rtol=1e-5, atol=1e-4)
    assert np.abs(found[5]).sum() > 1


def test_where_tonics_voxel_grid_is_wrong() -> None:
    events = random_events(2, 400)
    # Bool polarities: -1 becomes True, so that OFF counts as ON; and the caller's events are overwritten.
    given_events = events.to_tonic()
    all_on = Events(events.t, events.x, events.y, np.ones(400, bool), 7, 5)
    wrong = to_voxel_grid_numpy(given_events, (7, 5, 2), 5)[:, 0]
    np.testing.assert_allclose(wrong, voxel_grid(all_on, 6)[:5], rtol=1e-5, atol=1e-4)
    assert given_events["p"].all()
    # Equal times: 0 / 0.
    together = signed(Events(np.full(3, 9), np.arange(3), np.zeros(3, int), np.ones(3, bool), 7, 5))
    with pytest.warns(RuntimeWarning), pytest.raises((IndexError, ValueError)):
        to_voxel_grid_numpy(together, (7, 5, 2), 5)


def test_voxel_grid_without_spread_is_defined() -> None:
    assert voxel_grid(Events.empty(4, 3), 5).shape == (5, 3, 4)
    assert not voxel_grid(Events.empty(4, 3), 5).any()
    together = Events(np.full(3, 9), np.array([0, 0, 1]), np.zeros(3, int), np.array([True, True, False]), 4, 3)
    for events in (together, together[:1]):
        grid = voxel_grid(events, 5)
        assert not grid[1:].any()
        assert grid[0, 0].tolist() == [min(len(events), 2), -1 if len(events) > 2 else 0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(any_events())
def test_count_image_counts(events: Events) -> None:
    expected = np.zeros((2, 5, 7))
    for x, y, p in zip(events.x, events.y, events.p, strict=True):
        expected[0 if p else 1, y, x] += 1
    np.testing.assert_array_equal(count_image(events), expected)


def test_count_image_is_tonics_frame() -> None:
    """Tonic's goes OFF, ON. By time bins it would leave out the last event, and more where the bins do not divide."""
    events = random_events(3, 2_000)
    frame = to_frame_numpy(events.to_tonic(), (7, 5, 2), event_count=2_000)[0]
    np.testing.assert_array_equal(count_image(events), frame[::-1])
    assert to_frame_numpy(events.to_tonic(), (7, 5, 2), n_time_bins=1).sum() < 2_000
    inside = events.window(START + 100, START + 7_000)
    np.testing.assert_array_equal(count_image(events, (START + 100, START + 7_000)), count_image(inside))


def test_count_image_counts_beyond_tonics_int16() -> None:
    many = Events(np.arange(40_000), np.zeros(40_000, int), np.zeros(40_000, int), np.ones(40_000, bool), 1, 1)
    assert count_image(many).flatten().tolist() == [40_000, 0]
    assert to_frame_numpy(many.to_tonic(), (1, 1, 2), event_count=40_000).max() < 40_000


@settings(max_examples=60, deadline=None)
@given(any_events(), st.sampled_from([0, 1, 2, 30, 10**7]))
def test_time_surface_is_the_equation(events: Events, after: int) -> None:
    at = START + after
    expected = np.zeros((2, 5, 7))
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        if t <= at:
            expected[0 if p else 1, y, x] = math.exp(-(at - int(t)) / 700.0)
    np.testing.assert_allclose(time_surface(events, tau_us=700.0, at_us=at), expected, rtol=1e-6, atol=1e-30)


def test_time_surface_is_tonics() -> None:
    """Tonic's goes OFF, ON, at the end of each whole dt from the first event, without the events at that very time."""
    events = random_events(4, 300)
    surfaces = to_timesurface_numpy(events.to_tonic(), (7, 5, 2), dt=1_000, tau=2_500.0)
    assert len(surfaces) == 9
    for k, surface in enumerate(surfaces):
        end = int(events.t[0]) + 1_000 * (k + 1)
        found = time_surface(events.window(START, end), tau_us=2_500.0, at_us=end)
        np.testing.assert_allclose(found, surface[::-1], rtol=1e-6)


def test_time_surface_without_spread_is_defined() -> None:
    assert not time_surface(Events.empty(4, 3), tau_us=10.0).any()
    together = Events(np.full(2, 9), np.array([0, 1]), np.zeros(2, int), np.array([True, False]), 4, 3)
    assert time_surface(together, tau_us=10.0).sum() == 2  # by default as of the last event, which weighs 1
    assert time_surface(together[:1], tau_us=10.0).sum() == 1
    assert not time_surface(together, tau_us=10.0, at_us=8).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda events: voxel_grid(events, 0), "at least one bin"),
        (lambda events: voxel_grid(events, 5, (5, 4)), "ends after"),
        (lambda events: count_image(events, (5, 4)), "ends after"),
        (lambda events: time_surface(events, tau_us=0.0), "positive time constant"),
        (lambda events: time_surface(events, tau_us=math.nan), "positive time constant"),
    ],
)
def test_wrong_arguments_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(random_events(0, 10))
