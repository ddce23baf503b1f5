"""What is measured of a stretch of an event stream: its statistics, and the histograms and maps behind them.

A stream is gone over a piece at a time. What is held is per pixel, per bin of a histogram or per bin of time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events

if TYPE_CHECKING:
    from eventsim.streams.event_kernels import Company, Intervals, Windows

Counts = NDArray[np.int64]
Source = Events | Iterable[Events]

#: Length of the windows in which events are counted, and how long an event keeps its neighbours company.
WINDOW_US, COMPANY_US = 10_000, 5_000
SHORT_US = 1_000
#: How many other events an event must share its time with to count as layered.
CROWD = 20
#: Bins of the histogram of intervals: below 1 us, then so many per decade up to 100 s, the last one's or longer.
BINS_PER_DECADE, _DECADES = 100, 8
_MOST_TIMES = 100_000
_HOT_EVENTS, _HOT_TIMES = 10, 5


@dataclass(frozen=True)
class EventStatistics:
    """Statistics of a stream. Intervals are those between successive events of a pixel, whatever their polarity.

    Args:
        rate_hz: events a second, of all pixels.
        pixel_rate_hz: events a second and pixel.
        on_share: share of ON events.
        interval_median_us, interval_q10_us, interval_q01_us: median, 10 % and 1 % quantile of the intervals; within
            2.3 % (a bin of their histogram).
        short_share: share of intervals under 1 ms.
        alternating_share: share of intervals between events of opposite polarity.
        irregularity: mean of 2 |a - b| / (a + b) over a pixel's successive intervals a and b (CV2 of Holt, Softky, Koch
            and Douglas 1996): 0 for a clock, 1 for a Poisson process of any slowly changing rate.
        rate_variation: standard deviation over mean of the events in 10 ms.
        silent_share: share of pixels without events.
        pixel_fano: variance over mean of the pixels' counts: 1 for a Poisson process alike everywhere. It grows with
            the number of events.
        hot_share: share of events at hot pixels: those with at least 10 events and 5 times as many as the second
            busiest of their 8 neighbours.
        neighbour_support: share of events that an event of one of their 8 neighbours preceded by 5 ms at most: what a
            filter of background activity (Delbruck 2008) lets pass. 1 - exp(-8 r 5 ms) for independent pixels of rate
            r.
        neighbour_agreement: share of those whose latest such neighbour had their own polarity. An edge's agree; of
            noise, half.
        isolated_share: share of events without another one of their 3x3 pixels within 5 ms before or after.
        correlation_1px, correlation_2px, correlation_4px: of the counts, in windows of 10 ms, of pixels so far apart
            across or down; 0 for pixels of one rate that know nothing of each other.
        distinct_times: distinct time stamps, as a share of the events.
        layered_share: share of events whose time stamp more than 20 others have.
    """

    rate_hz: float
    pixel_rate_hz: float
    on_share: float
    interval_median_us: float
    interval_q10_us: float
    interval_q01_us: float
    short_share: float
    alternating_share: float
    irregularity: float
    rate_variation: float
    silent_share: float
    pixel_fano: float
    hot_share: float
    neighbour_support: float
    neighbour_agreement: float
    isolated_share: float
    correlation_1px: float
    correlation_2px: float
    correlation_4px: float
    distinct_times: float
    layered_share: float


@dataclass(frozen=True, eq=False)
class EventSpan:
    """A stretch of a stream of events: those with start_us <= t < stop_us, read piece by piece.

    Args:
        events: whole, or consecutive pieces that can be gone over again (an `EventSource`, a list).
        start_us, stop_us: its bounds, on the stream's clock.

    Raises:
        ValueError: an empty stretch, or pieces that are gone once they were read (a generator's).
    """

    events: Source
    start_us: int
    stop_us: int

    def __post_init__(self) -> None:
        if self.stop_us <= self.start_us:
            raise ValueError(f"expected a stretch that ends after its start, got {self.start_us} to {self.stop_us} us")
        if isinstance(self.events, Iterator):
            raise ValueError(f"expected events that can be gone over again, got a {type(self.events).__name__}")

    @property
    def duration_us(self) -> int:
        """Its length."""
        return self.stop_us - self.start_us

    def chunks(self) -> Iterator[Events]:
        """Its events, piece by piece; at least one piece, which may be empty, if the stream has one.

        Raises:
            ValueError: pieces of several sizes, or out of order.
        """
        last: Events | None = None
        for piece in [self.events] if isinstance(self.events, Events) else self.events:
            _check_order(last, piece)
            if last is None or len(piece):
                inside = piece.window(self.start_us, self.stop_us)
                if last is None or len(inside):
                    yield inside
                last = piece
                if len(piece) and piece.t[-1] >= self.stop_us:
                    return

    def window(self, start_us: int, stop_us: int) -> Events:
        """The events of a short time within it, start_us <= t < stop_us on its own clock, which starts at 0."""
        begin = self.start_us + start_us
        inside = EventSpan(self.events, begin, min(self.start_us + stop_us, self.stop_us))
        return Events.concatenate(list(inside.chunks()))

    def halves(self) -> tuple[EventSpan, EventSpan]:
        """Two stretches of the same length, one after the other; of an odd length the last microsecond is left out."""
        half = self.duration_us // 2
        middle = self.start_us + half
        return EventSpan(self.events, self.start_us, middle), EventSpan(self.events, middle, middle + half)


@dataclass(frozen=True, eq=False)
class MeasuredEvents:
    """A stretch of a stream, measured.

    Args:
        statistics: the numbers; NaN where there are too few events to tell.
        duration_us: length of the stretch.
        counts: int64 [2, H, W], events of each pixel, OFF and ON.
        same, opposite: int64 [B], intervals between events of one polarity and of both, in bins by `interval_edges`.
        bin_us: length of the bins of time.
        rates: int64 [2, T], OFF and ON events in consecutive whole bins.
    """

    statistics: EventStatistics
    duration_us: int
    counts: Counts
    same: Counts
    opposite: Counts
    bin_us: int
    rates: Counts

    def rate_curve_hz(self) -> NDArray[np.float64]:
        """Events a second in each bin of time, float64 [T]."""
        rates: NDArray[np.float64] = self.rates.sum(axis=0) * (1e6 / self.bin_us)
        return rates


def interval_edges() -> NDArray[np.float64]:
    """Bounds of the bins of intervals, us, float64 [B - 1]: bin k holds edges[k - 1] <= interval < edges[k]."""
    edges: NDArray[np.float64] = 10.0 ** (np.arange(BINS_PER_DECADE * _DECADES + 1) / BINS_PER_DECADE)
    return edges


def measure_events(span: EventSpan) -> MeasuredEvents:
    """Measures a stretch of a stream, in one pass over it.

    Raises:
        ValueError: no piece at all, or pieces that do not belong together.
    """
    tally: _Tally | None = None
    for piece in span.chunks():
        if tally is None:
            tally = _Tally(piece.height, piece.width, span)
        tally.add(piece)
    if tally is None:
        raise ValueError("expected at least one piece of events (an empty one tells the sensor's size), got none")
    return tally.measured()


def quantile(histogram: Counts, share: float) -> float:
    """The interval that a share of those in a histogram of `interval_edges` stays below, us; NaN if there are none."""
    total = int(histogram.sum())
    if not total:
        return math.nan
    below = np.cumsum(histogram)
    place = int(np.searchsorted(below, share * total, side="left"))
    before = int(below[place - 1]) if place else 0
    within = (share * total - before) / max(int(histogram[place]), 1)
    return float(10.0 ** ((place - 1 + within) / BINS_PER_DECADE))


def hot_pixels(counts: Counts) -> NDArray[np.bool_]:
    """Pixels with at least 10 events and 5 times as many as the second busiest of their 8 neighbours: bool [H, W].

    The second busiest, so that two hot ones side by side do not hide each other; a pixel within a line has two busy
    neighbours, and is none.

    Args:
        counts: int64 [H, W].
    """
    rim = np.pad(counts, 1)
    height, width = counts.shape
    around = [rim[j : j + height, i : i + width] for j in range(3) for i in range(3) if (j, i) != (1, 1)]
    busiest, second = np.zeros_like(counts), np.zeros_like(counts)
    for each in around:
        second = np.maximum(second, np.minimum(busiest, each))
        busiest = np.maximum(busiest, each)
    hot: NDArray[np.bool_] = (counts >= _HOT_EVENTS) & (counts >= _HOT_TIMES * second)
    return hot


class _Tally:
    """The sums over the pieces of a stretch."""

    def __init__(self, height: int, width: int, span: EventSpan) -> None:
        from eventsim.streams.event_kernels import NEVER

        self.span = span
        self.bin_us = WINDOW_US * max(1, -(-span.duration_us // (WINDOW_US * _MOST_TIMES)))
        self.counts = np.zeros((2, height, width), np.int64)
        self.rates = np.zeros((2, span.duration_us // self.bin_us + 1), np.int64)
        self.intervals = _intervals(height, width)
        self.company = _company(height, width)
        self.windows = _windows(height, width)
        self.stamp, self.shared = np.array([NEVER, 0]), np.zeros(2, np.int64)

    @property
    def whole_windows(self) -> int:
        return self.span.duration_us // WINDOW_US

    def add(self, events: Events) -> None:
        """Adds the next piece."""
        from eventsim.streams import event_kernels as kernels

        t, x, y, p = events.t - self.span.start_us, events.x, events.y, events.p
        places = np.ravel_multi_index((p.view(np.uint8), y, x), self.counts.shape)
        self.counts += np.bincount(places, minlength=self.counts.size).reshape(self.counts.shape)
        for polarity in (0, 1):
            bins = t[p == polarity] // self.bin_us
            self.rates[polarity] += np.bincount(bins, minlength=self.rates.shape[1])
        passes: Any = kernels  # compiled: without types
        passes.tally(t, x, y, p, self.intervals)
        passes.accompany(t, x, y, p, COMPANY_US, self.company)
        passes.share_times(t, CROWD, self.stamp, self.shared)
        passes.count(t, x, y, WINDOW_US, self.whole_windows, self.windows)

    def measured(self) -> MeasuredEvents:
        """What the pieces come to."""
        from eventsim.streams import event_kernels as kernels

        if self.windows.state[0] < self.whole_windows:
            close: Any = kernels.close_window
            close(self.windows)
        rates = self.rates[:, : self.span.duration_us // self.bin_us]
        return MeasuredEvents(
            self._statistics(rates), self.span.duration_us, self.counts,
            self.intervals.same, self.intervals.opposite, self.bin_us, rates,
        )  # fmt: skip

    def _statistics(self, rates: Counts) -> EventStatistics:
        total, seconds = int(self.counts.sum()), self.span.duration_us * 1e-6
        pixels = self.counts.sum(axis=0)
        binned = rates.sum(axis=0)
        correlation = self._correlation()
        after_other, agreeing, alone = self.company.found.tolist()
        return EventStatistics(
            rate_hz=total / seconds,
            pixel_rate_hz=total / seconds / pixels.size,
            on_share=_share(self.counts[1].sum(), total),
            **self._of_intervals(),
            rate_variation=_share(binned.std(), binned.mean()) if binned.size else math.nan,
            silent_share=float(np.mean(pixels == 0)),
            pixel_fano=_share(pixels.var(), pixels.mean()),
            hot_share=_share(pixels[hot_pixels(pixels)].sum(), total),
            neighbour_support=_share(after_other, total),
            neighbour_agreement=_share(agreeing, after_other),
            isolated_share=_share(alone + int(self.company.alone.sum()), total),
            correlation_1px=correlation[0],
            correlation_2px=correlation[1],
            correlation_4px=correlation[2],
            distinct_times=_share(self.shared[0], total),
            layered_share=_share(self.shared[1], total),
        )

    def _of_intervals(self) -> dict[str, float]:
        same, opposite = self.intervals.same, self.intervals.opposite
        both = same + opposite
        total = int(both.sum())
        short = both[: 1 + int(np.searchsorted(self.intervals.edges, SHORT_US, side="left"))].sum()
        return {
            "interval_median_us": quantile(both, 0.5),
            "interval_q10_us": quantile(both, 0.1),
            "interval_q01_us": quantile(both, 0.01),
            "short_share": _share(short, total),
            "alternating_share": _share(opposite.sum(), total),
            "irregularity": _share(*self.intervals.irregular.tolist()),
        }

    def _correlation(self) -> list[float]:
        """Of the windows' counts, per lag; each window's own mean is taken out."""
        from eventsim.streams.event_kernels import LAGS

        height, width = self.counts.shape[1:]
        squares, squared_sums, *products = self.windows.totals.tolist()
        level = squared_sums / (height * width) ** 2
        variance = squares / (height * width) - level
        pairs = [height * max(width - lag, 0) + max(height - lag, 0) * width for lag in LAGS]
        return [
            _share(product / count - level, variance) if count else math.nan
            for product, count in zip(products, pairs, strict=True)
        ]


def _intervals(height: int, width: int) -> Intervals:
    from eventsim.streams.event_kernels import NEVER, Intervals

    edges, size = interval_edges(), (height, width)
    bins = len(edges) + 1
    return Intervals(
        np.full(size, NEVER), np.zeros(size, np.uint8), np.full(size, -1, np.int64), edges,
        np.zeros(bins, np.int64), np.zeros(bins, np.int64), np.zeros(2),
    )  # fmt: skip


def _company(height: int, width: int) -> Company:
    from eventsim.streams.event_kernels import NEVER, Company

    rim = (height + 2, width + 2)
    return Company(np.full(rim, NEVER), np.zeros(rim, np.uint8), np.zeros(rim, np.uint8), np.zeros(3, np.int64))


def _windows(height: int, width: int) -> Windows:
    from eventsim.streams.event_kernels import LAGS, Windows

    size = (height, width)
    return Windows(
        np.zeros(size, np.int64), np.zeros(height * width, np.int64), np.zeros(2, np.int64),
        np.zeros(2 + len(LAGS), np.int64),
    )  # fmt: skip


def _check_order(last: Events | None, piece: Events) -> None:
    if last is None:
        return
    if (piece.width, piece.height) != (last.width, last.height):
        raise ValueError(f"expected events from a sensor of {last.width}x{last.height}, "
                         f"got {piece.width}x{piece.height}")  # fmt: skip
    if len(last) and len(piece) and piece.t[0] < last.t[-1]:
        raise ValueError(f"expected pieces in order of time, got {piece.t[0]} us after {last.t[-1]} us")


def _share(part: Any, whole: Any) -> float:
    """Part over whole; NaN where there is no whole."""
    return float(part) / float(whole) if whole > 0 else math.nan
