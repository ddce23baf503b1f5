"""The counter-based draws of `cameras.random`, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras import random

mix64 = njit(random.mix64)
uniform = njit(random.uniform)
normal_pair = njit(random.normal_pair)


@njit(nogil=True)
def normal(bits: np.uint64) -> Any:
    """The first of the two normals of 64 bits, float32."""
    return normal_pair(np.uint32(bits >> np.uint64(32)), np.uint32(bits))[0]


@njit(nogil=True)
def draw_row(
    keys: NDArray[Any],  # uint64 [W]
    index: np.uint64,  # (number of the draw + 1) times GAMMA
    upper: NDArray[Any],  # uint32 [W], the result
    lower: NDArray[Any],  # uint32 [W], the result
) -> None:
    """The bits of one draw of a row of pixels, in two halves."""
    for x in range(len(keys)):
        bits = mix64(keys[x] + index)
        upper[x] = np.uint32(bits >> np.uint64(32))
        lower[x] = np.uint32(bits)


@njit(nogil=True)
def normals_row(
    upper: NDArray[Any],  # uint32 [W]
    lower: NDArray[Any],  # uint32 [W]
    first: NDArray[Any],  # float32 [W], the result
    second: NDArray[Any],  # float32 [W], the result
) -> None:
    """The two normals of a row's bits."""
    for x in range(len(upper)):
        first[x], second[x] = normal_pair(upper[x], lower[x])
