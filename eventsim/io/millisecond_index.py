"""The index of the first event at or after each millisecond: finds a window of events with one short read.

As in DSEC (Gehrig et al., 2021), but counted from the millisecond of the first event rather than from zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: A longer pause means that times are in the wrong unit or from two clocks.
LONGEST_PAUSE_MS = 24 * 3600 * 1000


class MillisecondIndex:
    """Builds the index from consecutive parts of a recording.

    Entry k is the index of the first event with t >= (first_ms + k) * 1000 us; the last entry, for the millisecond
    after the last event, is the number of events.
    """

    def __init__(self) -> None:
        self.first_ms = 0
        self.events = 0
        self._next_ms = 0

    def extend(self, t: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The entries that the next events (microseconds, ascending) settle.

        Raises:
            ValueError: a pause of more than a day before or among these events.
        """
        if not len(t):
            return np.zeros(0, np.uint64)
        if not self.events:
            self.first_ms = self._next_ms = int(t[0]) // 1000
        stop = int(t[-1]) // 1000 + 1
        if stop - self._next_ms > LONGEST_PAUSE_MS:
            raise ValueError(f"expected no pause of more than a day, got events at {t[0]} us .. {t[-1]} us "
                             f"after event {self.events - 1} in millisecond {self._next_ms - 1}")  # fmt: skip
        entries = self.events + np.searchsorted(t, np.arange(self._next_ms, stop) * 1000, side="left")
        self.events += len(t)
        self._next_ms = stop
        return entries.astype(np.uint64)

    def last(self) -> NDArray[np.uint64]:
        """The entry that closes the index."""
        return np.array([self.events], np.uint64)


def first_event_at(
    t_us: int,
    index: NDArray[np.uint64],
    first_ms: int,
    read_times: Callable[[int, int], NDArray[np.int64]],
) -> int:
    """Index of the first event at or after a time.

    Args:
        t_us: the time, microseconds.
        index: all entries, at least the closing one.
        first_ms: the millisecond of entry 0.
        read_times: gives the times (microseconds) of events start .. stop - 1.
    """
    entry = t_us // 1000 - first_ms
    if entry < 0:
        return 0
    if entry >= len(index) - 1:
        return int(index[-1])
    start, stop = int(index[entry]), int(index[entry + 1])
    if t_us % 1000 == 0:
        return start
    return start + int(np.searchsorted(read_times(start, stop), t_us, side="left"))
