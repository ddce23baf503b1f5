"""Methods without learning, on a texture that moves as is known."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim import EventCamera, Events
from eventsim.light.frames import read_frames
from flownet.baselines import BASELINES, contrast_maximisation, dis_flow, lucas_kanade
from flownet.comparison import compare_flow, event_count

WINDOW = (40_000, 80_000)
METHODS = {"contrast": contrast_maximisation, "dis": dis_flow, "lucas_kanade": lucas_kanade}


def translating(texture: np.ndarray, velocity: tuple[float, float]) -> Events:
    """Events of a texture that moves by `velocity` pixels over the window, 64x80."""
    import cv2

    frames = []
    for step in range(81):
        shift = step / 40
        crop = np.float32([[1, 0, velocity[0] * (shift - 1) - 40], [0, 1, velocity[1] * (shift - 1) - 28]])
        frames.append(cv2.warpAffine(texture, crop, (80, 64), flags=cv2.INTER_CUBIC))
    light = 0.05 + 0.9 * np.clip(np.stack(frames), 0, 1)
    camera = EventCamera.preset("clean", height=64, width=80)
    return camera.simulate(read_frames(light.astype(np.float32), fps=1000), seed=0)


@pytest.fixture(scope="module")
def moving(texture):
    return {velocity: translating(texture, velocity) for velocity in ((6.0, 0.0), (-3.0, 4.0), (0.0, -8.0))}


@pytest.mark.parametrize("name", METHODS)
def test_translation_is_found(name, moving):
    for velocity, events in moving.items():
        inside = events.window(*WINDOW)
        assert len(inside) > 500
        truth = np.broadcast_to(np.array(velocity)[:, None, None], (2, 64, 80))
        flow = METHODS[name](inside, WINDOW)
        assert flow.dtype == np.float32
        found = compare_flow(flow, truth, event_count(inside))
        assert found.aee < 0.3 * np.hypot(*velocity), velocity
        assert found.angular_error < 20


def test_flow_is_over_the_window_that_is_asked_for(moving):
    """Not over what its events span: twice the window holds twice the flow of the same events."""
    events = moving[6.0, 0.0].window(*WINDOW)
    whole, twice = (contrast_maximisation(events, (WINDOW[0], stop)) for stop in (WINDOW[1], WINDOW[1] + 40_000))
    at = event_count(events) > 0
    assert np.median(twice[0][at]) == pytest.approx(2 * np.median(whole[0][at]), rel=0.15)


@pytest.mark.parametrize("name", BASELINES)
def test_few_events_are_no_motion(name):
    method = BASELINES[name]
    assert method.name == name
    assert not method.from_events(Events.empty(40, 30), (0, 1000)).any()
    few = Events(np.arange(5), *(np.arange(5, dtype=np.uint16) for _ in "xy"), np.ones(5, bool), 40, 30)
    flow = method.from_events(few, (0, 1000))
    assert flow.shape == (2, 30, 40)
    assert flow.dtype == np.float32
    assert not flow.any()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["one pixel", "one time", "one row", "small sensor"])
def test_odd_events_give_finite_flow(name, kind):
    draws = np.random.default_rng(0)
    width, height = (7, 5) if kind == "small sensor" else (50, 40)
    t, x, y = np.sort(draws.integers(0, 1000, 300)), draws.integers(0, width, 300), draws.integers(0, height, 300)
    if kind == "one time":
        t[:] = 400
    if kind in ("one pixel", "one row"):
        y[:] = 3
    if kind == "one pixel":
        x[:] = 4
    events = Events(t, x.astype(np.uint16), y.astype(np.uint16), draws.random(300) > 0.5, width, height)
    flow = METHODS[name](events, (0, 1000))
    assert flow.shape == (2, height, width)
    assert np.isfinite(flow).all()


def test_wrong_arguments_are_refused():
    for method in METHODS.values():
        with pytest.raises(ValueError, match="ends after"):
            method(Events.empty(9, 9), (5, 5))
    with pytest.raises(ValueError, match="patches of 4"):
        contrast_maximisation(Events.empty(9, 9), (0, 5), patch=2)
