"""What events say about a pixel's level of log luminance at the times of frames: how many thresholds up and down.

Every event stands for a threshold's worth of change since its pixel's event before. Counted as whole numbers, what is
left over at a frame (anything within a threshold) would be an error of the count that goes with the direction of
motion; so each event is spread evenly over the time since the event before, and a frame in between gets its share.
Between two events of opposite polarity the level has turned: it went on by anything up to a threshold, by half of one
on average, before it came back (by less where most events turn, as small excursions are the more frequent ones).
Counts without that turn show too little contrast, by a threshold an excursion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events

# Intervals are counted in bins whose edges go up by 2 %.
EDGE, BINS = 1.02, 1200
#: An event just after a refractory period stands for at most so many thresholds.
_MOST_THRESHOLDS = 4.0
# Height of a turn, in thresholds, and how it falls where more than a share of the events turn: found in simulations of
# moving textures of different contrast.
_PEAK, _MANY_TURNED, _FALL = 0.5, 0.3, 1.4
_TURN_UNITS = 4 * 127


@dataclass(frozen=True, eq=False)
class FrameCounts:
    """Frames, and the events of every pixel counted up to each.

    Args:
        times_us: int64 [K], of the frames that lie between events.
        grey: uint8 [K, H, W], the frames.
        on, off: float32 [K, H, W], ON and OFF events up to the frame, an event between frames in parts; NaN before a
            pixel's first and after its last event.
        total: int64 [2, H, W], all OFF and all ON events.
        turned: share of the events whose pixel's event before is of the other polarity.
        shortest_us: time that all but a thousandth of the intervals between a pixel's events exceed; NaN without any.
    """

    times_us: NDArray[np.int64]
    grey: NDArray[np.uint8]
    on: NDArray[np.float32]
    off: NDArray[np.float32]
    total: NDArray[np.int64]
    turned: float
    shortest_us: float


def count_events(
    events: Iterable[Events],
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    *,
    refractory_us: float = 0.0,
    most_values: int = 40_000_000,
) -> FrameCounts:
    """The events of each pixel up to each frame.

    Args:
        events: consecutive chunks of a recording.
        frames: time (us, on the events' clock, ascending) and grey picture of each frame, of the events' size.
        refractory_us: known dead time after an event, whose change is added to the next event's.
        most_values: of the frames, those are taken that come first and have so many pixels in all (10 bytes each).

    Raises:
        ValueError: fewer than two frames during the events, frames out of order or of another size than the events.
    """
    times, grey = _stacked(frames, most_values)
    counter = _Counter(times, grey.shape[1:], refractory_us)
    for chunk in events:
        if (chunk.height, chunk.width) != grey.shape[1:]:
            expected = f"{grey.shape[2]}x{grey.shape[1]}"
            raise ValueError(f"expected events of the frames' {expected} pixels, got {chunk.width}x{chunk.height}")
        if len(chunk):
            counter.add(chunk)
    turned = counter.turned / max(counter.intervals.sum(), 1)
    on, off = counter.finished(_speed_of_turn(turned))
    total = counter.total.reshape(2, *grey.shape[1:])
    some = np.flatnonzero(np.isfinite(on).any(axis=(1, 2)))
    if len(some) < 2:
        raise ValueError(f"expected at least two frames between the first and the last events, got {len(some)}")
    during = slice(int(some[0]), int(some[-1]) + 1)
    return FrameCounts(times[during], grey[during], on[during], off[during], total, float(turned), counter.shortest())


def _speed_of_turn(turned: float) -> float:
    """u of the path u (s - s^2) - s^2, which goes from 0 over a peak to -1 as s goes from 0 to 1."""
    peak = _PEAK * min(_MANY_TURNED / max(turned, 1e-9), 1.0) ** _FALL
    return float(2 * peak + 2 * np.sqrt(peak**2 + peak))


def _stacked(
    frames: Iterable[tuple[int, NDArray[np.uint8]]], most_values: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    times: list[int] = []
    pictures: list[NDArray[np.uint8]] = []
    for t_us, picture in frames:
        if times and (t_us <= times[-1] or picture.shape != pictures[0].shape):
            found = f"{picture.shape} at {t_us} us after {pictures[0].shape} at {times[-1]} us"
            raise ValueError(f"expected frames of one size in order of time, got {found}")
        times.append(t_us)
        pictures.append(picture)
        if (len(pictures) + 1) * picture.size > most_values and len(pictures) >= 2:
            break
    if len(times) < 2:
        raise ValueError(f"expected at least two frames, got {len(times)}")
    return np.array(times, np.int64), np.stack(pictures)


class _Counter:
    """Counts of every pixel from one chunk of events to the next."""

    def __init__(self, times: NDArray[np.int64], size: tuple[int, ...], refractory_us: float) -> None:
        self.times, self.width, self.refractory = times, size[1], refractory_us
        pixels = size[0] * size[1]
        self.levels = tuple(np.full((len(times), *size), np.nan, np.float32) for _ in range(2))
        self.turn = np.zeros((len(times), pixels), np.int8)  # s - s^2 of a turn; negative where ON precedes OFF
        self.turned = 0
        self.last = np.full(pixels, np.iinfo(np.int64).min)
        self.sign = np.zeros(pixels, np.bool_)
        self.sums = np.zeros((2, pixels))  # thresholds up and down so far
        self.total = np.zeros((2, pixels), np.int64)
        self.intervals = np.zeros(BINS, np.int64)

    def add(self, chunk: Events) -> None:
        """Takes in the next events; fills in the frames that lie before a pixel's next event."""
        pixel = chunk.y.astype(np.int64) * self.width + chunk.x
        order = np.argsort(pixel, kind="stable")
        pixel, t, p = pixel[order], chunk.t[order], chunk.p[order]
        first = np.concatenate([[True], pixel[1:] != pixel[:-1]])
        before = np.where(first, self.last[pixel], np.concatenate([[0], t[:-1]]))
        known = before != np.iinfo(np.int64).min
        span = np.maximum(np.where(known, t - before, 1), 1)
        worth = np.where(known, self._worth(span), 0.0)
        at = np.flatnonzero(first)
        lengths = np.diff(np.concatenate([at, [len(t)]]))
        turned = known & (p != np.where(first, self.sign[pixel], np.concatenate([[False], p[:-1]])))
        self.turned += int(turned.sum())
        up = self._running(0, worth * p, pixel, at, lengths)
        down = self._running(1, worth * ~p, pixel, at, lengths)
        self._fill(pixel, before, t, known, turned, (up, worth * p), (down, worth * ~p))
        ends = at + lengths - 1
        self.last[pixel[ends]], self.sign[pixel[ends]] = t[ends], p[ends]
        for polarity in (0, 1):
            self.total[polarity] += np.bincount(pixel[p == polarity], minlength=len(self.last))
        self.intervals += np.bincount(interval_bin(span[known]), minlength=BINS)

    def _worth(self, span: NDArray[np.int64]) -> NDArray[np.float64]:
        """Thresholds that an event stands for: more than one where part of its interval was blind."""
        if not self.refractory:
            return np.ones(len(span))
        worth: NDArray[np.float64] = span / np.maximum(span - self.refractory, span / _MOST_THRESHOLDS)
        return worth

    def _running(
        self, which: int, step: NDArray[Any], pixel: NDArray[Any], at: NDArray[Any], lengths: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Each pixel's sum before each of its events; keeps the sum after its last."""
        after = np.cumsum(step)
        start = np.repeat(after[at] - step[at] - self.sums[which][pixel[at]], lengths)
        ends = at + lengths - 1
        self.sums[which][pixel[ends]] = after[ends] - start[ends]
        running: NDArray[np.float64] = after - step - start
        return running

    def _fill(
        self,
        pixel: NDArray[Any],
        before: NDArray[Any],
        t: NDArray[Any],
        known: NDArray[np.bool_],
        turned: NDArray[np.bool_],
        *counted: Any,
    ) -> None:
        # Frames k with before <= times[k] < t lie in an event's interval.
        low = np.where(known, np.searchsorted(self.times, before), 0)
        high = np.where(known, np.searchsorted(self.times, t), 0)
        number = high - low
        some = np.flatnonzero(number)
        event = np.repeat(some, number[some])
        within = np.arange(len(event)) - np.repeat(np.cumsum(number[some]) - number[some], number[some])
        frame = low[event] + within
        time = (self.times[frame] - before[event]) / (t[event] - before[event])
        share = np.where(turned[event], time**2, time)
        for level, (running, step) in zip(self.levels, counted, strict=True):
            level.reshape(len(self.times), -1)[frame, pixel[event]] = running[event] + share * step[event]
        bump = np.where(turned[event], time - time**2, 0) * np.where(counted[0][1][event] > 0, 1, -1)
        self.turn[frame, pixel[event]] = np.rint(bump * _TURN_UNITS)

    def finished(self, speed: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The levels ON and OFF with their turns: first the polarity goes on that does not fire in the end."""
        on, off = self.levels
        for level, side in ((on, -1), (off, 1)):
            for values, turn in zip(level, self.turn, strict=True):
                values += np.float32(speed / _TURN_UNITS) * np.maximum(side * turn, 0).reshape(values.shape)
        return on, off

    def shortest(self) -> float:
        """See `FrameCounts.shortest_us`."""
        total = self.intervals.sum()
        if not total:
            return float("nan")
        return float(EDGE ** np.searchsorted(np.cumsum(self.intervals), total / 1000))


def interval_bin(interval_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bin of each interval between events of a pixel: k for EDGE^k <= interval < EDGE^(k + 1) us."""
    bins = np.log(np.maximum(interval_us, 1)) / np.log(EDGE)
    return np.asarray(np.minimum(bins.astype(np.int64), BINS - 1), np.int64)
