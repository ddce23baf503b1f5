"""The event camera's pixels between frames, compiled, and their events put in order.

Most pixels make no event between two frames. Whether one surely does not is told by its end points in loops without
branches; the others go one by one through `event_pixel`. Events are written into a band's buffer as they come; where it
is full, the kernel stops before the pixel that did not fit and is called again with a larger one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras import event_model
from eventsim.cameras.kernels.event_pixel import filter_steps, input_line, next_event
from eventsim.cameras.kernels.exponential import decay

Array = NDArray[Any]

_DIM = event_model.DIM


@njit(nogil=True, error_model="numpy")
def _decays(light0: Array, light1: Array, tau_us: float, span: float, per_tau: Array, left: Array) -> None:
    """1 / each pixel's time constant, and exp(-span / time constant)."""
    per_us = 1 / (tau_us * (1 + _DIM))
    for x in range(len(left)):
        mean = 0.5 * (np.float64(light0[x]) + np.float64(light1[x]))
        per_tau[x] = ((mean if mean > 0 else 0.0) + _DIM) * per_us
        left[x] = decay(span * per_tau[x])


@njit(nogil=True)
def _busy_unfiltered(
    before: Array, after: Array, leak: Array, span: float, contrast: Array, on: Array, off: Array,
    reached: Array, busy: Array,
) -> None:  # fmt: skip
    for x in range(len(busy)):
        rise = np.float64(after[x]) - np.float64(before[x])
        end = contrast[x] + (rise + leak[x] * span)
        reached[x] = end
        busy[x] = (end >= on[x]) | (end <= -off[x])


@njit(nogil=True, error_model="numpy")
def _reach_filtered(
    before: Array, after: Array, leak: Array, span: float, per_tau: Array, left: Array, contrast: Array, lag: Array,
    reached: Array, grown: Array,
) -> None:  # fmt: skip
    """Each pixel's contrast at the end of the interval, and what its lag has grown by, if it makes no event."""
    for x in range(len(grown)):
        rise = np.float64(after[x]) - np.float64(before[x])
        grown[x] = (rise / (span * per_tau[x]) - lag[x]) * (1 - left[x])
        reached[x] = contrast[x] + (rise + leak[x] * span - grown[x])


@njit(nogil=True, error_model="numpy")
def _busy_filtered(
    before: Array, after: Array, leak: Array, span: float, per_tau: Array, left: Array, contrast: Array, lag: Array,
    reached: Array, on: Array, off: Array, busy: Array,
) -> None:  # fmt: skip
    """A contrast that does not turn round lies between its ends. If it does, a low-pass filter's output still stays
    among its own start and its input's ends."""
    for x in range(len(busy)):
        rise, behind = np.float64(after[x]) - np.float64(before[x]), lag[x]
        total, drive = rise + leak[x] * span, rise - behind * (span * per_tau[x])
        turns = (total - drive) * (total - drive * left[x]) < 0
        ahead = behind + rise
        upper = behind if behind > ahead else ahead
        lower = ahead if behind > ahead else behind
        highest = contrast[x] + (upper if upper > 0 else 0.0) + leak[x] * span
        lowest = contrast[x] + (lower if lower < 0 else 0.0)
        outside = (reached[x] >= on[x]) | (reached[x] <= -off[x])
        busy[x] = outside | (turns & ((highest >= on[x]) | (lowest <= -off[x])))


@njit(nogil=True)
def _settle(reached: Array, busy: Array, contrast: Array) -> None:
    """Moves the quiet pixels on."""
    for x in range(len(busy)):
        contrast[x] = contrast[x] if busy[x] else reached[x]


@njit(nogil=True)
def _settle_lag(grown: Array, busy: Array, lag: Array) -> None:
    for x in range(len(busy)):
        lag[x] = lag[x] if busy[x] else lag[x] + grown[x]


@njit(nogil=True)
def _awake(shot: Array, blind: Array, t1: float, busy: Array) -> None:
    """Pixels with a candidate for noise, or that are blind, go one by one too."""
    for x in range(len(busy)):
        busy[x] |= (shot[x] <= t1) | (blind[x] >= 0)


@njit(nogil=True, cache=True, error_model="numpy")
def advance(
    times: Array,  # float64 [K + 1], us since the first frame
    response: Array,  # float32 [K + 1, H, W]
    light: Array,  # float32 [K + 1, H, W], luminance
    contrast: Array,  # float64 [H, W], smoothed response over its value at the last event
    first_lag: Array,  # float64 [H, W], how far the filter's first of two stages is behind
    lag: Array,  # float64 [H, W], the same of its last stage
    blind: Array,  # float64 [H, W], us; below 0 where the pixel is awake
    shot: Array,  # float64 [H, W], us, the next candidate for a noise event
    shots: Array,  # uint64 [H, W], candidates so far
    on: Array,  # float32 [H, W]
    off: Array,
    leak: Array,  # per us
    rate: Array,  # candidates per us
    keys: Array,  # uint64 [H, W]
    settings: tuple[float, int, float],  # time constant at luminance 1 (us; 0: no filter), order, refractory (us)
    timed: bool,  # there are candidates for noise or blind pixels
    t_out: Array,  # int64 [N], us; the band's buffer
    x_out: Array,  # uint16 [N]
    y_out: Array,  # uint16 [N]
    p_out: Array,  # bool [N]
    marks: Array,  # int64 [rows, K + 1], events before each interval of each row
    busy: Array,  # uint8 [W], of the row to go on in
    place: tuple[int, int, int, int],  # row, interval and column (-1: a new row) to go on from, and events so far
    row_start: int,
    row_stop: int,
) -> tuple[int, int, int, int]:
    """Events of the rows row_start .. row_stop - 1 over K intervals between frames, which move the state on.

    A row goes through all the intervals before the next one: its state stays near.

    Returns:
        Where it stopped because the buffer is full, or (row_stop, ., ., events) at the end.
    """
    width = contrast.shape[1]
    per_tau, left, reached, grown = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    tau_us, order, refractory = settings
    order = order if tau_us > 0 else 0
    y, interval, column, n = place
    while y < row_stop:
        while interval < len(times) - 1:
            t0, t1 = times[interval], times[interval + 1]
            span, per_us = t1 - t0, 1 / (t1 - t0)
            a, b = response[interval, y], response[interval + 1, y]
            la, lb = light[interval, y], light[interval + 1, y]
            if order > 0:
                _decays(la, lb, tau_us, span, per_tau, left)
            if column < 0:
                # The quiet pixels are moved on here, and the busy ones below, so that a row is gone over once.
                if order == 0:
                    _busy_unfiltered(a, b, leak[y], span, contrast[y], on[y], off[y], reached, busy)
                elif order == 1:
                    _reach_filtered(a, b, leak[y], span, per_tau, left, contrast[y], lag[y], reached, grown)
                    _busy_filtered(
                        a, b, leak[y], span, per_tau, left, contrast[y], lag[y], reached, on[y], off[y], busy
                    )
                else:
                    busy[:] = 1
                if timed:
                    _awake(shot[y], blind[y], t1, busy)
                _settle(reached, busy, contrast[y])
                if order == 1:
                    _settle_lag(grown, busy, lag[y])
            for x in range(max(column, 0), width):
                if busy[x] == 0:
                    continue
                begun = n
                slope = (np.float64(b[x]) - np.float64(a[x])) * per_us
                if order == 0 and not timed:
                    slope += np.float64(leak[y, x])
                    if slope == 0:
                        continue
                    threshold = np.float64(on[y, x]) if slope > 0 else -np.float64(off[y, x])
                    t, level = t0, contrast[y, x]
                    wait, every = max((threshold - level) / slope, 0.0), threshold / slope
                    while t + wait <= t1:
                        if n == len(t_out):
                            return y, interval, x, begun
                        t += wait
                        t_out[n], x_out[n], y_out[n], p_out[n] = np.int64(t), x, y, slope > 0
                        n += 1
                        level, wait = 0.0, every
                    contrast[y, x] = level + slope * (t1 - t)
                    continue
                # What only noise needs is not loaded without it: it would come from far away.
                draws = (np.float64(rate[y, x]), keys[y, x]) if timed else (0.0, np.uint64(0))
                noise = (blind[y, x], shot[y, x], shots[y, x]) if timed else (-math.inf, math.inf, np.uint64(0))
                pixel = (np.float64(on[y, x]), np.float64(off[y, x]), np.float64(leak[y, x]), draws[0], draws[1])
                state = (contrast[y, x], noise[0], noise[1], noise[2])
                glow = np.float64(la[x]), (np.float64(lb[x]) - np.float64(la[x])) * per_us, t0
                tau, inverse, first, last = 0.0, 0.0, 0.0, 0.0
                if order > 0:
                    inverse, first, last = per_tau[x], first_lag[y, x], lag[y, x]
                    tau = 1 / inverse
                steps = filter_steps(span, tau) if order == 2 else 1
                step_us = span / steps
                decayed = left[x] if order == 1 else decay(step_us * inverse)
                for step in range(steps):
                    line, first = input_line(slope, first, tau, order, step_us, decayed)
                    t, ahead = t0 + step * step_us, decayed
                    end = t1 if step == steps - 1 else t + step_us
                    while True:
                        event, polarity, ahead, last, state = next_event(
                            (t, end), line, glow, (tau, inverse, ahead), last, state, pixel, refractory
                        )
                        if event > end:
                            break
                        if n == len(t_out):
                            return y, interval, x, begun
                        t_out[n], x_out[n], y_out[n], p_out[n] = np.int64(event), x, y, polarity
                        n += 1
                        t = event
                contrast[y, x] = state[0]
                if order > 0:
                    first_lag[y, x], lag[y, x] = first, last
                if timed:
                    blind[y, x], shot[y, x], shots[y, x] = state[1], state[2], state[3]
            interval, column = interval + 1, -1
            marks[y - row_start, interval] = n
        y, interval = y + 1, 0
        if y < row_stop:
            marks[y - row_start, 0] = n
    return y, interval, -1, n


@njit(nogil=True, cache=True)
def count_times(t: Array, marks: Array, interval: int, t0: int, counts: Array) -> None:
    """Adds a band's events of one interval to the counts of their microseconds."""
    for row in range(len(marks)):
        for n in range(marks[row, interval], marks[row, interval + 1]):
            counts[t[n] - t0] += 1


@njit(nogil=True, cache=True)
def put_in_order(
    t: Array, x: Array, y: Array, p: Array, marks: Array,  # a band's buffer
    interval: int,
    t0: int,
    origin: int,  # us, added to the times
    places: Array,  # int64, where the next event of each microsecond goes; changed in place
    t_out: Array, x_out: Array, y_out: Array, p_out: Array,
) -> None:  # fmt: skip
    """Moves a band's events of one interval to their places in order of time."""
    for row in range(len(marks)):
        for n in range(marks[row, interval], marks[row, interval + 1]):
            at = places[t[n] - t0]
            places[t[n] - t0] = at + 1
            t_out[at], x_out[at], y_out[at], p_out[at] = t[n] + origin, x[n], y[n], p[n]
