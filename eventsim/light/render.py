"""Textured planes seen by a pinhole camera: sampling by homography with a depth test, compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(nogil=True, cache=True, error_model="numpy")
def draw_plane(
    texture: Array,  # float32 [h, w], luminance
    homography: Array,  # float64 [3, 3], pixel (x, y, 1) -> (u, v, 1) / depth
    endless: bool,  # continue the texture beyond its border by mirroring it
    plane: int,  # index of the plane
    luminance: Array,  # float32 [H, W], changed where the plane is nearer
    depth: Array,  # float32 [H, W], changed likewise
    planes: Array,  # int16 [H, W], changed likewise
    row_start: int,
    row_stop: int,
) -> None:
    """Draws one plane over what is already there, where it is in front of the camera and nearer.

    Bilinear sampling; anti-aliasing is the texture's own business (see `scenes.texture`).
    """
    rows, columns = texture.shape
    for y in range(row_start, row_stop):
        for x in range(luminance.shape[1]):
            inverse_depth = homography[2, 0] * x + homography[2, 1] * y + homography[2, 2]
            z = 1.0 / inverse_depth
            if not 0.0 < z < depth[y, x]:
                continue
            u = (homography[0, 0] * x + homography[0, 1] * y + homography[0, 2]) * z
            v = (homography[1, 0] * x + homography[1, 1] * y + homography[1, 2]) * z
            if not endless and not (0.0 <= u <= columns - 1 and 0.0 <= v <= rows - 1):
                continue
            luminance[y, x] = _bilinear(texture, _mirrored(u, columns), _mirrored(v, rows))
            depth[y, x] = z
            planes[y, x] = plane


@njit(nogil=True)
def _mirrored(position: float, size: int) -> float:
    """A position folded into 0 .. size - 1, as if the texture were mirrored at its first and last texel."""
    if 0.0 <= position <= size - 1:  # the common case, without a division
        return position
    period = 2.0 * (size - 1)
    folded = position - period * math.floor(position / period)
    return period - folded if folded > size - 1 else folded


@njit(nogil=True)
def _bilinear(texture: Array, u: float, v: float) -> np.float32:
    left = min(int(u), texture.shape[1] - 2)
    top = min(int(v), texture.shape[0] - 2)
    du, dv = np.float32(u - left), np.float32(v - top)
    above = texture[top, left] + du * (texture[top, left + 1] - texture[top, left])
    below = texture[top + 1, left] + du * (texture[top + 1, left + 1] - texture[top + 1, left])
    return np.float32(above + dv * (below - above))
