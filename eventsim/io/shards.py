"""Shards: HDF5 files of many items of a data set, for sets of so many items that a file each would be slow to handle.

A shard has a group for each item, by its name, with the attributes width and height: `spikes` as in our files of
spikes (with the attribute readout_hz), or `events/t`, `x`, `y`, `p` as in our files of events; its flow in `flow`. The
same items give the same bytes.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.checksum import EVENT_COLUMNS
from eventsim.io.event_source import EventSource
from eventsim.io.faults import recorded_events
from eventsim.io.hdf5 import SPIKE_CHUNK_BYTES, blosc
from eventsim.io.hdf5_file import Growing, Hdf5Input, Hdf5Output
from eventsim.io.packed import LazyPlanes, stream_chunks
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream

_EVENTS_PER_CHUNK = 1 << 15


def add_spikes(output: Hdf5Output, group: str, pieces: Iterable[SpikeStream]) -> None:
    """Adds an item of spikes to a shard, in bounded memory."""
    planes: Growing | None = None
    for piece in stream_chunks(pieces):
        if planes is None:
            shape = piece.packed.shape[1:]
            rows = max(1, SPIKE_CHUNK_BYTES // (shape[0] * shape[1]))
            planes = output.growing(f"{group}/spikes", shape, np.uint8, rows=rows, **blosc(shuffle=False))
            _describe(output, group, width=piece.width, height=piece.height, readout_hz=float(piece.readout_hz))
        planes.append(piece.packed)
    if planes is not None:
        planes.flush()  # gives its memory back before the next item


def add_events(output: Hdf5Output, group: str, pieces: Iterable[Events]) -> None:
    """Adds an item of events to a shard, in bounded memory."""
    columns = {
        name: output.growing(f"{group}/events/{name}", (), dtype, rows=_EVENTS_PER_CHUNK, **blosc())
        for name, dtype in EVENT_COLUMNS.items()
    }
    for piece in pieces:
        _describe(output, group, width=piece.width, height=piece.height)
        for name, column in columns.items():
            column.append(getattr(piece, name))
    for column in columns.values():
        column.flush()


def shard_spikes(path: str | os.PathLike[str], group: str) -> SpikeStream:
    """The spike stream of an item, whose planes are read as they are asked for; may be sent to other processes.

    Raises:
        InputError: no such item in the shard, or planes that do not fit its size.
    """
    with Hdf5Input(path) as source:
        shape = source.dataset(f"{group}/spikes").shape
        height, width = (int(source.attribute(name, group)) for name in ("height", "width"))
        readout_hz = float(source.attribute("readout_hz", group))
    if shape[1:] != (height, -(-width // 8)):
        raise InputError(path, expected=f"packed spikes of {width}x{height}", found=str(shape), at=group)
    return LazyPlanes(shape, _SpikeRows(source, f"{group}/spikes")).stream(width, readout_hz)


class ShardEvents(EventSource):
    """Events of a shard's item, read as they are asked for; may be sent to other processes.

    Args:
        path: the shard.
        group: the item's group.

    Raises:
        InputError: no such item in the shard.
    """

    def __init__(self, path: str | os.PathLike[str], group: str) -> None:
        self._input, self._group = Hdf5Input(path), group
        with self._input as source:
            self._count = len(source.dataset(f"{group}/events/t"))
            self.width, self.height = (int(source.attribute(name, group)) for name in ("width", "height"))

    def __len__(self) -> int:
        return self._count

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice)."""
        start, stop, _ = slice(start, stop).indices(len(self))
        t, x, y, p = (self._column(name, start, stop) for name in EVENT_COLUMNS)
        return recorded_events(self._input.path, t, x, y, p > 0, width=self.width, height=self.height, first=start)

    def _find(self, t_us: int) -> int:
        # Bisection over chunks' first events, then within one chunk: two or three short reads and no index.
        firsts = range(0, len(self), _EVENTS_PER_CHUNK)
        chunk = bisect_left(firsts, t_us, key=lambda at: int(self._column("t", at, at + 1)[0]))
        start = max(chunk - 1, 0) * _EVENTS_PER_CHUNK
        return start + int(np.searchsorted(self._column("t", start, start + _EVENTS_PER_CHUNK), t_us, side="left"))

    def _column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        return self._input.rows(f"{self._group}/events/{name}", start, stop)

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        self._input.close()


class _SpikeRows:
    def __init__(self, source: Hdf5Input, key: str) -> None:
        self._source, self._key = source, key

    def __call__(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self._source.rows(self._key, start, stop)


def _describe(output: Hdf5Output, group: str, **attributes: Any) -> None:
    for name, value in attributes.items():
        output.file[group].attrs[name] = value
