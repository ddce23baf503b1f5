"""The event camera's pixels between frames, compiled, and their events put in order.

Pixels are taken in strips, row after row. Most make no event between two frames. Whether one surely does not is told by
its end points in loops without branches; the others go through `event_lanes`. Events are written into a band's buffer
as they come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras import event_model
from eventsim.cameras.kernels.event_lanes import FIELDS, LANES, fill_lanes, go_on
from eventsim.cameras.kernels.exponential import decay

Array = NDArray[Any]
#: Pixels whose state stays in the nearer caches.
STRIP = 2048

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


@njit(nogil=True)
def _find(busy: Array, places: Array) -> int:
    """The places of the busy pixels, and how many there are."""
    count = 0
    for x in range(len(busy)):
        places[count] = x
        count += busy[x]
    return count


@njit(nogil=True, error_model="numpy")
def _ramps(
    places: Array, first: int, count: int, start: int, width: int,
    span: tuple[float, float], before: Array, after: Array, leak: Array, on: Array, off: Array, contrast: Array,
    t_out: Array, x_out: Array, y_out: Array, p_out: Array, n: int,
) -> tuple[int, int]:  # fmt: skip
    """Crossings one threshold apart on lines, of the pixels at some places of a strip.

    Returns:
        The first pixel for whose events there was no room (`count` if there was), and events so far.
    """
    t0, t1 = span
    for k in range(first, count):
        x, begun = places[k], n
        pixel = np.uint32(start + x)
        row = pixel // np.uint32(width)
        column = pixel - row * np.uint32(width)
        slope = (np.float64(after[x]) - np.float64(before[x])) / (t1 - t0) + np.float64(leak[x])
        if slope == 0:  # rounding may have left the contrast at a threshold
            continue
        threshold = np.float64(on[x]) if slope > 0 else -np.float64(off[x])
        t, level = t0, contrast[x]
        wait, every = max((threshold - level) / slope, 0.0), threshold / slope
        while t + wait <= t1:
            if n == len(t_out):
                return k, begun
            t += wait
            t_out[n], x_out[n], y_out[n], p_out[n] = np.int64(t), column, row, slope > 0
            n += 1
            level, wait = 0.0, every
        contrast[x] = level + slope * (t1 - t)
    return count, n


@njit(nogil=True)
def _with_room(t: Array, x: Array, y: Array, p: Array, n: int, more: int) -> tuple[Array, Array, Array, Array]:
    """The buffers of a band with room for more events behind the first n."""
    if n + more <= len(t):
        return t, x, y, p
    room = 2 * (n + more)
    longer = np.empty(room, np.int64), np.empty(room, np.uint16), np.empty(room, np.uint16), np.empty(room, np.bool_)
    longer[0][:n], longer[1][:n], longer[2][:n], longer[3][:n] = t[:n], x[:n], y[:n], p[:n]
    return longer


@njit(nogil=True, cache=True, error_model="numpy")
def advance(
    times: Array,  # float64 [K + 1], us since the first frame
    response: Array,  # float32 [K + 1, pixels], row after row
    light: Array,  # float32 [K + 1, pixels], luminance
    contrast: Array,  # float64 [pixels], smoothed response over its value at the last event
    first_lag: Array,  # float64 [pixels], how far the filter's first of two stages is behind
    lag: Array,  # float64 [pixels], the same of its last stage
    blind: Array,  # float64 [pixels], us; below 0 where the pixel is awake
    shot: Array,  # float64 [pixels], us, the next candidate for a noise event
    shots: Array,  # uint64 [pixels], candidates so far
    on: Array,  # float32 [pixels]
    off: Array,
    leak: Array,  # per us
    rate: Array,  # candidates per us
    keys: Array,  # uint64 [pixels]
    settings: tuple[float, int, float],  # time constant at luminance 1 (us; 0: no filter), order, refractory (us)
    timed: bool,  # there are candidates for noise or blind pixels
    t_out: Array,  # int64 [N], us; the band's buffers
    x_out: Array,  # uint16 [N]
    y_out: Array,  # uint16 [N]
    p_out: Array,  # bool [N]
    marks: Array,  # int64 [strips, K + 1], events before each interval of each strip
    width: int,
    first_strip: int,
) -> tuple[Array, Array, Array, Array]:
    """Events of the strips from the first on over K intervals between frames, which move the state on.

    A strip goes through all the intervals before the next one: its state stays near.

    Returns:
        The buffers, longer ones if the events needed more room.
    """
    tau_us, order, refractory = settings
    order = order if tau_us > 0 else 0
    lanes, places, steps = np.zeros(FIELDS * LANES), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    found = np.zeros(STRIP + 1, np.int64)
    n = 0
    for strip in range(len(marks)):
        marks[strip, 0] = n
        start = (first_strip + strip) * STRIP
        stop = min(start + STRIP, len(contrast))
        # Views are made once a strip: counting their references costs as much as an event.
        contrasts, first_lags, lags, blinds = (
            contrast[start:stop],
            first_lag[start:stop],
            lag[start:stop],
            blind[start:stop],
        )
        next_shots, seen_shots, rates, draws = shot[start:stop], shots[start:stop], rate[start:stop], keys[start:stop]
        ons, offs, leaks = on[start:stop], off[start:stop], leak[start:stop]
        size = stop - start
        per_tau, left, reached, grown = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
        busy = np.zeros(size, np.uint8)
        for interval in range(len(times) - 1):
            t0, t1 = times[interval], times[interval + 1]
            span = t1 - t0
            a, b = response[interval, start:stop], response[interval + 1, start:stop]
            la, lb = light[interval, start:stop], light[interval + 1, start:stop]
            # The quiet pixels are moved on here, and the busy ones below, so that a strip is gone over once.
            if order > 0:
                _decays(la, lb, tau_us, span, per_tau, left)
            if order == 0:
                _busy_unfiltered(a, b, leaks, span, contrasts, ons, offs, reached, busy)
            elif order == 1:
                _reach_filtered(a, b, leaks, span, per_tau, left, contrasts, lags, reached, grown)
                _busy_filtered(a, b, leaks, span, per_tau, left, contrasts, lags, reached, ons, offs, busy)
            else:
                busy[:] = 1
            if timed:
                _awake(next_shots, blinds, t1, busy)
            _settle(reached, busy, contrasts)
            if order == 1:
                _settle_lag(grown, busy, lags)
            many, first = _find(busy, found), 0
            while first < many:
                if order == 0 and not timed:
                    first, n = _ramps(
                        found, first, many, start, width, (t0, t1), a, b, leaks, ons, offs, contrasts,
                        t_out, x_out, y_out, p_out, n,
                    )  # fmt: skip
                    if first < many:
                        t_out, x_out, y_out, p_out = _with_room(t_out, x_out, y_out, p_out, n, len(t_out) + many)
                    continue
                count = min(many - first, LANES)
                places[:count] = found[first : first + count]
                first += count
                fill_lanes(
                    lanes, places, steps, count, (t0, t1), a, b, per_tau,
                    contrasts, first_lags, lags, blinds, ons, offs, leaks, order,
                )  # fmt: skip
                while count > 0:
                    if n + count > len(t_out):
                        t_out, x_out, y_out, p_out = _with_room(t_out, x_out, y_out, p_out, n, count)
                    count, n = go_on(
                        lanes, places, steps, count, start, width, (t0, t1), a, b, la, lb,
                        contrasts, first_lags, lags, blinds, next_shots, seen_shots, rates, draws,
                        order, refractory, timed, t_out, x_out, y_out, p_out, n,
                    )  # fmt: skip
            marks[strip, interval + 1] = n
    return t_out, x_out, y_out, p_out


@njit(nogil=True, cache=True)
def count_times(t: Array, marks: Array, interval: int, t0: int, counts: Array) -> None:
    """Adds a band's events of one interval to the counts of their microseconds."""
    for strip in range(len(marks)):
        for n in range(marks[strip, interval], marks[strip, interval + 1]):
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
    for strip in range(len(marks)):
        for n in range(marks[strip, interval], marks[strip, interval + 1]):
            at = places[t[n] - t0]
            places[t[n] - t0] = at + 1
            t_out[at], x_out[at], y_out[at], p_out[at] = t[n] + origin, x[n], y[n], p[n]
