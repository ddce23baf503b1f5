"""Real event recordings and simulations beside them: set RETINAFLOW_REAL_DATA to the folder that holds them."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from eventsim import EventCamera, Frames, open_events
from eventsim.io.recorded_frames import recorded_frames
from eventsim.light.interpolate import interpolated, interpolator_of
from eventsim.streams.event_measure import EventSpan, EventStatistics, measure_events
from eventsim.streams.event_realism import EventRealism, compare_events

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")
ROOT = Path(DATA or ".")
SLIDER, DAVIS = ROOT / "flow_real/ecd_slider_depth", ROOT / "events_real/aedat4/davis346.aedat4"
#: From the second frame to the last event: the first interval between frames is the simulation's warm-up.
WINDOW = (38_766, 174_156)


def measured(path: Path) -> EventStatistics:
    source = open_events(path)
    first, last = source.time_span()
    return measure_events(EventSpan(source, first, last + 1)).statistics


def test_slider_is_edges_with_little_noise() -> None:
    found = measured(SLIDER / "events_chunk.txt")
    assert found.pixel_rate_hz == pytest.approx(6.79, rel=0.01)
    assert found.on_share == pytest.approx(0.423, abs=0.001)
    assert 0.95 < found.neighbour_agreement < 0.97  # of edges
    assert 0.69 < found.neighbour_support < 0.72
    assert 0.13 < found.isolated_share < 0.15
    assert 2900 < found.interval_q01_us < 3200
    assert found.hot_share == 0
    # The sensor was read out for a frame every 38.8 ms, and makes a burst of ON events then.
    assert 0.004 < found.layered_share < 0.006
    assert 0.2 < found.rate_variation < 0.25


def test_davis_sees_a_lamps_flicker() -> None:
    pytest.importorskip("faery")
    source = open_events(DAVIS)
    first, last = source.time_span()
    whole = measure_events(EventSpan(source, first, last + 1))
    assert whole.statistics.alternating_share == pytest.approx(0.644, abs=0.002)
    assert whole.statistics.silent_share == pytest.approx(0.775, abs=0.002)
    assert 30 < whole.statistics.pixel_fano < 45
    per_ms = np.bincount((source.read().t - first) // 1000)[:130].astype(float)
    spectrum = np.abs(np.fft.rfft(per_ms - per_ms.mean()))
    assert np.argmax(spectrum) == 13  # 13 periods in 130 ms: 100 Hz, twice the mains'
    assert len(list(recorded_frames(DAVIS))) == 3  # 40 ms apart, that is four periods: the frames cannot show it


@pytest.fixture(scope="module")
def seen() -> Frames:
    """The slider's frames in the events' time, taken as linear in light, with more in between along optical flow."""
    grey = list(islice(recorded_frames(SLIDER / "images.txt"), 6))
    light = [(t_us, picture.astype(np.float32) / 255) for t_us, picture in grey]
    frames = Frames(180, 240, 1e6 / 38_766, lambda: iter(light), len(light))
    made = list(interpolated(frames, interpolator_of("dis")))
    return Frames(180, 240, frames.fps, lambda: iter(made), len(made))


def beside_the_slider(seen: Frames, camera: EventCamera) -> EventRealism:
    real = open_events(SLIDER / "events_chunk.txt")
    return compare_events(camera.simulate(seen, seed=1), real, window_us=WINDOW)


def test_simulation_with_the_right_thresholds_is_as_near_as_the_next_moment(seen: Frames) -> None:
    thresholds = {"threshold_on": 0.701, "threshold_off": 0.563, "threshold_mismatch": 0.03 * 3.2}
    found = beside_the_slider(seen, EventCamera.preset("davis346", height=180, width=240, **thresholds))
    assert found.simulated.rate_hz == pytest.approx(found.real.rate_hz, rel=0.03)
    assert found.difference["rate_map"] < 0.1
    assert found.difference["interval_total_variation"] < 0.12
    for name in ("interval_wasserstein", "count_wasserstein", "correlation_1px", "silent_share", "irregularity"):
        assert found.difference[name] < found.half_against_half[name], name
    # What it lacks: bursts when a frame is read out, and bright walls that are free of noise.
    assert found.simulated.rate_variation < 0.5 * found.real.rate_variation
    assert found.simulated.isolated_share > found.real.isolated_share
    clean = beside_the_slider(seen, EventCamera.preset("clean", height=180, width=240))
    for name in ("rate_hz", "interval_total_variation", "interval_wasserstein", "count_wasserstein", "rate_map"):
        assert found.difference[name] < 0.6 * clean.difference[name], name


def test_bright_wall_is_free_of_noise_in_the_real_recording(seen: Frames) -> None:
    """90x40 pixels of lit wall: 2 real events in 135 ms, against some 300 of a camera with the presets' noise."""
    real = open_events(SLIDER / "events_chunk.txt").window(*WINDOW)
    camera = EventCamera.preset("davis346", height=180, width=240, threshold_on=0.7, threshold_off=0.56)
    simulated = camera.simulate(seen, seed=1).window(*WINDOW)
    counts = [
        int(((each.x >= 60) & (each.x < 150) & (each.y >= 5) & (each.y < 45)).sum()) for each in (real, simulated)
    ]
    assert counts[0] == 2
    assert counts[1] > 100
