"""A comparison of a simulated with a real event stream as one HTML page: the table, curves and pictures."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray

from eventsim.realism_report import add_comparison
from eventsim.report import HtmlReport
from eventsim.streams.event_measure import BINS_PER_DECADE, WINDOW_US, Counts, MeasuredEvents, interval_edges
from eventsim.streams.event_realism import EventRealism
from eventsim.view import RGB, events_picture, luminance_picture

_YARDSTICK = "real, second half"
_PER_BIN = 5  # of the fine bins of intervals in one that is drawn: twenty bins a decade
_SHARE_LEFT_OUT = 1e-3
_PICTURE_PX = 230
#: Where the pictures of events are taken, as shares of the time compared.
_MOMENTS = (0.1, 0.5, 0.9)

#: What each row of the table says, in a few words.
MEANINGS = {
    "rate_hz": "events a second",
    "pixel_rate_hz": "events a second and pixel",
    "on_share": "ON events among all",
    "interval_median_us": "between a pixel's successive events",
    "interval_q10_us": "a tenth of the intervals is shorter",
    "interval_q01_us": "a hundredth is: where a refractory period or a bandwidth ends them",
    "short_share": "intervals under 1 ms",
    "alternating_share": "intervals between events of opposite polarity: noise, texture, flicker",
    "irregularity": "of successive intervals: a clock 0, a Poisson process 1",
    "rate_variation": "standard deviation over mean of the events in 10 ms",
    "silent_share": "pixels without events",
    "pixel_fano": "variance over mean of the pixels' counts",
    "hot_share": "events at hot pixels",
    "neighbour_support": "events after one of a neighbour, within 5 ms: what a noise filter lets pass",
    "neighbour_agreement": "of these, those of the neighbour's polarity; noise: half",
    "isolated_share": "events without another one in 3x3 pixels within 5 ms: mostly noise",
    "correlation_1px": "of counts in 10 ms, of neighbours",
    "correlation_2px": "of pixels two apart",
    "correlation_4px": "of pixels four apart",
    "distinct_times": "distinct time stamps per event",
    "layered_share": "events that share their time stamp with more than 20 others",
    "interval_total_variation": "distance of the interval histograms by polarity, 0 to 1",
    "interval_wasserstein": "powers of ten by which intervals would have to change",
    "count_wasserstein": "distance of the distributions of events per pixel, as a share of the mean",
    "rate_curve": "root mean square difference of the events in 10 ms, as a share of the mean",
    "rate_map": "1 - correlation of the events in cells of 4x4 pixels by polarity",
}


def write_event_realism_page(
    path: str | PathLike[str],
    realism: EventRealism,
    *,
    simulated_name: str = "simulated",
    real_name: str = "real",
    overwrite: bool = False,
) -> None:
    """Writes the page, which fetches nothing. Some windows of the streams are read again for its pictures.

    Args:
        path: the file.
        realism: what `compare_events` found.
        simulated_name, real_name: how the page calls the streams.
        overwrite: replace an existing file.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
    """
    page = HtmlReport(f"Realism: {simulated_name} beside {real_name}")
    _add_table(page, realism)
    _add_intervals(page, realism)
    _add_rates(page, realism)
    _add_counts(page, realism)
    _add_maps(page, realism)
    _add_moments(page, realism)
    page.write(path, overwrite=overwrite)


def _add_table(page: HtmlReport, realism: EventRealism) -> None:
    ours, theirs = realism.simulated_stream.whole, realism.real_stream.whole
    how = (
        "They are compared in the same moments of one clock"
        if realism.one_clock
        else "Their clocks have no time in common, so that each counts from its first event on"
    )
    page.text(
        f"{ours.counts.sum():,} simulated and {theirs.counts.sum():,} real events in {theirs.duration_us / 1000:g} ms. "
        f"{how}. `difference` and `half against half` are between stretches of half that length: the simulated stream "
        "against the real one, and the real stream's second half against its first, in which the scene has changed. "
        "`times` is the one over the other: 1 or less, and the simulation of a moment is as like it as the next moment "
        "is. Where the rates differ, intervals, support and counts per pixel must differ too: the thresholds "
        "come first."
    )
    add_comparison(page, realism, MEANINGS)


def _halves(realism: EventRealism) -> dict[str, MeasuredEvents]:
    first, second = realism.real_stream.halves
    return {"simulated": realism.simulated_stream.halves[0], "real": first, _YARDSTICK: second}


def _add_intervals(page: HtmlReport, realism: EventRealism) -> None:
    page.heading("Intervals")
    page.text("Share of the intervals between a pixel's successive events by length, twenty bins a decade: those "
              "between events of one polarity, and those between events of opposite polarity.")  # fmt: skip
    for label, name in (("one polarity", "same"), ("opposite polarity", "opposite")):
        each = {key: _drawn(getattr(one, name)) for key, one in _halves(realism).items()}
        totals = {key: (one.same + one.opposite).sum() for key, one in _halves(realism).items()}
        shares = {key: histogram / max(totals[key], 1) for key, histogram in each.items()}
        shown = _shown(np.array(list(shares.values())))
        middles = _middles()[shown].tolist()
        page.curves(
            {key: (middles, share[shown].tolist()) for key, share in shares.items()},
            x_label=f"interval between events of {label} (us)", y_label="share of all intervals", log_x=True,
            steps=False, yardsticks=[_YARDSTICK],
        )  # fmt: skip


def _drawn(histogram: Counts) -> Counts:
    """Twenty bins a decade; intervals below 1 us and beyond the last decade are not drawn."""
    summed: Counts = histogram[1:-1].reshape(-1, _PER_BIN).sum(axis=1)
    return summed


def _middles() -> NDArray[np.float64]:
    edges = interval_edges()[::_PER_BIN]
    middles: NDArray[np.float64] = edges[:-1] * 10 ** (_PER_BIN / BINS_PER_DECADE / 2)
    return middles


def _shown(shares: NDArray[np.float64]) -> slice:
    """The bins between the first and the last in which any curve has a share to be seen."""
    seen = np.flatnonzero((shares > _SHARE_LEFT_OUT).any(axis=0))
    return slice(int(seen[0]), int(seen[-1]) + 1) if seen.size else slice(0, 2)


def _add_rates(page: HtmlReport, realism: EventRealism) -> None:
    page.heading("Rate over time")
    streams = {"simulated": realism.simulated_stream.whole, "real": realism.real_stream.whole}
    bin_us = streams["real"].bin_us
    page.text(f"Events, ON and OFF together, in bins of {bin_us / 1000:g} ms.")
    curves = {name: each.rate_curve_hz() / 1000 for name, each in streams.items()}
    middles_ms = (np.arange(streams["real"].rates.shape[1]) + 0.5) * bin_us / 1000
    page.curves(
        {name: (middles_ms.tolist(), y.tolist()) for name, y in curves.items()},
        x_label="time (ms)", y_label="thousand events a second", steps=True,
    )  # fmt: skip


def _add_counts(page: HtmlReport, realism: EventRealism) -> None:
    page.heading("Events per pixel")
    page.text("Share of the pixels with at least so many events: its end on the right are hot pixels and edges.")
    curves = {name: _at_least(one.counts.sum(axis=0)) for name, one in _halves(realism).items()}
    page.curves(
        {name: (x.tolist(), y.tolist()) for name, (x, y) in curves.items()},
        x_label="events", y_label="share of pixels", log_x=True, log_y=True, yardsticks=[_YARDSTICK],
    )  # fmt: skip


def _at_least(counts: Counts) -> tuple[Counts, NDArray[np.float64]]:
    """Numbers of events, and the share of pixels that have as many or more; at most some hundred of them."""
    highest = max(int(counts.max()), 1)
    x = np.unique(np.geomspace(1, highest, 200).round().astype(np.int64))
    at_most_below = np.searchsorted(np.sort(counts, axis=None), x, side="left")
    return x, 1 - at_most_below / counts.size


def _add_maps(page: HtmlReport, realism: EventRealism) -> None:
    ours, theirs = realism.simulated_stream.whole, realism.real_stream.whole
    page.heading("Where events are")
    rates = {
        f"{name}, {polarity}": each.counts[index] / (each.duration_us * 1e-6)
        for index, polarity in ((1, "ON"), (0, "OFF"))
        for name, each in (("simulated", ours), ("real", theirs))
    }
    white = float(np.percentile(np.concatenate([rates["real, ON"], rates["real, OFF"]]), 99.5))
    white = white or float(max(each.max() for each in rates.values())) or 1.0
    page.text(f"Rates of the pixels on one scale, white at {white:.3g} events a second and above.")
    for polarity in ("ON", "OFF"):
        row = {name: rate.astype(np.float32) for name, rate in rates.items() if name.endswith(f" {polarity}")}
        page.pictures({name: luminance_picture(rate, white) for name, rate in row.items()}, height_px=_PICTURE_PX)


def _add_moments(page: HtmlReport, realism: EventRealism) -> None:
    page.heading("The same moments")
    page.text(f"The events of {WINDOW_US / 1000:g} ms, ON red and OFF blue, by the last one of each pixel.")
    whole = realism.real_stream.whole.duration_us
    for share in _MOMENTS:
        start = min(int(share * whole), whole - WINDOW_US)
        page.pictures(
            {f"{name}, from {start / 1000:.0f} ms on": picture for name, picture in _moment(realism, start).items()},
            height_px=_PICTURE_PX,
        )


def _moment(realism: EventRealism, start_us: int) -> dict[str, RGB]:
    streams = {"simulated": realism.simulated_stream, "real": realism.real_stream}
    return {
        name: events_picture(each.span.window(start_us, start_us + WINDOW_US)) for name, each in streams.items()
    }  # fmt: skip
