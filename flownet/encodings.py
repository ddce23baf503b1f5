"""Other pictures of events than their temporal distribution: voxel grid, count image and time surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from eventsim.streams.events import Events

Array = NDArray[Any]


def voxel_grid(
    events: Events,
    bins: int = 5,
    window: tuple[int, int] | None = None,  # [t0, t1), microseconds
) -> Tensor:
    """Signed polarities in bins of time, each event shared between the two bins that it lies between.

    V(b, y, x) = sum of p_i max(0, 1 - |b - t_i*|) over the events at (x, y), with p_i = 1 (ON) or -1 (OFF) and
    t* = (B - 1) (t - t0) / (t1 - t0): Zhu et al., "Unsupervised Event-Based Learning of Optical Flow, Depth, and
    Egomotion", CVPR 2019, equations 1 and 2. There t0 and t1 are the times of the first and last event; so they are
    without a window. With one bin, and where all events have one time, each counts whole in bin 0.

    Args:
        events: events.
        bins: number of bins B.
        window: only the events with t0 <= t < t1, and bins over all of it, whenever its first and last event happened.

    Returns:
        float32 [B, H, W]; 0 without events.

    Raises:
        ValueError: no bins, or a window that ends before it starts.
    """
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}")
    grid = np.zeros((bins, events.height, events.width), np.float32)
    events = _within(events, window)
    if len(events):
        start, stop = window if window is not None else (int(events.t[0]), int(events.t[-1]))
        t, x, y, p = (np.ascontiguousarray(column) for column in (events.t, events.x, events.y, events.p))
        _share(t, x, y, p, start, max(stop - start, 1), grid)
    return torch.from_numpy(grid)


@njit(nogil=True, cache=True, error_model="numpy")
def _share(t: Array, x: Array, y: Array, p: Array, start: int, span: int, grid: Array) -> None:
    """Adds every event to its bins. A product of integers before the quotient: the last bin's place is exact."""
    for n in range(len(t)):
        place = (t[n] - start) * (len(grid) - 1) / span
        lower = np.uint64(place)  # unsigned, which spares the test for an index from the end
        sign, share = np.float32(1 if p[n] else -1), np.float32(place - np.float64(lower))
        grid[lower, y[n], x[n]] += sign * (np.float32(1) - share)
        if share > 0:
            grid[lower + np.uint64(1), y[n], x[n]] += sign * share


def count_image(
    events: Events,
    window: tuple[int, int] | None = None,  # [t0, t1), microseconds
) -> Tensor:
    """Number of events of each pixel and polarity.

    Args:
        events: events.
        window: only the events with t0 <= t < t1.

    Returns:
        float32 [2, H, W], ON then OFF.

    Raises:
        ValueError: a window that ends before it starts.
    """
    events = _within(events, window)
    shape = (2, events.height, events.width)
    counts = np.bincount(np.ravel_multi_index(_places(events), shape), minlength=2 * events.height * events.width)
    return torch.from_numpy(counts.reshape(shape).astype(np.float32))


def time_surface(
    events: Events,
    *,
    tau_us: float,
    at_us: int | None = None,
) -> Tensor:
    """How recently each pixel had an event: exp(-(t - t_last) / tau), 0 where it had none.

    Lagorce et al., "HOTS: A Hierarchy of Event-Based Time-Surfaces for Pattern Recognition", TPAMI 2017, equation 3,
    for the whole sensor and both polarities.

    Args:
        events: events.
        tau_us: time constant of the decay.
        at_us: time t of the surface; later events do not count, those at t do, with 1. By default the last event's.

    Returns:
        float32 [2, H, W], ON then OFF, 0..1.

    Raises:
        ValueError: a time constant that is not positive.
    """
    if not tau_us > 0:
        raise ValueError(f"expected a positive time constant, got {tau_us} us")
    age = np.full((2, events.height, events.width), np.inf)
    if at_us is not None:
        events = events[: int(np.searchsorted(events.t, at_us, side="right"))]
    if len(events):
        now = int(events.t[-1]) if at_us is None else at_us
        age[_places(events)] = now - events.t  # of a pixel's events the last counts: NumPy keeps the last one given
    return torch.from_numpy(np.exp(-age / tau_us).astype(np.float32))


def _within(events: Events, window: tuple[int, int] | None) -> Events:
    if window is None:
        return events
    if window[1] < window[0]:
        raise ValueError(f"expected a window that ends after it starts, got {window[0]} to {window[1]} us")
    return events.window(*window)


def _places(events: Events) -> tuple[Array, Array, Array]:
    """Index of each event's pixel in [2, H, W]."""
    return 1 - events.p.astype(np.intp), events.y.astype(np.intp), events.x.astype(np.intp)
