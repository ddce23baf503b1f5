"""Readers and writers on real pictures, clips and spikes: set RETINAFLOW_REAL_DATA to the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventsim.io.formats import open_spikes, write_spikes
from eventsim.light.frames import read_frames
from eventsim.streams.spikes import SpikeStream

DATA = Path(os.environ.get("RETINAFLOW_REAL_DATA", "nowhere"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="RETINAFLOW_REAL_DATA is not set")


def test_kodak_has_upright_and_lying_pictures() -> None:
    frames = read_frames(DATA / "frames/kodak", size=(250, 400))
    lights = [light for _, light in frames]
    assert len(lights) == 24
    assert all(light.shape == (250, 400) and 0 <= light.min() < light.max() <= 1.00001 for light in lights)
    with pytest.raises(ValueError, match="expected 512x768 pixels"):
        list(read_frames(DATA / "frames/kodak"))


def test_gopro_at_240_frames_a_second() -> None:
    frames = read_frames(DATA / "frames/gopro240fps", fps=240)
    assert (len(frames), frames.height, frames.width) == (20, 720, 1280)
    (t0, first), (t1, second) = [frame for frame, _ in zip(frames, range(2), strict=False)]
    assert (t0, t1) == (0, 4167)
    assert 0 < np.abs(second - first).mean() < 0.1


def test_a_clip_of_1000_frames_a_second() -> None:
    clip = sorted((DATA / "frames/x4k1000fps").rglob("*.mp4"))[0]
    frames = read_frames(clip, fps=1000)
    times = [t for t, _ in frames]
    assert times == [1000 * i for i in range(frames.count or 0)]
    assert len(times) == 33


def test_real_spikes_to_dat_and_back(tmp_path: Path) -> None:
    planes = np.load(DATA / "spike_real/spikingsim_real/real_spike.npz")["arr_0"].transpose(2, 0, 1)
    for name in ("a.dat", "a.h5"):
        write_spikes(tmp_path / name, SpikeStream.from_planes(planes, 20000))
        assert np.array_equal(open_spikes(tmp_path / name).planes(), planes)
    assert (tmp_path / "a.dat").stat().st_size == 500 * 12500
    assert (tmp_path / "a.h5").stat().st_size < 0.85 * (tmp_path / "a.dat").stat().st_size
