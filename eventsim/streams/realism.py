"""Statistics of a spike stream under steady light, and the distance between a simulated and a real one.

An ideal integrator under steady light has intervals of at most two values, floor(m) and floor(m) + 1 for a mean of m,
with variance f (1 - f) for f = m - floor(m); noise shows as what exceeds that. Only compare still regions: motion
widens intervals as noise does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.spikes import SpikeStream

_PIXELS = 4000
_LONGEST = 256


@dataclass(frozen=True)
class SpikeStatistics:
    """Statistics of the intervals between a pixel's spikes (in readouts), pooled over sampled pixels.

    Args:
        mean_rate: spikes per readout.
        two_valued_share: share of pixels whose intervals take at most two values.
        excess_variance: mean over pixels of the interval variance beyond f (1 - f).
        outlying_share: share of intervals that are 1 or more from their pixel's mean.
        lag1_correlation: mean over pixels of the correlation of successive intervals.
        plane_mean_deviation: standard deviation of the planes' means over its value for independent pixels.
    """

    mean_rate: float
    two_valued_share: float
    excess_variance: float
    outlying_share: float
    lag1_correlation: float
    plane_mean_deviation: float


@dataclass(frozen=True)
class Realism:
    """A simulated stream beside a real one; `print` it for a table.

    Args:
        simulated, real: their statistics.
        interval_distance: total variation distance between the pooled interval histograms, 0 to 1.
    """

    simulated: SpikeStatistics
    real: SpikeStatistics
    interval_distance: float

    def __str__(self) -> str:
        rows = [f"{'statistic':<24}{'simulated':>12}{'real':>12}"]
        real = asdict(self.real)
        rows += [f"{name:<24}{value:>12.5f}{real[name]:>12.5f}" for name, value in asdict(self.simulated).items()]
        return "\n".join([*rows, f"{'interval_distance':<24}{self.interval_distance:>12.5f}"])


def compare_streams(simulated: SpikeStream, real: SpikeStream, *, pixels: int = _PIXELS, seed: int = 0) -> Realism:
    """How far a simulated stream is from a real one, statistic by statistic.

    Args:
        simulated, real: streams of still scenes, at least a few intervals long at most pixels.
        pixels: how many pixels to sample from each.
        seed: of the sample.

    Raises:
        ValueError: a stream in which no sampled pixel has three spikes.
    """
    ours, theirs = (_intervals(stream, pixels, seed) for stream in (simulated, real))
    distance = 0.5 * float(np.abs(_histogram(ours) - _histogram(theirs)).sum())
    return Realism(_statistics(simulated, ours), _statistics(real, theirs), distance)


def _intervals(stream: SpikeStream, pixels: int, seed: int) -> list[NDArray[np.int64]]:
    """The intervals of each sampled pixel that has at least three spikes."""
    total = stream.height * stream.width
    chosen = np.random.default_rng(seed).choice(total, min(pixels, total), replace=False)
    spikes = _series(stream, np.sort(chosen))
    intervals = [np.diff(np.flatnonzero(series)) for series in spikes.T]
    long_enough = [each for each in intervals if len(each) >= 2]
    if not long_enough:
        raise ValueError(f"expected pixels with three spikes or more, got none in {len(stream)} planes")
    return long_enough


def _series(stream: SpikeStream, pixels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bits of some pixels over time: uint8 [T, pixels]."""
    rows, columns = np.divmod(pixels, stream.width)
    bits: NDArray[np.uint8] = (stream.packed[:, rows, columns // 8] >> (columns % 8).astype(np.uint8)) & np.uint8(1)
    return bits


def _histogram(intervals: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    counts = np.bincount(np.minimum(np.concatenate(intervals), _LONGEST), minlength=_LONGEST + 1)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _statistics(stream: SpikeStream, intervals: list[NDArray[np.int64]]) -> SpikeStatistics:
    means = np.array([each.mean() for each in intervals])
    variances = np.array([each.var() for each in intervals])
    fraction = means - np.floor(means)
    away = np.concatenate([np.abs(each - mean) >= 1 for each, mean in zip(intervals, means, strict=True)])
    lags = [_lag1(each) for each in intervals if len(each) >= 4 and each.std() > 0]
    return SpikeStatistics(
        mean_rate=float(stream.rate().mean()),
        two_valued_share=float(np.mean([len(np.unique(each)) <= 2 for each in intervals])),
        excess_variance=float(np.mean(variances - fraction * (1 - fraction))),
        outlying_share=float(away.mean()),
        lag1_correlation=float(np.mean(lags)) if lags else float("nan"),
        plane_mean_deviation=_plane_mean_deviation(stream),
    )


def _lag1(intervals: NDArray[np.int64]) -> float:
    centred = intervals - intervals.mean()
    return float((centred[1:] * centred[:-1]).mean() / (centred**2).mean())


def _plane_mean_deviation(stream: SpikeStream) -> float:
    means = np.array([stream.planes(n, n + 1).mean() for n in range(len(stream))])
    rate = stream.rate().astype(np.float64)
    independent = np.sqrt((rate * (1 - rate)).sum()) / rate.size
    return float(means.std() / independent) if independent > 0 else float("nan")
