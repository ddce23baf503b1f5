"""The statistics of spike streams on a real recording of a Vidar, against what was measured on it independently."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventsim import SpikeCamera, SpikeStream, compare_streams, reconstruct_tfi, reconstruct_tfp

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")


@pytest.fixture(scope="module")
def real() -> SpikeStream:
    planes = np.load(Path(DATA) / "spike_real/spikingsim_real/real_spike.npz")["arr_0"]
    return SpikeStream.from_planes(np.moveaxis(planes, 2, 0), 20_000)


def test_statistics_of_the_real_recording(real):
    found = compare_streams(real, real).real
    assert found.mean_rate == pytest.approx(0.2201, abs=1e-4)
    # 4,000 sampled pixels, 96.8 % of them: a standard error of 0.3 points.
    assert found.two_valued_share == pytest.approx(0.968, abs=4.5 * 0.003)
    assert found.excess_variance == pytest.approx(0.0021, rel=0.5)
    assert found.outlying_share == pytest.approx(0.0014, rel=0.3)


def test_simulated_stream_of_the_same_light_is_close(real):
    """The preset's noise, with the real stream's own intensities as light."""
    light = real.rate() - 0.00468
    simulated = SpikeCamera.preset("vidar").simulate(np.maximum(light, 0), duration_us=25_000, seed=1)
    found = compare_streams(simulated, real)
    assert found.simulated.mean_rate == pytest.approx(found.real.mean_rate, rel=0.01)
    assert found.simulated.two_valued_share == pytest.approx(found.real.two_valued_share, abs=0.03)
    assert found.interval_distance < 0.03


def test_reconstructions_agree(real):
    """One interval is the mean interval rounded up or down, at all but the few pixels that noise moves further."""
    mean_interval, interval = 1 / reconstruct_tfp(real, 500), 1 / reconstruct_tfi(real)
    assert np.mean(np.abs(interval - mean_interval) < 1) > 0.99
