"""DSEC (Gehrig, Aarents, Gehrig and Scaramuzza, RA-L 2021): `events.h5`, and `rectify_map.h5` beside it.

`events/{t,x,y,p}` hold times in microseconds after `t_offset`, which is the absolute time of their zero; what is read
here has absolute times, t + t_offset, as the images' time stamps have. `ms_to_idx[k]` is the index of the first event
with t >= 1000 k; what is written here closes with the number of events, for the millisecond after the last one.
Sensors are of 640x480 unless the file has attributes `width` and `height`, which DSEC's do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.event_source import EventSource, in_chunks
from eventsim.io.faults import naming, recorded_events
from eventsim.io.hdf5_file import Hdf5Input, Hdf5Output, uninterrupted
from eventsim.io.millisecond_index import MillisecondIndex
from eventsim.streams.events import Events

#: The sensors of every DSEC sequence.
WIDTH, HEIGHT = 640, 480
RECTIFY_MAP = "rectify_map.h5"
_COLUMNS = {"t": np.uint32, "x": np.uint16, "y": np.uint16, "p": np.uint8}
_INDEX, _OFFSET, _MAP = "ms_to_idx", "t_offset", "rectify_map"
_EVENTS_PER_CHUNK = 1 << 16
_LONGEST_US = 1 << 32
_READ_AT_ONCE = 1 << 16


class DsecEvents(EventSource):
    """Events of one camera of a DSEC sequence, read as they are asked for; may be sent to other processes.

    Args:
        path: the `events.h5`.

    Raises:
        InputError: not such a file, a data set is missing, or lengths differ. Reading raises it for events out of
            order or outside the sensor, with the index of the event.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._input = Hdf5Input(path)
        self.path = self._input.path
        self._count = self._input.count_events()
        attributes = self._input.file.attrs
        self.width, self.height = int(attributes.get("width", WIDTH)), int(attributes.get("height", HEIGHT))
        if "width" not in attributes:
            self.assumed = f"a sensor of {self.width}x{self.height}"
        #: Absolute time, in microseconds, of the file's zero.
        self.offset_us = int(self._input.dataset(_OFFSET)[()])
        self._index: NDArray[np.int64] | None = None
        self._input.close()

    def __len__(self) -> int:
        return self._count

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice), with absolute times."""
        start, stop, _ = slice(start, stop).indices(len(self))
        t, x, y, p = (self._input.rows(f"events/{name}", start, stop) for name in _COLUMNS)
        t_us = t.astype(np.int64) + self.offset_us
        return recorded_events(self.path, t_us, x, y, p > 0, width=self.width, height=self.height, first=start)

    @cached_property
    def rectify_map(self) -> RectifyMap | None:
        """The map in the `rectify_map.h5` beside the events, where there is one."""
        beside = self.path.with_name(RECTIFY_MAP)
        return RectifyMap.read(beside) if beside.is_file() else None

    def _find(self, t_us: int) -> int:
        if self._index is None:
            self._index = self._read_index()
        relative = t_us - self.offset_us
        entry = relative // 1000
        if entry < 0:
            return 0
        known = len(self._index) - 1
        start, stop = int(self._index[min(entry, known)]), len(self)
        if entry < known:
            stop = int(self._index[entry + 1])
        # A long stretch is met only where the index ends before the events do.
        while stop - start > _READ_AT_ONCE:
            middle = (start + stop) // 2
            start, stop = (middle + 1, stop) if self._times(middle, middle + 1)[0] < relative else (start, middle)
        return start + int(np.searchsorted(self._times(start, stop), relative, side="left"))

    def _times(self, start: int, stop: int) -> NDArray[np.int64]:
        return self._input.rows("events/t", start, stop).astype(np.int64)

    def _read_index(self) -> NDArray[np.int64]:
        index = self._input.rows(_INDEX, 0, len(self._input.dataset(_INDEX))).astype(np.int64)
        if not len(index) or index[0] != 0 or index[-1] > len(self) or (index[1:] < index[:-1]).any():
            raise InputError(
                self.path, expected=f"{_INDEX} that ascends from 0 to {len(self)}", found="one that does not"
            )
        return index

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        self._input.close()


@dataclass(frozen=True, eq=False)
class RectifyMap:
    """Where each pixel of a sensor lies in the rectified image (without distortion, with rows along epipolar lines).

    Args:
        xy: float32 [H, W, 2], pixels; `xy[y, x]` is (column, row) in the rectified image, which may lie outside it.

    Raises:
        ValueError: another shape.
    """

    xy: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.xy.ndim != 3 or self.xy.shape[2] != 2 or 0 in self.xy.shape:
            raise ValueError(f"expected a map [H, W, 2], got shape {self.xy.shape}")
        object.__setattr__(self, "xy", self.xy.astype(np.float32, copy=False))

    def rectify(self, events: Events) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rectified coordinates of events.

        Returns:
            x and y: float32 [N], pixels.

        Raises:
            ValueError: events from a sensor of another size.
        """
        if (events.height, events.width) != self.xy.shape[:2]:
            raise ValueError(f"expected events from a sensor of {self.xy.shape[1]}x{self.xy.shape[0]}, "
                             f"got {events.width}x{events.height}")  # fmt: skip
        moved = self.xy[events.y, events.x]
        return moved[:, 0], moved[:, 1]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> RectifyMap:
        """The map of a `rectify_map.h5`.

        Raises:
            InputError: not such a file, or a map of another shape.
        """
        with Hdf5Input(path) as source:
            values = source.dataset(_MAP)[()]
        try:
            return cls(values)
        except ValueError:
            raise InputError(path, expected=f"{_MAP} [H, W, 2]", found=f"shape {values.shape}") from None

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a `rectify_map.h5`.

        Raises:
            OutputExistsError: the file exists and `overwrite` is false.
            OSError: the disk takes no more; names the path.
        """
        with naming(path), atomic_path(path, overwrite=overwrite) as partial, Hdf5Output(partial, path) as output:
            height, width, _ = self.xy.shape
            rows = output.growing(_MAP, (width, 2), np.float32, rows=min(height, 64), **_blosc())
            rows.append(self.xy)


def write_events(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes events, whole or as consecutive pieces of one recording, in DSEC's layout and in bounded memory.

    `t_offset` is the whole millisecond before the first event. A size other than 640x480 is added as attributes.

    Raises:
        ValueError: no piece at all, pieces from sensors of different sizes or out of order, or more than 71 minutes
            (2^32 microseconds), which the times of the file cannot hold.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with naming(path), atomic_path(path, overwrite=overwrite) as partial:
        pieces = in_chunks(events, _EVENTS_PER_CHUNK)
        first = next(pieces)
        with Hdf5Output(partial, path) as output:
            _write_events(output, first, pieces)


def _write_events(output: Hdf5Output, first: Events, rest: Iterable[Events]) -> None:
    offset_us = int(first.t[0]) // 1000 * 1000 if len(first) else 0
    columns = {
        name: output.growing(f"events/{name}", (), dtype, rows=_EVENTS_PER_CHUNK, **_blosc())
        for name, dtype in _COLUMNS.items()
    }
    index = MillisecondIndex()
    entries = output.growing(_INDEX, (), np.uint64, rows=_EVENTS_PER_CHUNK, **_blosc())
    for piece in chain([first], rest):
        t = piece.t - offset_us
        if len(t) and t[-1] >= _LONGEST_US:
            raise ValueError(f"expected events within {_LONGEST_US} us, which DSEC's times can hold, got {t[-1]} us")
        for name, column in columns.items():
            column.append(t if name == "t" else getattr(piece, name))
        entries.append(index.extend(t))
    entries.append(index.last())
    with uninterrupted():
        output.file.create_dataset(_OFFSET, data=np.int64(offset_us))
        if (first.width, first.height) != (WIDTH, HEIGHT):
            output.file.attrs.update(width=first.width, height=first.height)
    output.check()


def is_dsec(path: str | os.PathLike[str]) -> bool:
    """Whether an HDF5 file has events, their index and offset in DSEC's places.

    Raises:
        InputError: not an HDF5 file.
    """
    with Hdf5Input(path) as source:
        return all(key in source.file for key in ("events/t", _INDEX, _OFFSET))


def _blosc() -> dict[str, Any]:
    import hdf5plugin

    return {"compression": hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)}
