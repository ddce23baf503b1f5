"""The intervals between a pixel's spikes, in readouts, over a stretch of a stream: every sum that statistics need.

An ideal integrator under steady light has intervals of two values, k = floor(m) and k + 1 for a mean of m. Their
variance is then f (1 - f) for f = m - k, whatever the order. What exceeds it is the mean of (x - k) (x - k - 1) over
the intervals x: 0 for those two values, 2 or more for any other, and free of rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eventsim.rows import over_rows
from eventsim.streams.spans import Span

if TYPE_CHECKING:
    from eventsim.streams.interval_kernels import Chosen, Sums

Picture = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Intervals of this many readouts and more share the last bin of histograms.
LONGEST = 256


@dataclass(frozen=True, eq=False)
class SpikeTimes:
    """When each pixel first and last fired, and how often: int64 [H, W] each.

    Args:
        first, last: planes, counted from the span's start; -1 without a spike.
        count: number of spikes.
        planes: length of the span.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    count: NDArray[np.int64]
    planes: int

    def intensity(self) -> Picture:
        """Light of each pixel in spikes per readout: float64 [H, W].

        (n - 1) / (t_last - t_first) for n spikes: unlike the count it does not depend on where in an interval the
        span begins and ends. With fewer than three spikes, where that would rest on one interval at most, the count.
        """
        span = np.maximum(self.last - self.first, 1)
        return np.where(self.count >= 3, (self.count - 1) / span, self.count / self.planes)


def spike_times(span: Span) -> SpikeTimes:
    """First spike, last spike and number of spikes of every pixel."""
    from eventsim.streams.interval_kernels import mark

    height, width = span.shape
    padded = (height, -(-width // 8) * 8)
    first, last = np.full(padded, -1), np.full(padded, -1)
    count = np.zeros(padded, np.int64)
    for at, packed in span.chunks():
        over_rows(partial(mark, packed, at, first, last, count), height)
    return SpikeTimes(first[:, :width], last[:, :width], count[:, :width], len(span))


@dataclass(frozen=True, eq=False)
class IntervalTally:
    """What the intervals of P pixels come to; pixels with fewer than two intervals are left out.

    Args:
        sums: per pixel, int64 [P] each; see `interval_kernels.Sums`.
        outlying: int64 [P], intervals that are 1 readout or more from their pixel's mean.
        histogram: int64 [LONGEST + 1], intervals of each length over all the pixels.
        windows: int64 [K], window lengths in planes.
        count_deviation: float64 [K], mean squared deviation of a window's spike count from window / mean interval.
    """

    sums: Sums
    outlying: NDArray[np.int64]
    histogram: NDArray[np.int64]
    windows: NDArray[np.int64]
    count_deviation: NDArray[np.float64]

    def mean(self) -> NDArray[np.float64]:
        """Mean interval of each pixel in readouts, float64 [P]."""
        mean: NDArray[np.float64] = self.sums.total / self.sums.intervals
        return mean

    def excess_variance(self) -> NDArray[np.float64]:
        """Variance of each pixel's intervals beyond f (1 - f), in readouts squared: float64 [P], exactly 0 for two
        adjacent values."""
        low = self.sums.total // self.sums.intervals
        beyond = self.sums.squares - (2 * low + 1) * self.sums.total + low * (low + 1) * self.sums.intervals
        excess: NDArray[np.float64] = beyond / self.sums.intervals
        return excess

    def two_valued_share(self) -> float:
        """Share of pixels whose intervals take at most two values."""
        return float(np.mean(self.sums.third == 0))

    def outlying_share(self) -> float:
        """Share of intervals that are 1 readout or more from their pixel's mean."""
        return float(self.outlying.sum() / self.sums.intervals.sum())

    def jump_share(self) -> float:
        """Share of successive intervals that are 2 readouts or more apart; 0 for an ideal integrator."""
        return float(self.sums.jumps.sum() / (self.sums.intervals - 1).sum())

    def lag1_correlation(self) -> float:
        """Mean over pixels of the correlation of successive intervals; NaN where no pixel has four that vary."""
        n, mean = self.sums.intervals, self.mean()
        variance = self.sums.squares / n - mean**2
        varies = (n >= 4) & (n * self.sums.squares > self.sums.total**2)
        ends = self.sums.first + self.sums.latest
        products = (self.sums.products - mean * (2 * self.sums.total - ends) + (n - 1) * mean**2) / (n - 1)
        return float(np.mean(products[varies] / variance[varies])) if varies.any() else np.nan

    def fano_factors(self) -> NDArray[np.float64]:
        """Variance of the spike count of each window length over its mean, pooled over pixels: float64 [K].

        An ideal integrator of rate r has f (1 - f) / (n r) over n planes, f = n r - floor(n r); a Poisson process 1.
        """
        rate = float(np.mean(self.sums.intervals / self.sums.total))
        return self.count_deviation / (self.windows * rate)


def tally_intervals(span: Span, pixels: NDArray[np.int64], windows: Sequence[int] = ()) -> IntervalTally:
    """Goes over the span twice: once for each pixel's mean, once for what lies how far from it.

    Args:
        span: the planes.
        pixels: int64, indices y * W + x of the pixels to look at.
        windows: lengths in planes over which to count; those that fit less than once give NaN.

    Raises:
        ValueError: none of the pixels has three spikes.
    """
    from eventsim.streams.interval_kernels import Sums, deviate, tally

    histogram = np.zeros(LONGEST + 1, np.int64)
    sums = Sums(np.full(len(pixels), -1), *(np.zeros(len(pixels), np.int64) for _ in Sums._fields[1:]))
    chosen = _chosen(pixels, span.shape[1])
    for at, packed in span.chunks():
        tally(packed, at, chosen, sums, histogram)
    enough = sums.intervals >= 2
    if not enough.any():
        raise ValueError(f"expected pixels with three spikes or more, got none in {len(span)} planes")
    histogram -= np.bincount(np.minimum(sums.total[sums.intervals == 1], LONGEST), minlength=LONGEST + 1)
    sums, chosen = Sums(*(each[enough] for each in sums)), _chosen(pixels[enough], span.shape[1])
    last, outlying = np.full(len(sums.last), -1), np.zeros(len(sums.last), np.int64)
    lengths = np.array(windows, np.int64)
    counts, squares = np.zeros((len(lengths), len(last)), np.int64), np.zeros(len(lengths))
    for at, packed in span.chunks():
        deviate(packed, at, chosen, sums, last, outlying, lengths, counts, squares)
    whole = len(span) // lengths * len(last)
    deviation = np.divide(squares, whole, out=np.full(len(lengths), np.nan), where=whole > 0)
    return IntervalTally(sums, outlying, histogram, lengths, deviation)


def _chosen(pixels: NDArray[np.int64], width: int) -> Chosen:
    from eventsim.streams.interval_kernels import Chosen

    rows, columns = np.divmod(pixels, width)
    return Chosen(rows, columns // 8, columns % 8)


def total_variation(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Total variation distance of two histograms of one length, 0 to 1."""
    return 0.5 * float(np.abs(a / a.sum() - b / b.sum()).sum())


def wasserstein(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Wasserstein-1 distance of two histograms with bins one readout apart, in readouts."""
    return float(np.abs(np.cumsum(a / a.sum() - b / b.sum())).sum())
