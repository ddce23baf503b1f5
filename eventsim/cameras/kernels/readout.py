"""The bus of an event camera's readout, compiled: one event at a time, first come, first served."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def through_bus(
    t: NDArray[Any],  # float64 [N], us, when events reach the bus, ascending
    each_us: float,  # time that an event takes
    leaving: NDArray[Any],  # float64 [Q], when the last Q events leave: a ring; changed in place
    carried: int,  # events carried so far
) -> tuple[Any, Any, int]:
    """When the events leave the bus, which of them found room in its queue, and the number carried so far."""
    left = np.empty_like(t)
    kept = np.zeros(len(t), np.bool_)
    for n in range(len(t)):
        # The event that came Q places earlier must have left, or the queue is full.
        if leaving[carried % len(leaving)] > t[n]:
            continue
        before = leaving[(carried - 1) % len(leaving)]
        left[n] = max(t[n], before) + each_us
        leaving[carried % len(leaving)] = left[n]
        carried += 1
        kept[n] = True
    return left, kept, carried
