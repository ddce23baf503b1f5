"""A real recording of a Vidar through every format of spikes: set RETINAFLOW_REAL_DATA to the folder that holds it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventsim import open_spikes, reconstruct_tfi, reconstruct_tfp, reconstruct_tfstp, write_spikes
from eventsim.streams.spikes import SpikeStream

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")


@pytest.fixture(scope="module")
def path() -> Path:
    return Path(DATA) / "spike_real/spikingsim_real/real_spike.npz"


@pytest.fixture(scope="module")
def real(path: Path) -> SpikeStream:
    return open_spikes(path)


def test_the_file_is_read_as_numpy_reads_it(path: Path, real: SpikeStream) -> None:
    assert (len(real), real.height, real.width, real.readout_hz) == (500, 250, 400, 20_000)
    assert np.array_equal(real.planes(), np.moveaxis(np.load(path)["arr_0"], 2, 0))


def test_the_same_planes_come_back_from_every_format(path: Path, real: SpikeStream, tmp_path: Path) -> None:
    write_spikes(tmp_path / "a.dat", real, layout="vidar416")
    write_spikes(tmp_path / "b.h5", open_spikes(tmp_path / "a.dat", layout="vidar416"))
    write_spikes(tmp_path / "c.dat", open_spikes(tmp_path / "b.h5"), flipped=False)
    write_spikes(tmp_path / "d.npz", open_spikes(tmp_path / "c.dat", flipped=False))
    assert np.array_equal(np.load(tmp_path / "d.npz")["arr_0"], np.load(path)["arr_0"])
    assert (tmp_path / "d.npz").stat().st_size == path.stat().st_size


def test_plasticity_lies_closer_to_the_mean_rate_than_a_single_interval(real: SpikeStream) -> None:
    """The scene is still: the count over all planes is good to a spike in 500."""
    rate = reconstruct_tfp(real, len(real))
    plastic, interval = (reconstruct(real) - rate for reconstruct in (reconstruct_tfstp, reconstruct_tfi))
    assert np.std(plastic) < 0.7 * np.std(interval)
    assert abs(plastic.mean()) < 0.002 * rate.mean() + 0.001
