"""Events of an event camera (DVS): a struct of arrays that always satisfies the project's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The structured layout that tonic uses for events, field for field.
TONIC_DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])


@dataclass(frozen=True, eq=False)
class Events:
    """Events in order of time, with the size of the sensor that saw them.

    Args:
        t: int64 [N], microseconds, ascending (equal times are allowed).
        x: uint16 [N], column, 0 .. width - 1.
        y: uint16 [N], row, 0 .. height - 1.
        p: bool [N], polarity, True = ON.
        width: columns of the sensor.
        height: rows of the sensor.

    Raises:
        ValueError: lengths differ, times fall, or a coordinate lies outside the sensor. The message gives the index
            of the first offending event.
        TypeError: an array of a kind that cannot hold the quantity (times in float, say).
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.bool_]
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"expected a sensor of at least 1x1 pixel, got width {self.width}, height {self.height}")
        t = _integers("t", self.t)
        x = _coordinate("x", self.x, self.width)
        y = _coordinate("y", self.y, self.height)
        p = np.asarray(self.p)
        if p.dtype != np.bool_:
            raise TypeError(f"expected p as bool (True = ON), got {p.dtype}; convert -1/+1 polarities with p > 0")
        if p.ndim != 1 or not len(t) == len(x) == len(y) == len(p):
            raise ValueError(f"expected arrays of one length, got t {len(t)}, x {len(x)}, y {len(y)}, p {p.shape}")
        falls = np.flatnonzero(t[1:] < t[:-1])
        if falls.size:
            first = int(falls[0]) + 1
            raise ValueError(f"expected ascending times, got {t[first]} us after {t[first - 1]} us at event {first}")
        arrays = {"t": t.astype(np.int64, copy=False), "x": x, "y": y, "p": p}
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, index: slice | NDArray[Any]) -> Events:
        """The events of a slice, or of an ascending index or mask array."""
        return Events(self.t[index], self.x[index], self.y[index], self.p[index], self.width, self.height)

    def window(self, t0: int, t1: int) -> Events:
        """The events with t0 <= t < t1 (microseconds)."""
        start, stop = np.searchsorted(self.t, [t0, t1], side="left")
        return self[start:stop]

    def to_tonic(self) -> NDArray[np.void]:
        """The events as the structured array that tonic's transforms take: fields x, y, t (us), p."""
        out = np.empty(len(self), TONIC_DTYPE)
        for name in TONIC_DTYPE.names or ():
            out[name] = getattr(self, name)
        return out

    @classmethod
    def from_tonic(cls, events: NDArray[np.void], *, width: int, height: int) -> Events:
        """Events from tonic's structured array, as its data sets and transforms give it.

        Args:
            events: fields x, y, t (microseconds) and p (bool, 0/1 or -1/+1). Events that a transform has left out of
                order (TimeJitter does) are put in order of time; equal times keep their order.
            width, height: of the sensor, after a transform that crops or scales: the new one.

        Raises:
            ValueError: a field is missing, or a coordinate lies outside the sensor (SpatialJitter can do that).
        """
        missing = {"x", "y", "t", "p"} - set(events.dtype.names or ())
        if missing:
            raise ValueError(f"expected fields x, y, t, p, got {events.dtype.names}")
        if (events["t"][1:] < events["t"][:-1]).any():
            events = events[np.argsort(events["t"], kind="stable")]
        return cls(events["t"], events["x"], events["y"], events["p"] > 0, width, height)

    @classmethod
    def of_camera(
        cls,
        t: NDArray[np.int64],
        x: NDArray[np.uint16],
        y: NDArray[np.uint16],
        p: NDArray[np.bool_],
        width: int,
        height: int,
    ) -> Events:
        """Events that a simulated camera has put in order itself: nothing is checked again."""
        events = object.__new__(cls)
        for name, value in {"t": t, "x": x, "y": y, "p": p, "width": width, "height": height}.items():
            object.__setattr__(events, name, value)
        return events

    @classmethod
    def empty(cls, width: int, height: int) -> Events:
        """No events, from a sensor of this size."""
        coordinates = np.zeros(0, np.uint16)
        return cls(np.zeros(0, np.int64), coordinates, coordinates, np.zeros(0, np.bool_), width, height)

    @classmethod
    def concatenate(cls, parts: Sequence[Events]) -> Events:
        """Consecutive parts of one recording, joined; all from a sensor of one size."""
        if not parts:
            raise ValueError("expected at least one part to concatenate, got none")
        if len(parts) == 1:
            return parts[0]
        sizes = {(part.width, part.height) for part in parts}
        if len(sizes) > 1:
            raise ValueError(f"expected parts from one sensor, got sizes {sorted(sizes)}")
        t, x, y, p = (np.concatenate([getattr(part, name) for part in parts]) for name in ("t", "x", "y", "p"))
        return cls(t, x, y, p, *sizes.pop())


def _integers(name: str, values: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"expected {name} with one axis, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"expected {name} as integers, got {array.dtype}")
    return array


def _coordinate(name: str, coordinates: NDArray[Any], size: int) -> NDArray[np.uint16]:
    values = _integers(name, coordinates)
    if values.size and (values.min() < 0 or values.max() >= size):
        first = int(np.flatnonzero((values < 0) | (values >= size))[0])
        raise ValueError(f"expected {name} within 0..{size - 1}, got {values[first]} at event {first}")
    return values.astype(np.uint16, copy=False)
