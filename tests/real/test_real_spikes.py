"""The statistics of spike streams on a real recording of a Vidar, against what was measured on it independently."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventsim import SpikeCamera, SpikeStream, compare_streams, reconstruct_tfi, reconstruct_tfp
from eventsim.cameras.calibrate import camera_of_maps
from eventsim.cameras.noise_fit import fit_noise
from eventsim.streams.intervals import spike_times
from eventsim.streams.realism import Realism
from eventsim.streams.spans import Span
from eventsim.streams.static_regions import static_region

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")


@pytest.fixture(scope="module")
def real() -> SpikeStream:
    planes = np.load(Path(DATA) / "spike_real/spikingsim_real/real_spike.npz")["arr_0"]
    return SpikeStream.from_planes(np.moveaxis(planes, 2, 0), 20_000)


@pytest.fixture(scope="module")
def light(real) -> np.ndarray:
    return spike_times(Span(real, 0, len(real))).intensity().astype(np.float32)


@pytest.fixture(scope="module")
def beside_itself(real) -> Realism:
    return compare_streams(real, real)


def test_statistics_of_the_real_recording(beside_itself):
    found = beside_itself.real
    assert found.mean_rate == pytest.approx(0.2201, abs=1e-4)
    # The figures are those of 4,000 sampled pixels: a standard error of 0.3 points on the first.
    assert found.two_valued_share == pytest.approx(0.968, abs=0.006)
    assert found.excess_variance == pytest.approx(0.0021, rel=0.1)
    assert found.outlying_share == pytest.approx(0.0014, rel=0.15)
    assert found.relative_excess_variance == pytest.approx(9.4e-5, rel=0.05)
    assert found.plane_mean_deviation == pytest.approx(1.03, abs=0.01)
    assert found.lag1_correlation == pytest.approx(-0.4, abs=0.02)


def test_the_recording_is_still_and_its_halves_are_alike(real, beside_itself):
    assert static_region(real).mean() > 0.999
    own = beside_itself.half_against_half
    assert own["mean_rate"] < 2e-4
    assert own["relative_excess_variance"] < 5e-6
    assert own["interval_total_variation"] < 1e-3
    assert own["rate_error"] < 0.005


def test_simulated_stream_of_the_same_light_is_close(real, light):
    """The daylight noise that matches best, with the real stream's own intensities as light."""
    camera = SpikeCamera.preset("ideal", photon_noise=True, electrons_per_spike=20_000.0, threshold_noise=0.003)
    found = compare_streams(camera.simulate(light, duration_us=25_000, seed=1), real)
    assert found.same_scene
    assert found.simulated.mean_rate == pytest.approx(found.real.mean_rate, rel=0.002)
    assert found.simulated.two_valued_share == pytest.approx(found.real.two_valued_share, abs=0.03)
    assert found.simulated.relative_excess_variance == pytest.approx(found.real.relative_excess_variance, rel=0.3)
    assert found.interval_distance < 0.002
    assert found.difference["rate_error"] < 1.5 * found.half_against_half["rate_error"]


def test_false_spikes_of_spikingsim_are_told_apart(real, light):
    """0.72 % a plane: 1.7e-2 of relative excess variance, 5.6 % of intervals away from the mean; and yet no motion."""
    planes = SpikeCamera.preset("ideal").simulate(light, duration_us=25_000, seed=1).planes()
    false = np.random.default_rng(0).random(planes.shape) < 0.0072
    noisy = SpikeStream.from_planes(planes | false, real.readout_hz)
    assert static_region(noisy).mean() > 0.999
    found = compare_streams(noisy, real)
    assert found.simulated.relative_excess_variance == pytest.approx(1.7e-2, rel=0.1)
    assert found.simulated.outlying_share == pytest.approx(0.056, rel=0.1)
    for name in ("two_valued_share", "relative_excess_variance", "jump_share", "lag1_correlation", "rate_curve"):
        assert found.difference[name] > 30 * found.half_against_half[name], name


def test_reconstructions_agree(real):
    """One interval is the mean interval rounded up or down, at all but the few pixels that noise moves further."""
    mean_interval, interval = 1 / reconstruct_tfp(real, 500), 1 / reconstruct_tfi(real)
    assert np.mean(np.abs(interval - mean_interval) < 1) > 0.99


@pytest.mark.slow
def test_noise_fitted_to_one_half_of_the_pixels_holds_for_the_other(real, light):
    """The light is the recording's own; black fields of a chessboard for the fit, white ones for the comparison."""
    black = np.indices((real.height, real.width)).sum(axis=0) % 2 == 0
    still = static_region(real)
    even = SpikeCamera.preset("vidar", response=1.0, dark_spikes_per_readout=0.0, hot_share=0.0)
    camera = fit_noise(even, real, still & black)
    found = compare_streams(camera.simulate(light, duration_us=25_000, seed=1), real, static=still & ~black)
    ours, theirs = found.simulated, found.real
    assert ours.two_valued_share == pytest.approx(theirs.two_valued_share, abs=0.02)
    assert 1 / 1.5 < ours.excess_variance / theirs.excess_variance < 1.5
    assert ours.lag1_correlation == pytest.approx(theirs.lag1_correlation, rel=0.1)
    assert ours.plane_mean_deviation == pytest.approx(theirs.plane_mean_deviation, rel=0.1)


def test_measured_maps_of_a_vidar_load_as_a_camera():
    """Response spread 4.6 % and dark current as SpikeNeRF's calibration measured them, and flats show them again."""
    path = Path(DATA) / "spike_real/noise_calibration_spikenerf/data.npz"
    camera = camera_of_maps(path, SpikeCamera.preset("vidar"))
    flat = camera.simulate(np.full((250, 400), 0.5, np.float32), duration_us=250_000).rate()
    expected = 0.5 * camera.response.map + camera.dark_spikes_per_readout.map
    assert np.median(camera.dark_spikes_per_readout.map) == pytest.approx(0.00447, rel=0.01)
    # 5,000 readouts: a count is known to about a spike; the few very noisy pixels aside.
    assert np.mean(np.abs(flat - np.minimum(expected, 1)) < 1.5 / 5000) > 0.98
