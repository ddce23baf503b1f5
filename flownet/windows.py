"""A recording cut into windows: by time or by number of events, one after another, overlapping or with gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eventsim.errors import InputError
from eventsim.io.formats import open_events
from eventsim.streams.events import Events

#: An interval of grey frames at 32 Hz, as in MVSEC.
DEFAULT_WINDOW_MS = 31.25
_EVENTS_PER_CHUNK = 1 << 18


class Cut(NamedTuple):
    """The events of the window [start_us, stop_us)."""

    start_us: int
    stop_us: int
    events: Events


@dataclass(frozen=True, kw_only=True)
class Windowing:
    """How long windows are and how far apart they begin.

    Args:
        window_us: their length in microseconds; or
        window_events: their number of events. Such a window lasts from its first event to just after its last.
        stride_us, stride_events: from the start of one to that of the next, in the same measure; by default their
            length. Less overlaps, more leaves gaps.

    Raises:
        ValueError: both lengths or none, a stride in the other measure, or one that is below 1.
    """

    window_us: int | None = None
    window_events: int | None = None
    stride_us: int | None = None
    stride_events: int | None = None

    def __post_init__(self) -> None:
        if (self.window_us is None) == (self.window_events is None):
            found = f"{self.window_us} us and {self.window_events} events"
            raise ValueError(f"expected a window by time or by number of events, got {found}")
        other, unit = (self.stride_events, "us") if self.window_us is not None else (self.stride_us, "events")
        if other is not None:
            raise ValueError(f"expected a stride in {unit}, as the window, got one in the other measure")
        if self.length < 1 or self.stride < 1:
            raise ValueError(
                f"expected a window and a stride of at least 1 {unit}, got {self.length} and {self.stride}"
            )

    @classmethod
    def of_ms(
        cls,
        window_ms: float | None = None,
        window_events: int | None = None,
        stride_ms: float | None = None,
        stride_events: int | None = None,
    ) -> Windowing:
        """The same with times in milliseconds, and windows of 31.25 ms where no length is given."""
        if window_ms is None and window_events is None:
            window_ms = DEFAULT_WINDOW_MS
        window_us, stride_us = (None if ms is None else round(1000 * ms) for ms in (window_ms, stride_ms))
        return cls(window_us=window_us, window_events=window_events, stride_us=stride_us, stride_events=stride_events)

    @property
    def length(self) -> int:
        """Of a window, in microseconds or events."""
        return self.window_us if self.window_us is not None else self.window_events or 0

    @property
    def stride(self) -> int:
        """From window to window, in microseconds or events."""
        given = self.stride_us if self.window_us is not None else self.stride_events
        return self.length if given is None else given

    @property
    def unit(self) -> str:
        """What length and stride count."""
        return "us" if self.window_us is not None else "events"


class Windows:
    """The whole windows of a file of events, from its first event on; `len` is their number.

    Goes through the file once, forward, and holds a window and a piece of the file at a time. Formats without an index
    are gone through once more before, to count.

    Args:
        path: any file that `open_events` takes.
        windowing: where windows begin and end.

    Raises:
        InputError: no file of events, or one that holds less than one window.
    """

    def __init__(self, path: str | PathLike[str], windowing: Windowing) -> None:
        self.windowing = windowing
        self._events = open_events(path)
        if not len(self._events):
            raise InputError(path, expected="events", found="none")
        first, last = self._events.time_span()
        held = last + 1 - first if windowing.unit == "us" else len(self._events)
        if held < windowing.length:
            expected = f"at least one window of {windowing.length} {windowing.unit}"
            found = f"{held} us of events" if windowing.unit == "us" else f"{held} events"
            raise InputError(Path(path), expected=expected, found=found)
        self._first = first
        self._number = (held - windowing.length) // windowing.stride + 1

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Cut]:
        """The windows in order of their start."""
        held, offset, number = Events.empty(self._events.width, self._events.height), 0, 0
        for chunk in chain(self._events.chunks(_EVENTS_PER_CHUNK), [None]):
            if chunk is not None:
                held = Events.concatenate([held, chunk]) if len(held) else chunk
            while (found := self._window(held, offset, number, complete=chunk is None)) is not None:
                yield found
                number += 1
            needed = min(self._begin(held, offset, number), len(held))
            held, offset = held[needed:], offset + needed

    def _begin(self, held: Events, offset: int, number: int) -> int:
        """Where among the held events, of which the first is number `offset` of the file, a window begins."""
        if self.windowing.unit == "us":
            return int(np.searchsorted(held.t, self._first + number * self.windowing.stride))
        return number * self.windowing.stride - offset

    def _window(self, held: Events, offset: int, number: int, *, complete: bool) -> Cut | None:
        """A window, if there is one of that number and all its events are held."""
        if number >= self._number:
            return None
        low, length = self._begin(held, offset, number), self.windowing.length
        if self.windowing.unit == "us":
            start = self._first + number * self.windowing.stride
            # More events at the time of the last one held may still come.
            if not complete and (not len(held) or held.t[-1] < start + length):
                return None
            return Cut(start, start + length, held[low : int(np.searchsorted(held.t, start + length))])
        if low + length > len(held):
            return None
        events = held[low : low + length]
        return Cut(int(events.t[0]), int(events.t[-1]) + 1, events)
