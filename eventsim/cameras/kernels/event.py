"""The event camera's pixel, compiled. `cameras.event.pixel_reference` is the same, to read.

Two passes over each interval between frames: `count` finds how many events each row makes, `fill` writes them to where
the counts say and moves the pixels' state on. Both run the same `_advance`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras.kernels.draws import mix64, uniform
from eventsim.cameras.random import GAMMA

Array = NDArray[Any]


@njit(nogil=True)
def _next_shot(after: float, key: np.uint64, shots: np.uint64, rate_per_us: float) -> float:
    """Time of a pixel's next candidate for a noise event (us): exponential intervals."""
    if rate_per_us <= 0:
        return math.inf
    return after - math.log(1.0 - uniform(mix64(key + (shots + np.uint64(1)) * GAMMA))) / rate_per_us


@njit(nogil=True)
def _shot_accepted(key: np.uint64, shots: np.uint64, level: float, dark: float) -> tuple[bool, bool]:
    """Whether a candidate becomes an event, rarer in bright light, and its polarity."""
    bits = mix64(mix64(key + (shots + np.uint64(1)) * GAMMA))
    luminance = min(max(math.exp(level) - dark, 0.0), 1.0)
    return uniform(bits) < 1.0 - 0.75 * luminance, (bits & np.uint64(1)) == np.uint64(1)


@njit(nogil=True)
def _crossing(t: float, contrast: float, slope: float, on: float, off: float) -> float:
    """When the contrast next reaches a threshold (us), from time t on."""
    if slope > 0:
        return max(t, t + (on - contrast) / slope)
    if slope < 0:
        return max(t, t + (-off - contrast) / slope)
    return math.inf


@njit(nogil=True)
def _advance(
    t0: float,
    t1: float,
    state: tuple[float, float, float, np.uint64],  # contrast, blind until, next shot, shots so far
    first: float,
    second: float,
    on: float,
    off: float,
    key: np.uint64,
    rates: tuple[float, float, float, float],  # leak, shot rate, refractory, dark
    t_out: Array,
    p_out: Array,
) -> tuple[int, tuple[float, float, float, np.uint64]]:
    """Events of one pixel between two frames: their number and the new state; written where there is room for them."""
    d, blind, shot, k = state
    leak, shot_rate, refractory, dark = rates
    rise = (second - first) / (t1 - t0)
    slope = rise + leak * on
    t, n = t0, 0
    while True:
        if blind >= t:
            if blind > t1:
                break
            t, d, blind = blind, 0.0, -1.0
        while shot < t:
            k += np.uint64(1)
            shot = _next_shot(shot, key, k, shot_rate)
        crossing = _crossing(t, d, slope, on, off)
        event = min(crossing, shot)
        if event > t1:
            break
        polarity = slope > 0
        if shot < crossing:
            accepted, polarity = _shot_accepted(key, k, first + rise * (shot - t0), dark)
            k += np.uint64(1)
            shot = _next_shot(shot, key, k, shot_rate)
            if not accepted:
                continue
        t, d = event, 0.0
        if refractory > 0:
            blind = event + refractory
        if n < len(t_out):
            t_out[n], p_out[n] = np.int64(event), polarity
        n += 1
    return n, (d + slope * (t1 - t) if blind < 0 else 0.0, blind, shot, k)


@njit(nogil=True)
def _quiet(t1: float, contrast: float, blind: float, shot: float, rise: float, on: float, off: float) -> bool:
    """Whether a pixel surely makes no event and stays awake: the common case, told by its end points alone."""
    return blind < 0.0 and shot > t1 and -off < contrast + rise < on


@njit(nogil=True, cache=True)
def count(
    t0: float,  # us, the earlier frame's time since the first frame
    t1: float,  # us, the later's
    contrast: Array,  # float64 [H, W], log luminance over the level at the last event
    blind_until: Array,  # float64 [H, W], us; -1 where the pixel is not refractory
    next_shot: Array,  # float64 [H, W], us, the next candidate for a noise event
    shots: Array,  # uint64 [H, W], candidates so far
    first: Array,  # float32 [H, W], log luminance of the earlier frame
    second: Array,  # float32 [H, W], of the later
    on: Array,  # float64 [H, W], thresholds
    off: Array,
    keys: Array,  # uint64 [H, W], the pixels' streams of draws
    rates: tuple[
        float, float, float, float
    ],  # leak (ON thresholds/us), shot candidates/us, refractory us, dark luminance
    counts: Array,  # int64 [H], the result
    row_start: int,
    row_stop: int,
) -> None:
    """Events in each of the rows row_start .. row_stop - 1; the state stays as it is."""
    nowhere, no_polarity = np.zeros(0, np.int64), np.zeros(0, np.bool_)
    for y in range(row_start, row_stop):
        total = 0
        for x in range(contrast.shape[1]):
            a, b = np.float64(first[y, x]), np.float64(second[y, x])
            rise = b - a + rates[0] * on[y, x] * (t1 - t0)
            if _quiet(t1, contrast[y, x], blind_until[y, x], next_shot[y, x], rise, on[y, x], off[y, x]):
                continue
            state = (contrast[y, x], blind_until[y, x], next_shot[y, x], shots[y, x])
            n, _ = _advance(t0, t1, state, a, b, on[y, x], off[y, x], keys[y, x], rates, nowhere, no_polarity)
            total += n
        counts[y] = total


@njit(nogil=True, cache=True)
def fill(
    t0: float,  # arguments as of `count`
    t1: float,
    contrast: Array,
    blind_until: Array,
    next_shot: Array,
    shots: Array,
    first: Array,
    second: Array,
    on: Array,
    off: Array,
    keys: Array,
    rates: tuple[float, float, float, float],
    offsets: Array,  # int64 [H + 1], where each row's events start
    t_out: Array,  # int64 [N], us
    x_out: Array,  # uint16 [N]
    y_out: Array,  # uint16 [N]
    p_out: Array,  # bool [N]
    row_start: int,
    row_stop: int,
) -> None:
    """Writes the events of rows row_start .. row_stop - 1, pixel by pixel, and moves the pixels' state on."""
    for y in range(row_start, row_stop):
        at, end = offsets[y], offsets[y + 1]
        for x in range(contrast.shape[1]):
            a, b = np.float64(first[y, x]), np.float64(second[y, x])
            rise = b - a + rates[0] * on[y, x] * (t1 - t0)
            if _quiet(t1, contrast[y, x], blind_until[y, x], next_shot[y, x], rise, on[y, x], off[y, x]):
                contrast[y, x] += rise
                continue
            state = (contrast[y, x], blind_until[y, x], next_shot[y, x], shots[y, x])
            n, state = _advance(
                t0, t1, state, a, b, on[y, x], off[y, x], keys[y, x], rates, t_out[at:end], p_out[at:end]
            )  # fmt: skip
            contrast[y, x], blind_until[y, x], next_shot[y, x], shots[y, x] = state
            x_out[at : at + n] = x
            y_out[at : at + n] = y
            at += n


@njit(nogil=True, cache=True)
def order_by_time(t: Array, t0: int, t1: int) -> Array:
    """The stable order of events by their times t0 <= t <= t1 (us): a counting sort, int64 [N]."""
    starts = np.zeros(t1 - t0 + 2, np.int64)
    for time in t:
        starts[time - t0 + 1] += 1
    for bucket in range(1, len(starts)):
        starts[bucket] += starts[bucket - 1]
    order = np.empty(len(t), np.int64)
    for n in range(len(t)):
        bucket = t[n] - t0
        order[starts[bucket]] = n
        starts[bucket] += 1
    return order
