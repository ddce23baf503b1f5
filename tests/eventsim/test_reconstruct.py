"""Reconstruction and statistics of spike streams."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim import SpikeCamera, SpikeStream, compare_streams, reconstruct_tfi, reconstruct_tfp


def regular(interval: int, planes: int = 60, phase: int = 0) -> SpikeStream:
    """A stream in which every pixel fires every `interval` readouts."""
    fired = (np.arange(planes) % interval == phase)[:, None, None]
    return SpikeStream.from_planes(np.broadcast_to(fired, (planes, 3, 10)), 20_000)


@pytest.mark.parametrize("interval", [1, 2, 7])
@pytest.mark.parametrize("plane", [20, 25, 30])
def test_interval_of_regular_spikes_is_found_from_any_plane(interval, plane):
    np.testing.assert_allclose(reconstruct_tfi(regular(interval), plane), 1 / interval, rtol=1e-6)


def test_playback_counts():
    np.testing.assert_allclose(reconstruct_tfp(regular(5), 50), 0.2, rtol=1e-6)


def test_playback_window_is_moved_inside_at_the_ends():
    planes = np.zeros((10, 1, 8), np.uint8)
    planes[:3] = 1
    stream = SpikeStream.from_planes(planes, 20_000)
    np.testing.assert_allclose(reconstruct_tfp(stream, 4, plane=0), 0.75)
    np.testing.assert_allclose(reconstruct_tfp(stream, 4, plane=9), 0)


def test_no_interval_is_dark():
    assert not reconstruct_tfi(regular(100, planes=60)).any()
    assert not reconstruct_tfi(regular(7), plane=0).any()


def test_reconstructions_recover_a_pictures_luminance(texture):
    stream = SpikeCamera.preset("vidar", dark_spikes_per_readout=0.0).simulate(0.1 + 0.8 * texture, duration_us=50_000)
    expected = 0.1 + 0.8 * texture
    # Over n readouts counting is good to a spike, and one interval to one readout in 1 / rate.
    assert np.abs(reconstruct_tfp(stream, len(stream)) - expected).max() < 2.5 / len(stream) + 0.005
    relative = np.abs(1 / np.maximum(reconstruct_tfi(stream), 1e-3) - 1 / expected)
    assert relative.max() < 1.2


@pytest.mark.parametrize(("window", "plane"), [(0, None), (61, None), (5, 60), (5, -1)])
def test_outside_the_stream(window, plane):
    with pytest.raises(ValueError, match="expected"):
        reconstruct_tfp(regular(3), window, plane)


def test_statistics_of_an_ideal_camera():
    light = np.random.default_rng(0).uniform(0.1, 0.4, (40, 50)).astype(np.float32)
    ideal = SpikeCamera.preset("ideal").simulate(light, duration_us=50_000, seed=1)
    found = compare_streams(ideal, ideal)
    assert found.interval_distance == 0
    assert found.real == found.simulated
    assert found.real.mean_rate == pytest.approx(light.mean(), abs=1e-3)
    assert found.real.two_valued_share == 1
    assert found.real.excess_variance == pytest.approx(0, abs=2e-3)
    assert found.real.plane_mean_deviation == pytest.approx(1, abs=0.15)
    assert "excess_variance" in str(found)


def test_photon_noise_shows_as_excess_variance():
    """n photo-electrons a spike add m^2 / n to the variance of intervals of mean m, averaged over fractions of m."""
    mean_interval = np.linspace(4, 5, 2000).reshape(40, 50)
    light = (1 / mean_interval).astype(np.float32)
    quiet, noisy = (
        SpikeCamera(electrons_per_spike=electrons).simulate(light, duration_us=50_000, seed=1)
        for electrons in (1e9, 300)
    )
    found = compare_streams(noisy, quiet)
    assert found.simulated.excess_variance == pytest.approx(np.mean(mean_interval**2) / 300, rel=0.1)
    assert found.real.excess_variance == pytest.approx(0, abs=2e-3)
    assert found.simulated.two_valued_share < 0.5 < found.real.two_valued_share


def test_streams_without_spikes_cannot_be_compared():
    dark = SpikeStream.from_planes(np.zeros((30, 4, 8), np.uint8), 20_000)
    with pytest.raises(ValueError, match="three spikes"):
        compare_streams(dark, dark)
