"""Events as text: a line `t x y p` for every event, as in the Event Camera Dataset (Mueggler et al., IJRR 2017).

Numbers stand between blanks, tabs, commas or semicolons. Empty lines and what follows a `#` are passed over, and a
header of names (`x,y,t,p`) sets another order. Polarity is 1 for ON, and 0 or -1 for OFF. Text does not state
- its unit of time, unless the comment that `write_events` puts first does: then it is seconds where the first event's
  time has a point or an exponent, as in the Event Camera Dataset, and microseconds where it is a whole number;
- the sensor's size, unless that comment or a first line of two numbers `width height` does: then it is just large
  enough for all events, which costs a pass over the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.event_source import PieceSource, in_chunks
from eventsim.io.faults import naming
from eventsim.io.text_lines import read_table
from eventsim.streams.events import Events

#: Of the times: seconds or whole microseconds.
TimeUnit = Literal["s", "us"]
_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 4096
_EVENTS_PER_CHUNK = 1 << 16
_LARGEST = 1 << 16
_STATED = re.compile(rb"#\s*width (\d+) height (\d+)(?:; t \((s|us)\))?")
_NAMES = {"t": "t ts time timestamp timestamps", "x": "x", "y": "y", "p": "p pol polarity on"}


class TextEvents(PieceSource):
    """Events of a text file, read as they are asked for; may be sent to other processes.

    Args:
        path: the file.
        height, width: of the sensor, instead of what the file states or its events show.
        time_unit: of the times, "s" or "us"; by default as the module says.

    Raises:
        InputError: the file is missing, has no events and no size, or a line that is none; names the line. A fault
            beyond the first block of a file of known size is found when it is read.
    """

    seekable = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        height: int | None = None,
        width: int | None = None,
        *,
        time_unit: TimeUnit | None = None,
    ) -> None:
        super().__init__(Path(path))
        if not self.path.is_file():
            raise InputError(self.path, expected="a text file of events", found="nothing there")
        self._order, self._seconds = (0, 1, 2, 3), False
        self.width, self.height = width or 0, height or 0
        begin, line = self._read_head(time_unit)
        self._marks = [(begin, line)]  # where each piece begins: byte, line
        self._extent = (0, 0)
        if not (self.width and self.height):
            self._find_size()

    def _read_head(self, time_unit: str | None) -> tuple[int, int]:
        """What stands before the first event: byte and line of the first event."""
        stated, begin, first, number = (0, 0), 0, b"", 0
        with self.path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if found := _STATED.match(line):
                    stated = int(found[1]), int(found[2])
                    time_unit = time_unit or (found[3].decode() if found[3] else None)
                words = _words(line)
                if len(words) == 2 and all(word.isdigit() for word in words) and not any(stated):
                    stated = int(words[0]), int(words[1])
                elif words and (order := _named_order(words)):
                    self._order = order
                elif words:
                    first = words[self._order[0]] if len(words) > self._order[0] else b""
                    break
                begin, number = file.tell(), number + line.endswith(b"\n")
        self._seconds = time_unit == "s"
        if time_unit is None:
            self._seconds = not first.lstrip(b"+-").isdigit()
        self._assume(stated, time_unit)
        return begin, number

    def _assume(self, stated: tuple[int, int], time_unit: str | None) -> None:
        """Settles the size as far as it is stated or told, and says what is not."""
        for name, value in (("width", stated[0]), ("height", stated[1])):
            told = getattr(self, name)
            if told and value and told != value:
                raise InputError(self.path, expected=f"{name} {told}", found=f"{name} {value}")
            setattr(self, name, told or value)
        unit = f"times in {'seconds' if self._seconds else 'microseconds'}"
        size = "the size from the largest coordinates"
        words = ([] if time_unit else [unit]) + ([] if self.width and self.height else [size])
        self.assumed = ", ".join(words) or None

    def _find_size(self) -> None:
        told = self.width, self.height
        self.width, self.height = told[0] or _LARGEST, told[1] or _LARGEST
        if not len(self):
            raise InputError(self.path, expected="events, or the sensor's height and width", found="neither")
        self.width, self.height = (each or most for each, most in zip(told, self._extent, strict=True))
        self.close()  # what is held has the size that was taken meanwhile

    def _pieces(self, first: int) -> Iterator[Events]:
        begin, line = self._marks[first]
        index = first
        with self.path.open("rb") as file:
            file.seek(begin)
            while block := self._read_block(file, line):
                piece = self._parse(block, line)
                if len(piece):
                    if index == len(self._marks):
                        self._marks.append((begin, line))
                    index += 1
                    yield piece
                begin, line = begin + len(block), line + block.count(b"\n")

    def _read_block(self, file: IO[bytes], line: int) -> bytes:
        """The next whole lines, about `_BLOCK_BYTES` of them."""
        block = file.read(_BLOCK_BYTES)
        if block and not block.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE)
            if len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
                number = line + block.count(b"\n") + 1
                raise InputError(
                    self.path, expected="a line 't x y p'", found="one without an end", at=f"line {number}"
                )
            block += rest
        return block

    def _parse(self, block: bytes, line: int) -> Events:
        """The events of whole lines, of which the first is number `line`, counted from 0."""
        table, lines = read_table(self.path, block, line)
        t, x, y, p = (table[:, column] for column in self._order)
        t_us = np.rint(t * 1e6) if self._seconds else t
        self._check(t_us, x, y, p, lines)
        if len(x):
            self._extent = max(self._extent[0], int(x.max()) + 1), max(self._extent[1], int(y.max()) + 1)
        columns = t_us.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p > 0
        return Events(*columns, self.width, self.height)

    def _check(
        self,
        t: NDArray[np.float64],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        p: NDArray[np.float64],
        lines: NDArray[np.int64],
    ) -> None:
        """Names the line of the first event that breaks a rule."""
        within = f"whole x below {self.width} and y below {self.height}"
        rules = (
            ("whole microseconds (or time_unit 's')", t != np.rint(t), t),
            ("times within 292,000 years", ~(np.abs(t) < 2.0**63), t),
            (within, (x != np.rint(x)) | ~((x >= 0) & (x < self.width)), x),
            (within, (y != np.rint(y)) | ~((y >= 0) & (y < self.height)), y),
            ("polarity 0 or 1, or -1 or 1", ~np.isin(p, (-1.0, 0.0, 1.0)), p),
            ("ascending times", np.diff(t, prepend=t[:1]) < 0, t),
        )
        for expected, broken, values in rules:
            if broken.any():
                index = int(np.argmax(broken))
                found = f"{values[index]:.17g}"
                raise InputError(self.path, expected=expected, found=found, at=f"line {int(lines[index]) + 1}")


def write_events(
    path: str | os.PathLike[str],
    events: Events | Iterable[Events],
    *,
    time_unit: TimeUnit = "s",
    overwrite: bool = False,
) -> None:
    """Writes events, whole or as consecutive pieces of one recording, as lines `t x y p` with p of 0 or 1.

    The first line is a comment that states the sensor's size and the unit.

    Args:
        path: the file.
        events: what to write.
        time_unit: "s", with six digits after the point, or "us".
        overwrite: replace an existing file.

    Raises:
        ValueError: no piece at all, or pieces from sensors of different sizes or out of order.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with naming(path), atomic_path(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        for index, piece in enumerate(in_chunks(events, _EVENTS_PER_CHUNK)):
            if not index:
                file.write(f"# width {piece.width} height {piece.height}; t ({time_unit}) x y p (1 = ON)\n".encode())
            file.write(_lines(piece, time_unit))


def _lines(events: Events, time_unit: TimeUnit) -> bytes:
    x, y, p = (getattr(events, name).tolist() for name in ("x", "y", "p"))
    if time_unit == "us":
        return b"".join(b"%d %d %d %d\n" % row for row in zip(events.t.tolist(), x, y, p, strict=True))
    seconds, rest = (part.tolist() for part in np.divmod(np.abs(events.t), 10**6))
    signs = [b"-" if t < 0 else b"" for t in events.t.tolist()]
    rows = zip(signs, seconds, rest, x, y, p, strict=True)
    return b"".join(b"%b%d.%06d %d %d %d\n" % row for row in rows)


def _words(line: bytes) -> list[bytes]:
    return re.sub(rb"[,;]", b" ", line.partition(b"#")[0]).split()


def _named_order(words: list[bytes]) -> tuple[int, int, int, int] | None:
    """Columns of t, x, y and p in a header of names; None if it is none."""
    known = {alias: name for name, aliases in _NAMES.items() for alias in aliases.split()}
    names = [known.get(word.decode("latin-1").lower()) for word in words]
    if sorted(map(str, names)) != ["p", "t", "x", "y"]:
        return None
    t, x, y, p = (names.index(name) for name in "txyp")
    return t, x, y, p
