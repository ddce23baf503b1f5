"""Reconstruction and statistics of spike streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import (
    SpikeCamera,
    SpikeStream,
    compare_streams,
    reconstruct_tfi,
    reconstruct_tfp,
    reconstruct_tfstp,
)
from eventsim.streams.reconstruct import ShortTermPlasticity

#: Photon and threshold noise, but every pixel like the others.
NOISY = SpikeCamera(electrons_per_spike=20_000.0, threshold_noise=0.003)


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
    stream = NOISY.simulate(0.1 + 0.8 * texture, duration_us=50_000)
    expected = 0.1 + 0.8 * texture
    # Over n readouts counting is good to a spike, and one interval to one readout in 1 / rate.
    assert np.abs(reconstruct_tfp(stream, len(stream)) - expected).max() < 2.5 / len(stream) + 0.005
    relative = np.abs(1 / np.maximum(reconstruct_tfi(stream), 1e-3) - 1 / expected)
    assert relative.max() < 1.2


# --- short-term plasticity


def plain_tfstp(spikes: list[int], plane: int, synapse: ShortTermPlasticity, longest: int = 256) -> float:
    """One pixel's rate at a plane from the planes of all its spikes, as the equations read."""
    before = [at for at in spikes if at < plane]
    after = [at for at in spikes if at >= plane]
    if not before or not after or after[0] - before[-1] > longest:
        return 0.0
    u0, f = synapse.resting_utilisation, synapse.facilitation
    depth, rise = synapse.recovery_readouts, synapse.facilitation_readouts
    resource, used = 1.0, u0
    for last, now in zip(before, [*before[1:], after[0]], strict=True):
        resource, used = (
            1 - (1 - resource * (1 - used)) * math.exp(-(now - last) / depth),
            u0 + (used + f * (1 - used) - u0) * math.exp(-(now - last) / rise),
        )
    depressed = -1 / (depth * math.log((1 - resource) / (1 - resource * (1 - used))))
    facilitated = -1 / (rise * math.log((used - u0) / (used + f * (1 - used) - u0)))
    return min((depressed + facilitated) / 2, 1.0)


@pytest.mark.parametrize("interval", [1, 2, 3, 7, 20, 60, 200, 256])
@pytest.mark.parametrize("synapse", [ShortTermPlasticity(), ShortTermPlasticity(recovery_readouts=5, facilitation=0.4)])
def test_plasticity_at_equal_intervals_settles_at_their_rate(interval: int, synapse: ShortTermPlasticity):
    """From a start at rest, the first interval's rate is off by what rest means; it is forgotten after 16 F."""
    for plane in (700, 700 + interval // 2):
        found = reconstruct_tfstp(regular(interval, planes=1100), plane, plasticity=synapse)
        np.testing.assert_allclose(found, 1 / interval, rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.integers(0, 149), st.floats(2, 15), st.floats(0.05, 0.9))
def test_plasticity_is_that_of_a_plain_loop(seed: int, rate: float, plane: int, rise: float, jump: float):
    """Intervals of up to 15 readouts and D of 1.5: what the plain loop loses of 1 - R to rounding stays small."""
    synapse = ShortTermPlasticity(facilitation_readouts=rise, facilitation=jump, recovery_readouts=1.5)
    fired = np.random.default_rng(seed).random((150, 3, 5)) < rate
    fired[::15] = True
    found = reconstruct_tfstp(SpikeStream.from_planes(fired, 20_000), plane, plasticity=synapse)
    expected = [
        [plain_tfstp(np.flatnonzero(fired[:, y, x]).tolist(), plane, synapse) for x in range(5)] for y in range(3)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


def test_plasticity_forgets_what_is_not_read():
    """256 planes before the moment, against all 3,000."""
    fired = np.random.default_rng(0).random((3000, 4, 8)) < 0.3
    stream = SpikeStream.from_planes(fired, 20_000)
    early = SpikeStream.from_planes(fired[:2800], 20_000)
    expected = [
        [plain_tfstp(np.flatnonzero(fired[:, y, x]).tolist(), 2700, ShortTermPlasticity()) for x in range(8)]
        for y in range(4)
    ]
    np.testing.assert_allclose(reconstruct_tfstp(stream, 2700), expected, rtol=1e-5)
    np.testing.assert_array_equal(reconstruct_tfstp(early, 2700), reconstruct_tfstp(stream, 2700))


class Counted(np.ndarray):
    """Notes how many planes are read at a time, and how many in all."""

    read: list[int]

    def __getitem__(self, key):
        found = np.asarray(self)[key]
        type(self).read.append(len(found))
        return found


def test_plasticity_reads_some_planes_at_a_time_and_only_those_around_the_moment():
    packed = regular(9, planes=5000).packed.view(Counted)
    Counted.read = []
    reconstruct_tfstp(SpikeStream(packed, 3, 10, 20_000), 2500)
    assert max(Counted.read) <= 64
    assert sum(Counted.read) <= 256 + 64


def test_plasticity_without_an_interval_is_dark():
    assert not reconstruct_tfstp(regular(300, planes=900)).any()
    assert not reconstruct_tfstp(regular(7), plane=0).any()
    assert not reconstruct_tfstp(regular(20, planes=60), longest=19).any()
    assert reconstruct_tfstp(regular(20, planes=60), longest=20).all()
    with pytest.raises(ValueError, match=r"a plane within 0\.\.59, got 60"):
        reconstruct_tfstp(regular(7), 60)


def test_plasticity_smooths_single_intervals(texture):
    light = 0.1 + 0.4 * texture
    stream = NOISY.simulate(light, duration_us=50_000)
    plastic, interval = (reconstruct(stream) - light for reconstruct in (reconstruct_tfstp, reconstruct_tfi))
    assert np.std(plastic) < 0.75 * np.std(interval)


def test_equalised_levels_are_spread_evenly_and_keep_their_order():
    light = np.random.default_rng(0).uniform(0.02, 0.4, (40, 50)).astype(np.float32) ** 2 + 0.01
    stream = SpikeCamera.preset("ideal").simulate(light, duration_us=40_000)
    plain, equal = reconstruct_tfstp(stream), reconstruct_tfstp(stream, equalise=True)
    assert (equal.min(), equal.max()) == (0, 1)
    assert (np.diff(equal.ravel()[np.argsort(plain.ravel())]) >= 0).all()
    assert abs(np.median(equal) - 0.5) < abs(np.median(plain) / plain.max() - 0.5) / 2
    np.testing.assert_array_equal(reconstruct_tfstp(regular(5), equalise=True), reconstruct_tfstp(regular(5)))


@pytest.mark.parametrize(
    "values",
    [
        {"resting_utilisation": 0},
        {"resting_utilisation": 1.0},
        {"facilitation": 1.5},
        {"recovery_readouts": -1},
        {"facilitation_readouts": math.inf},
    ],
)
def test_synapses_that_cannot_be(values):
    with pytest.raises(ValueError, match=f"expected {next(iter(values))}"):
        ShortTermPlasticity(**values)


@pytest.mark.parametrize(("window", "plane"), [(0, None), (61, None), (5, 60), (5, -1)])
def test_outside_the_stream(window, plane):
    with pytest.raises(ValueError, match="expected"):
        reconstruct_tfp(regular(3), window, plane)


def test_statistics_of_an_ideal_camera():
    light = np.random.default_rng(0).uniform(0.1, 0.4, (40, 50)).astype(np.float32)
    ideal = SpikeCamera.preset("ideal").simulate(light, duration_us=50_000, seed=1)
    found = compare_streams(ideal, ideal)
    assert found.interval_distance == found.difference["interval_total_variation"] == 0
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


@pytest.mark.parametrize("reconstruct", [reconstruct_tfi, reconstruct_tfstp])
@pytest.mark.parametrize("longest", [0, -5])
def test_longest_interval_is_at_least_a_readout(reconstruct, longest):
    with pytest.raises(ValueError, match=f"expected longest of 1 readout or more, got {longest}"):
        reconstruct(regular(3), longest=longest)
