"""Angles, fitted scale and sharpness on flows that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsim import Events
from flownet.comparison import compare_flow, event_count, flow_warp_loss


def field(degrees: float, length: float = 1.0, shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    angle = np.radians(degrees)
    return np.broadcast_to(length * np.array([np.cos(angle), np.sin(angle)])[:, None, None], (2, *shape))


@given(st.floats(0, 360), st.floats(-180, 180), st.floats(0.1, 10), st.floats(0.1, 10))
def test_angle_and_scale_of_turned_and_stretched_flow(direction, turn, length, factor):
    found = compare_flow(field(direction + turn, factor * length), field(direction, length))
    assert found.angular_error == pytest.approx(abs(turn), abs=1e-5)
    assert found.scale == pytest.approx(max(np.cos(np.radians(turn)) / factor, 0), abs=1e-5)
    # What a scale cannot mend is what lies across the true direction.
    left = length * abs(np.sin(np.radians(turn))) if abs(turn) < 90 else length
    assert found.scaled_aee == pytest.approx(left, abs=1e-5 * length)


def test_scale_of_a_constant_factor_mends_everything():
    truth = np.random.default_rng(0).normal(size=(2, 5, 6))
    found = compare_flow(truth / 1.25, truth)
    assert found.scale == pytest.approx(1.25)
    assert found.scaled_aee == pytest.approx(0, abs=1e-6)
    assert found.aee == pytest.approx(np.hypot(*truth).mean() / 5)


def test_no_direction_counts_as_a_right_angle_and_has_no_scale():
    found = compare_flow(np.zeros((2, 3, 4)), field(30, 2))
    assert (found.angular_error, found.scale, found.pixels) == (90, 0, 12)
    assert found.aee == pytest.approx(2)
    assert found.scaled_aee == pytest.approx(2)


def test_one_scale_fits_all_that_is_added_up():
    first, second = (compare_flow(field(0, 1), field(0, length)) for length in (1.0, 3.0))
    both = first + second
    assert both.scale == pytest.approx(2)
    assert both.scaled_aee == pytest.approx(1)
    assert both.aee == pytest.approx(1)
    assert both.pixels == 24


def test_only_pixels_that_are_known_and_have_events_count():
    truth, prediction = field(0, shape=(1, 4)).copy(), field(90, shape=(1, 4)).copy()
    truth[:, 0, 0], truth[:, 0, 1], prediction[:, 0, 3] = np.nan, 0, field(0)[:, 0, 0]
    assert compare_flow(prediction, truth).pixels == 2
    assert compare_flow(prediction, truth, np.array([[1, 1, 0, 1]])).angular_error == pytest.approx(0)
    assert np.isnan(compare_flow(prediction, truth, np.zeros((1, 4))).angular_error)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="two flows"):
        compare_flow(np.zeros((2, 3, 4)), np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="event counts"):
        compare_flow(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="finite"):
        compare_flow(np.full((2, 3, 4), np.nan), field(0))


def moving(velocity: tuple[float, float], number: int = 4000, seed: int = 0) -> Events:
    """Events of 200 points that move alike over 10 ms."""
    draws = np.random.default_rng(seed)
    start, which = draws.uniform(8, 40, (200, 2)), draws.integers(0, 200, number)
    t = np.sort(draws.integers(0, 10_000, number))
    x, y = (np.rint(start[which, axis] + velocity[axis] * t / 10_000).astype(np.uint16) for axis in (0, 1))
    return Events(t, x, y, draws.random(number) > 0.5, 48, 48)


def test_sharpness_is_above_one_for_the_true_flow_and_best_there():
    events, window = moving((5.0, -3.0)), (0, 10_000)
    flows = {(dx, dy): np.float32([[[dx]], [[dy]]]) * np.ones((2, 48, 48), np.float32)
             for dx in (0, 3, 5, 7) for dy in (-5, -3, 0, 3)}  # fmt: skip
    found = {velocity: flow_warp_loss(flow, events, window) for velocity, flow in flows.items()}
    assert found[0, 0] == pytest.approx(1)
    assert found[5, -3] > 1.4
    assert max(found, key=found.__getitem__) == (5, -3)
    assert found[7, 3] < 1.1
    assert np.isnan(flow_warp_loss(flows[0, 0], Events.empty(48, 48), window))


def test_event_count():
    events = Events(
        np.arange(3), *(np.array(each, np.uint16) for each in ([4, 4, 0], [1, 1, 2])), np.ones(3, bool), 5, 3
    )
    expected = np.zeros((3, 5), int)
    expected[1, 4], expected[2, 0] = 2, 1
    assert np.array_equal(event_count(events), expected)
