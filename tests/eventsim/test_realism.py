"""Statistics of spike streams: against a plain loop, against theory, and what a comparison makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import SpikeCamera, SpikeStream, compare_streams, write_spikes
from eventsim.io.packed import LazyPlanes
from eventsim.streams.fixed_pattern import dark_rates, darkest, fixed_pattern, pattern_residual
from eventsim.streams.intervals import IntervalTally, spike_times, tally_intervals, total_variation, wasserstein
from eventsim.streams.measure import segment_planes
from eventsim.streams.spans import Span
from eventsim.streams.spectrum import plane_means, relative_spectrum
from eventsim.streams.static_regions import Stillness, static_region

SIZE = (40, 48)


def stream(planes: np.ndarray) -> SpikeStream:
    return SpikeStream.from_planes(planes, 20_000)


def fired(*times: int, planes: int) -> SpikeStream:
    """A stream of one pixel that fires at the given planes."""
    bits = np.zeros((planes, 1, 1), np.uint8)
    bits[list(times)] = 1
    return stream(bits)


def everything(spikes: SpikeStream) -> Span:
    return Span(spikes, 0, len(spikes))


def tally(spikes: SpikeStream, windows: tuple[int, ...] = ()) -> IntervalTally:
    return tally_intervals(everything(spikes), np.arange(spikes.height * spikes.width), windows)


def light(low: float = 0.1, high: float = 0.4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, SIZE).astype(np.float32)


def ideal(picture: np.ndarray, planes: int = 600, seed: int = 1, **changes: object) -> SpikeStream:
    return SpikeCamera.preset("ideal", **changes).simulate(picture, duration_us=planes * 50, seed=seed)


def with_false_spikes(spikes: SpikeStream, rate: float) -> SpikeStream:
    planes = spikes.planes()
    return stream(planes | (np.random.default_rng(5).random(planes.shape) < rate))


def integrated(pictures: np.ndarray, seed: int = 0) -> SpikeStream:
    """What noiseless integrators with random phases make of the light of each plane [T, H, W]."""
    phase = np.random.default_rng(seed).random(pictures.shape[1:])
    total = np.floor(phase + np.cumsum(pictures, axis=0, dtype=np.float64))
    return stream(np.diff(total, axis=0, prepend=np.floor(phase)[None]) > 0)


# --- intervals


def test_sums_of_intervals_done_by_hand():
    """Intervals 2, 3, 2, 6: mean 3.25, and 1, 1, 1, 12 beyond what 3 and 4 would give, halved into pairs."""
    found = tally(fired(1, 3, 6, 8, 14, planes=20), (5,))
    assert found.mean() == pytest.approx(3.25)
    # (x - 3) (x - 4) is 2, 0, 2, 6.
    assert found.excess_variance() == pytest.approx(10 / 4)
    assert found.two_valued_share() == 0
    assert found.outlying_share() == pytest.approx(3 / 4)  # 2, 2 and 6
    assert found.jump_share() == pytest.approx(1 / 3)  # 2 to 6
    centred = np.array([2, 3, 2, 6]) - 3.25
    assert found.lag1_correlation() == pytest.approx(np.mean(centred[1:] * centred[:-1]) / np.mean(centred**2))
    assert np.bincount([2, 3, 2, 6], minlength=257).tolist() == found.histogram.tolist()
    counts = np.array([2, 2, 1, 0])  # planes 0-4: 1, 3; 5-9: 6, 8; 10-14: 14
    assert found.count_deviation == pytest.approx(np.mean((counts - 5 / 3.25) ** 2))


def test_two_values_need_not_be_adjacent_and_long_intervals_share_a_bin():
    found = tally(fired(0, 300, 302, 602, 604, planes=700))
    assert found.two_valued_share() == 1
    assert found.histogram[2] == 2
    assert found.histogram[256] == 2


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 90), st.integers(1, 3), st.integers(1, 11), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_kernels_agree_with_a_plain_loop(count: int, height: int, width: int, rate: float, seed: int) -> None:
    planes = np.random.default_rng(seed).random((count, height, width)) < rate
    times = [np.flatnonzero(series) for series in planes.reshape(count, -1).T]
    intervals = [np.diff(each) for each in times if len(each) >= 3]
    if not intervals:
        with pytest.raises(ValueError, match="three spikes"):
            tally(stream(planes))
        return
    found = tally(stream(planes), (4, 7))
    means = np.array([each.mean() for each in intervals])
    excess = [each.var() - (m - np.floor(m)) * (1 - m + np.floor(m)) for each, m in zip(intervals, means, strict=True)]
    assert found.mean() == pytest.approx(means)
    assert found.excess_variance() == pytest.approx(excess, abs=1e-9)
    assert found.two_valued_share() == np.mean([len(set(each.tolist())) <= 2 for each in intervals])
    away = [np.abs(each - m) >= 1 for each, m in zip(intervals, means, strict=True)]
    assert found.outlying_share() == np.mean(np.concatenate(away))
    assert found.jump_share() == np.mean(np.concatenate([np.abs(np.diff(each)) >= 2 for each in intervals]))
    assert found.histogram[:91].tolist() == np.bincount(np.concatenate(intervals), minlength=91).tolist()
    lags = []
    for each in intervals:
        centred = each - each.mean()
        if len(each) >= 4 and centred.any():
            lags.append((centred[1:] * centred[:-1]).mean() / (centred**2).mean())
    assert found.lag1_correlation() == pytest.approx(np.mean(lags) if lags else np.nan, abs=1e-9, nan_ok=True)
    for window, deviation in zip((4, 7), found.count_deviation, strict=True):
        whole = count // window
        counted = [planes.reshape(count, -1).T[p][: whole * window].reshape(whole, window).sum(axis=1)
                   for p, each in enumerate(times) if len(each) >= 3]  # fmt: skip
        squares = [(c - window / m) ** 2 for c, m in zip(counted, means, strict=True)]
        assert deviation == pytest.approx(np.mean(squares) if whole else np.nan, nan_ok=True)


def test_pieces_of_a_stream_read_from_a_file_add_up_to_the_whole(monkeypatch):
    spikes = with_false_spikes(ideal(light()), 0.01)
    whole, times = tally(spikes, (5, 50)), spike_times(everything(spikes))
    monkeypatch.setattr("eventsim.streams.spans._CHUNK_BYTES", 7 * 40 * 6)
    asked = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return spikes.packed[start:stop]

    lazy = LazyPlanes(spikes.packed.shape, read).stream(spikes.width, spikes.readout_hz)
    pieces, again = tally(lazy, (5, 50)), spike_times(everything(lazy))
    assert max(asked) == 7
    for name, a in whole.sums._asdict().items():
        np.testing.assert_array_equal(getattr(pieces.sums, name), a, err_msg=name)
    np.testing.assert_array_equal(pieces.outlying, whole.outlying)
    np.testing.assert_allclose(pieces.count_deviation, whole.count_deviation, rtol=1e-12)
    np.testing.assert_array_equal(again.intensity(), times.intensity())


def test_intensity_is_by_intervals_where_there_are_two():
    assert spike_times(everything(fired(2, 6, 10, planes=40))).intensity() == pytest.approx(1 / 4)
    assert spike_times(everything(fired(2, 6, planes=40))).intensity() == pytest.approx(2 / 40)
    assert spike_times(everything(fired(planes=40))).intensity() == 0


def test_distances_of_histograms():
    a, b = np.array([0, 2, 2, 0, 0]), np.array([0, 0, 1, 0, 1])
    assert total_variation(a, b) == pytest.approx(0.5)
    assert wasserstein(a, b) == pytest.approx(0.5 * 3)  # half of all intervals from 1 to 4
    assert total_variation(a, 3 * a) == wasserstein(a, 3 * a) == 0


# --- theory


def test_noiseless_integrator():
    found = compare_streams(ideal(light()), ideal(light(), seed=2)).simulated
    assert found.two_valued_share == 1
    assert found.excess_variance == found.relative_excess_variance == found.jump_share == found.outlying_share == 0
    assert found.plane_mean_deviation == pytest.approx(1, abs=0.15)
    # 32 frequencies of 17 segments each: a standard error of about 0.06.
    assert found.spectrum_ratio == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("rate", [0.13, 0.22, 0.37])
def test_counts_of_a_noiseless_integrator(rate):
    """Over n planes the count varies by f (1 - f), f the fraction of n r."""
    windows = (5, 10, 20, 50)
    found = tally(ideal(np.full(SIZE, rate, np.float32), planes=1000), windows).fano_factors()
    fraction = np.array(windows) * rate % 1
    assert found == pytest.approx(fraction * (1 - fraction) / (np.array(windows) * rate), abs=0.01, rel=0.03)


def test_counts_of_independent_spikes():
    """Variance n r (1 - r) around the expected count, less what each pixel's own rate takes of it (window / length)."""
    planes = np.random.default_rng(0).random((2000, *SIZE)) < 0.2
    assert tally(stream(planes), (5, 20)).fano_factors() == pytest.approx(0.8, rel=0.03)


def test_jitter_of_the_comparator_adds_twice_its_variance():
    """Each end of an interval is off by sigma thresholds, and a threshold takes m readouts: 2 sigma^2 m^2 in all.

    For sigma m < 1/2, that is: the comparator draws anew at each readout, and fires at the first that lets it.
    """
    mean_interval, sigma = np.linspace(20, 21, 1920).reshape(SIZE), 0.01
    found = tally(ideal((1 / mean_interval).astype(np.float32), planes=2000, threshold_noise=sigma))
    assert np.mean(found.excess_variance() / found.mean() ** 2) == pytest.approx(2 * sigma**2, rel=0.1)


@pytest.mark.parametrize("electrons", [300.0, 2000.0])
def test_photons_add_the_squared_interval_over_their_number(electrons):
    mean_interval = np.linspace(4, 5, 1920).reshape(SIZE)
    picture = (1 / mean_interval).astype(np.float32)
    found = tally(ideal(picture, planes=2000, photon_noise=True, electrons_per_spike=electrons))
    assert np.mean(found.excess_variance() / found.mean() ** 2) == pytest.approx(1 / electrons, rel=0.1)


# --- planes, patterns, dark


def test_a_common_flicker_is_a_peak_in_the_spectrum():
    """10 % at 1 kHz, integrated: far above independent pixels at that frequency, and nowhere far from them else."""
    times = np.arange(2048) / 20_000
    flicker = 1 + 0.1 * np.sin(2 * np.pi * 1250 * times)
    spikes = integrated(light()[None] * flicker[:, None, None])
    ratio = relative_spectrum(everything(spikes), np.ones(SIZE, bool), np.arange(1920), 256)
    assert np.argmax(ratio) == 1250 * 256 // 20_000 - 1
    assert ratio.max() > 20
    assert np.median(ratio) == pytest.approx(1, abs=0.25)


def test_pixels_that_start_alike_fluctuate_as_one():
    flat = np.full(SIZE, 0.22, np.float32)
    together = ideal(flat, random_phase=0.0)
    ratio = relative_spectrum(everything(together), np.ones(SIZE, bool), np.arange(1920), 128)
    assert ratio == pytest.approx(np.full(64, 1920.0), rel=1e-3)


def test_plane_means_are_of_the_mask_alone():
    planes = np.random.default_rng(0).random((30, *SIZE)) < 0.3
    mask = np.random.default_rng(1).random(SIZE) < 0.5
    np.testing.assert_allclose(plane_means(everything(stream(planes)), mask), planes[:, mask].mean(axis=1))


def test_fixed_pattern_of_a_flat_recording_and_of_a_ramp():
    rng = np.random.default_rng(0)
    grain, rows = 0.05 * rng.standard_normal((100, 200)), 0.02 * rng.standard_normal((100, 1))
    flat = 0.3 * (1 + grain) * (1 + rows)
    everywhere = np.ones(flat.shape, bool)
    found = fixed_pattern(flat, everywhere, flat=True)
    assert found.pixel == pytest.approx(np.hypot(0.05, 0.02), rel=0.05)
    assert found.row == pytest.approx(0.02, rel=0.3)
    assert found.column == pytest.approx(1.25 * 0.05 / 10, rel=0.3)
    ramp = flat * np.linspace(0.5, 1.5, 200)
    assert fixed_pattern(ramp, everywhere).pixel == pytest.approx(np.hypot(0.05, 0.02), rel=0.06)
    assert fixed_pattern(ramp, everywhere, flat=True).pixel > 0.2


def test_residual_is_to_the_pixels_of_the_mask():
    bright = np.ones((20, 20))
    bright[:, 10:] = 7
    mask = np.zeros((20, 20), bool)
    mask[:, :10] = True
    residual = pattern_residual(bright, mask)
    assert residual[:, :10] == pytest.approx(0)
    assert np.isnan(residual[:, 10:]).all()
    assert np.isnan(fixed_pattern(np.zeros((5, 5)), np.ones((5, 5), bool)).pixel)


def test_dark_rates():
    rates = np.arange(1, 201) / 1000
    found = dark_rates(rates)
    assert (found.mean, found.spread) == pytest.approx((rates.mean(), rates.std()))
    assert found.high == pytest.approx(0.198, abs=1e-3)
    assert darkest(rates[None], rates[None] > 0.1).tolist() == [0.101]


# --- static regions


def moving_bars(planes: int = 500, speed: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Light [T, 80, 96] of bars that drift in the middle of a still texture, and where they are."""
    texture = np.random.default_rng(2).uniform(0.1, 0.4, (80, 96))
    inside = np.zeros((80, 96), bool)
    inside[28:52, 24:72] = True
    columns = np.arange(96)[None, None] - speed * np.arange(planes)[:, None, None]
    bars = 0.25 + 0.12 * np.sin(2 * np.pi * columns / 12)
    return np.where(inside, bars, texture), inside


@pytest.mark.parametrize("false_spikes", [0.0, 0.0072])
@pytest.mark.parametrize("speed", [0.03, 0.3])  # the first is 6 pixels in 10 ms
def test_motion_is_found_and_noise_is_not_taken_for_it(speed, false_spikes):
    pictures, moving = moving_bars(speed=speed)
    spikes = with_false_spikes(integrated(pictures), false_spikes)
    static = static_region(spikes)
    assert not static[moving].any()
    far = np.ones(moving.shape, bool)
    far[12:68, 8:88] = False
    assert static[far].all()


@pytest.mark.parametrize(
    "changes", [{}, {"photon_noise": True, "electrons_per_spike": 300.0}, {"threshold_noise": 0.05}]
)
@pytest.mark.parametrize("planes", [60, 250, 1500])
def test_still_light_is_still(changes, planes):
    assert static_region(ideal(light(), planes, **changes)).all()
    assert static_region(with_false_spikes(ideal(light(), planes, **changes), 0.0072)).mean() > 0.99


def test_stillness_refuses():
    with pytest.raises(ValueError, match="odd sides"):
        Stillness(sides=(7, 4))
    with pytest.raises(ValueError, match="drift of 0 or more"):
        Stillness(drift=-1)


# --- comparing


def test_differences_within_a_stream_of_still_light_are_small():
    picture = light()
    real, simulated = (
        ideal(picture, 1000, seed=seed, photon_noise=True, electrons_per_spike=2000.0) for seed in (1, 2)
    )
    found = compare_streams(simulated, real)
    assert found.same_scene
    for differences in (found.difference, found.half_against_half):
        assert differences["mean_rate"] < 1e-3
        assert differences["two_valued_share"] < 0.06
        assert differences["relative_excess_variance"] < 0.1 / 2000
        assert differences["interval_total_variation"] < 0.01
        assert differences["rate_curve"] < 0.005
        assert differences["fano_curve"] < 0.05
    noisy = compare_streams(with_false_spikes(simulated, 0.0072), real)
    for name in ("two_valued_share", "relative_excess_variance", "jump_share", "interval_wasserstein", "rate_curve"):
        assert noisy.difference[name] > 10 * noisy.half_against_half[name], name


def test_a_stream_is_like_itself():
    spikes = with_false_spikes(ideal(light()), 0.005)
    found = compare_streams(spikes, spikes)
    assert found.simulated == found.real
    assert all(value == 0 for value in found.difference.values())
    assert found.half_against_half["interval_total_variation"] > 0


def test_longer_stream_is_cut_to_the_shorter():
    """So that a share which falls with the length is not taken for a difference."""
    picture = light()
    short, long = (
        ideal(picture, planes, seed=3, photon_noise=True, electrons_per_spike=3000.0) for planes in (300, 900)
    )
    found = compare_streams(short, long)
    assert found.planes == 300
    assert found.simulated == found.real


def test_other_sizes_are_compared_as_other_scenes():
    found = compare_streams(ideal(light()[:30]), ideal(light(seed=4)))
    assert not found.same_scene
    assert np.isnan(found.difference["rate_error"])
    assert found.difference["rate_curve"] < 0.05
    assert "as different scenes" in str(found)


def test_real_streams_still_region_serves_for_both_of_one_size():
    pictures, moving = moving_bars()
    real = integrated(pictures)
    simulated = integrated(np.broadcast_to(pictures[:1], pictures.shape), seed=7)
    found = compare_streams(simulated, real)
    assert found.real_stream.whole.static is found.simulated_stream.whole.static
    assert not found.real_stream.whole.static[moving].any()
    assert found.real.jump_share == 0
    assert compare_streams(simulated, real, static="everywhere").real.jump_share > 0
    given = compare_streams(simulated, real, static=~moving)
    np.testing.assert_array_equal(given.real_stream.whole.static, ~moving)


def test_dark_and_flat_recordings_are_used():
    rng = np.random.default_rng(0)
    dark_map = np.maximum(0.01 + 0.002 * rng.standard_normal(SIZE), 0.001).astype(np.float32)
    response = (1 + 0.05 * rng.standard_normal(SIZE)).astype(np.float32)
    dark, dark_even = (ideal(each, 4000) for each in (dark_map, np.full(SIZE, 0.01, np.float32)))
    flat, flat_even = (ideal(each, 1000) for each in (0.2 * response + dark_map, np.full(SIZE, 0.21, np.float32)))
    real, simulated = ideal(light()), ideal(light(), seed=9)
    found = compare_streams(simulated, real, dark=(dark_even, dark), flat=(flat_even, flat))
    assert found.real.dark_rate_mean == pytest.approx(0.01, rel=0.03)
    assert found.real.dark_rate_spread == pytest.approx(0.002, rel=0.1)
    assert found.simulated.dark_rate_spread < 0.0005
    assert found.real.pixel_pattern == pytest.approx(0.05, rel=0.1)
    assert found.simulated.pixel_pattern < 0.01


def test_table_names_every_statistic_in_columns():
    found = compare_streams(ideal(light()), ideal(light(), seed=2))
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[3:]] == list(found.difference)
    assert set(asdict(found.real)) < set(found.difference)
    assert len({len(line) for line in lines[2:]}) == 1


def test_comparison_refuses():
    spikes = ideal(light(), 200)
    with pytest.raises(ValueError, match="one readout clock"):
        compare_streams(spikes, SpikeStream(spikes.packed, *SIZE, 40_000))
    with pytest.raises(ValueError, match="expected static as bool of shape"):
        compare_streams(spikes, spikes, static=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="expected still pixels in the simulated stream"):
        compare_streams(spikes, spikes, static=np.zeros(SIZE, bool))
    with pytest.raises(ValueError, match="expected dark and flat recordings of 48x40"):
        compare_streams(spikes, spikes, dark=(spikes, ideal(light()[:20], 200)))
    with pytest.raises(ValueError, match="expected planes within"):
        Span(spikes, 10, 300)
    with pytest.raises(ValueError, match="at least 6 planes, got 5 and 200"):
        compare_streams(spikes[:5], spikes)
    with pytest.raises(ValueError, match="at least 2 planes, got 1 and 200"):
        compare_streams(spikes, spikes, dark=(spikes[:1], spikes))


@pytest.mark.parametrize(("planes", "segment"), [(2, 2), (20, 8), (250, 64), (10**6, 1024)])
def test_segments(planes, segment):
    assert segment_planes(planes) == segment


# --- the command


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("realism")
    pictures, moving = moving_bars()
    write_spikes(folder / "real.h5", integrated(pictures))
    write_spikes(folder / "simulated.h5", integrated(pictures, seed=3))
    write_spikes(folder / "dark.h5", integrated(np.full((500, 80, 96), 0.02)))
    import cv2

    cv2.imwrite(str(folder / "still.png"), np.where(moving, 0, 255).astype(np.uint8))
    return folder


def test_page_holds_table_curves_pictures_and_where_it_came_from(command, files, tmp_path):
    page = tmp_path / "page.html"
    given = ["--static", files / "still.png", "--dark", files / "dark.h5", files / "dark.h5"]
    said = command("eventsim", "compare", files / "simulated.h5", files / "real.h5", "--out", page, *given)
    assert said.returncode == 0, said.stderr
    html = page.read_text()
    assert html.count("<svg") == 4
    assert html.count("<img") == 8
    assert "half against half" in html
    assert "nan" not in html
    assert all(line.split()[0] in html for line in said.stdout.splitlines()[3:])
    assert json.loads((tmp_path / "page.html.run.json").read_text())["settings"]["seed"] == 0
    again = command("eventsim", "compare", files / "simulated.h5", files / "real.h5", "--out", page)
    assert again.returncode == 1
    assert "overwrite" in again.stderr


def test_command_refuses_masks_that_are_none(command, files, tmp_path):
    streams = [files / "simulated.h5", files / "real.h5"]
    (tmp_path / "mask.png").write_text("no picture")
    said = command("eventsim", "compare", *streams, "--static", tmp_path / "mask.png")
    assert said.returncode == 1
    assert "no picture that OpenCV reads" in said.stderr
    said = command("eventsim", "compare", *streams, "--static", files / "still.png", "--everywhere")
    assert "either --static or --everywhere" in said.stderr


def test_command_looks_at_its_page_before_it_compares(command, files, tmp_path):
    (tmp_path / "file").write_text("")
    for page, words in (("c.pdf", "ends in .html, found suffix '.pdf'"), ("file/c.html", "file/c.html")):
        said = command("eventsim", "compare", files / "none.h5", files / "real.h5", "--out", tmp_path / page)
        assert said.returncode == 1
        assert words in said.stderr
        assert "none.h5" not in said.stderr


def test_command_names_the_files_that_do_not_fit(command, files, tmp_path):
    import cv2

    spikes = integrated(np.full((200, 40, 48), 0.2))
    streams = {"a": spikes, "short": spikes[:5], "empty": spikes[:0], "one": spikes[:1],
               "fast": SpikeStream(spikes.packed, 40, 48, 40_000),
               "brief": integrated(np.full((20, 40, 48), 0.02))}  # fmt: skip
    for name, each in streams.items():
        write_spikes(tmp_path / f"{name}.h5", each)
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((30, 48), 255, np.uint8))

    def fault(first, second, *options):
        said = command("eventsim", "compare", tmp_path / first, tmp_path / second, *options)
        assert said.returncode == 1
        assert len(said.stderr.splitlines()) == 1
        return said.stderr

    assert "short.h5: expected streams of at least 6 planes, got 200 and 5" in fault("a.h5", "short.h5")
    assert "empty.h5: expected streams of at least 6 planes" in fault("a.h5", "empty.h5")
    assert "fast.h5: expected streams of one readout clock" in fault("a.h5", "fast.h5")
    assert "brief.h5: expected still pixels with three spikes in each half of the 20 planes" in fault(
        "a.h5", "brief.h5"
    )
    assert "that takes some 30" in fault("brief.h5", "brief.h5")
    assert "mask.png: expected 48x40 pixels as" in fault("a.h5", "a.h5", "--static", tmp_path / "mask.png")
    dark = fault("a.h5", "a.h5", "--dark", tmp_path / "a.h5", tmp_path / "one.h5")
    assert "one.h5: expected at least 2 planes, found 1" in dark
    flat = fault("a.h5", "a.h5", "--flat", files / "dark.h5", tmp_path / "a.h5")
    assert "dark.h5: expected 48x40 pixels as the stream beside it has, found 96x80" in flat
