"""Textured planes seen by a camera, compiled: which plane a ray meets, what it shows there, and where it is later.

A ray is a pixel (x, y) of the pinhole camera. For every plane a homography takes (x, y, 1) to (u, v, 1) / depth, in
texels. One over depth is therefore linear in x and y, and so are the functions whose zeros are a plane's borders and
the line where two planes meet: their distances in pixels are exact, and edges are smoothed over one pixel by them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
#: Planes one behind the other that can share a pixel at their edges.
_LAYERS = 4


#: Columns of the table of planes, one row a plane: what takes a pixel (x, y, 1) to (u, v, 1) / depth (3 x 3); four
#: linear functions of (x, y, 1), pixels inside of each border (4 x 3); |determinant| of the first; whether it is
#: endless; where its outline begins, -1: none; rows and columns of its texture; texels per pixel beyond which smaller
#: sizes of the texture are shown, 0: never; how many sizes there are.
INVERSE, EDGES, SHRINK, ENDLESS, OUTLINE, ROWS, COLUMNS, SHARPNESS, LEVELS = 0, 9, 21, 22, 23, 24, 25, 26, 27
TABLE_COLUMNS = 28


@njit(nogil=True, cache=True, error_model="numpy")
def draw(
    table: Array,  # float64 [P, TABLE_COLUMNS]
    levels: Array,  # int64 [P, L, 3], where in the flat textures a size of a texture begins, its rows and columns
    outlines: Array,  # float32, flat, signed distances to outlines in texels, positive inside
    textures: Array,  # float32, flat; empty: only depth and planes are wanted
    rays: Array,  # float64 [2, H, W], or [2, 0, 0]: the pixels themselves
    luminance: Array,  # float32 [H, W]
    depth: Array,  # float32 [H, W]; infinite where nothing is seen
    planes: Array,  # int16 [H, W]; -1 where nothing is seen
    row_start: int,
    row_stop: int,
) -> None:
    """Draws rows of a picture: every ray's nearest plane, its depth, and the light, mixed where edges cross a pixel.

    Most pixels lie wholly on one plane and are done row by row and plane by plane; the few on edges one by one.
    """
    width = depth.shape[1]
    near, which = np.empty((2, width)), np.empty((2, width), np.int16)
    edge, apart = np.empty(width, np.bool_), _slopes(table)
    for row in range(row_start, row_stop):
        _nearest(table, outlines, rays, row, near, which, edge)
        for x in range(width):
            planes[row, x], depth[row, x] = which[0, x], 1.0 / near[0, x]
            if which[1, x] >= 0 and near[0, x] - near[1, x] < 0.5 * apart[which[0, x], which[1, x]]:
                edge[x] = True
        if len(textures):
            _light_inside(table, levels, textures, rays, row, near[0], which[0], luminance[row])
        _draw_edges(table, levels, outlines, textures, rays, row, edge, luminance, depth, planes)


@njit(nogil=True, cache=True, error_model="numpy")
def carry(
    planes: Array,  # int16 [H, W], which plane each ray meets
    moves: Array,  # float64 [P, 9]: 3 x 3, pixel (x, y, 1) at one time -> (x, y, 1) times depth by depth at another
    rays: Array,  # float64 [2, H, W] or [2, 0, 0]
    moved: Array,  # float64 [3, H, W], written: x, y and the depth as a multiple of the first; NaN where unknown
    row_start: int,
    row_stop: int,
) -> None:
    """Where the points that rays meet are at another time."""
    for row in range(row_start, row_stop):
        for column in range(planes.shape[1]):
            plane = planes[row, column]
            for k in range(3):
                moved[k, row, column] = np.nan
            if plane < 0:
                continue
            x, y = _ray(rays, row, column)
            depth = _linear(moves, plane, 6, x, y)
            if depth > 0.0:
                moved[0, row, column] = _linear(moves, plane, 0, x, y) / depth
                moved[1, row, column] = _linear(moves, plane, 3, x, y) / depth
                moved[2, row, column] = depth


@njit(nogil=True, cache=True, error_model="numpy")
def hide(
    table: Array,  # float64 [P, TABLE_COLUMNS], at the other time
    outlines: Array,  # float32, flat
    planes: Array,  # int16 [H, W], at the first time
    moved: Array,  # float64 [3, H, W]: x, y and depth at the other time
    tolerance: float,  # share of the depth by which what hides must be nearer
    hidden: Array,  # bool [H, W], set where another plane is nearer
    row_start: int,
    row_stop: int,
) -> None:
    """Which points are behind another plane. Their own plane cannot hide them."""
    for row in range(row_start, row_stop):
        for column in range(planes.shape[1]):
            x, y, depth = moved[0, row, column], moved[1, row, column], moved[2, row, column]
            for plane in range(len(table)):
                if plane == planes[row, column]:
                    continue
                nearness = _linear(table, plane, INVERSE + 6, x, y)
                if nearness * depth > 1.0 + tolerance and _cover(table, outlines, plane, x, y, nearness) >= 0.5:
                    hidden[row, column] = True
                    break


@njit(nogil=True)
def _slopes(table: Array) -> Array:
    """How fast the difference of any two planes' nearness changes, per pixel: [P, P]."""
    slopes = np.empty((len(table), len(table)))
    for plane in range(len(table)):
        for other in range(len(table)):
            slopes[plane, other] = _slope(table, plane, other)
    return slopes


@njit(nogil=True, error_model="numpy")
def _nearest(table: Array, outlines: Array, rays: Array, row: int, near: Array, which: Array, edge: Array) -> None:
    """One over depth of the nearest two planes of each pixel in a row [2, W], which they are (-1: none), and whether
    a border or outline crosses the pixel."""
    near[:], which[:], edge[:] = 0.0, -1, False
    for plane in range(len(table)):
        endless = table[plane, ENDLESS] > 0
        a, b, c = table[plane, INVERSE + 6], table[plane, INVERSE + 7], table[plane, INVERSE + 8]
        first, stop = 0, near.shape[1]
        if not endless and rays.shape[1] == 0:
            first, stop = _stretch(table, plane, row, near.shape[1])
        for column in range(first, stop):
            x, y = _ray(rays, row, column)
            nearness = a * x + b * y + c
            if not 0.0 < nearness < np.inf:
                continue
            if not endless:
                share = _cover(table, outlines, plane, x, y, nearness)
                if share <= 0.0:
                    continue
                edge[column] |= share < 1.0
            if nearness > near[0, column]:
                near[1, column], which[1, column] = near[0, column], which[0, column]
                near[0, column], which[0, column] = nearness, plane
            elif nearness > near[1, column]:
                near[1, column], which[1, column] = nearness, plane


@njit(nogil=True, error_model="numpy")
def _stretch(table: Array, plane: int, row: int, width: int) -> tuple[int, int]:
    """The columns of a row that a plane's borders may cross or enclose: first, and last + 1."""
    first, last = 0.0, width - 1.0
    for edge in range(4):
        slope = table[plane, EDGES + 3 * edge]
        constant = table[plane, EDGES + 3 * edge + 1] * row + table[plane, EDGES + 3 * edge + 2] + 0.5
        if slope > 0:
            first = max(first, -constant / slope - 1.0)
        elif slope < 0:
            last = min(last, -constant / slope + 1.0)
        elif constant <= 0:
            return 0, 0
    return (int(first), int(last) + 1) if first <= last else (0, 0)


@njit(nogil=True, error_model="numpy")
def _light_inside(
    table: Array, levels: Array, textures: Array, rays: Array, row: int, near: Array, which: Array, luminance: Array
) -> None:
    """The light of a row, as if every pixel lay wholly on its nearest plane."""
    last, finest, smallest, rows, columns, start = -1, 0.0, 0, 0, 0, 0
    h00 = h01 = h02 = h10 = h11 = h12 = h20 = h21 = 0.0
    for column in range(len(luminance)):
        plane = which[column]
        if plane < 0:
            luminance[column] = 0.0
            continue
        if plane != last:
            h00, h01, h02 = table[plane, 0], table[plane, 1], table[plane, 2]
            h10, h11, h12 = table[plane, 3], table[plane, 4], table[plane, 5]
            h20, h21 = table[plane, 6], table[plane, 7]
            rows, columns, start = levels[plane, 0, 1], levels[plane, 0, 2], levels[plane, 0, 0]
            last, smallest = plane, int(table[plane, LEVELS]) - 1
            finest = 1.0 / table[plane, SHARPNESS] ** 2 if table[plane, SHARPNESS] > 0.0 else 0.0
        x, y = _ray(rays, row, column)
        z = 1.0 / near[column]
        u, v = (h00 * x + h01 * y + h02) * z, (h10 * x + h11 * y + h12) * z
        # Squared texels from a pixel to the next, along the row and down.
        across = (h00 - u * h20) * (h00 - u * h20) + (h10 - v * h20) * (h10 - v * h20)
        along = (h01 - u * h21) * (h01 - u * h21) + (h11 - v * h21) * (h11 - v * h21)
        coarser = max(across, along) * z * z * finest
        if coarser > 1.0:
            luminance[column] = _in_size(levels, textures, plane, smallest, u, v, coarser)
        else:
            luminance[column] = _bilinear(textures, start, rows, columns, _mirrored(u, columns), _mirrored(v, rows))


@njit(nogil=True, error_model="numpy")
def _draw_edges(
    table: Array,
    levels: Array,
    outlines: Array,
    textures: Array,
    rays: Array,
    row: int,
    edge: Array,
    luminance: Array,
    depth: Array,
    planes: Array,
) -> None:
    """Draws the pixels of a row that several planes may share."""
    order, nearness, cover = np.empty(_LAYERS, np.int64), np.empty(_LAYERS), np.empty(_LAYERS)
    for column in range(len(edge)):
        if not edge[column]:
            continue
        x, y = _ray(rays, row, column)
        found = _layers(table, outlines, x, y, order, nearness, cover)
        planes[row, column], depth[row, column] = -1, np.inf
        for layer in range(found):
            if cover[layer] >= 0.5:
                planes[row, column], depth[row, column] = order[layer], 1.0 / nearness[layer]
                break
        if len(textures):
            luminance[row, column] = _mixed(table, levels, textures, x, y, found, order, nearness, cover)


@njit(nogil=True)
def _ray(rays: Array, row: int, column: int) -> tuple[float, float]:
    if rays.shape[1] == 0:
        return float(column), float(row)
    return rays[0, row, column], rays[1, row, column]


@njit(nogil=True)
def _linear(functions: Array, plane: int, first: int, x: float, y: float) -> float:
    # Slices of arrays cost more than these sums: so the indices are handed on.
    return float(functions[plane, first] * x + functions[plane, first + 1] * y + functions[plane, first + 2])


@njit(nogil=True, error_model="numpy")
def _layers(table: Array, outlines: Array, x: float, y: float, order: Array, nearness: Array, cover: Array) -> int:
    """The nearest planes that a ray meets, nearest first, and how much of the pixel each covers; returns how many."""
    found = 0
    for plane in range(len(table)):
        near = _linear(table, plane, INVERSE + 6, x, y)
        if not 0.0 < near < np.inf or (found == _LAYERS and near <= nearness[found - 1]):
            continue
        share = _cover(table, outlines, plane, x, y, near)
        if share <= 0.0:
            continue
        at = found if found < _LAYERS else _LAYERS - 1
        while at > 0 and nearness[at - 1] < near:
            order[at], nearness[at], cover[at] = order[at - 1], nearness[at - 1], cover[at - 1]
            at -= 1
        order[at], nearness[at], cover[at] = plane, near, share
        found = min(found + 1, _LAYERS)
    return found


@njit(nogil=True, error_model="numpy")
def _cover(table: Array, outlines: Array, plane: int, x: float, y: float, nearness: float) -> float:
    """How much of a pixel a plane covers, from its borders and outline."""
    if table[plane, ENDLESS]:
        return 1.0
    left, right = _linear(table, plane, EDGES, x, y), _linear(table, plane, EDGES + 6, x, y)
    top, bottom = _linear(table, plane, EDGES + 3, x, y), _linear(table, plane, EDGES + 9, x, y)
    if min(left, right, top, bottom) <= -0.5:
        return 0.0
    across = min(left + 0.5, 1.0) + min(right + 0.5, 1.0) - 1.0
    along = min(top + 0.5, 1.0) + min(bottom + 0.5, 1.0) - 1.0
    share = max(across, 0.0) * max(along, 0.0)
    if table[plane, OUTLINE] >= 0:
        rows, columns = int(table[plane, ROWS]), int(table[plane, COLUMNS])
        u = min(max(_linear(table, plane, INVERSE, x, y) / nearness, 0.0), columns - 1.0)
        v = min(max(_linear(table, plane, INVERSE + 3, x, y) / nearness, 0.0), rows - 1.0)
        texels = float(_bilinear(outlines, int(table[plane, OUTLINE]), rows, columns, u, v))
        # The area of a pixel in texels is |det| / nearness^3.
        inside = texels * math.sqrt(nearness / table[plane, SHRINK]) * nearness
        share = min(share, max(0.5 + inside, 0.0))
    return share


@njit(nogil=True, error_model="numpy")
def _mixed(
    table: Array,
    levels: Array,
    textures: Array,
    x: float,
    y: float,
    found: int,
    order: Array,
    nearness: Array,
    cover: Array,
) -> np.float32:
    """The light of the layers, front to back; where two planes meet, each has its part of the pixel."""
    light, left = np.float32(0), np.float32(1)
    for layer in range(found):
        share = cover[layer]
        if layer + 1 < found:
            slope = _slope(table, order[layer], order[layer + 1])
            apart = nearness[layer] - nearness[layer + 1]
            if apart < 0.5 * slope:
                share *= 0.5 + apart / slope
        part = np.float32(share) * left if share < 1.0 else left
        light += part * _shown(table, levels, textures, order[layer], x, y, 1.0 / nearness[layer])
        left -= part
        if left <= 0:
            break
    return light


@njit(nogil=True)
def _slope(table: Array, plane: int, other: int) -> float:
    """How fast the difference of two planes' nearness changes, per pixel."""
    across, along = table[plane, 6] - table[other, 6], table[plane, 7] - table[other, 7]
    return math.sqrt(across * across + along * along)


@njit(nogil=True, error_model="numpy")
def _shown(table: Array, levels: Array, textures: Array, plane: int, x: float, y: float, depth: float) -> np.float32:
    """The texture where a ray meets a plane."""
    u, v = _linear(table, plane, INVERSE, x, y) * depth, _linear(table, plane, INVERSE + 3, x, y) * depth
    coarser = 1.0
    if table[plane, SHARPNESS] > 0.0:
        across_u, across_v = table[plane, 0] - u * table[plane, 6], table[plane, 3] - v * table[plane, 6]
        along_u, along_v = table[plane, 1] - u * table[plane, 7], table[plane, 4] - v * table[plane, 7]
        texels = max(across_u * across_u + across_v * across_v, along_u * along_u + along_v * along_v)
        coarser = texels * depth * depth / table[plane, SHARPNESS] ** 2
    return _in_size(levels, textures, plane, int(table[plane, LEVELS]) - 1, u, v, coarser)


@njit(nogil=True, error_model="numpy")
def _in_size(levels: Array, textures: Array, plane: int, last: int, u: float, v: float, coarser: float) -> np.float32:
    """The texture at (u, v), or a smaller size of it, or between two sizes.

    `coarser` is the squared number of texels in a pixel over that of a sharp texture; `last` the smallest size.
    """
    level = min(0.5 * math.log2(coarser), float(last)) if coarser > 1.0 else 0.0
    whole = int(level)
    u, v = _mirrored(u, levels[plane, 0, 2]) + 0.5, _mirrored(v, levels[plane, 0, 1]) + 0.5
    light = np.float32(0)
    for size in range(whole, min(whole + 2, last + 1)):
        rows, columns = levels[plane, size, 1], levels[plane, size, 2]
        # The borders of all sizes lie on each other.
        at_u = min(max(u * (columns / levels[plane, 0, 2]) - 0.5, 0.0), columns - 1.0)
        at_v = min(max(v * (rows / levels[plane, 0, 1]) - 0.5, 0.0), rows - 1.0)
        share = np.float32(level - whole if size > whole else 1.0 - (level - whole))
        light += share * _bilinear(textures, levels[plane, size, 0], rows, columns, at_u, at_v)
    return light


@njit(nogil=True)
def _mirrored(position: float, size: int) -> float:
    """A position folded into 0 .. size - 1, as if the texture were mirrored at its first and last texel."""
    if 0.0 <= position <= size - 1:  # the common case, without a division
        return position
    period = 2.0 * (size - 1)
    folded = position - period * math.floor(position / period)
    return period - folded if folded > size - 1 else folded


@njit(nogil=True)
def _bilinear(values: Array, start: int, rows: int, columns: int, u: float, v: float) -> np.float32:
    # Positions so far out that their fold is lost to rounding must not be read beyond the texture.
    left, top = max(min(int(u), columns - 2), 0), max(min(int(v), rows - 2), 0)
    du, dv = np.float32(u - left), np.float32(v - top)
    at = start + top * columns + left
    above = values[at] + du * (values[at + 1] - values[at])
    below = values[at + columns] + du * (values[at + columns + 1] - values[at + columns])
    return np.float32(above + dv * (below - above))
