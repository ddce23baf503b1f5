"""Passes over events, compiled: the intervals between a pixel's events, its company, shared times, counts in windows.

The kernels are called on consecutive pieces of a stream and carry their state from one to the next, so that how the
stream is cut changes nothing. Times count from the stretch's start.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
#: The time of an event that never was: before any time, and far enough from the end of int64 to subtract from.
NEVER = -(1 << 61)
#: Pixels that lie so far apart are compared in count images.
LAGS = (1, 2, 4)


class Intervals(NamedTuple):
    """What the intervals between a pixel's successive events add up to.

    Args:
        last: int64 [H, W], time of the latest event, NEVER before the first.
        on: uint8 [H, W], 1 where that was ON.
        latest: int64 [H, W], the latest interval, -1 before there is one.
        edges: float64 [B - 1], bounds of the bins: bin k holds those from edges[k - 1] to below edges[k].
        same, opposite: int64 [B], intervals between events of one polarity, and of both.
        irregular: float64 [2], sum of 2 |a - b| / (a + b) over successive intervals a and b, and their number.
    """

    last: Array
    on: Array
    latest: Array
    edges: Array
    same: Array
    opposite: Array
    irregular: Array


class Company(NamedTuple):
    """Which events come alone; arrays have a rim of one pixel.

    Args:
        last: int64 [H + 2, W + 2], time of the latest event, NEVER before the first.
        on: uint8 [H + 2, W + 2], 1 where that was ON.
        alone: uint8 [H + 2, W + 2], 1 where that has had no company so far.
        found: int64 [3], events after another one of a neighbour; those of them whose latest such neighbour had the
            same polarity; events without company, of a neighbour or their own pixel, before or after.
    """

    last: Array
    on: Array
    alone: Array
    found: Array


class Windows(NamedTuple):
    """Counts of events in consecutive windows, of all pixels at once.

    Args:
        events: int64 [H, W], of each pixel in the current window.
        touched: int64 [H W], pixels y W + x with an event in it.
        state: int64 [2], number of the current window; pixels touched.
        totals: int64 [2 + LAGS], over whole windows: sums of squared pixel counts; of the squared windows' counts; of
            products of the counts of pixels so far apart, across and down.
    """

    events: Array
    touched: Array
    state: Array
    totals: Array


def _tally(t: Array, x: Array, y: Array, p: Array, sums: Intervals) -> None:
    """Adds the intervals that end with these events."""
    for n in range(len(t)):
        row, column, on = y[n], x[n], np.uint8(p[n])
        last = sums.last[row, column]
        if last != NEVER:
            interval = t[n] - last
            place = np.searchsorted(sums.edges, interval, side="right")
            if on == sums.on[row, column]:
                sums.same[place] += 1
            else:
                sums.opposite[place] += 1
            before = sums.latest[row, column]
            if before >= 0:
                both = before + interval
                sums.irregular[0] += 2.0 * abs(interval - before) / both if both > 0 else 0.0
                sums.irregular[1] += 1
            sums.latest[row, column] = interval
        sums.last[row, column] = t[n]
        sums.on[row, column] = on


def _accompany(t: Array, x: Array, y: Array, p: Array, within_us: int, company: Company) -> None:
    """Notes for each event which of its 3x3 pixels had one within `within_us` before it; adds what was found."""
    last, alone, found = company.last, company.alone, company.found
    for n in range(len(t)):
        row, column, on = y[n] + 1, x[n] + 1, np.uint8(p[n])
        now, latest, agrees, alone_so_far = t[n], NEVER, False, True
        if last[row, column] != NEVER and now - last[row, column] > within_us:
            found[2] += alone[row, column]
        for j in range(row - 1, row + 2):
            for i in range(column - 1, column + 2):
                then = last[j, i]
                if then == NEVER or now - then > within_us:
                    continue
                alone_so_far = False
                alone[j, i] = 0
                if (j != row or i != column) and then > latest:
                    latest, agrees = then, company.on[j, i] == on
        if latest != NEVER:
            found[0] += 1
            found[1] += agrees
        last[row, column], company.on[row, column], alone[row, column] = now, on, alone_so_far


def _share_times(t: Array, crowd: int, state: Array, found: Array) -> None:
    """Counts distinct times and the events of those that more than `crowd` events share.

    Args:
        t: int64 [N], ascending.
        crowd: how many events a time may have besides the one looked at.
        state: int64 [2], the latest time and its events so far; changed in place.
        found: int64 [2], distinct times, and events of crowded ones; changed in place.
    """
    for n in range(len(t)):
        if t[n] != state[0]:
            found[0] += 1
            state[0], state[1] = t[n], 0
        state[1] += 1
        if state[1] == crowd + 2:
            found[1] += crowd + 2
        elif state[1] > crowd + 2:
            found[1] += 1


def _count(t: Array, x: Array, y: Array, window_us: int, whole: int, windows: Windows) -> None:
    """Counts events window by window; those of windows `whole` and later are left out."""
    width = windows.events.shape[1]
    for n in range(len(t)):
        window = t[n] // window_us
        if window != windows.state[0]:
            close_window(windows)
            windows.state[0] = window
        if window >= whole:
            return
        if windows.events[y[n], x[n]] == 0:
            windows.touched[windows.state[1]] = np.int64(y[n]) * width + x[n]
            windows.state[1] += 1
        windows.events[y[n], x[n]] += 1


def _close_window(windows: Windows) -> None:
    """Adds the current window's counts to the totals and empties it."""
    height, width = windows.events.shape
    events, totals, total = windows.events, windows.totals, 0
    for k in range(windows.state[1]):
        y, x = divmod(windows.touched[k], width)
        here = events[y, x]
        total += here
        totals[0] += here * here
        for index in range(len(LAGS)):
            lag = LAGS[index]
            if x + lag < width:
                totals[2 + index] += here * events[y, x + lag]
            if y + lag < height:
                totals[2 + index] += here * events[y + lag, x]
    for k in range(windows.state[1]):
        events[windows.touched[k] // width, windows.touched[k] % width] = 0
    totals[1] += total * total
    windows.state[1] = 0


# Called rather than used as a decorator, so that a type checker still sees the functions' own types.
_compiled = njit(nogil=True, cache=True)
close_window = _compiled(_close_window)
tally, accompany = _compiled(_tally), _compiled(_accompany)
share_times, count = _compiled(_share_times), _compiled(_count)
