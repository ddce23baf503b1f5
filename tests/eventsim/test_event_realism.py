"""Statistics of event streams: against a plain loop, against theory, and what a comparison makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import EventCamera, Events, SpikeCamera, read_frames, write_events, write_spikes
from eventsim.io.event_source import in_chunks
from eventsim.streams.comparison import markdown_table
from eventsim.streams.event_measure import (
    COMPANY_US,
    CROWD,
    SHORT_US,
    WINDOW_US,
    EventSpan,
    EventStatistics,
    hot_pixels,
    interval_edges,
    measure_events,
    quantile,
)
from eventsim.streams.event_realism import compare_events

SECOND = 1_000_000


def events_of(rows: list[tuple[int, int, int, bool]], width: int = 8, height: int = 6) -> Events:
    """Events from (t, x, y, p)."""
    t, x, y, p = (np.array(column) for column in zip(*rows, strict=True))
    return Events(t, x, y, p.astype(bool), width, height)


def poisson(rate_hz: float, *, on: float = 0.5, width: int = 40, height: int = 30, seed: int = 0) -> Events:
    """One second of events of independent pixels of one rate."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate_hz * width * height)
    t = np.sort(rng.integers(0, SECOND, count))
    return Events(t, rng.integers(0, width, count), rng.integers(0, height, count), rng.random(count) < on,
                  width, height)  # fmt: skip


def merged(a: Events, b: Events) -> Events:
    order = np.argsort(np.concatenate([a.t, b.t]), kind="stable")
    t, x, y, p = (np.concatenate([getattr(each, name) for each in (a, b)])[order] for name in "txyp")
    return Events(t, x, y, p, a.width, a.height)


def moving_texture(texture: np.ndarray, frames: int = 25, **changes: object) -> Events:
    """What a camera sees of a picture that moves by a pixel in 10 ms."""
    clip = np.stack([texture[20:80, at : at + 80] for at in range(frames)])
    camera = EventCamera.preset("clean", **changes)
    return camera.simulate(read_frames(clip, fps=100))


def measured(events: Events, start: int = 0, stop: int = SECOND):
    return measure_events(EventSpan(events, start, stop))


def statistics(events: Events, stop: int = SECOND) -> EventStatistics:
    return measured(events, 0, stop).statistics


# --- one pass against plain loops


def by_hand(events: Events, stop: int) -> dict[str, float]:
    """The statistics by their definitions, event by event and pair by pair."""
    rows = list(zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True))
    pixels: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for t, x, y, p in rows:
        pixels.setdefault((x, y), []).append((t, p))
    intervals = [(b[0] - a[0], a[1] != b[1]) for each in pixels.values() for a, b in pairwise(each)]
    irregular = []
    for each in pixels.values():
        lengths = np.diff([t for t, _ in each]).tolist()
        irregular += [2 * abs(b - a) / (a + b) if a + b else 0 for a, b in pairwise(lengths)]
    supported, agreeing, isolated = 0, 0, 0
    for n, (t, x, y, p) in enumerate(rows):
        near = [k for k, (s, i, j, _) in enumerate(rows)
                if k != n and abs(i - x) <= 1 and abs(j - y) <= 1 and abs(s - t) <= COMPANY_US]  # fmt: skip
        isolated += not near
        before = [rows[k] for k in near if k < n and rows[k][1:3] != (x, y)]
        if before:
            supported += 1
            latest = max(s for s, *_ in before)
            agreeing += any(q == p for s, _, _, q in before if s == latest)
    stamps = np.unique(events.t, return_counts=True)[1]
    found = {
        "rate_hz": len(rows) / stop * 1e6,
        "on_share": events.p.mean(),
        "neighbour_support": supported / len(rows),
        "isolated_share": isolated / len(rows),
        "distinct_times": len(stamps) / len(rows),
        "layered_share": stamps[stamps > CROWD + 1].sum() / len(rows),
        "silent_share": 1 - len(pixels) / (events.width * events.height),
    }
    if intervals:
        found["alternating_share"] = np.mean([opposite for _, opposite in intervals])
        found["short_share"] = np.mean([us < SHORT_US for us, _ in intervals])
    if irregular:
        found["irregularity"] = np.mean(irregular)
    if supported and len(stamps) == len(rows):  # among neighbours of one time, any may be taken for the latest
        found["neighbour_agreement"] = agreeing / supported
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 7), st.integers(1, 6), st.sampled_from([30, 40_000]), st.integers(0, 2**32))
def test_pass_agrees_with_plain_loops(count: int, width: int, height: int, stop: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, stop, count))
    events = Events(t, rng.integers(0, width, count), rng.integers(0, height, count), rng.random(count) < 0.4,
                    width, height)  # fmt: skip
    found = asdict(statistics(events, stop))
    for name, value in by_hand(events, stop).items():
        assert found[name] == pytest.approx(value), name


def test_correlation_is_that_of_the_windows_counts():
    events = poisson(30, width=12, height=9)
    bins = np.ravel_multi_index((events.t // WINDOW_US, events.y, events.x), (100, 9, 12))
    counts = np.bincount(bins, minlength=100 * 9 * 12).reshape(100, 9, 12).astype(float)
    mean = counts.mean(axis=(1, 2), keepdims=True)
    found = statistics(events)
    for lag in (1, 2, 4):
        products = (counts[:, :, lag:] * counts[:, :, :-lag]).sum() + (counts[:, lag:] * counts[:, :-lag]).sum()
        pairs = 9 * (12 - lag) + (9 - lag) * 12
        expected = (products / pairs - (mean**2).sum()) / ((counts**2).mean(axis=(1, 2), keepdims=True) - mean**2).sum()
        assert getattr(found, f"correlation_{lag}px") == pytest.approx(expected), lag
    cut = statistics(events, SECOND - 1)  # the last window is no whole one
    assert cut.correlation_1px != found.correlation_1px
    assert cut.correlation_1px == pytest.approx(statistics(events.window(0, 990_000), 990_000).correlation_1px)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 700), st.integers(0, 100))
def test_how_a_stream_is_cut_changes_nothing(size: int, seed: int) -> None:
    events = poisson(1.0, seed=seed)
    whole, pieces = measured(events), measure_events(EventSpan(list(in_chunks(events, size)), 0, SECOND))
    assert whole.statistics == pieces.statistics
    for name in ("counts", "same", "opposite", "rates"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_stretch_holds_the_events_of_its_time():
    events = poisson(2.0)
    span = EventSpan(list(in_chunks(events, 100)), 200_000, 700_001)
    first, second = span.halves()
    for each, (start, stop) in ((span, (200_000, 700_001)), (first, (200_000, 450_000)), (second, (450_000, 700_000))):
        np.testing.assert_array_equal(Events.concatenate(list(each.chunks())).t, events.window(start, stop).t)
    np.testing.assert_array_equal(second.window(50, 1050).t, events.window(450_050, 451_050).t)
    assert measure_events(span).counts.sum() == len(events.window(200_000, 700_001))


def test_quantiles_and_bins():
    intervals = np.random.default_rng(0).integers(50, 90_000, 20_000)
    histogram = np.bincount(np.searchsorted(interval_edges(), intervals, side="right"), minlength=802)
    for share in (0.01, 0.1, 0.5, 0.9):
        assert quantile(histogram, share) == pytest.approx(np.quantile(intervals, share), rel=0.024)
    assert np.isnan(quantile(np.zeros(802, np.int64), 0.5))
    found = measured(events_of([(0, 1, 1, True), (0, 1, 1, True), (999, 1, 1, False), (1999, 1, 1, False)]))
    assert np.flatnonzero(found.same).tolist() == [0, 301]  # none, and 1000 us
    assert found.opposite.sum() == 1
    assert found.statistics.short_share == pytest.approx(2 / 3)


def test_hot_pixels_stand_out_of_their_neighbours():
    counts = np.full((9, 12), 2)
    counts[4, 3] = counts[0, 11] = 30  # alone, and in a corner
    counts[7, 8] = counts[7, 9] = 40  # a pair
    counts[2, :] = 50  # a line, of which only the ends have fewer than two busy neighbours
    assert np.argwhere(hot_pixels(counts)).tolist() == [[0, 11], [2, 0], [2, 11], [4, 3], [7, 8], [7, 9]]
    assert not hot_pixels(np.full((4, 4), 100)).any()
    assert hot_pixels(np.array([[9]])).sum() == 0
    assert hot_pixels(np.array([[10]])).sum() == 1


# --- theory


@pytest.mark.parametrize(("rate_hz", "on"), [(20.0, 0.5), (60.0, 0.3)])
def test_independent_pixels_of_one_rate(rate_hz, on):
    """A Poisson process in every pixel. 24,000 events or more: four standard errors of a share are below 0.013."""
    height, width = 30, 40
    found = statistics(poisson(rate_hz, on=on))
    rim = np.pad(np.ones((height, width)), 1)
    around = sum(rim[j : j + height, i : i + width] for j in range(3) for i in range(3)) - 1
    waiting = rate_hz * COMPANY_US * 1e-6
    assert found.neighbour_support == pytest.approx(np.mean(1 - np.exp(-around * waiting)), abs=0.02)
    assert found.isolated_share == pytest.approx(np.mean(np.exp(-2 * (around + 1) * waiting)), abs=0.02)
    assert found.neighbour_agreement == pytest.approx(on**2 + (1 - on) ** 2, abs=0.02)
    assert found.alternating_share == pytest.approx(2 * on * (1 - on), abs=0.02)
    assert found.on_share == pytest.approx(on, abs=0.015)
    assert found.pixel_rate_hz == pytest.approx(rate_hz, rel=0.03)
    # Within a second, long intervals are cut off: of n events there are n - 1 intervals.
    assert found.interval_median_us == pytest.approx(np.log(2) / rate_hz * 1e6, rel=0.07)
    assert found.interval_q10_us == pytest.approx(-np.log(0.9) / rate_hz * 1e6, rel=0.07)
    assert found.short_share == pytest.approx(1 - np.exp(-rate_hz * 1e-3), abs=0.01)
    assert found.irregularity == pytest.approx(1, abs=0.03)
    assert found.pixel_fano == pytest.approx(1, abs=4 * np.sqrt(2 / (height * width)))
    assert found.rate_variation == pytest.approx(1 / np.sqrt(rate_hz * 1e-2 * height * width), rel=0.3)
    assert found.correlation_1px == pytest.approx(0, abs=0.015)
    assert found.correlation_4px == pytest.approx(0, abs=0.015)
    total = rate_hz * height * width * 1e-6  # events a microsecond
    assert found.distinct_times == pytest.approx((1 - np.exp(-total)) / total, abs=0.01)
    assert found.hot_share == found.layered_share == 0


def test_a_clock_is_regular():
    rows = [(1000 * n + 100 * y, x, y, True) for n in range(50) for y in range(6) for x in range(8)]
    found = statistics(events_of(rows), 50_000)
    assert found.irregularity == found.alternating_share == found.rate_variation == found.pixel_fano == 0
    assert found.interval_median_us == pytest.approx(1000, rel=0.024)
    assert found.neighbour_agreement == 1


def test_layered_times_are_told_from_continuous_ones():
    """Times rounded down to 1 ms, as of a simulator that knows frames only: the same events otherwise."""
    events = poisson(30)
    layered = Events(events.t // 1000 * 1000, events.x, events.y, events.p, events.width, events.height)
    fine, coarse = statistics(events), statistics(layered)
    assert fine.layered_share == 0
    assert coarse.layered_share > 0.99
    assert coarse.distinct_times < 0.03 < 0.9 < fine.distinct_times
    found = compare_events(layered, events)
    assert found.difference["layered_share"] > 0.99
    assert found.difference["rate_map"] == pytest.approx(0, abs=0.01)


def test_noise_is_told_from_edges(texture):
    clean = moving_texture(texture)
    span = int(clean.t[-1]) + 1
    noise = poisson(5.0, width=80, height=60).window(0, span)
    ours, noisy = statistics(clean, span), statistics(merged(clean, noise), span)
    assert noisy.neighbour_support < ours.neighbour_support - 0.02
    assert noisy.isolated_share > ours.isolated_share + 0.01
    assert noisy.neighbour_agreement < ours.neighbour_agreement - 0.02
    assert noisy.correlation_1px < ours.correlation_1px - 0.02
    assert noisy.alternating_share > ours.alternating_share
    assert noisy.silent_share < ours.silent_share


def test_hot_pixels_count():
    noise = poisson(1.0)
    at = np.sort(np.random.default_rng(1).integers(0, SECOND, 300))
    hot = Events(at, np.full(300, 7), np.full(300, 9), np.ones(300, bool), 40, 30)
    assert statistics(noise).hot_share == 0
    assert statistics(merged(noise, hot)).hot_share == pytest.approx(300 / (300 + len(noise)), abs=0.005)


# --- comparing


def test_a_stream_is_like_itself(texture):
    events = moving_texture(texture)
    found = compare_events(events, list(in_chunks(events, 1000)))
    assert found.one_clock
    assert found.simulated == found.real
    assert all(value == pytest.approx(0, abs=1e-12) for value in found.difference.values())
    assert found.half_against_half["interval_total_variation"] > 0


def test_same_noise_twice_is_as_like_as_its_halves():
    found = compare_events(poisson(40, seed=1), poisson(40, seed=2))
    assert found.interval_distance < 0.05
    for name in ("interval_wasserstein", "count_wasserstein", "rate_curve"):
        assert found.difference[name] < 3 * found.half_against_half[name], name
    other = compare_events(poisson(10, seed=1), poisson(40, seed=2))
    # A quarter of the rate: intervals four times as long, in decades.
    assert other.difference["interval_wasserstein"] == pytest.approx(np.log10(4), abs=0.1)
    assert other.difference["count_wasserstein"] == pytest.approx(0.75, abs=0.05)
    assert other.difference["rate_curve"] == pytest.approx(0.75, abs=0.05)
    assert other.interval_distance > 0.2


def test_another_threshold_is_further_than_another_seed(texture):
    real = moving_texture(texture, threshold_mismatch=0.02, specimen=1)
    alike = compare_events(moving_texture(texture, specimen=2), real)
    apart = compare_events(moving_texture(texture, threshold_on=0.35, threshold_off=0.35), real)
    for name in ("rate_hz", "interval_total_variation", "interval_wasserstein", "count_wasserstein", "rate_map"):
        assert alike.difference[name] < 0.5 * apart.difference[name], name


def shifted(events: Events, us: int) -> Events:
    return Events(events.t + us, events.x, events.y, events.p, events.width, events.height)


def test_time_compared_is_what_both_have():
    events = poisson(20)
    early, late = events.window(0, 700_000), events.window(200_000, SECOND)
    found = compare_events(early, late)
    assert found.one_clock
    assert found.real_stream.whole.duration_us == pytest.approx(500_000, abs=500)
    assert found.simulated == found.real
    given = compare_events(events, events, window_us=(300_000, 400_000))
    assert given.real_stream.whole.counts.sum() == len(events.window(300_000, 400_000))


def test_streams_of_two_clocks_begin_with_their_first_events():
    events = poisson(20)
    found = compare_events(shifted(events, 5_000_000_000), events.window(0, 600_000))
    assert not found.one_clock
    assert "from its first event on" in str(found)
    assert found.real_stream.whole.duration_us == pytest.approx(600_000, abs=500)
    assert found.simulated == found.real


def test_sensors_of_two_sizes_have_no_common_map():
    found = compare_events(poisson(20, width=20), poisson(20))
    assert np.isnan(found.difference["rate_map"])
    assert found.difference["count_wasserstein"] < 0.1
    assert found.half_against_half["rate_map"] > 0


def test_few_events_leave_what_they_cannot_tell_open():
    found = compare_events(events_of([(0, 1, 1, True), (89_000, 2, 2, False)]), poisson(20).window(0, 90_000))
    assert np.isnan(found.simulated.interval_median_us)
    assert np.isnan(found.difference["interval_total_variation"])
    assert found.simulated.isolated_share == 1
    assert " -" in str(found)


def test_tables_name_every_statistic():
    found = compare_events(poisson(20), poisson(20, seed=1))
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[3:]] == list(found.difference)
    assert set(asdict(found.real)) < set(found.difference)
    assert len({len(line) for line in lines[2:]}) == 1
    table = markdown_table({"one": found, "two": found}).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == list(found.difference)
    assert len({line.count("|") for line in table}) == 1
    row = next(line.split("|") for line in table if line.startswith("| on_share"))
    assert float(row[2]) == pytest.approx(found.real.on_share, rel=1e-3)
    assert float(row[3]) == pytest.approx(found.simulated.on_share, rel=1e-3)


def test_comparison_refuses():
    events, none = poisson(1.0), Events.empty(40, 30)
    with pytest.raises(ValueError, match="at least one event, got none"):
        compare_events(none, events)
    with pytest.raises(ValueError, match="at least one event, got none"):
        compare_events(events, [])
    with pytest.raises(ValueError, match="can be gone over again, got a generator"):
        compare_events((each for each in [events]), events)
    with pytest.raises(ValueError, match="at least 40 ms, got 39999 us"):
        compare_events(events, events, window_us=(0, 39_999))
    with pytest.raises(ValueError, match="a stretch that ends after its start"):
        compare_events(events, events, window_us=(5, 5))
    with pytest.raises(ValueError, match="sensor of 40x30, got 20x30"):
        compare_events([events.window(0, 500_000), poisson(1.0, width=20).window(500_000, SECOND)], events)
    with pytest.raises(ValueError, match="pieces in order of time"):
        compare_events([events, events], events)


# --- the command


@pytest.fixture(scope="module")
def files(tmp_path_factory, texture):
    folder = tmp_path_factory.mktemp("event_realism")
    write_events(folder / "real.h5", moving_texture(texture))
    write_events(folder / "simulated.txt", moving_texture(texture, threshold_on=0.25), time_unit="us")
    spikes = SpikeCamera.preset("ideal").simulate(np.full((60, 80), 0.3, np.float32), duration_us=10_000)
    write_spikes(folder / "spikes.h5", spikes)
    return folder


def test_page_holds_table_curves_pictures_and_where_it_came_from(command, files, tmp_path):
    page = tmp_path / "page.html"
    size = ["--height", "60", "--width", "80"]
    said = command("eventsim", "compare", files / "simulated.txt", files / "real.h5", "--out", page, *size)
    assert said.returncode == 0, said.stderr
    html = page.read_text()
    assert html.count("<svg") == 4
    assert html.count("<img") == 4 + 6
    assert "half against half" in html
    assert "nan" not in html
    assert all(line.split()[0] in html for line in said.stdout.splitlines()[3:])
    assert json.loads((tmp_path / "page.html.run.json").read_text())["settings"]["seed"] == 0


def test_command_refuses_what_events_have_no_use_for(command, files):
    events, spikes = files / "real.h5", files / "spikes.h5"

    def fault(*arguments: object) -> str:
        said = command("eventsim", "compare", *arguments)
        assert said.returncode == 1
        assert len(said.stderr.splitlines()) == 1
        return str(said.stderr)

    assert "spikes.h5: expected events, as" in fault(events, spikes)
    assert "real.h5: expected spikes, as" in fault(spikes, events)
    for option in (["--everywhere"], ["--static", "m.png"], ["--dark", "a", "b"], ["--readout-hz", "3"]):
        assert f"real.h5: expected spikes, for {option[0]}, found events" in fault(events, events, *option)
    assert "expected events, for --time-unit" in fault(spikes, spikes, "--time-unit", "us")
    assert "none.h5" in fault(files / "none.h5", events)


def test_command_names_files_that_are_too_short(command, files, tmp_path):
    write_events(tmp_path / "short.h5", events_of([(0, 1, 1, True), (900, 2, 2, False)]))
    said = command("eventsim", "compare", tmp_path / "short.h5", files / "real.h5")
    assert said.returncode == 1
    assert "short.h5" in said.stderr
    assert "at least 40 ms, got 901 us" in said.stderr
