"""What every reader of recorded events offers: a format says how rows and times are found, the rest follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.streams.events import Events


class EventSource(ABC):
    """Recorded events that are read as they are asked for, from files that may be larger than memory."""

    width: int
    height: int
    #: What the reader takes for granted because the file does not state it, in words; None where it states all.
    assumed: str | None = None

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


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """Where the pieces of a file lie: piece k holds events starts[k] .. starts[k + 1] - 1."""

    starts: NDArray[np.int64]  # [P + 1]
    first_us: NDArray[np.int64]  # [P]
    last_us: NDArray[np.int64]  # [P]


class PieceSource(EventSource):
    """Events of a file without an index: it is decoded piece by piece, each small beside the memory.

    The first question that needs it (a length, a window) costs one pass over the whole file, which notes where every
    piece begins; going through all events once (`chunks`) needs no such pass. Consecutive windows go on from where
    the last one ended; one that lies before it begins again, at the file's beginning unless pieces can be sought.
    """

    path: Path
    #: Whether `_pieces` goes to a piece at once rather than through all those before it.
    seekable = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._noted: _Pieces | None = None
        self._next, self._open = 0, iter(())  # type: tuple[int, Iterator[Events]]
        self._held: Events | None = None  # piece _next - 1

    @abstractmethod
    def _pieces(self, first: int) -> Iterator[Events]:
        """Pieces `first`, `first` + 1, ... of the file, none of them empty.

        A seekable source may rely on the pieces before `first` having been asked for earlier.
        """

    def __len__(self) -> int:
        return int(self._note().starts[-1])

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice)."""
        starts = self._note().starts
        start, stop, _ = slice(start, stop).indices(len(self))
        if start >= stop:
            return Events.empty(self.width, self.height)
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, stop, side="left"))
        return self._join(first, last)[start - int(starts[first]) : stop - int(starts[first])]

    def window(self, t0: int, t1: int) -> Events:
        """The events with t0 <= t < t1 (microseconds)."""
        noted = self._note()
        first = int(np.searchsorted(noted.last_us, t0, side="left"))
        last = int(np.searchsorted(noted.first_us, t1, side="left"))
        if first >= last:
            return Events.empty(self.width, self.height)
        return self._join(first, last).window(t0, t1)

    def time_span(self) -> tuple[int, int]:
        """Times of the first and the last event, in microseconds; there must be one."""
        noted = self._note()
        return int(noted.first_us[0]), int(noted.last_us[-1])

    def chunks(self, size: int = 1 << 20) -> Iterator[Events]:
        """All events, `size` at a time; at least one piece, which may be empty."""
        yield from in_chunks(self._in_order(), size, empty=Events.empty(self.width, self.height))

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        self._next, self._open, self._held = 0, iter(()), None

    def _find(self, t_us: int) -> int:
        noted = self._note()
        piece = int(np.searchsorted(noted.last_us, t_us, side="left"))
        if piece == len(noted.last_us):
            return len(self)
        within = np.searchsorted(self._join(piece, piece + 1).t, t_us, side="left")
        return int(noted.starts[piece] + within)

    def _note(self) -> _Pieces:
        if self._noted is None:
            lengths, first_us, last_us = [0], list[int](), list[int]()
            for piece in self._in_order():
                lengths.append(len(piece))
                first_us.append(int(piece.t[0]))
                last_us.append(int(piece.t[-1]))
            arrays = (np.array(each, np.int64) for each in (np.cumsum(lengths), first_us, last_us))
            self._noted = _Pieces(**dict(zip(("starts", "first_us", "last_us"), arrays, strict=True)))
        return self._noted

    def _in_order(self) -> Iterator[Events]:
        """All pieces, of which none begins before the last one ended."""
        count, last_us = 0, None
        for piece in self._pieces(0):
            if last_us is not None and piece.t[0] < last_us:
                found = f"{piece.t[0]} us after {last_us} us"
                raise InputError(self.path, expected="ascending times", found=found, at=f"event {count}")
            count, last_us = count + len(piece), int(piece.t[-1])
            yield piece

    def _join(self, first: int, last: int) -> Events:
        return Events.concatenate([self._piece(index) for index in range(first, last)])

    def _piece(self, index: int) -> Events:
        if index != self._next - 1 or self._held is None:
            if index < self._next or (self.seekable and index > self._next):
                self._next, self._open = index, self._pieces(index)
            elif self._next == 0:
                self._open = self._pieces(0)
            self._held = next(islice(self._open, index - self._next, None))
            self._next = index + 1
        return self._held

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_next": 0, "_open": iter(()), "_held": None}


def in_chunks(pieces: Events | Iterable[Events], size: int, *, empty: Events | None = None) -> Iterator[Events]:
    """The same events, `size` at a time (the last may be fewer): what is written does not depend on the pieces.

    Args:
        pieces: events, whole or as consecutive pieces of one recording.
        size: events a chunk.
        empty: what to give for no piece at all; otherwise that is an error.

    Returns:
        At least one piece, which may be empty.

    Raises:
        ValueError: no piece at all, pieces from sensors of different sizes, or out of order.
    """
    waiting = empty
    last: int | None = None
    for piece in [pieces] if isinstance(pieces, Events) else pieces:
        if waiting is not None and (piece.width, piece.height) != (waiting.width, waiting.height):
            raise ValueError(f"expected events from a sensor of {waiting.width}x{waiting.height}, "
                             f"got {piece.width}x{piece.height}")  # fmt: skip
        if last is not None and len(piece) and piece.t[0] < last:
            raise ValueError(f"expected pieces in order of time, got {piece.t[0]} us after {last} us")
        last = int(piece.t[-1]) if len(piece) else last
        waiting = piece if waiting is None or not len(waiting) else Events.concatenate([waiting, piece])
        whole = len(waiting) - len(waiting) % size
        for start in range(0, whole, size):
            yield waiting[start : start + size]
        waiting = waiting[whole:]
    if waiting is None:
        raise ValueError("expected at least one piece of events (an empty one tells the sensor's size), got none")
    if len(waiting) or last is None:
        yield waiting
