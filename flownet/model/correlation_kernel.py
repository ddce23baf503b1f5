"""Local correlation of two feature maps on a CPU, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def correlate_rows(
    first: Array,  # float32 [M, C, H, W], in turn for each M of the others
    second: Array,  # float32 [N, C, H, W]
    radius: int,
    slope: float,  # of an activation of what is negative; 1 for none
    out: Array,  # float32 [N, (2 r + 1)^2, H, W], the result, in any order of axes
    row_start: int,  # of the N H rows
    row_stop: int,
) -> None:
    """The rows row_start .. row_stop - 1 of the correlation; sums over channels stay in the nearest cache."""
    channels, height, width = first.shape[1:]
    side = 2 * radius + 1
    padded = np.zeros((channels, width + 2 * radius), np.float32)
    sums = np.empty((side, width), np.float32)
    scale = np.float32(1 / channels)
    negative = np.float32(slope / channels)
    for row in range(row_start, row_stop):
        n, y = row // height, row % height
        m = n % len(first)
        for dy in range(side):
            v = y + dy - radius
            sums[:] = 0
            if 0 <= v < height:
                for c in range(channels):
                    for x in range(width):
                        padded[c, radius + x] = second[n, c, v, x]
                for c in range(channels):
                    for dx in range(side):
                        for x in range(width):
                            sums[dx, x] += first[m, c, y, x] * padded[c, dx + x]
            for dx in range(side):
                for x in range(width):
                    out[n, dy * side + dx, y, x] = sums[dx, x] * (scale if sums[dx, x] > 0 else negative)
