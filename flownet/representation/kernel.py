"""The temporal distribution of events on the CPU, compiled: one thread, since it runs inside data-loader workers.

Each pass over a slice treats both polarities at once, so that all but the sums of pixels are vector instructions. Sums
may be taken in any order: weights differ from the equations', and between machines, by float64 rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras.kernels.exponential import decay
from flownet.representation.slices import ONE

Array = NDArray[Any]
Pair = tuple[float, float]  # of ON, of OFF
_BLOCK = 1024  # events, whose places and weights stay in the nearest cache
_vector = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@njit(nogil=True, cache=True, error_model="numpy")
def distribute(
    t: Array,  # int64 [N], ascending
    x: Array,  # uint16 [N]
    y: Array,
    p: Array,  # bool [N]
    bounds: Array,  # int64 [S, 2], slice k holds the events bounds[k, 0] .. bounds[k, 1] - 1
    ceil: bool,
    image: Array,  # float32 [S, 2, H, W], the result; what it held before does not matter
) -> None:
    """Each slice's weights, summed in the pixels of their events."""
    density = np.empty(np.max(bounds[:, 1] - bounds[:, 0]), np.float64)
    place, weight = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.float32)
    for k in range(len(bounds)):
        first, stop = bounds[k]
        plane = image[k].reshape(-1)
        plane[:] = 0  # only now, so that the scattered sums below find it in the cache
        if first == stop:
            continue
        count, total = _density(t[first:stop], p[first:stop], density)
        # A polarity without events divides 0 by 0, and nothing takes the result.
        if ceil:
            factor = (ONE * total[0] / count[0], ONE * total[1] / count[1])
        else:
            factor = (count[0] / total[0], count[1] / total[1])
        for n in range(first, stop, _BLOCK):
            end = min(n + _BLOCK, stop)
            _places(x[n:end], y[n:end], p[n:end], image.shape[3], len(plane) // 2, place)
            _weights(density[n - first : end - first], p[n:end], ceil, factor, weight)
            for m in range(end - n):
                plane[place[m]] += weight[m]


@njit(nogil=True, error_model="numpy")
def _density(t: Array, p: Array, density: Array) -> tuple[Pair, Pair]:
    """The normal density of each event's time but for its factor, which cancels; the counts; and the densities' sums.

    In microseconds: a division of all times by the slice's span would divide deviations and their spread alike.
    """
    count, sums = _sums(t, p)
    mean = (sums[0] / max(count[0], 1), sums[1] / max(count[1], 1))
    squares = _squares(t, p, mean)
    least = 1e-4 * max(t[-1] - t[0], 1)  # all at one time: every deviation is 0, so every weight is 1
    sigma_on = np.sqrt(squares[0] / max(count[0] - 1, 1)) + least
    sigma_off = np.sqrt(squares[1] / max(count[1] - 1, 1)) + least
    return count, _densities(t, p, mean, (0.5 / sigma_on**2, 0.5 / sigma_off**2), density)


@_vector
def _sums(t: Array, p: Array) -> tuple[Pair, Pair]:
    """Events, and sum of their times since the slice's first (us)."""
    events, since, since_on = np.int64(0), np.int64(0), np.int64(0)
    for n in range(len(t)):
        on = np.int64(p[n])
        events += on
        since += t[n] - t[0]
        since_on += (t[n] - t[0]) * on
    return (float(events), float(len(t) - events)), (float(since_on), float(since - since_on))


@_vector
def _squares(t: Array, p: Array, mean: Pair) -> Pair:
    """Sum of squared deviations from the mean (us^2)."""
    on, off = 0.0, 0.0
    for n in range(len(t)):
        deviation = np.float64(t[n] - t[0]) - (mean[0] if p[n] else mean[1])
        square = deviation * deviation
        on += square if p[n] else 0.0
        off += 0.0 if p[n] else square
    return on, off


@_vector
def _densities(t: Array, p: Array, mean: Pair, narrowness: Pair, density: Array) -> Pair:
    """exp(-narrowness deviation^2) of each event, and their sums; narrowness: 1 / (2 sigma^2)."""
    on, off = 0.0, 0.0
    for n in range(len(t)):
        deviation = np.float64(t[n] - t[0]) - (mean[0] if p[n] else mean[1])
        value = decay(deviation * deviation * (narrowness[0] if p[n] else narrowness[1]))
        density[n] = value
        on += value if p[n] else 0.0
        off += 0.0 if p[n] else value
    return on, off


@_vector
def _places(x: Array, y: Array, p: Array, width: int, pixels: int, place: Array) -> None:
    """Where each event's pixel lies in the images of ON and OFF, [2, H, W] in a row."""
    for n in range(len(x)):
        off = np.uint32(0) if p[n] else np.uint32(pixels)
        place[n] = np.uint32(y[n]) * np.uint32(width) + np.uint32(x[n]) + off


@_vector
def _weights(density: Array, p: Array, ceil: bool, factor: Pair, weight: Array) -> None:
    """Densities times the factor; with ceil, 2 for those over the factor and 1 for the others."""
    for n in range(len(density)):
        of = factor[0] if p[n] else factor[1]
        if ceil:
            weight[n] = np.float32(2) if density[n] > of else np.float32(1)
        else:
            weight[n] = density[n] * of
