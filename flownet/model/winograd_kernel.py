"""Winograd's transforms of pictures and products on a CPU, compiled.

Of F(4x4, 3x3) with the points 0, +-1 / sqrt(2), +-sqrt(2) and infinity. Pictures and products have their channels last;
a tile goes through the transforms `LANES` channels at a time, which a compiler makes vectors of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

#: Outputs along each side of a tile.
TILE = 4
#: Channels at a time: a tile of so many, 36 numbers each, stays in the nearest cache.
LANES = 64
_SEEN = 6
_ROW = _SEEN * LANES
# Places without a sign: those with one would be compared with zero one by one, and not become vectors.
_LANES, _ACROSS, _LINES, _KEPT = (np.uint64(n) for n in (LANES, _ROW, _SEEN, TILE))
_2, _3, _4, _5, _ALL = (np.uint64(n) for n in (2, 3, 4, 5, _SEEN * _SEEN))
_HALF_ULP, _ODD, _BITS = (np.uint32(n) for n in (0x7FFF, 1, 16))
_ROOT, _TWO_ROOTS = np.float32(2**-0.5), np.float32(2**0.5)
_HALF_ROOT, _FOUR_ROOTS = np.float32(2**-1.5), np.float32(2**1.5)
_HALF, _TWO, _FIVE_HALVES = np.float32(0.5), np.float32(2), np.float32(2.5)


@njit(nogil=True, cache=True, fastmath={"contract"})
def read_tiles(
    x: Array,  # float32 [N, H, W, C]
    columns: int,  # of tiles in a row
    start: int,
    stop: int,  # rows of tiles, counted through all pictures
    out: Array,  # [36, P, C and more], the result: float32, or uint16 for the bits of bfloat16
    offset: int,  # of the first of the C channels
) -> None:
    """The tiles' 6x6 inputs, with zeros around the picture, transformed: B^T d B."""
    height, width, channels = x.shape[1:]
    rows = -(-height // TILE)
    piece = np.zeros(_SEEN * _ROW, np.float32)
    for place in range((stop - start) * columns):
        row, column = start + place // columns, place % columns
        picture, top, left = row // rows, row % rows * TILE - 1, column * TILE - 1
        for first in range(0, channels, LANES):
            lanes = min(LANES, channels - first)
            for i in range(_SEEN):
                for j in range(_SEEN):
                    at, y, v = np.uint64(i * _ROW + j * LANES), top + i, left + j
                    if 0 <= y < height and 0 <= v < width:
                        for c in range(np.uint64(lanes)):
                            piece[at + c] = x[picture, y, v, np.uint64(first) + c]
                    else:
                        for c in range(_LANES):
                            piece[at + c] = 0
            _forth(piece, _ACROSS, _LANES)
            _forth(piece, _LANES, _ACROSS)
            _store(piece, out, np.uint64(place), np.uint64(offset + first), np.uint64(lanes))


@njit(nogil=True, cache=True, fastmath={"contract"})
def write_tiles(
    products: Array,  # [36, P, O]: float32, or uint16 for the bits of bfloat16
    columns: int,
    start: int,
    stop: int,
    bias: Array,  # float32 [O]
    out: Array,  # float32 [N, H, W, O and more], the result
    offset: int,  # of the first of the O channels
) -> None:
    """The tiles' 4x4 outputs, from transformed ones: A^T m A."""
    height, width = out.shape[1:3]
    outputs = products.shape[2]
    rows = -(-height // TILE)
    piece = np.zeros(_SEEN * _ROW, np.float32)
    for place in range((stop - start) * columns):
        row, column = start + place // columns, place % columns
        picture, top, left = row // rows, row % rows * TILE, column * TILE
        for first in range(0, outputs, LANES):
            lanes = min(LANES, outputs - first)
            to = np.uint64(offset + first)
            _load(piece, products, np.uint64(place), np.uint64(first), np.uint64(lanes))
            _back(piece, _LINES, _ACROSS, _LANES)
            _back(piece, _KEPT, _LANES, _ACROSS)
            for i in range(min(TILE, height - top)):
                for j in range(min(TILE, width - left)):
                    at, y, v = np.uint64(i * _ROW + j * LANES), top + i, left + j
                    for c in range(np.uint64(lanes)):
                        out[picture, y, v, to + c] = piece[at + c] + bias[np.uint64(first) + c]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _forth(piece: Array, across: np.uint64, along: np.uint64) -> None:
    """B^T d of six lines in place: lines are `across` numbers apart, and the six of a line `along`."""
    for line in range(_LINES):
        for lane in range(_LANES):
            c = line * across + lane
            x0, x1, x2 = piece[c], piece[c + along], piece[c + _2 * along]
            x3, x4, x5 = piece[c + _3 * along], piece[c + _4 * along], piece[c + _5 * along]
            near, far = x4 - _TWO * x2, x4 - _HALF * x2
            near_odd, far_odd = _ROOT * x3 - _TWO_ROOTS * x1, _TWO_ROOTS * x3 - _ROOT * x1
            piece[c] = x0 - _FIVE_HALVES * x2 + x4
            piece[c + along] = near + near_odd
            piece[c + _2 * along] = near - near_odd
            piece[c + _3 * along] = far + far_odd
            piece[c + _4 * along] = far - far_odd
            piece[c + _5 * along] = x1 - _FIVE_HALVES * x3 + x5


@njit(nogil=True, cache=True, fastmath={"contract"})
def _back(piece: Array, lines: np.uint64, across: np.uint64, along: np.uint64) -> None:
    """A^T m of so many lines, as `_forth`: the first four numbers of each."""
    for line in range(lines):
        for lane in range(_LANES):
            c = line * across + lane
            x0, x1, x2 = piece[c], piece[c + along], piece[c + _2 * along]
            x3, x4, x5 = piece[c + _3 * along], piece[c + _4 * along], piece[c + _5 * along]
            near, near_odd, far, far_odd = x1 + x2, x1 - x2, x3 + x4, x3 - x4
            piece[c] = x0 + near + far
            piece[c + along] = _ROOT * near_odd + _TWO_ROOTS * far_odd
            piece[c + _2 * along] = _HALF * near + _TWO * far
            piece[c + _3 * along] = _HALF_ROOT * near_odd + _FOUR_ROOTS * far_odd + x5


@njit(nogil=True, cache=True)
def _store(piece: Array, out: Array, place: np.uint64, first: np.uint64, lanes: np.uint64) -> None:
    """A tile to where its products are taken; of float32's bits, the upper half is a bfloat16: to the nearest, ties to
    even."""
    bits = piece.view(np.uint32)
    for k in range(_ALL):
        at = k * _LANES
        if out.itemsize == 4:
            for c in range(lanes):
                out[k, place, first + c] = piece[at + c]
        else:
            for c in range(lanes):
                b = bits[at + c]
                out[k, place, first + c] = (b + _HALF_ULP + ((b >> _BITS) & _ODD)) >> _BITS


@njit(nogil=True, cache=True)
def _load(piece: Array, products: Array, place: np.uint64, first: np.uint64, lanes: np.uint64) -> None:
    """A tile from where its products are, as `_store`."""
    bits = piece.view(np.uint32)
    for k in range(_ALL):
        at = k * _LANES
        if products.itemsize == 4:
            for c in range(lanes):
                piece[at + c] = products[k, place, first + c]
        else:
            for c in range(lanes):
                bits[at + c] = np.uint32(products[k, place, first + c]) << _BITS
