"""Thresholds from real recordings of a DAVIS with frames, short as they are: what is told, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventsim import open_events
from eventsim.cameras.calibrate_events.counts import count_events
from eventsim.cameras.calibrate_events.thresholds import FrameSettings, fit_thresholds
from eventsim.io.recorded_frames import recorded_frames

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")
SLIDER = Path(DATA or ".") / "flow_real/ecd_slider_depth"
DAVIS346 = Path(DATA or ".") / "events_real/aedat4/davis346.aedat4"


@pytest.mark.parametrize(("offset_us", "correlation"), [(0, 0.757), (4000, 0.812)])
def test_thresholds_of_a_davis240_from_four_frames(offset_us, correlation):
    """The Event Camera Dataset's slider_depth, 170 ms: about 0.5 and 0.4; the frames' times are some 4 ms early."""
    frames = ((t_us + offset_us, picture) for t_us, picture in recorded_frames(SLIDER / "images.txt"))
    counts = count_events(open_events(SLIDER / "events_chunk.txt").chunks(), frames)
    found = fit_thresholds(counts, FrameSettings())
    assert found.correlation == pytest.approx(correlation, abs=0.02)
    assert 0.5 < found.on.value < 0.65
    assert 0.3 < found.off.value < 0.45
    assert found.on.error < 0.06
    assert found.off.error < 0.06
    assert found.spread_on is None


def test_three_frames_that_hardly_change_are_refused():
    """Of the DAVIS346's 130 ms most events come from noisy or flickering pixels."""
    pytest.importorskip("faery")
    counts = count_events(open_events(DAVIS346).chunks(), recorded_frames(DAVIS346))
    with pytest.raises(ValueError, match="contrast goes with the events"):
        fit_thresholds(counts)
