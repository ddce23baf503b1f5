"""The event camera: kernel against loop, invariances, and its events against theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import EventCamera, Events, read_frames
from eventsim.cameras.event import pixel_reference, thresholds
from eventsim.cameras.random import Purpose, pixel_keys, stream_key
from eventsim.light.frames import Frames

CAMERAS = st.builds(
    EventCamera,
    threshold_on=st.sampled_from([0.2, 0.35]),
    threshold_off=st.sampled_from([0.2, 0.15]),
    threshold_mismatch=st.sampled_from([0.0, 0.03]),
    leak_rate_hz=st.sampled_from([0.0, 30.0]),
    shot_noise_rate_hz=st.sampled_from([0.0, 100.0]),
    refractory_us=st.sampled_from([0.0, 500.0, 30_000.0]),
)
FIELDS = ("t", "x", "y", "p")


def moving(height: int = 6, width: int = 9, count: int = 6, start_us: int = 1_000):
    values = np.random.default_rng(0).random((count, height, width), dtype=np.float32)
    times = [start_us + 40_000 * n for n in range(count)]
    return Frames(height, width, 25.0, lambda: iter(zip(times, values, strict=True)), count)


def ramp(camera: EventCamera, contrast: float, height: int = 4, width: int = 5, us: int = 100_000):
    """Two frames between which the log response rises by `contrast` at every pixel."""
    low = np.full((height, width), 0.3, np.float32)
    high = ((low + camera.dark_luminance) * np.exp(contrast) - camera.dark_luminance).astype(np.float32)
    return Frames(height, width, 1e6 / us, lambda: iter([(0, low), (us, high)]), 2)


@settings(deadline=None, max_examples=25)
@given(camera=CAMERAS, seed=st.integers(0, 2**63), start_us=st.sampled_from([0, 1_500_000_000_000_000]))
def test_kernel_agrees_with_reference_loop(camera, seed, start_us):
    frames = moving(start_us=start_us)
    size = (frames.height, frames.width)
    times = np.array([t for t, _ in frames])
    response = np.stack([camera.log_luminance(luminance) for _, luminance in frames])
    on = thresholds(camera.threshold_on, camera, Purpose.THRESHOLD_ON, seed, size)
    off = thresholds(camera.threshold_off, camera, Purpose.THRESHOLD_OFF, seed, size)
    keys = pixel_keys(stream_key(seed, Purpose.SHOT_NOISE), *size)
    expected = sorted(
        (t, y, x, p)
        for y in range(size[0])
        for x in range(size[1])
        for t, p in pixel_reference(camera, times, response[:, y, x], on[y, x], off[y, x], keys[y, x])
    )
    events = camera.simulate(frames, seed=seed)
    found = sorted(zip(*(getattr(events, name).tolist() for name in ("t", "y", "x", "p")), strict=True))
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    # Rounding may move a time across a whole microsecond.
    np.testing.assert_allclose([row[0] for row in found], [row[0] for row in expected], rtol=0, atol=1)


@pytest.mark.parametrize("chunk_events", [1, 100, 10**9])
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bytes_for_any_chunks_and_threads(chunk_events, threads):
    camera, frames = EventCamera.preset("davis346", shot_noise_rate_hz=50.0), moving(16, 23)
    whole = camera.simulate(frames, seed=7)
    parts = Events.concatenate(list(camera.stream(frames, seed=7, chunk_events=chunk_events, threads=threads)))
    assert len(whole) > 1000
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_seed_changes_the_events():
    camera = EventCamera.preset("davis346")
    first, second = (camera.simulate(moving(16, 23), seed=seed) for seed in (0, 1))
    assert len(first) != len(second) or (first.t != second.t).any()


@pytest.mark.parametrize(("contrast", "polarity"), [(1.1, True), (-1.1, False)])
def test_crossings_come_at_the_times_of_the_formula(contrast, polarity):
    camera = EventCamera()
    events = camera.simulate(ramp(camera, contrast))
    assert len(events) == 4 * 5 * 5
    assert (events.p == polarity).all()
    expected = np.repeat(100_000 * 0.2 * np.arange(1, 6) / 1.1, 20)
    np.testing.assert_allclose(events.t, expected, atol=1.5)


def test_contrast_is_kept_from_frame_to_frame():
    """Many small steps make the events of one large one."""
    camera = EventCamera()
    steps = np.exp(np.linspace(np.log(0.32), np.log(0.32) + 1.1, 23)) - camera.dark_luminance
    frames = read_frames(np.ones((23, 4, 5), np.float32) * steps[:, None, None].astype(np.float32), fps=220)
    assert len(camera.simulate(frames)) == 4 * 5 * 5


def test_constant_light_makes_no_events_without_noise():
    frames = read_frames(np.full((3, 4, 5), 0.5, np.float32), fps=10)
    assert len(EventCamera().simulate(frames)) == 0


def test_mismatch_spreads_the_thresholds():
    camera = EventCamera(threshold_mismatch=0.03)
    events = camera.simulate(ramp(camera, 0.39, 100, 100), seed=2)
    first_t = np.full((100, 100), 10**9)
    np.minimum.at(first_t, (events.y, events.x), events.t)
    measured = first_t / 100_000 * 0.39
    assert measured.mean() == pytest.approx(0.2, abs=4.5 * 0.03 / 100)
    assert measured.std() == pytest.approx(0.03, rel=4.5 / np.sqrt(2 * 10_000))


def test_leak_makes_on_events_at_its_rate():
    frames = read_frames(np.full((11, 20, 30), 0.5, np.float32), fps=10)
    events = EventCamera(leak_rate_hz=5.3).simulate(frames)
    assert events.p.all()
    assert len(events) == 600 * 5


@pytest.mark.parametrize(("luminance", "share"), [(0.0, 1.0), (1.0, 0.25)])
def test_shot_noise_is_poisson_and_rarer_in_bright_light(luminance, share):
    frames = read_frames(np.full((11, 40, 50), luminance, np.float32), fps=10)
    events = EventCamera(shot_noise_rate_hz=10.0).simulate(frames, seed=3)
    mean = 2000 * 10 * share
    assert abs(len(events) - mean) < 4.5 * np.sqrt(mean)
    assert abs(events.p.sum() - len(events) / 2) < 4.5 * np.sqrt(len(events) / 4)
    # Spread in time, not stamped on a grid: the middle half of each frame interval holds half of the events.
    inside = ((events.t % 100_000) - 50_000).__abs__() < 25_000
    assert abs(inside.sum() - len(events) / 2) < 4.5 * np.sqrt(len(events) / 4)


def test_refractory_pixels_are_blind_and_rereferenced():
    camera = EventCamera(refractory_us=30_000)
    events = camera.simulate(ramp(camera, 1.1))
    gaps = np.diff(events.t[(events.x == 0) & (events.y == 0)])
    # 30 ms blind, then a whole threshold from the level at its end.
    np.testing.assert_allclose(gaps, 30_000 + 100_000 * 0.2 / 1.1, atol=1.5)


def test_needs_two_frames():
    with pytest.raises(ValueError, match="two frames"):
        EventCamera().simulate(np.zeros((4, 5), np.float32))


def test_frame_times_must_rise():
    frames = Frames(2, 2, 10.0, lambda: iter([(0, np.zeros((2, 2), np.float32)), (0, np.ones((2, 2), np.float32))]), 2)
    with pytest.raises(ValueError, match="rise"):
        EventCamera().simulate(frames)


@pytest.mark.parametrize("field", ["threshold_on", "threshold_off", "dark_luminance"])
def test_parameters_must_be_positive(field):
    with pytest.raises(ValueError, match=field):
        EventCamera(**{field: 0.0})
