"""The spike camera: kernel against loop, invariances, and its statistics against theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import Frames, SpikeCamera, read_frames
from eventsim.cameras.exposure import exposures
from eventsim.cameras.pattern import Pattern
from eventsim.cameras.spike_model import integrate_reference

PATTERNS = st.sampled_from([
    1.0,
    Pattern(spread=0.05, rows=0.01, columns=0.02, falloff=0.3),
    Pattern(spread=0.4, distribution="lognormal"),
    np.linspace(0.5, 1.5, 6 * 16, dtype=np.float32).reshape(6, 16),
])  # fmt: skip
CAMERAS = st.builds(
    SpikeCamera,
    readout_hz=st.sampled_from([20_000.0, 40_000.0, 1234.5]),
    spikes_per_readout=st.sampled_from([1.0, 0.45]),
    electrons_per_spike=st.sampled_from([20_000.0, 300.0, 20.0]),
    photon_noise=st.booleans(),
    dark_spikes_per_readout=st.sampled_from([0.0, 0.005, Pattern(mean=0.01, spread=0.5, distribution="lognormal")]),
    response=PATTERNS,
    threshold=PATTERNS,
    capacitance=PATTERNS,
    threshold_noise=st.sampled_from([0.0, 0.003, 0.1, Pattern(mean=0.01, spread=0.2)]),
    threshold_noise_stays=st.booleans(),
    read_noise=st.sampled_from([0.0, 0.001, Pattern(mean=0.05, spread=0.2)]),
    reset=st.sampled_from(["soft", "hard"]),
    steps_per_readout=st.sampled_from([1, 250]),
    dead_time_us=st.sampled_from([0.0, 0.1, 20.0]),
    random_phase=st.sampled_from([0.0, 0.21, 1.0]),
    hot_share=st.sampled_from([0.0, 0.2]),
    hot_spikes_per_readout=st.just(0.3),
    dead_share=st.sampled_from([0.0, 0.2]),
    false_spike_interval=st.sampled_from([0.0, 3.0, 140.0]),
    false_spike_spread=st.just(2.0),
    specimen=st.integers(0, 3),
)


def moving(height: int, width: int, count: int = 5, fps: float = 900):
    rng = np.random.default_rng(0)
    return read_frames(rng.random((count, height, width), dtype=np.float32), fps=fps)


def exposure_of(frames, readout_hz):
    blocks = exposures(frames, readout_hz)
    return np.concatenate([b.first + b.fraction[:, None, None] * (b.second - b.first) for b in blocks])


@settings(deadline=None, max_examples=100)
@given(camera=CAMERAS, seed=st.integers(0, 2**63))
def test_kernel_agrees_with_reference_loop_bit_for_bit(camera, seed):
    frames = moving(6, 16)
    stream = camera.simulate(frames, seed=seed)
    reference = integrate_reference(camera, exposure_of(frames, camera.readout_hz), seed)
    np.testing.assert_array_equal(stream.planes(), reference)


@settings(deadline=None, max_examples=10)
@given(width=st.integers(5, 40), seed=st.integers(0, 2**63), ideal=st.booleans())
def test_kernel_agrees_with_reference_loop_at_any_width(width, seed, ideal):
    frames = moving(3, width)
    camera = SpikeCamera.preset("ideal" if ideal else "vidar")
    reference = integrate_reference(camera, exposure_of(frames, camera.readout_hz), seed)
    np.testing.assert_array_equal(camera.simulate(frames, seed=seed).planes(), reference)


@pytest.mark.parametrize("preset", ["ideal", "vidar"])
@pytest.mark.parametrize("chunk_planes", [1, 7, 50, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bytes_for_any_chunks_and_threads(preset, chunk_planes, threads):
    camera, frames = SpikeCamera.preset(preset), moving(9, 21)
    whole = camera.simulate(frames, seed=4)
    chunks = list(camera.stream(frames, seed=4, chunk_planes=chunk_planes, threads=threads))
    assert [len(chunk) for chunk in chunks[:-1]] == [chunk_planes] * (len(chunks) - 1)
    np.testing.assert_array_equal(np.concatenate([chunk.packed for chunk in chunks]), whole.packed)


def test_seed_changes_the_stream():
    camera, frames = SpikeCamera.preset("vidar"), moving(9, 21)
    assert (camera.simulate(frames, seed=0).packed != camera.simulate(frames, seed=1).packed).any()


@pytest.mark.parametrize("luminance", [0.05, 0.3, 0.77, 1.0])
def test_ideal_rate_is_luminance(luminance):
    still = np.full((8, 40), luminance, np.float32)
    stream = SpikeCamera.preset("ideal").simulate(still, duration_us=100_000)
    # A soft-reset integrator's count is within one spike of the charge that fell in.
    assert np.abs(stream.planes().sum(axis=0) - luminance * 2000).max() <= 1


def test_ideal_intervals_take_two_values():
    still = np.full((4, 40), 0.23, np.float32)
    planes = SpikeCamera.preset("ideal").simulate(still, duration_us=50_000).planes()
    intervals = {int(i) for series in planes.reshape(len(planes), -1).T for i in np.diff(np.flatnonzero(series))}
    assert intervals == {4, 5}


def test_photon_noise_has_poisson_variance():
    """Counts over n readouts vary by the photons' Poisson law, plus 1/6 for the random phase at both ends."""
    electrons, luminance, planes, pixels = 100.0, 0.5, 400, 20_000
    camera = SpikeCamera(electrons_per_spike=electrons)
    stream = camera.simulate(np.full((100, 200), luminance, np.float32), duration_us=planes * 50)
    count = stream.planes().sum(axis=0, dtype=np.int64)
    mean = planes * luminance
    variance = mean / electrons + 1 / 6
    assert abs(count.mean() - mean) < 4.5 * np.sqrt(variance / pixels)
    # The variance of a normal sample's variance is 2 v^2 / n: 4.5 standard errors are a chance of 7e-6.
    assert abs(count.var() - variance) < 4.5 * variance * np.sqrt(2 / pixels)


def test_faint_light_is_poisson_too():
    """Means below 64 electrons a readout are drawn by inversion."""
    camera = SpikeCamera(electrons_per_spike=10.0, random_phase=0.0)
    luminance, planes, pixels = 0.2, 500, 20_000
    stream = camera.simulate(np.full((100, 200), luminance, np.float32), duration_us=planes * 50)
    count = stream.planes().sum(axis=0, dtype=np.int64)
    mean = planes * luminance
    # Starting empty, the count is the charge rounded down: half a spike less, to one electron's worth.
    expected = mean - 0.5 + 0.5 / 10
    assert abs(count.mean() - expected) < 4.5 * np.sqrt(mean / 10 / pixels)


def test_dark_current_makes_the_dark_rate():
    camera = SpikeCamera(dark_spikes_per_readout=0.005)
    stream = camera.simulate(np.zeros((50, 80), np.float32), duration_us=100_000)
    # 4,000 pixels, 2,000 readouts: the random phase alone gives a standard error of sqrt(1/4) / 2,000 / sqrt(4,000).
    assert abs(stream.rate().mean() - 0.005) < 4.5 * 0.5 / 2000 / np.sqrt(4000)


def test_threshold_noise_widens_intervals():
    """Each interval gets the difference of two thresholds: variance 2 (s/L)^2 beyond an ideal integrator's."""
    camera = SpikeCamera(photon_noise=False, threshold_noise=0.05)
    luminance = 0.02
    planes = camera.simulate(np.full((20, 80), luminance, np.float32), duration_us=100_000).planes()
    intervals = np.concatenate([np.diff(np.flatnonzero(s)) for s in planes.reshape(len(planes), -1).T])
    # Crossing noise is largest where a low threshold is met early, so the law holds within some tens of per cent.
    assert 0.3 < intervals.var() / (2 * (0.05 / luminance) ** 2) < 1.5


def test_exposure_is_the_exact_integral():
    """Frames at 900 Hz read out at 200 Hz: each readout spans several frames of piecewise linear light."""
    frames = moving(3, 5, count=20)
    times = np.array([t for t, _ in frames]) * 1.0
    values = np.stack([luminance for _, luminance in frames])
    fine = np.linspace(0, times[-1], 200_001)
    light = np.apply_along_axis(lambda v: np.interp(fine, times, v), 0, values.reshape(20, -1))
    found = exposure_of(frames, 200.0)
    for n in range(int(times[-1] // 5000)):
        inside = (fine >= n * 5000) & (fine <= (n + 1) * 5000)
        np.testing.assert_allclose(found[n].ravel(), light[inside].mean(axis=0), atol=2e-4)


def test_frames_last_until_the_last_ones_period_ends():
    assert len(SpikeCamera.preset("ideal").simulate(moving(3, 8, count=5, fps=1000))) == 5 * 20


@pytest.mark.parametrize("duration_us", [150, 1000, 5555, 30_000])
def test_duration_cuts_or_holds(duration_us):
    camera, frames = SpikeCamera.preset("ideal"), moving(3, 8)
    stream = camera.simulate(frames, duration_us=duration_us)
    assert len(stream) == duration_us // 50
    own = camera.simulate(frames)
    shared = min(len(own), len(stream)) - 1
    np.testing.assert_array_equal(stream.packed[:shared], own.packed[:shared])


def test_saturated_light_fires_every_readout_and_recovers():
    bright = np.full((2, 8), 5.0, np.float32)
    frames = read_frames(np.stack([bright, bright, bright * 0, bright * 0]), fps=1000)
    planes = SpikeCamera.preset("ideal").simulate(frames).planes()
    assert planes[2:20].all()
    assert not planes[60:].any()


def test_still_needs_a_duration():
    with pytest.raises(ValueError, match="duration_us"):
        SpikeCamera.preset("ideal").simulate(np.zeros((3, 8), np.float32))


@pytest.mark.parametrize("duration_us", [None, 1000])
def test_no_frame_at_all(duration_us):
    nothing = Frames(3, 8, 30.0, lambda: iter(()))
    with pytest.raises(ValueError, match="at least one frame, got none"):
        SpikeCamera.preset("ideal").simulate(nothing, duration_us=duration_us)


@pytest.mark.parametrize("field", ["readout_hz", "electrons_per_spike", "spikes_per_readout"])
def test_parameters_must_be_positive(field):
    with pytest.raises(ValueError, match=field):
        SpikeCamera(**{field: 0.0})


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match=r"nonesuch.*ideal.*vidar"):
        SpikeCamera.preset("nonesuch")


def test_preset_from_a_users_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("readout_hz: 40000.0\nphoton_noise: false\n")
    assert SpikeCamera.preset(str(path), threshold_noise=0.1) == SpikeCamera(
        readout_hz=40_000.0, photon_noise=False, threshold_noise=0.1
    )
    path.write_text("readout_khz: 40\n")
    with pytest.raises(ValueError, match=r"mine\.yaml.*readout_khz"):
        SpikeCamera.preset(str(path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 2.5},
        {"steps_per_readout": 2.5},
        {"specimen": "a"},
        {"response": "x"},
        {"response": True},
        {"readout_hz": "20k"},
        {"photon_noise": 1},
        {"reset": None},
        {"threshold": None},
    ],
)
def test_fields_of_the_wrong_kind(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpikeCamera(**wrong)


@pytest.mark.parametrize(("options", "words"), [({"chunk_planes": 0}, "chunk_planes"), ({"threads": -1}, "threads"),
                                                ({"duration_us": -5}, "duration_us")])  # fmt: skip
def test_options_of_a_stream_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        list(SpikeCamera().stream(np.zeros((3, 8), np.float32), **({"duration_us": 1000} | options)))


def test_seeds_of_numpy_are_numbers_too():
    still = np.full((3, 8), 0.5, np.float32)
    first, second = (SpikeCamera().simulate(still, duration_us=5000, seed=seed) for seed in (7, np.int64(7)))
    np.testing.assert_array_equal(first.packed, second.packed)


def test_luminance_must_be_finite():
    frames = Frames(2, 8, 30.0, lambda: iter([(0, np.full((2, 8), np.nan, np.float32))]), 1)
    with pytest.raises(ValueError, match="finite luminance"):
        SpikeCamera().simulate(frames, duration_us=1000)


@pytest.mark.parametrize(
    ("field", "value"),
    [("readout_hz", 1e12), ("electrons_per_spike", 1e-300), ("electrons_per_spike", 1e300), ("spikes_per_readout", 1e9),
     ("false_spike_interval", 1e300), ("random_phase", 1.1)],
)  # fmt: skip
def test_values_beyond_all_sense_are_refused(field, value):
    with pytest.raises(ValueError, match=f"expected {field} of "):
        SpikeCamera(**{field: value})


def test_numbers_of_numpy_are_numbers_too():
    camera = SpikeCamera(
        height=np.int64(8), specimen=np.uint8(3), response=np.float32(0.5), photon_noise=np.bool_(True)
    )
    assert camera == SpikeCamera(height=8, specimen=3, response=0.5)
    assert len({camera, SpikeCamera(height=8, specimen=3, response=0.5)}) == 1


@pytest.mark.parametrize("duration_us", [0, -5, float("inf"), float("nan")])
def test_durations_that_cannot_be_are_refused(duration_us):
    with pytest.raises(ValueError, match="expected a duration_us above 0"):
        SpikeCamera().simulate(np.zeros((3, 8), np.float32), duration_us=duration_us)


@pytest.mark.parametrize("duration", ["inf", "nan", "-1"])
def test_command_says_in_one_line_what_is_wrong_with_a_duration(command, tmp_path, duration):
    import cv2

    cv2.imwrite(str(tmp_path / "still.png"), np.full((8, 8), 128, np.uint8))
    arguments = [tmp_path / "still.png", tmp_path / "out.h5", "--native", f"--duration={duration}"]
    said = command("eventsim", "spikes", *arguments)
    assert said.returncode == 1
    assert len([line for line in said.stderr.splitlines() if "error" in line]) == 1
    assert "Traceback" not in said.stderr
    assert not (tmp_path / "out.h5").exists()


def test_long_stills_are_exposed_in_pieces_that_change_nothing(monkeypatch):
    frames = read_frames(np.full((2, 8), 0.3, np.float32))
    whole = list(exposures(frames, 20_000.0, 5000))
    monkeypatch.setattr("eventsim.cameras.exposure._MOST_READOUTS", 7)
    pieces = list(exposures(frames, 20_000.0, 5000))
    assert [len(block) for block in whole] == [100]
    assert [len(block) for block in pieces] == [7] * 14 + [2]
    np.testing.assert_array_equal(np.concatenate([block.fraction for block in pieces]), whole[0].fraction)
