"""The temporal distribution of events: slices in which each event weighs by how typical its time is.

Ding et al., "Spatio-Temporal Recurrent Networks for Event-Based Optical Flow Estimation", AAAI 2022, section 3.1.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream

Array = NDArray[Any]
_ONE = 1 + 1e-9  # weights up to here are 1 but for rounding


def temporal_distribution(
    events: Events | SpikeStream,
    slices: int = 5,
    window: tuple[int, int] | None = None,  # [t0, t1), microseconds
    weights: Literal["float", "ceil"] = "float",
    *,
    by: Literal["count", "time"] = "count",
) -> Tensor:
    """Events as an image sequence of their temporal distribution.

    Within a slice, times are scaled to 0..1 over both polarities. With the mean and the standard deviation (unbiased,
    plus 1e-4) of a polarity's N times, its event k weighs w_k = N g_k / sum(g), where g is the normal density of the
    event's time; a pixel is the sum of the weights of its events. The weights of a slice and polarity sum to N. Where
    a polarity has one event, or all at one time, each weighs 1; a slice without events is 0.

    Args:
        events: events, or spikes. Each spike is an event of one polarity at its readout time.
        slices: number of slices S, in order of time.
        window: only the events (readouts) with t0 <= t < t1.
        weights: "float" as above; "ceil" as the authors' code, in which each event weighs 1 or 2 (ceil(w_k), which is
            2 for an event likelier than the mean and 1 for the others), without the wrap of its uint8 storage above
            255.
        by: "count": slices of equal event count. The authors' code drops the remainder of M / S events, and so does
            "ceil"; "float" drops none: slice k holds events k M // S up to (k + 1) M // S. "time": slices of equal
            time of the requested window, which does not depend on when its first and last event happened.
            Spikes come on a clock, so for them both mean equal numbers of planes, split as in "float".

    Returns:
        float32 [S, 2, H, W], ON then OFF; of spikes [S, 1, H, W].

    Raises:
        ValueError: no slices, an unknown form, a window that ends before it starts, or by="time" without a window.

    Example:
        >>> events = Events.from_tonic(recording, width=346, height=260)
        >>> temporal_distribution(events, window=(0, 31_250)).shape
        torch.Size([5, 2, 260, 346])
    """
    _check(slices, window, weights, by)
    if isinstance(events, SpikeStream):
        return torch.from_numpy(_of_spikes(events, slices, window, weights == "ceil"))
    if window is not None:
        events = events.window(*window)
    if by == "time" and window is not None:
        edges = np.searchsorted(events.t, _time_edges(window, slices), side="left")
    else:
        edges = _count_edges(len(events), slices, drop_remainder=weights == "ceil")
    image = np.zeros((slices, 2, events.height, events.width), np.float32)
    t, x, y, p = (np.ascontiguousarray(column) for column in (events.t, events.x, events.y, events.p))
    _distribute(t, x, y, p, edges, weights == "ceil", image)
    return torch.from_numpy(image)


@njit(nogil=True, cache=True)
def _distribute(
    t: Array,  # int64 [N], ascending
    x: Array,
    y: Array,
    p: Array,  # bool [N]
    edges: Array,  # int64 [S + 1], slice k holds the events edges[k] .. edges[k + 1] - 1
    ceil: bool,
    image: Array,  # float32 [S, 2, H, W], the result
) -> None:
    """Adds every event's weight to its pixel. Single-threaded: it runs inside data-loader workers."""
    density = np.empty(np.max(edges[1:] - edges[:-1]), np.float64)
    for k in range(len(edges) - 1):
        first, stop = edges[k], edges[k + 1]
        if first == stop:
            continue
        span = max(t[stop - 1] - t[first], 1)  # all at one time: every deviation is 0, so every weight is 1
        count, mean, spread, total = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
        for n in range(first, stop):
            count[int(p[n])] += 1
            mean[int(p[n])] += (t[n] - t[first]) / span
        mean /= np.maximum(count, 1)
        for n in range(first, stop):
            spread[int(p[n])] += ((t[n] - t[first]) / span - mean[int(p[n])]) ** 2
        sigma = np.sqrt(spread / np.maximum(count - 1, 1)) + 1e-4
        for n in range(first, stop):
            z = ((t[n] - t[first]) / span - mean[int(p[n])]) / sigma[int(p[n])]
            # The factor 1 / (sqrt(2 pi) sigma) of the density cancels.
            density[n - first] = np.exp(-0.5 * z * z)
            total[int(p[n])] += density[n - first]
        for n in range(first, stop):
            weight = count[int(p[n])] * density[n - first] / total[int(p[n])]
            image[k, 1 - int(p[n]), y[n], x[n]] += _rounded(weight) if ceil else weight


@njit(nogil=True, cache=True)
def _rounded(weight: float) -> float:
    """ceil(weight); weights that are 1 but for rounding (any two events, say), which the original leaves to chance,
    as 1."""
    return 2.0 if weight > _ONE else 1.0


def _of_spikes(stream: SpikeStream, slices: int, window: tuple[int, int] | None, ceil: bool) -> NDArray[np.float32]:
    """As `_distribute`; but all spikes of a plane have one time, so one weight."""
    start, stop = 0, len(stream)
    if window is not None:
        readout_us = np.arange(1, len(stream) + 1) * 1e6 / stream.readout_hz
        start, stop = (int(n) for n in np.searchsorted(readout_us, window, side="left"))
    edges = start + _count_edges(stop - start, slices, drop_remainder=False)
    image = np.zeros((slices, 1, stream.height, stream.width), np.float32)
    for k in range(slices):
        counts = np.bitwise_count(stream.packed[edges[k] : edges[k + 1]]).sum(axis=(1, 2), dtype=np.int64)
        weights = _plane_weights(counts, ceil)
        for n in range(0, len(weights), 64):
            planes = stream.planes(edges[k] + n, min(edges[k] + n + 64, edges[k + 1]))
            image[k, 0] += np.einsum("n,nhw->hw", weights[n : n + 64], planes)
    return image


def _plane_weights(counts: NDArray[np.int64], ceil: bool) -> NDArray[np.float32]:
    """The weight of a spike in each plane of a slice, from the number of spikes in each: float32 [n]."""
    occupied = np.flatnonzero(counts)
    if not occupied.size:
        return np.zeros(len(counts), np.float32)
    number = counts.sum()
    time = (np.arange(len(counts)) - occupied[0]) / max(occupied[-1] - occupied[0], 1)
    deviation = time - (counts * time).sum() / number
    sigma = np.sqrt((counts * deviation**2).sum() / max(number - 1, 1)) + 1e-4
    density = np.exp(-0.5 * (deviation / sigma) ** 2)
    weights = number * density / (counts * density).sum()
    return (np.where(weights > _ONE, 2, 1) if ceil else weights).astype(np.float32)


def _count_edges(number: int, slices: int, *, drop_remainder: bool) -> NDArray[np.int64]:
    whole = np.arange(slices + 1, dtype=np.int64)
    return whole * (number // slices) if drop_remainder else whole * number // slices


def _time_edges(window: tuple[int, int], slices: int) -> NDArray[np.int64]:
    """The first microsecond of each slice, and the end: an event at t is in slice floor((t - t0) S / (t1 - t0))."""
    start, stop = window
    return start - (np.arange(slices + 1, dtype=np.int64) * (start - stop)) // slices


def _check(slices: int, window: tuple[int, int] | None, weights: str, by: str) -> None:
    if slices < 1:
        raise ValueError(f"expected at least one slice, got {slices}")
    if weights not in ("float", "ceil"):
        raise ValueError(f"expected weights 'float' or 'ceil', got {weights!r}")
    if by not in ("count", "time"):
        raise ValueError(f"expected by 'count' or 'time', got {by!r}")
    if window is not None and window[1] < window[0]:
        raise ValueError(f"expected a window that ends after it starts, got {window[0]} to {window[1]} us")
    if by == "time" and window is None:
        raise ValueError("expected a window for slices of equal time, got None")
