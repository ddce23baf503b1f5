"""Passes over packed spikes, compiled: when each pixel fired, and what its intervals add up to.

The kernels are called on consecutive pieces of a stream and carry each pixel's state from one to the next.
Pixels that are neighbours in a row should follow each other: they share what is fetched from memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


class Chosen(NamedTuple):
    """Where the bits of P pixels lie in a plane: int64 [P] each."""

    row: Array
    byte: Array
    bit: Array


class Sums(NamedTuple):
    """What the intervals of P pixels add up to, in readouts: int64 [P] each.

    Args:
        last: plane of the latest spike, -1 before the first.
        intervals: their number.
        total, squares: their sum, and the sum of their squares.
        products: sum of the products of successive intervals.
        jumps: number of successive intervals that differ by 2 or more.
        first, latest: the first interval and the latest, 0 before there is one.
        other: the first interval that is unlike `first`, 0 while there is none.
        third: 1 where there is yet another value.
    """

    last: Array
    intervals: Array
    total: Array
    squares: Array
    products: Array
    jumps: Array
    first: Array
    latest: Array
    other: Array
    third: Array


def _mark(
    packed: Array,  # uint8 [n, H, B]
    at: int,  # number of the first plane
    first: Array,  # int64 [H, 8 B], plane of the first spike, -1 without one; changed in place
    last: Array,  # int64 [H, 8 B], of the last
    count: Array,  # int64 [H, 8 B], number of spikes
    row_start: int,
    row_stop: int,
) -> None:
    """Notes every spike of the rows row_start .. row_stop - 1."""
    for y in range(row_start, row_stop):
        for n in range(packed.shape[0]):
            for b in range(packed.shape[2]):
                byte = packed[n, y, b]
                if byte == 0:
                    continue
                for x in range(8 * b, 8 * b + 8):
                    if (byte >> (x & 7)) & 1:
                        if count[y, x] == 0:
                            first[y, x] = at + n
                        last[y, x] = at + n
                        count[y, x] += 1


def _tally(
    packed: Array,  # uint8 [n, H, B]
    at: int,  # number of the first plane
    chosen: Chosen,
    sums: Sums,  # changed in place
    histogram: Array,  # int64 [L + 1], intervals of each length, the last bin's or longer; changed in place
) -> None:
    """Adds the intervals that end in these planes."""
    longest = len(histogram) - 1
    for p in range(len(chosen.row)):
        row, byte, bit = chosen.row[p], chosen.byte[p], chosen.bit[p]
        last, first, latest, other, third = sums.last[p], sums.first[p], sums.latest[p], sums.other[p], sums.third[p]
        intervals, total, squares, products, jumps = 0, 0, 0, 0, 0
        for n in range(packed.shape[0]):
            if not (packed[n, row, byte] >> bit) & 1:
                continue
            interval = at + n - last
            if last >= 0:
                histogram[min(interval, longest)] += 1
                intervals, total, squares = intervals + 1, total + interval, squares + interval * interval
                if latest == 0:
                    first = interval
                else:
                    products += latest * interval
                    jumps += abs(interval - latest) >= 2
                    if interval != first and interval != other:
                        other, third = (interval, third) if other == 0 else (other, 1)
                latest = interval
            last = at + n
        sums.last[p], sums.first[p], sums.latest[p], sums.other[p], sums.third[p] = last, first, latest, other, third
        sums.intervals[p] += intervals
        sums.total[p] += total
        sums.squares[p] += squares
        sums.products[p] += products
        sums.jumps[p] += jumps


def _deviate(
    packed: Array,  # uint8 [n, H, B]
    at: int,  # number of the first plane
    chosen: Chosen,
    sums: Sums,  # of all the planes: gives each pixel's mean interval
    last: Array,  # int64 [P], plane of the latest spike, -1 before the first; changed in place
    outlying: Array,  # int64 [P], intervals 1 or more from the pixel's mean; changed in place
    windows: Array,  # int64 [K], lengths in planes
    counts: Array,  # int64 [K, P], spikes in each current window; changed in place
    squares: Array,  # float64 [K], squared deviations of the counts of whole windows; changed in place
) -> None:
    """Adds how far intervals and counts lie from what each pixel's mean interval makes expected."""
    before = np.zeros(packed.shape[0] + 1, np.int64)  # spikes before each of these planes
    for p in range(len(chosen.row)):
        row, byte, bit = chosen.row[p], chosen.byte[p], chosen.bit[p]
        for n in range(packed.shape[0]):
            fired = (packed[n, row, byte] >> bit) & 1
            before[n + 1] = before[n] + fired
            if fired:
                if last[p] >= 0:
                    away = (at + n - last[p]) * sums.intervals[p] - sums.total[p]
                    outlying[p] += abs(away) >= sums.intervals[p]
                last[p] = at + n
        for k in range(len(windows)):
            expected = windows[k] * sums.intervals[p] / sums.total[p]
            counts[k, p] = _count(before, at, windows[k], expected, counts[k, p], squares, k)


def _count_windows(before: Array, at: int, window: int, expected: float, count: int, squares: Array, k: int) -> int:
    """Adds the squared deviations of the windows that end here to squares[k]; returns the count so far of the next."""
    start, end = 0, window - at % window
    while end < len(before):
        count += before[end] - before[start]
        squares[k] += (count - expected) ** 2
        start, end, count = end, end + window, 0
    so_far: int = count + before[-1] - before[start]
    return so_far


# Called rather than used as a decorator, so that a type checker still sees the functions' own types.
_compiled = njit(nogil=True, cache=True)
_count = _compiled(_count_windows)
mark, tally, deviate = _compiled(_mark), _compiled(_tally), _compiled(_deviate)
