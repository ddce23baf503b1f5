"""Which slices there are: what may be asked for, and where each begins and ends."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: "ceil": ceil(w) of the weights w, as in the authors' code.
Weights = Literal["float", "ceil"]
#: Slices of equal event count, or of equal time.
By = Literal["count", "time"]
#: Weights up to here are 1 but for rounding (those of any two events, say). The authors' code leaves to chance whether
#: their ceil is 1 or 2; here it is 1.
ONE = 1 + 1e-9


def check_slices(slices: int, windowed: bool, weights: str, by: str, every: int) -> None:
    """Raises a ValueError unless there are slices, the forms are known and slices of equal time have a window."""
    if slices < 1:
        raise ValueError(f"expected at least one slice, got {slices}")
    if weights not in ("float", "ceil"):
        raise ValueError(f"expected weights 'float' or 'ceil', got {weights!r}")
    if by not in ("count", "time"):
        raise ValueError(f"expected by 'count' or 'time', got {by!r}")
    if every < 1:
        raise ValueError(f"expected every to be 1 or more, got {every}")
    if by == "time" and not windowed:
        raise ValueError("expected a window for slices of equal time, got None")


def count_edges(number: int, slices: int, *, drop_remainder: bool) -> NDArray[np.int64]:
    """Slices of equal count: int64 [S + 1], slice k holds the events (planes) from edge k up to edge k + 1."""
    whole = np.arange(slices + 1, dtype=np.int64)
    return whole * (number // slices) if drop_remainder else whole * number // slices


def time_edges(window: tuple[int, int], slices: int) -> NDArray[np.int64]:
    """The first microsecond of each slice, and the end: an event at t is in slice floor((t - t0) S / (t1 - t0))."""
    start, stop = window
    return start - (np.arange(slices + 1, dtype=np.int64) * (start - stop)) // slices


def kept(edges: NDArray[np.int64], every: int) -> NDArray[np.int64]:
    """Start and stop of the slices 0, every, 2 every, ...: int64 [kept, 2]."""
    return np.ascontiguousarray(np.stack([edges[:-1], edges[1:]], axis=1)[::every])
