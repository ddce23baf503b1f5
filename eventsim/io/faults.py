"""Faults of files, told in one line: events that break the rules, and a disk that takes no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.streams.events import Events


def recorded_events(
    source: str | os.PathLike[str],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[np.bool_],
    *,
    width: int,
    height: int,
    first: int = 0,
) -> Events:
    """Events from the arrays of a file.

    Args:
        source: the file, for the message.
        t, x, y, p: as `Events` takes them; integers of any type for t, x and y.
        width, height: of the sensor.
        first: index in the file of the first of these events.

    Raises:
        InputError: times that fall or coordinates outside the sensor; names the first such event of the file.
    """
    try:
        return Events(t, x, y, p, width, height)
    except TypeError as error:
        raise InputError(source, expected="whole numbers", found=str(error), at=f"event {first}") from None
    except ValueError:
        raise _first_fault(source, t, x, y, width, height, first) from None


def _first_fault(
    source: str | os.PathLike[str],
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    width: int,
    height: int,
    first: int,
) -> InputError:
    lengths = [len(array) for array in (t, x, y)]
    if len(set(lengths)) > 1:
        return InputError(source, expected="t, x and y of one length", found=f"{lengths}", at=f"event {first}")
    outside_x, outside_y = ((c < 0) | (c >= size) for c, size in ((x, width), (y, height)))
    falls = np.concatenate([[False], t[1:] < t[:-1]])
    index = int(np.flatnonzero(falls | outside_x | outside_y)[0])
    if falls[index]:
        expected, found = "ascending times", f"{t[index]} us after {t[index - 1]} us"
    else:
        expected, found = f"x below {width} and y below {height}", f"x {x[index]}, y {y[index]}"
    return InputError(source, expected=expected, found=found, at=f"event {first + index}")


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds the path to an error of the operating system (a full disk, say) that does not name its file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
