"""The event camera: kernel against loop, invariances, and its events against theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import EventCamera, Events, read_frames
from eventsim.cameras.event_model import EventMaps, event_maps, pixel_reference, shot_keys
from eventsim.cameras.pattern import Pattern
from eventsim.light.frames import Frames

CAMERAS = st.builds(
    EventCamera,
    threshold_on=st.sampled_from([0.2, 0.35]),
    threshold_off=st.sampled_from([0.2, 0.15]),
    threshold_mismatch=st.sampled_from([0.0, 0.03]),
    linear_below=st.sampled_from([0.0, 20 / 255]),
    cutoff_hz=st.sampled_from([0.0, 2.0, 30.0, 3000.0, 30_000.0]),
    cutoff_order=st.sampled_from([1, 2]),
    leak_rate_hz=st.sampled_from([0.0, 30.0, Pattern(mean=5.0, spread=0.5, distribution="lognormal")]),
    shot_noise_rate_hz=st.sampled_from([0.0, 100.0]),
    refractory_us=st.sampled_from([0.0, 500.0, 30_000.0]),
    hot_share=st.sampled_from([0.0, 0.1]),
    hot_rate_hz=st.just(500.0),
    dead_share=st.sampled_from([0.0, 0.1]),
)
FIELDS = ("t", "x", "y", "p")


def moving(height: int = 6, width: int = 9, count: int = 6, start_us: int = 1_000, spans_us=(40_000,)):
    values = np.random.default_rng(0).random((count, height, width), dtype=np.float32)
    times = [start_us + sum(spans_us[k % len(spans_us)] for k in range(n)) for n in range(count)]
    return Frames(height, width, 25.0, lambda: iter(zip(times, values, strict=True)), count)


def ramp(camera: EventCamera, contrast: float, height: int = 4, width: int = 5, us: int = 100_000):
    """Two frames between which the log response rises by `contrast` at every pixel."""
    low = np.full((height, width), 0.3, np.float32)
    high = ((low + camera.dark_luminance) * np.exp(contrast) - camera.dark_luminance).astype(np.float32)
    return Frames(height, width, 1e6 / us, lambda: iter([(0, low), (us, high)]), 2)


@settings(deadline=None, max_examples=40)
@given(
    camera=CAMERAS,
    seed=st.integers(0, 2**63),
    start_us=st.sampled_from([0, 1_500_000_000_000_000]),
    spans_us=st.sampled_from([(40_000,), (300, 900_000, 17)]),
)
def test_kernel_agrees_with_reference_loop(camera, seed, start_us, spans_us):
    frames = moving(start_us=start_us, spans_us=spans_us)
    size = (frames.height, frames.width)
    times = np.array([t for t, _ in frames])
    light = np.stack([luminance for _, luminance in frames])
    maps, keys = event_maps(camera, *size), shot_keys(seed, *size)
    expected = sorted(
        (y, x, t, p)
        for y in range(size[0])
        for x in range(size[1])
        for t, p in pixel_reference(camera, times, light[:, y, x], one_pixel(maps, y, x), keys[y, x])
    )
    events = camera.simulate(frames, seed=seed)
    found = sorted(zip(*(getattr(events, name).tolist() for name in ("y", "x", "t", "p")), strict=True))
    assert [(y, x, p) for y, x, _, p in found] == [(y, x, p) for y, x, _, p in expected]
    # Rounding may move a time across a whole microsecond.
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=0, atol=1)


def one_pixel(maps: EventMaps, y: int, x: int) -> EventMaps:
    return EventMaps(*(getattr(maps, name)[y, x] for name in ("on", "off", "leak", "shot")))


@pytest.mark.parametrize("chunk_events", [1, 100, 10**9])
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bytes_for_any_chunks_and_threads(chunk_events, threads):
    camera, frames = EventCamera.preset("davis346", shot_noise_rate_hz=50.0), moving(16, 23)
    whole = camera.simulate(frames, seed=7)
    parts = Events.concatenate(list(camera.stream(frames, seed=7, chunk_events=chunk_events, threads=threads)))
    assert len(whole) > 1000
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("cutoff_hz", [0.0, 30.0])
def test_sensors_of_several_strips_and_many_events_at_once(cutoff_hz, order):
    """A pixel's events do not depend on where it lies among the pixels that are gone over together."""
    camera = EventCamera(cutoff_hz=cutoff_hz, cutoff_order=order, leak_rate_hz=2.0)
    column = moving(40, 1)
    wide = Frames(40, 61, 25.0, lambda: ((t, np.repeat(light, 61, axis=1)) for t, light in column), 6)
    events, single = camera.simulate(wide, threads=1), camera.simulate(column)
    assert len(events) == 61 * len(single) > 10_000
    for x in (0, 17, 60):
        for name in ("t", "y", "p"):
            np.testing.assert_array_equal(getattr(events, name)[events.x == x], getattr(single, name))


@pytest.mark.parametrize("shot_noise_rate_hz", [0.0, 0.001])
@pytest.mark.parametrize("number", [1, 3, 250])
def test_one_pixel_may_make_any_number_of_events_at_once(number, shot_noise_rate_hz):
    camera = EventCamera(threshold_on=0.02, shot_noise_rate_hz=shot_noise_rate_hz, dark_luminance=1e-9)
    light = np.full((2, 1, 3), 1e-3, np.float32)
    light[1, 0, 1] *= np.exp(0.02 * (number + 0.5))
    events = camera.simulate(Frames(1, 3, 1.0, lambda: iter([(0, light[0]), (1_000_000, light[1])]), 2))
    assert events.x.tolist() == [1] * number
    assert events.p.all()


@pytest.mark.parametrize("shot_noise_rate_hz", [0.0, 1e-6])
@pytest.mark.parametrize("span_us", [229, 230, 1000])
def test_a_contrast_that_stops_at_the_threshold(span_us, shot_noise_rate_hz):
    """By rounding, the crossing may come an instant after the frame, and then nothing changes any more."""
    camera = EventCamera(threshold_on=0.6554068326950073, threshold_off=0.2, shot_noise_rate_hz=shot_noise_rate_hz)
    light = (0.25, 0.5, 0.5, 0.5)
    frames = [(span_us * n, np.full((1, 1), value, np.float32)) for n, value in enumerate(light)]
    events = camera.simulate(Frames(1, 1, 1e6 / span_us, lambda: iter(frames), 4))
    assert list(zip(events.t.tolist(), events.p.tolist(), strict=True)) in ([], [(span_us, True)])


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


# --- the filter


def step(low: float, high: float, us: int = 200_000, height: int = 2, width: int = 2):
    """Light that jumps within 10 us after a while and stays."""
    frames = [(0, low), (10_000, low), (10_010, high), (us, high)]
    pictures = [(t, np.full((height, width), value, np.float32)) for t, value in frames]
    return Frames(height, width, 100.0, lambda: iter(pictures), len(pictures))


@pytest.mark.parametrize("order", [1, 2])
def test_filtered_step_crosses_when_the_exponential_does(order):
    """log 0.9 to log 1 behind stages of one time constant: contrast D (1 - e) or D (1 - (1 + t / tau) e)."""
    camera = EventCamera(threshold_on=0.2, dark_luminance=0.01, cutoff_hz=20.0, cutoff_order=order)
    events = camera.simulate(step(0.2, 0.9))
    t = events.t[(events.x == 0) & (events.y == 0)] - 10_010
    rise = np.log(0.91 / 0.21)
    tau = camera.tau_us * (1 + 20 / 255) / (0.9 + 20 / 255)
    seconds = np.linspace(0, 12, 2_000_001)
    form = 1 - np.exp(-seconds) if order == 1 else 1 - (1 + seconds) * np.exp(-seconds)
    expected = tau * np.interp(0.2 * np.arange(1, int(rise / 0.2) + 1), rise * form, seconds)
    assert events.p.all()
    # The second order's first stage is followed in steps of an eighth of its time constant.
    np.testing.assert_allclose(t, expected, rtol=2e-3 if order == 1 else 2e-2, atol=20)


def test_corner_frequency_is_where_a_sine_loses_three_decibels():
    """A small modulation at the cutoff passes with 0.707 of its amplitude: so many events fewer."""
    luminance, amplitude, hz = 1.0, 0.2, 50.0
    t_us = np.arange(0, 400_001, 200)
    wave = np.exp(amplitude * np.sin(2e-6 * np.pi * hz * t_us)) * luminance
    seen = [(int(t), np.full((1, 1), value, np.float32)) for t, value in zip(t_us, wave, strict=True)]
    frames = Frames(1, 1, 5000.0, lambda: iter(seen), len(seen))
    fine = {"threshold_on": 0.01, "threshold_off": 0.01, "dark_luminance": 1e-6}
    counts = [len(EventCamera(**fine, cutoff_hz=cutoff).simulate(frames)) for cutoff in (0.0, 50.0, 1e5)]
    assert counts[2] == pytest.approx(counts[0], rel=0.01)
    assert 0.6 < counts[1] / counts[0] < 0.8


def test_bandwidth_falls_with_light():
    def first(low: float, high: float) -> int:
        return int(EventCamera(dark_luminance=1e-4, cutoff_hz=20.0).simulate(step(low, high)).t[0]) - 10_010

    bright, dim = first(0.5, 1.0), first(0.01, 0.02)
    assert dim / bright == pytest.approx((1 + 20 / 255) / (0.02 + 20 / 255), rel=0.02)


def test_lin_log_response_is_v2es():
    """y = x ln(20) / 20 up to grey 20, then ln x, of luminance in 255ths; a constant apart."""
    camera = EventCamera.preset("clean")
    grey = np.array([0, 5, 10, 20, 21, 100, 255], np.float32)
    expected = np.where(grey <= 20, grey * np.log(20) / 20, np.log(np.maximum(grey, 1))) - np.log(255)
    np.testing.assert_allclose(camera.response(grey / 255), expected, atol=1e-5)


# --- pixels


def test_hot_and_dead_pixels():
    frames = read_frames(np.full((11, 100, 120), 0.0, np.float32), fps=10)
    events = EventCamera(hot_share=0.01, hot_rate_hz=200.0, dead_share=0.5).simulate(frames)
    count = np.bincount(events.y.astype(int) * 120 + events.x, minlength=12_000)
    hot = count > 0
    assert abs(hot.sum() - 60) < 4.5 * np.sqrt(60)
    assert count[hot].mean() == pytest.approx(200, abs=4.5 * np.sqrt(200 / hot.sum()))


def test_leak_differs_from_pixel_to_pixel():
    rate = Pattern(mean=5.0, spread=0.5, distribution="lognormal")
    frames = read_frames(np.full((11, 50, 60), 0.5, np.float32), fps=1)
    events = EventCamera(leak_rate_hz=rate).simulate(frames)
    count = np.bincount(events.y.astype(int) * 60 + events.x, minlength=3000) / 10
    # Counts over 10 s are rounded down: half an event less on average.
    assert count.mean() == pytest.approx(5 - 0.05, rel=4.5 * np.sqrt(np.expm1(0.25) / 3000))
    assert np.log(np.maximum(count, 0.1)).std() == pytest.approx(0.5, rel=0.1)


def test_another_specimen_has_other_thresholds():
    camera = EventCamera(threshold_mismatch=0.05)
    other = EventCamera(threshold_mismatch=0.05, specimen=1)
    first, again, second = (
        each.simulate(ramp(each, 0.5), seed=seed) for each, seed in ((camera, 0), (camera, 1), (other, 0))
    )
    np.testing.assert_array_equal(first.t, again.t)
    assert len(first) != len(second) or (first.t != second.t).any()


# --- the readout


def test_latency_delays_and_jitter_spreads():
    frames = moving(20, 30)
    direct = EventCamera().simulate(frames)
    late = EventCamera(latency_us=100.0).simulate(frames)
    np.testing.assert_array_equal(late.t, direct.t + 100)
    spread = EventCamera(latency_us=100.0, latency_jitter_us=10.0).simulate(frames)
    assert len(spread) == len(direct)
    order = np.lexsort((direct.t, direct.x, direct.y))
    delays = spread.t[np.lexsort((spread.t, spread.x, spread.y))] - direct.t[order]
    # Times are rounded up to whole microseconds: half a microsecond more on average.
    assert delays.mean() == pytest.approx(100.5, abs=4.5 * 10 / np.sqrt(len(direct)))
    assert delays.std() == pytest.approx(10, rel=4.5 / np.sqrt(2 * len(direct)) + 0.01)


def test_bus_carries_its_rate_and_loses_the_rest():
    camera = EventCamera(bus_rate_hz=10_000.0, bus_queue=50)
    events, all_events = camera.simulate(moving(20, 30)), EventCamera().simulate(moving(20, 30))
    assert len(events) < len(all_events)
    assert np.diff(events.t).min() >= 99
    assert np.diff(events.t).mean() == pytest.approx(100, rel=0.05)


def test_scanned_rows_are_read_out_together_once_a_scan():
    camera = EventCamera(scan_hz=1000.0)
    events = camera.simulate(moving(20, 30))
    phase = (events.t - 1000 * events.y / 20) % 1000
    assert np.minimum(phase, 1000 - phase).max() <= 1
    pixel = events.y.astype(int) * 30 + events.x
    for one in np.unique(pixel)[:50]:
        assert np.diff(events.t[pixel == one]).min(initial=1000) >= 999


@pytest.mark.parametrize("chunk_events", [1, 100])
def test_readout_is_the_same_for_any_chunks(chunk_events):
    camera = EventCamera(latency_us=50.0, latency_jitter_us=500.0, scan_hz=800.0, bus_rate_hz=50_000.0, bus_queue=100)
    whole = camera.simulate(moving(20, 30, count=30), seed=2)
    parts = Events.concatenate(list(camera.stream(moving(20, 30, count=30), seed=2, chunk_events=chunk_events)))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@pytest.mark.parametrize(
    "wrong",
    [{"cutoff_order": 3}, {"threshold_on": 0.0}, {"dark_luminance": 0.0}, {"hot_share": 2.0}, {"bus_queue": 0}],
)
def test_event_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EventCamera(**wrong)
