"""How far a simulated event stream is from a real one, with the real one's own two halves as the yardstick.

As for spikes (see `realism`), every difference is between stretches of one length: each half of the simulated stream
against the same half of the real one, on average; and beside it, by the same formula, the real stream's second half
against its first. An event camera sees little but motion, and motion changes: the yardstick says how far the scene
differs from itself a little later, which a simulation of the same moments should undercut.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.comparison import Comparison, mean_differences
from eventsim.streams.event_measure import (
    BINS_PER_DECADE,
    WINDOW_US,
    Counts,
    EventSpan,
    EventStatistics,
    MeasuredEvents,
    Source,
    measure_events,
)
from eventsim.streams.events import Events
from eventsim.streams.intervals import total_variation, wasserstein

_STATISTICS = tuple(field.name for field in fields(EventStatistics))
_COARSE = 10  # of the fine bins of intervals in one whose share is compared: ten bins a decade
_CELL_PX = 4
_QUANTILES = 1000
#: Two windows in each half.
SHORTEST_US = 4 * WINDOW_US


@dataclass(frozen=True, eq=False)
class HalvedEvents:
    """A stream measured over all the time compared, over its first half and over its second.

    Args:
        span: the time compared, from which its events can be read again.
        whole, halves: what was measured.
    """

    span: EventSpan
    whole: MeasuredEvents
    halves: tuple[MeasuredEvents, MeasuredEvents]


@dataclass(frozen=True, eq=False)
class EventRealism(Comparison):
    """A simulated event stream beside a real one; `print` it for a table.

    Args:
        simulated_stream, real_stream: what was measured of each, histograms and maps among it.
        difference: name of a statistic or distance -> difference between the streams, mean over the two halves.
        half_against_half: the same, between the real stream's second half and its first.
        one_clock: both streams are compared in the same moments; otherwise each from its first event on.
    """

    simulated_stream: HalvedEvents
    real_stream: HalvedEvents
    difference: dict[str, float]
    half_against_half: dict[str, float]
    one_clock: bool

    @property
    def simulated(self) -> EventStatistics:
        """The simulated stream's statistics over all the time compared."""
        return self.simulated_stream.whole.statistics

    @property
    def real(self) -> EventStatistics:
        """The real stream's statistics over all the time compared."""
        return self.real_stream.whole.statistics

    @property
    def interval_distance(self) -> float:
        """`difference["interval_total_variation"]`: 0 (alike) to 1."""
        return self.difference["interval_total_variation"]

    def heading(self) -> list[str]:
        """What was compared with what, in lines above the table."""
        streams = (self.simulated_stream.whole, self.real_stream.whole)
        counts = " and ".join(f"{each.counts.sum():,}" for each in streams)
        clock = "of one clock" if self.one_clock else "of each stream from its first event on"
        return [
            f"{counts} events (simulated and real) in {streams[1].duration_us / 1000:g} ms {clock}.",
            "Differences are between stretches of half that length.",
        ]


def compare_events(
    simulated: Source, real: Source, *, window_us: tuple[int, int] | None = None
) -> EventRealism:  # fmt: skip
    """How far a simulated event stream is from a real one, statistic by statistic.

    The time compared is the one that the streams share, if that is at least half of the shorter one: then they are on
    one clock. Otherwise it is as long as the shorter one, of each from its first event on.

    Args:
        simulated, real: events, whole or as consecutive pieces that can be gone over again (an `EventSource`); of
            sensors of any size, though maps are compared only between those of one.
        window_us: the time to compare, start <= t < stop on a clock of both.

    Raises:
        ValueError: no events, pieces that do not belong together or can be read but once, or less than 40 ms.
    """
    times, one_clock = ((window_us, window_us), True) if window_us else _times(_extent(simulated), _extent(real))
    spans = EventSpan(simulated, *times[0]), EventSpan(real, *times[1])
    if spans[0].duration_us < SHORTEST_US:
        raise ValueError(f"expected streams of at least {SHORTEST_US // 1000} ms, got {spans[0].duration_us} us")
    ours, theirs = (_halved(span) for span in spans)
    by_half = [event_differences(a, b) for a, b in zip(ours.halves, theirs.halves, strict=True)]
    own = event_differences(theirs.halves[1], theirs.halves[0])
    return EventRealism(ours, theirs, mean_differences(*by_half), own, one_clock)


def event_differences(a: MeasuredEvents, b: MeasuredEvents) -> dict[str, float]:
    """How far one stretch is from another of the same length: absolute differences of statistics, then distances.

    - interval_total_variation (0 to 1): of the histograms of intervals, ten bins a decade, those between events of one
      polarity and of both polarities apart.
    - interval_wasserstein (decades): by how many powers of ten intervals would have to change.
    - count_wasserstein: of the distributions of events per pixel, as a share of b's mean.
    - rate_curve: root mean square difference of the events in 10 ms, over b's mean.
    - rate_map: 1 - correlation of the events in cells of 4x4 pixels, ON and OFF apart; NaN for sensors of two sizes.
    """
    found = {name: abs(getattr(a.statistics, name) - getattr(b.statistics, name)) for name in _STATISTICS}
    ours, theirs = (np.concatenate([_coarse(each.same), _coarse(each.opposite)]) for each in (a, b))
    pooled = a.same + a.opposite, b.same + b.opposite
    known = bool(ours.sum() and theirs.sum())
    found["interval_total_variation"] = total_variation(ours, theirs) if known else np.nan
    found["interval_wasserstein"] = wasserstein(*pooled) / BINS_PER_DECADE if known else np.nan
    found["count_wasserstein"] = _count_wasserstein(a.counts.sum(axis=0), b.counts.sum(axis=0))
    ours, theirs = a.rate_curve_hz(), b.rate_curve_hz()
    found["rate_curve"] = float(np.sqrt(np.mean((ours - theirs) ** 2)) / theirs.mean()) if theirs.any() else np.nan
    found["rate_map"] = _map_distance(a.counts, b.counts)
    return found


def _halved(span: EventSpan) -> HalvedEvents:
    first, second = span.halves()
    return HalvedEvents(span, measure_events(span), (measure_events(first), measure_events(second)))


def _extent(events: Source) -> tuple[int, int]:
    """Time of the first event and just after the last."""
    known = getattr(events, "time_span", None)
    if known is not None and len(events):  # type: ignore[arg-type]
        first, last = known()
        return int(first), int(last) + 1
    pieces: Iterable[Events] = EventSpan(events, -(1 << 62), 1 << 62).chunks()
    ends = [(int(piece.t[0]), int(piece.t[-1])) for piece in pieces if len(piece)]
    if not ends:
        raise ValueError("expected streams of at least one event, got none")
    return ends[0][0], ends[-1][1] + 1


def _times(a: tuple[int, int], b: tuple[int, int]) -> tuple[tuple[tuple[int, int], tuple[int, int]], bool]:
    """The time to compare of each stream, and whether both are on one clock."""
    shared = (max(a[0], b[0]), min(a[1], b[1]))
    shorter = min(a[1] - a[0], b[1] - b[0])
    if shared[1] - shared[0] >= shorter / 2:
        return (shared, shared), True
    return ((a[0], a[0] + shorter), (b[0], b[0] + shorter)), False


def _coarse(histogram: Counts) -> Counts:
    """Ten bins a decade; what is below 1 us and beyond the last decade keep bins of their own."""
    inner = histogram[1:-1].reshape(-1, _COARSE).sum(axis=1)
    return np.concatenate([histogram[:1], inner, histogram[-1:]])


def _count_wasserstein(a: Counts, b: Counts) -> float:
    if not b.any():
        return np.nan
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    ours, theirs = (np.sort(each, axis=None)[(at * each.size).astype(np.int64)] for each in (a, b))
    return float(np.abs(ours - theirs).mean() / b.mean())


def _map_distance(a: Counts, b: Counts) -> float:
    if a.shape != b.shape:
        return np.nan
    ours, theirs = (_cells(each) - _cells(each).mean() for each in (a, b))
    norm = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return float(max(1 - (ours * theirs).sum() / norm, 0.0)) if norm > 0 else np.nan


def _cells(counts: Counts) -> NDArray[np.float64]:
    """Events in whole cells, float64 [2, h, w]; pixels beyond the last whole one are left out."""
    polarities, height, width = counts.shape
    rows, columns = height // _CELL_PX, width // _CELL_PX
    whole = counts[:, : rows * _CELL_PX, : columns * _CELL_PX]
    cells: NDArray[np.float64] = whole.reshape(polarities, rows, _CELL_PX, columns, _CELL_PX).sum(axis=(2, 4)) * 1.0
    return cells
