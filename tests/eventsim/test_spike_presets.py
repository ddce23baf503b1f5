"""The spike camera's terms and presets against theory, and against SpikingSIM written out step by step."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim import SpikeCamera
from eventsim.cameras.pattern import Pattern
from eventsim.cameras.preset import preset_names
from eventsim.cameras.spike_model import pixel_maps

SWING = 2.0  # SpikingSIM's threshold, volts
STEP = 7.9417e-3  # volts a step of 200 ns at full light


def flat(luminance: float, height: int = 100, width: int = 200):
    return np.full((height, width), luminance, np.float32)


def quiet(**fields):
    """A camera in which only the named terms are on."""
    return SpikeCamera(photon_noise=False, **fields)


def intervals(stream):
    planes = stream.planes().reshape(len(stream), -1)
    return [np.diff(np.flatnonzero(series)) for series in planes.T]


def spikingsim(light, readouts, rng):
    """SpikingSIM's Simulation(): bool [readouts, pixels] for light [pixels], and the diffusion noise of readouts."""
    pixels = len(light)
    volts, spikes = np.zeros(pixels), np.zeros((readouts, pixels), bool)
    noise = np.zeros((readouts, pixels))
    for n in range(readouts):
        jumps = np.zeros((250, pixels))
        for at in np.cumsum(rng.poisson(25, (10, pixels)), axis=0):
            inside = at < 250
            jumps[at[inside], np.flatnonzero(inside)] = 0.001 * (rng.random(inside.sum()) - 0.5)
        walk = np.cumsum(jumps, axis=0)
        noise[n] = STEP * walk.sum(axis=0) / SWING
        start = rng.random(pixels) if n == 0 else light
        for k in range(250):
            volts += STEP * (start + walk[k])
            fired = volts >= SWING
            spikes[n] |= fired
            volts[fired] = 0
    return spikes, noise


@pytest.mark.parametrize(
    ("luminance", "measured"), [(1.0, 0.9888), (0.75, 0.742), (0.5, 0.495), (0.25, 0.247), (0.1, 0.0988)]
)
def test_spikingsim_keeps_its_rate_law(luminance, measured):
    """250 steps over ceil(threshold / step): within half a per cent of what SpikingSIM's own code gave in a few hundred
    readouts, of which the first can never spike."""
    camera = SpikeCamera.preset("spikingsim", false_spike_interval=0.0)
    rate = camera.simulate(flat(luminance), duration_us=200_000).rate().mean()
    law = 250 / np.ceil(SWING / (STEP * luminance))
    assert rate == pytest.approx(law, rel=1.5e-3)  # the diffusion noise moves a step now and then
    assert rate == pytest.approx(measured, rel=5e-3)


@pytest.mark.slow
def test_spikingsim_is_spikingsim():
    """Rates and intervals of the preset and of SpikingSIM's loop over 250 steps, at several lights."""
    levels = np.array([1, 0.75, 0.5, 0.25, 0.1, 0.05])
    loop, noise = spikingsim(np.repeat(levels, 150), 200, np.random.default_rng(0))
    camera = SpikeCamera.preset("spikingsim", false_spike_interval=0.0)
    assert noise.std() == pytest.approx(camera.read_noise, rel=0.02)
    ours = camera.simulate(np.repeat(levels, 150).astype(np.float32)[None].repeat(4, 0), duration_us=10_000)
    for index, level in enumerate(levels):
        theirs = loop[1:, 150 * index : 150 * (index + 1)]
        mine = ours.planes()[1:, :, 150 * index : 150 * (index + 1)].reshape(199, -1)
        assert mine.mean() == pytest.approx(theirs.mean(), rel=2e-3, abs=2e-4), level
        spread = [np.concatenate([np.diff(np.flatnonzero(s)) for s in bits.T]) for bits in (mine, theirs)]
        assert spread[0].var() == pytest.approx(spread[1].var(), abs=0.02), level


def test_spikingsims_false_spikes():
    """0.717 % of readouts in the dark, at intervals of 139.5 readouts, give or take 50."""
    stream = SpikeCamera.preset("spikingsim").simulate(flat(0), duration_us=150_000, seed=2)
    found = np.concatenate(intervals(stream))
    # A renewal process: the count over T readouts has a variance of T s^2 / m^3.
    error = np.sqrt(3000 * 50**2 / 139.5**3 / 20_000) / 3000
    assert abs(stream.rate().mean() - 1 / 139.5) < 4.5 * error
    assert found.mean() == pytest.approx(139.5, rel=0.01)
    assert found.std() == pytest.approx(50, rel=0.02)


def test_scsims_dark_rate_and_spreads():
    camera = SpikeCamera.preset("scsim")
    maps = pixel_maps(camera, 250, 400)
    assert maps.dark.mean() == pytest.approx(0.00468, rel=0.01)
    assert maps.dark.std() / maps.dark.mean() == pytest.approx(0.39, rel=0.02)
    assert (maps.gain / maps.gain.mean()).std() == pytest.approx(0.0577, rel=0.02)
    assert maps.full.std() == pytest.approx(np.hypot(0.0455, 0.00294), rel=0.02)


@pytest.mark.parametrize("luminance", [0.1, 0.5, 0.9])
def test_scsims_dead_time_costs_two_thousandths_of_a_readout(luminance):
    """100 ns of 50 us are lost after a spike: the rate r = L (1 - 0.002 r)."""
    camera = quiet(dead_time_us=0.1)
    rate = camera.simulate(flat(luminance), duration_us=500_000).rate().mean()
    assert rate == pytest.approx(luminance / (1 + 0.002 * luminance), rel=2e-4)


def test_spcs_starts_in_step_and_adds_grey_levels_to_400():
    stream = SpikeCamera.preset("spcs").simulate(flat(200 / 255, 4, 8), duration_us=1000)
    level, expected = 0, []
    for _ in range(20):
        level += 200
        expected.append(level >= 400)
        level -= 400 * expected[-1]
    np.testing.assert_array_equal(
        stream.planes(), np.array(expected, np.uint8)[:, None, None].repeat(4, 1).repeat(8, 2)
    )


@pytest.mark.parametrize("name", ["vidar", "vidar_40k", "vidar_1000"])
def test_vidars_show_the_measured_fixed_pattern(name):
    camera = SpikeCamera.preset(name)
    maps = pixel_maps(camera, camera.height, camera.width)
    period = 20_000 / camera.readout_hz
    assert np.median(maps.dark) == pytest.approx(0.00447 * period, rel=0.02)
    assert (maps.dark > 0.02 * period).mean() == pytest.approx(0.0014, rel=0.3)
    response = maps.gain / maps.gain.mean()
    assert response.std() == pytest.approx(0.03, abs=0.01)
    assert maps.gain.mean() == pytest.approx(period, rel=1e-3)


def test_the_40_khz_vidar_sees_the_same_light():
    still = np.linspace(0, 1, 400, dtype=np.float32)[None].repeat(50, 0)
    options = {"response": 1.0, "dark_spikes_per_readout": 0.0, "hot_share": 0.0, "threshold_noise": 0.0}
    slow, fast = (
        SpikeCamera.preset(name, **options).simulate(still, duration_us=50_000) for name in ("vidar", "vidar_40k")
    )
    assert len(fast) == 2 * len(slow) == 2000
    np.testing.assert_allclose(fast.rate() * 40_000, slow.rate() * 20_000, atol=2 * 20)


@pytest.mark.parametrize("name", preset_names("spike"))
def test_every_preset_is_chunk_invariant_and_repeats(name):
    camera, still = SpikeCamera.preset(name), np.random.default_rng(0).random((12, 24), dtype=np.float32)
    whole = camera.simulate(still, duration_us=15_000, seed=5)
    chunks = list(camera.stream(still, duration_us=15_000, seed=5, chunk_planes=7, threads=2))
    np.testing.assert_array_equal(np.concatenate([chunk.packed for chunk in chunks]), whole.packed)


def test_photon_noise_of_intervals():
    """Over lights that fall anywhere between whole readouts, intervals vary by m^2 / electrons beyond f (1 - f)."""
    camera = SpikeCamera(electrons_per_spike=2000.0)
    assert excess(camera, np.linspace(0.05, 0.2, 400)) == pytest.approx(1 / 2000, rel=0.05)


def test_threshold_noise_of_intervals():
    """A comparator's noise moves both ends of an interval: twice its variance."""
    found = excess(quiet(threshold_noise=0.02), np.linspace(0.1, 0.2, 400))
    assert found == pytest.approx(2 * 0.02**2, rel=0.1)


def test_threshold_noise_that_stays_adds_up():
    """Counts vary ever more where the threshold is taken off as it was drawn; else by less than a spike for ever."""
    variance = {}
    for stays in (False, True):
        camera = quiet(threshold_noise=0.05, threshold_noise_stays=stays)
        planes = camera.simulate(flat(0.4567, 50, 80), duration_us=400_000).planes().reshape(8000, -1)
        variance[stays] = [planes[:stop].sum(axis=0, dtype=np.int64).var() for stop in (2000, 8000)]
    # 4,000 pixels: a variance is known to 10 per cent at 4.5 standard errors.
    assert variance[True][1] / variance[True][0] == pytest.approx(4, rel=0.15)
    assert max(variance[False]) < 0.3 < variance[True][0]


def test_read_noise_adds_up_over_an_interval():
    """m readouts of standard deviation s: a variance of m s^2 in charge."""
    camera = quiet(read_noise=0.002)
    assert excess(camera, 1 / np.linspace(40, 42, 400)) == pytest.approx(41 * 0.002**2, rel=0.1)


def excess(camera, light):
    """Interval variance beyond that of an ideal integrator, over the squared mean interval, averaged over pixels."""
    stream = camera.simulate(light[None].repeat(40, 0).astype(np.float32), duration_us=100_000, seed=1)
    shares = []
    for each in intervals(stream):
        fraction = each.mean() % 1
        shares.append((each.var() - fraction * (1 - fraction)) / each.mean() ** 2)
    return np.mean(shares)


def test_fixed_patterns_reach_the_rate():
    """Response, dark current and threshold charge of each pixel make its rate (g L + d) / (threshold x capacitance)."""
    rng = np.random.default_rng(1)
    maps = {
        name: rng.uniform(0.8, 1.2, (20, 30)).astype(np.float32) for name in ("response", "threshold", "capacitance")
    }
    dark = rng.uniform(0, 0.1, (20, 30)).astype(np.float32)
    camera = quiet(**maps, dark_spikes_per_readout=dark)
    count = camera.simulate(flat(0.4, 20, 30), duration_us=100_000).planes().sum(axis=0, dtype=np.int64)
    rate = (0.4 * maps["response"] + dark) / (maps["threshold"] * maps["capacitance"])
    assert np.abs(count - 2000 * rate).max() <= 1.01


def test_hot_and_dead_pixels():
    camera = quiet(hot_share=0.05, hot_spikes_per_readout=0.3, dead_share=0.02, false_spike_interval=100.0)
    size = (200, 300)
    dead = np.isinf(pixel_maps(camera, *size).full)
    hot = (pixel_maps(camera, *size).dark > 0) & ~dead
    rate = camera.simulate(flat(0, *size), duration_us=50_000).rate()
    assert (rate[dead] == 0).all()
    assert rate[hot].mean() == pytest.approx(0.3 + 0.7 * 0.01, rel=0.01)
    for share, found in ((0.02, dead.mean()), (0.05, (hot | dead).mean() - dead.mean())):
        assert abs(found - share) < 4.5 * np.sqrt(share / dead.size) + 0.05 * 0.02


def test_another_specimen_is_another_camera_of_its_kind():
    light = flat(0.3, 50, 80)
    rates = [
        SpikeCamera.preset("vidar", specimen=n).simulate(light, duration_us=200_000, seed=n).rate() for n in (0, 1)
    ]
    again = SpikeCamera.preset("vidar", specimen=0).simulate(light, duration_us=200_000, seed=9).rate()
    same, other = (
        np.corrcoef(rates[0].ravel(), again.ravel())[0, 1],
        np.corrcoef(rates[0].ravel(), rates[1].ravel())[0, 1],
    )
    assert same > 0.9
    assert other < 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"reset": "none"}, {"random_phase": 1.5}, {"hot_share": 2.0}, {"dead_time_us": 50.0}, {"read_noise": -1.0},
     {"steps_per_readout": 0}, {"false_spike_interval": -1.0}],
)  # fmt: skip
def test_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpikeCamera(**wrong)


def test_a_map_of_another_size_is_refused():
    camera = SpikeCamera(response=Pattern(map=np.ones((3, 8), np.float32)))
    with pytest.raises(ValueError, match=r"\(3, 8\)"):
        camera.simulate(flat(1, 4, 8), duration_us=1000)
