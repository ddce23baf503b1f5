"""What every reader of recorded events offers: a format says how rows and times are found, the rest follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from eventsim.streams.events import Events


class EventSource(ABC):
    """Recorded events that are read as they are asked for, from files that may be larger than memory."""

    width: int
    height: int

    @abstractmethod
    def __len__(self) -> int:
        """Number of events."""

    @abstractmethod
    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice)."""

    @abstractmethod
    def _find(self, t_us: int) -> int:
        """Index of the first event at or after a time (microseconds)."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file; reading opens it again."""

    def window(self, t0: int, t1: int) -> Events:
        """The events with t0 <= t < t1 (microseconds)."""
        start, stop = self._find(t0), self._find(t1)
        return self.read(start, max(start, stop))

    def time_span(self) -> tuple[int, int]:
        """Times of the first and the last event, in microseconds; there must be one."""
        last = len(self) - 1
        return int(self.read(0, 1).t[0]), int(self.read(last, last + 1).t[0])

    def chunks(self, size: int = 1 << 20) -> Iterator[Events]:
        """All events, `size` at a time; at least one piece, which may be empty."""
        for start in range(0, max(len(self), 1), size):
            yield self.read(start, start + size)

    def __iter__(self) -> Iterator[Events]:
        return self.chunks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
