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
from eventsim.cameras.kernels.event_pixel import advance_pixel, noisy_ramp, noisy_wave, ramp

Array = NDArray[Any]

_LN_2, _LOG2_E, _LOWEST = 0.6931471805599453, 1.4426950408889634, -700.0
_BIAS, _EXPONENT_STEP = np.int64(1023), np.int64(1 << 52)
# Chebyshev fit of exp(-f) for |f| <= ln(2) / 2, error 1e-14.
_EXP = (
    1.0000000000000144,
    -1.0000000000000062,
    0.499999999994372,
    -0.166666666665749,
    0.04166666704165915,
    -0.008333333376807589,
    0.0013888801551790373,
    -0.00019841182480732257,
    2.4884558901183622e-05,
    -2.7634939223285917e-06,
)
_DIM = event_model.DIM


@njit(nogil=True, error_model="numpy")
def _decay(light0: Array, light1: Array, tau_us: float, span: float, tau: Array, left: Array) -> None:
    """Each pixel's time constant, and exp(-span / tau): its float's exponent and a polynomial for the rest."""
    for x in range(len(tau)):
        mean = 0.5 * (np.float64(light0[x]) + np.float64(light1[x]))
        tau[x] = tau_us * (1 + _DIM) / ((mean if mean > 0 else 0.0) + _DIM)
        rate = -span / tau[x]
        exponent = rate if rate > _LOWEST else _LOWEST
        whole = np.int32(exponent * _LOG2_E - 0.5)  # rounded to the nearest
        f = np.float64(whole) * _LN_2 - exponent
        # The bits of the float 2^whole.
        power = np.int64((np.int64(whole) + _BIAS) * _EXPONENT_STEP).view(np.float64)
        low = _EXP[0] + f * (_EXP[1] + f * (_EXP[2] + f * (_EXP[3] + f * _EXP[4])))
        high = _EXP[5] + f * (_EXP[6] + f * (_EXP[7] + f * (_EXP[8] + f * _EXP[9])))
        left[x] = power * (low + f * f * f * f * f * high)


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
    before: Array, after: Array, leak: Array, span: float, tau: Array, left: Array, contrast: Array, lag: Array,
    reached: Array, grown: Array,
) -> None:  # fmt: skip
    """Each pixel's contrast at the end of the interval, and what its lag has grown by, if it makes no event."""
    for x in range(len(grown)):
        rise = np.float64(after[x]) - np.float64(before[x])
        grown[x] = (rise / span * tau[x] - lag[x]) * (1 - left[x])
        reached[x] = contrast[x] + (rise + leak[x] * span - grown[x])


@njit(nogil=True, error_model="numpy")
def _busy_filtered(
    before: Array, after: Array, leak: Array, span: float, tau: Array, left: Array, contrast: Array, lag: Array,
    reached: Array, on: Array, off: Array, busy: Array,
) -> None:  # fmt: skip
    """A contrast that does not turn round lies between its ends. If it does, a low-pass filter's output still stays
    among its own start and its input's ends."""
    for x in range(len(busy)):
        rise, behind = np.float64(after[x]) - np.float64(before[x]), lag[x]
        total, drive = rise / span + leak[x], rise / span - behind / tau[x]
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


@njit(nogil=True, cache=True)
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
    tau, left, reached, grown = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    tau_us, order = settings[0], settings[1]
    y, interval, column, n = place
    while y < row_stop:
        while interval < len(times) - 1:
            t0, t1 = times[interval], times[interval + 1]
            span = t1 - t0
            a, b = response[interval, y], response[interval + 1, y]
            la, lb = light[interval, y], light[interval + 1, y]
            if tau_us > 0 and order == 1:
                _decay(la, lb, tau_us, span, tau, left)
            if column < 0:
                # The quiet pixels are moved on here, and the busy ones below, so that a row is gone over once.
                if tau_us == 0:
                    _busy_unfiltered(a, b, leak[y], span, contrast[y], on[y], off[y], reached, busy)
                elif order == 1:
                    _reach_filtered(a, b, leak[y], span, tau, left, contrast[y], lag[y], reached, grown)
                    _busy_filtered(a, b, leak[y], span, tau, left, contrast[y], lag[y], reached, on[y], off[y], busy)
                else:
                    busy[:] = 1
                if timed:
                    _awake(shot[y], blind[y], t1, busy)
                _settle(reached, busy, contrast[y])
                if tau_us > 0:
                    _settle_lag(grown, busy, lag[y])
            for x in range(max(column, 0), width):
                if busy[x] == 0:
                    continue
                thresholds = np.float64(on[y, x]), np.float64(off[y, x]), np.float64(leak[y, x])
                # What only noise needs is not loaded without it: it would come from far away.
                chance = (np.float64(rate[y, x]), keys[y, x]) if timed else (0.0, np.uint64(0))
                pixel = (*thresholds, *chance)
                rise = np.float64(b[x]) - np.float64(a[x])
                level, lights = contrast[y, x], (np.float64(la[x]), np.float64(lb[x]))
                noise = (blind[y, x], shot[y, x], shots[y, x]) if timed else (-math.inf, math.inf, np.uint64(0))
                if tau_us == 0 and not timed:
                    more, level = ramp((t0, t1), rise, level, *thresholds, t_out[n:], p_out[n:])
                elif tau_us == 0:
                    more, changed = noisy_ramp(
                        (t0, t1), rise, lights, (level, *noise), pixel, settings[2], t_out[n:], p_out[n:]
                    )
                    level, noise = changed[0], changed[1:]
                elif order == 1:
                    filtered = tau[x], left[x], lag[y, x]
                    more, behind, changed = noisy_wave(
                        (t0, t1), rise, lights, filtered, (level, *noise), pixel, settings[2], t_out[n:], p_out[n:]
                    )
                    level, noise = changed[0], changed[1:]
                    if more >= 0:
                        lag[y, x] = behind
                else:
                    state = (level, first_lag[y, x], lag[y, x], *noise)
                    more, after_all = advance_pixel(
                        (t0, t1), rise, lights, state, pixel, settings, t_out[n:], p_out[n:]
                    )
                    level, noise = after_all[0], after_all[3:]
                    if more >= 0:
                        first_lag[y, x], lag[y, x] = after_all[1], after_all[2]
                if more < 0:
                    return y, interval, x, n
                contrast[y, x] = level
                if timed:
                    blind[y, x], shot[y, x], shots[y, x] = noise
                x_out[n : n + more] = x
                y_out[n : n + more] = y
                n += more
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
