"""An event camera's noise from a recording of a still scene: leak, shot noise, noisy pixels, refractory period.

A pixel's reference drifts at a leak rate l (thresholds a second), which makes ON events; shot noise makes events of
both polarities at a rate s, each of which sets the reference back. So ON events beyond the OFF ones come at a rate of
e = s / (exp(s / l) - 1), from which l = s / ln(1 + s / e) (a renewal process; e = l without shot noise).

What differs from pixel to pixel is what two interleaved halves of the recording have in common: their covariance holds
no counting noise. Noisy pixels are those that the others' rates, gamma-distributed with that spread, cannot explain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.calibrate_events.counts import BINS, EDGE, interval_bin
from eventsim.cameras.calibrate_events.pixels import Number, shared_spread
from eventsim.streams.events import Events

Picture = NDArray[np.float64]
_SLICES = 64  # of the recording, by turns one half's and the other's
_ROUNDS = 6
_FEW_INTERVALS = 200
_BEFORE_EDGE = 0.02
_TOLD = 3.0  # standard errors that ON events beyond OFF ones must be of
_BEND = 0.2  # of a leak's spread, where shot noise is as frequent: what a linear law misses, as seen in simulations
_FLAT = (1.3, 3.0)  # intervals of 2 to 4 refractory periods over those of 1 to 2: 2 where their density is even
_SURE_COUNT, _SURE_PIXELS = 20, 1000


@dataclass(frozen=True, eq=False)
class StaticCounts:
    """Events of each pixel in a recording of a still scene.

    Args:
        counts: int64 [2, 2, H, W]: half of the recording, polarity (OFF, ON).
        seconds: length of the recording.
        intervals: int64 [BINS], lengths of the intervals between a pixel's events, see `interval_bin`.
    """

    counts: NDArray[np.int64]
    seconds: float
    intervals: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StaticNoise:
    """Background activity of a camera, in events a second and pixel.

    Args:
        on_hz, off_hz: as counted, without noisy pixels.
        leak_rate_hz: of the reference, in thresholds a second; 0, with an upper bound for an error, where ON events are
            not told to be more than OFF ones (frequent shot noise hides a leak).
        leak_spread: its standard deviation from pixel to pixel, as a share; None where the leak is not told from 0.
        shot_noise_rate_hz: ON and OFF together, in darkness.
        shot_spread: its standard deviation from pixel to pixel, as a share.
        hot_share, hot_rate_hz: share of the noisy pixels and their rate in darkness (median); None without any.
        hot: bool [H, W].
        refractory_us: None where the shortest intervals show no edge.
    """

    on_hz: Number
    off_hz: Number
    leak_rate_hz: Number
    leak_spread: Number | None
    shot_noise_rate_hz: Number
    shot_spread: Number | None
    hot_share: Number
    hot_rate_hz: Number | None
    hot: NDArray[np.bool_]
    refractory_us: Number | None


def count_static(events: Iterable[Events], span_us: tuple[int, int]) -> StaticCounts:
    """Counts the events of a recording.

    Args:
        events: consecutive chunks.
        span_us: the recording's beginning and end.

    Raises:
        ValueError: no events, or a span without length.
    """
    begin, end = span_us
    counts: NDArray[np.int64] | None = None
    intervals = np.zeros(BINS, np.int64)
    last = np.zeros(0, np.int64)
    for chunk in events:
        size = chunk.height * chunk.width
        if counts is None:
            counts, last = np.zeros((2, 2, size), np.int64), np.full(size, np.iinfo(np.int64).min)
            shape = (2, 2, chunk.height, chunk.width)
        pixel = chunk.y.astype(np.int64) * chunk.width + chunk.x
        half = (chunk.t - begin) * _SLICES // max(end - begin, 1) % 2
        counts += np.bincount((half * 2 + chunk.p) * size + pixel, minlength=4 * size).reshape(2, 2, size)
        intervals += _intervals(pixel, chunk.t, last)
    if counts is None or not counts.any() or end <= begin:
        raise ValueError(f"expected events of a still scene over some time, got {end - begin} us")
    return StaticCounts(counts.reshape(shape), (end - begin) * 1e-6, intervals)


def _intervals(pixel: NDArray[np.int64], t: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Histogram of the intervals that end in a chunk; moves `last` [H * W] on."""
    order = np.argsort(pixel, kind="stable")
    pixel, t = pixel[order], t[order]
    first = np.concatenate([[True], pixel[1:] != pixel[:-1]])[: len(pixel)]
    before = np.where(first, last[pixel], np.concatenate([[0], t[:-1]])[: len(t)])
    known = before != np.iinfo(np.int64).min
    last[pixel] = t  # the last of a pixel's values is the one that stays
    return np.bincount(interval_bin(t[known] - before[known]), minlength=BINS)


def static_noise(static: StaticCounts, luminance: float | Picture) -> StaticNoise:
    """The noise of a camera, as its model has it.

    Args:
        static: of `count_static`; a few events a pixel at least, for spreads.
        luminance: of the scene, one number or [H, W]; shot noise falls by three quarters from darkness to 1.

    Raises:
        ValueError: hardly a pixel that is not noisy.
    """
    light = np.clip(np.broadcast_to(np.asarray(luminance, np.float64), static.counts.shape[2:]), 0, 1)
    accepted = 1 - 0.75 * light
    total = static.counts.sum(axis=(0, 1))
    hot = unexplained_pixels(static)
    good = ~hot
    rates = static.counts[:, :, good] / (static.seconds / 2)  # [half, polarity, pixel]
    mean = rates.mean(axis=0)
    off, on, beyond = (_mean(each) for each in (mean[0], mean[1], mean[1] - mean[0]))
    shot = _mean(2 * mean[0] / accepted[good].mean())
    shot_spread = _share(shared_spread(*(2 * rates[:, 0] / accepted[good])), shot.value)
    leak, slopes = _leak(beyond, 2 * off.value)
    # The leak of a pixel, linearised about the mean rates.
    each = slopes[0] * (rates[:, 1] - rates[:, 0]) + slopes[1] * 2 * rates[:, 0]
    leak_spread = _share(shared_spread(*each), leak.value)
    if leak_spread is not None:
        bend = _BEND * leak_spread.value * min(2 * off.value / leak.value, 1.0)
        leak_spread = Number(leak_spread.value, float(np.hypot(leak_spread.error, bend)))
    refractory = refractory_edge(static.intervals)
    number = int(hot.sum())
    awake = static.seconds - total[hot] * (refractory.value * 1e-6 if refractory else 0.0)
    noisy = total[hot] / np.maximum(awake, 0.1 * static.seconds) / accepted[hot]
    spread = 1.25 * noisy.std() / np.sqrt(max(number, 1)) if number else 0.0
    return StaticNoise(
        on_hz=on,
        off_hz=off,
        leak_rate_hz=leak,
        leak_spread=leak_spread,
        shot_noise_rate_hz=shot,
        shot_spread=shot_spread,
        hot_share=Number(number / hot.size, float(np.sqrt(max(number, 1)) / hot.size)),
        hot_rate_hz=Number(float(np.median(noisy)), float(spread)) if number else None,
        hot=hot,
        refractory_us=refractory,
    )


def _mean(values: Picture) -> Number:
    return Number(float(values.mean()), float(values.std() / np.sqrt(values.size)))


def _share(spread: Number | None, mean: float) -> Number | None:
    return Number(spread.value / mean, spread.error / mean) if spread is not None and mean > 0 else None


def _leak(beyond: Number, shot_hz: float) -> tuple[Number, tuple[float, float]]:
    """The leak rate that makes ON events beyond the OFF ones at a rate of `beyond`, and its derivatives by that rate
    and by the shot noise's. 0, with the most that it can be for an error, where the excess is not told from chance."""

    def leak(rate: float, shot: float) -> float:
        if rate <= 0:
            return 0.0
        return float(shot / np.log1p(shot / rate)) if shot > 0 else rate

    if beyond.value < _TOLD * beyond.error:
        return Number(0.0, leak(max(beyond.value, 0.0) + 2 * beyond.error, shot_hz)), (0.0, 0.0)
    value = leak(beyond.value, shot_hz)
    low, high = (leak(beyond.value + sign * beyond.error, shot_hz) for sign in (-1, 1))
    step = 1e-4 * max(beyond.value, 1e-9)
    by_rate = (leak(beyond.value + step, shot_hz) - value) / step
    by_shot = (leak(beyond.value, shot_hz + step) - value) / step
    return Number(value, max(high - value, (high - low) / 2)), (by_rate, by_shot)


def unexplained_pixels(static: StaticCounts) -> NDArray[np.bool_]:
    """Pixels with more events than the others' rates make likely once in twice the sensor: bool [H, W].

    The others' counts are Poisson with gamma-distributed rates (negative binomial), of the mean and the variance
    between halves' common part that they have without those pixels.

    Raises:
        ValueError: fewer than a hundred pixels are left.
    """
    from scipy.stats import nbinom, poisson

    halves = static.counts.sum(axis=1).reshape(2, -1)
    total = halves.sum(axis=0)
    middle = np.median(total)
    most = middle + 10 * np.sqrt(middle + 1)
    for _ in range(_ROUNDS):
        good = total <= most
        if good.sum() < 100:
            raise ValueError(f"expected a still scene with at least 100 pixels that are not noisy, got {good.sum()}")
        mean = float(total[good].mean())
        variance = 4 * float(np.cov(halves[:, good])[0, 1])
        rare = 0.5 / total.size
        if variance > 1e-3 * mean:
            shape = mean**2 / variance
            most = float(nbinom.isf(rare, shape, shape / (shape + mean)))
        else:
            most = float(poisson.isf(rare, mean))
        most = max(most, 2.0)
    found: NDArray[np.bool_] = (total > most).reshape(static.counts.shape[2:])
    return found


def refractory_edge(intervals: NDArray[np.int64]) -> Number | None:
    """The refractory period (us), where intervals begin at one: none before, and as many after as further on.

    Args:
        intervals: int64 [BINS], of noise, whose short intervals are equally frequent but for a dead time.

    Returns:
        None without an edge, or with fewer than 200 intervals up to twice of it.
    """
    below = np.concatenate([[0], np.cumsum(intervals)])
    twice = round(np.log(2) / np.log(EDGE))
    found = None
    for edge in range(1, BINS - 2 * twice):
        here, further = below[edge + twice] - below[edge], below[edge + 2 * twice] - below[edge + twice]
        if here >= _FEW_INTERVALS and below[edge] <= _BEFORE_EDGE * here and _FLAT[0] < further / here < _FLAT[1]:
            found = edge
    if found is None:
        return None
    # Up to the bound before it, even intervals have gone on for so many per cent.
    return Number(float(EDGE**found / (1 + _BEFORE_EDGE / 2)), float(EDGE**found * (EDGE - 1)))


def dead_share(total: NDArray[np.int64]) -> tuple[Number | None, NDArray[np.bool_]]:
    """Pixels without one event where those around have many.

    Args:
        total: int64 [H, W], events of each pixel in all recordings.

    Returns:
        The share of dead pixels among those whose neighbours (median of 3x3) have at least 20 events, with its counting
        error, and which they are; None where fewer than a thousand pixels, or half of them, have such neighbours.
    """
    from scipy.ndimage import median_filter

    sure = median_filter(total, size=3) >= _SURE_COUNT
    dead = sure & (total == 0)
    if sure.sum() < _SURE_PIXELS or sure.mean() < 0.5:
        return None, dead
    number = int(dead.sum())
    return Number(number / int(sure.sum()), float(np.sqrt(max(number, 1)) / sure.sum())), dead
