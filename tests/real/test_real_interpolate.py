"""Frames in between on real clips: frames that were left out come back, and with them the events of their motion."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventsim import EventCamera, Events, Frames, read_frames
from eventsim.light.interpolate import DisInterpolator, LinearInterpolator, interpolated

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")
CLIPS = {
    "gopro240fps": 240.0,
    "x4k1000fps/Type1/TEST01_003_f0433_2k.mp4": 1000.0,
    "x4k1000fps/Type3/TEST13_133_f4593_2k.mp4": 1000.0,
}


def in_cells(events: Events, end_us: int) -> np.ndarray:
    """Events counted by polarity, 5 ms and 8x8 pixels."""
    shape = (2, end_us // 5000 + 1, -(-events.height // 8), -(-events.width // 8))
    index = np.ravel_multi_index((events.p.astype(int), events.t // 5000, events.y // 8, events.x // 8), shape)
    return np.bincount(index, minlength=int(np.prod(shape)))


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("every", [4, 8])
def test_events_that_thinning_loses_come_back(clip: str, every: int) -> None:
    fps = CLIPS[clip]
    frames = list(read_frames(Path(DATA) / "frames" / clip, fps=fps, size=(180, 320)))
    kept = frames[::every]
    end_us = kept[-1][0]
    full, thin = (Frames(180, 320, fps, lambda source=source: iter(source)) for source in (frames, kept))
    camera = EventCamera.preset("clean")
    wanted, plain, along = (
        in_cells(camera.simulate(light).window(0, end_us), end_us)
        for light in (full, thin, interpolated(thin, DisInterpolator()))
    )
    assert np.abs(along - wanted).sum() < 0.75 * np.abs(plain - wanted).sum()
    assert abs(along.sum() / wanted.sum() - 1) < 0.6 * abs(plain.sum() / wanted.sum() - 1)


@pytest.mark.parametrize("scene", ["Grove3", "RubberWhale", "Urban2"])
def test_middle_frames_of_middlebury_come_back(scene: str) -> None:
    folders = {path.parent for path in (Path(DATA) / "frames_flow").rglob("frame10.png") if path.parent.name == scene}
    frames = [picture for _, picture in read_frames(folders.pop())]
    errors = []
    for first, middle, second in zip(frames, frames[1:], frames[2:], strict=False):
        made = [kind.between(first, second, [0.5])[0] for kind in (DisInterpolator(), LinearInterpolator())]
        errors.append([rms(picture - middle) for picture in made])
    along, faded = np.mean(errors, axis=0)
    assert along < 0.5 * faded
