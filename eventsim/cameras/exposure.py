"""Light between frames, averaged over the readouts of a clock.

Luminance is linear in time between frames and held after the last. A readout that lies between two frames sees the
luminance at its middle, which is its exact mean; one that spans a frame is summed from its pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eventsim.light.frames import Frames, checked

Picture = NDArray[np.float32]
_ROUNDING_US = 1e-6
_MOST_READOUTS = 1 << 16


@dataclass(frozen=True)
class Exposures:
    """Consecutive readouts: readout n has the mean luminance (1 - fraction[n]) first + fraction[n] second.

    Args:
        first, second: float32 [H, W].
        fraction: float32 [n].
    """

    first: Picture
    second: Picture
    fraction: Picture

    def __len__(self) -> int:
        return len(self.fraction)

    def __getitem__(self, index: slice) -> Exposures:
        return Exposures(self.first, self.second, self.fraction[index])


def exposures(frames: Frames, readout_hz: float, duration_us: int | None = None) -> Iterator[Exposures]:
    """The mean luminance of every readout of the frames' time (or of `duration_us`), in blocks between frames.

    Raises:
        ValueError: no frame, a still without a duration, a duration that is not above 0 and finite, or less time than
            one readout takes.
    """
    if duration_us is not None and not 0 < duration_us < np.inf:
        raise ValueError(f"expected a duration_us above 0, got {duration_us}")
    period = 1e6 / readout_hz
    start: int | None = None
    count, partial = 0, None
    for (t0, first), (t1, second) in _intervals(frames, duration_us):
        start = t0 if start is None else start
        begin, end = t0 - start, t1 - start
        if partial is not None:
            stop = (count + 1) * period
            partial = partial + _piece(first, second, begin, end, count * period, stop, period)
            if stop > end + _ROUNDING_US:
                continue
            yield Exposures(partial, partial, np.zeros(1, np.float32))
            count, partial = count + 1, None
        whole = int((end + _ROUNDING_US) / period)
        while count < whole:
            stop_at = min(count + _MOST_READOUTS, whole)
            middle = (np.arange(count, stop_at) + 0.5) * period
            yield Exposures(first, second, ((middle - begin) / (end - begin)).astype(np.float32))
            count = stop_at
        if end - count * period > _ROUNDING_US:
            partial = _piece(first, second, begin, end, count * period, (count + 1) * period, period)
    if count == 0:
        raise ValueError(f"expected at least one readout of {period:g} us, got frames or a duration shorter than that")


def _piece(first: Picture, second: Picture, begin: float, end: float, t0: float, t1: float, period: float) -> Picture:
    """The share of a readout [t0, t1) that falls into the interval [begin, end) between two frames, integrated."""
    t0, t1 = max(t0, begin), min(t1, end)
    middle = np.float32((0.5 * (t0 + t1) - begin) / (end - begin))
    piece: Picture = np.float32((t1 - t0) / period) * (first + middle * (second - first))
    return piece


def _intervals(frames: Frames, duration_us: int | None) -> Iterator[tuple[tuple[int, Picture], tuple[int, Picture]]]:
    """Pairs of consecutive frames, cut at the duration or with the last frame held until it."""
    stop = None
    last = None
    for (t0, first), (t1, second) in pairwise(checked(frames)):
        stop = t0 + duration_us if stop is None and duration_us is not None else stop
        if stop is not None and t1 >= stop:
            share = np.float32((stop - t0) / (t1 - t0))
            yield (t0, first), (stop, first + share * (second - first))
            return
        yield (t0, first), (t1, second)
        last = (t1, second)
    if last is None:
        last = next(checked(frames), None)
        if last is None:
            raise ValueError("expected at least one frame, got none")
        if duration_us is None:
            raise ValueError("expected duration_us for a single picture, got none")
        stop = last[0] + duration_us
    t_last, held = last
    stop = t_last + round(1e6 / frames.fps) if stop is None else stop
    yield (t_last, held), (stop, held)
