"""Our own HDF5 files of events and of spikes, compressed without loss and read in windows.

Events: group `events` with t (int64, microseconds), x, y (uint16), p (uint8, 1 = ON) and `ms_to_idx` (uint64, see
`millisecond_index`; its first millisecond is the attribute `first_ms` of `events`), as in DSEC.
Spikes: data set `spikes`, uint8 [T, H, ceil(W / 8)], packed as in `SpikeStream`.
The file's attributes hold `format`, `version`, `width` and `height`, and `readout_hz` for spikes. The same content
gives the same bytes, in whatever pieces it was written (unless BLOSC_NTHREADS asks for several threads).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.event_source import EventSource, in_chunks
from eventsim.io.faults import naming, recorded_events
from eventsim.io.hdf5_file import Hdf5Input, Hdf5Output
from eventsim.io.millisecond_index import MillisecondIndex, first_event_at
from eventsim.io.packed import LazyPlanes, stream_chunks
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream

EVENTS_FORMAT, SPIKES_FORMAT = "retinaflow events", "retinaflow spikes"
VERSION = 1
_EVENTS_PER_CHUNK = 1 << 15
SPIKE_CHUNK_BYTES = 1 << 18
_COLUMNS = {"t": np.int64, "x": np.uint16, "y": np.uint16, "p": np.uint8}


def write_events(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes events, whole or as consecutive pieces of one recording, in bounded memory.

    Raises:
        ValueError: no piece at all, pieces from sensors of different sizes or out of order, or a pause of over a day.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with naming(path), atomic_path(path, overwrite=overwrite) as partial:
        pieces = in_chunks(events, _EVENTS_PER_CHUNK)
        first = next(pieces)
        with Hdf5Output(partial, path) as output:
            _write_events(output, first, pieces)


def _write_events(output: Hdf5Output, first: Events, rest: Iterable[Events]) -> None:
    _describe(output.file, EVENTS_FORMAT, first.width, first.height)
    columns = {
        name: output.growing(f"events/{name}", (), dtype, rows=_EVENTS_PER_CHUNK, **blosc())
        for name, dtype in _COLUMNS.items()
    }
    index = MillisecondIndex()
    entries = output.growing("events/ms_to_idx", (), np.uint64, rows=_EVENTS_PER_CHUNK, **blosc())
    for piece in chain([first], rest):
        for name, column in columns.items():
            column.append(getattr(piece, name))
        entries.append(index.extend(piece.t))
    entries.append(index.last())
    output.file["events"].attrs["first_ms"] = index.first_ms


def write_spikes(
    path: str | os.PathLike[str], stream: SpikeStream | Iterable[SpikeStream], *, overwrite: bool = False
) -> None:
    """Writes a spike stream, whole or as consecutive pieces, in bounded memory.

    Raises:
        ValueError: no piece at all, or pieces of different sizes or clocks.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with naming(path), atomic_path(path, overwrite=overwrite) as partial:
        pieces = stream_chunks(stream)
        first = next(pieces)
        with Hdf5Output(partial, path) as output:
            _write_spikes(output, first, pieces)


def _write_spikes(output: Hdf5Output, first: SpikeStream, rest: Iterable[SpikeStream]) -> None:
    _describe(output.file, SPIKES_FORMAT, first.width, first.height)
    output.file.attrs["readout_hz"] = float(first.readout_hz)
    plane = (first.height, -(-first.width // 8))
    rows = max(1, SPIKE_CHUNK_BYTES // (plane[0] * plane[1]))
    spikes = output.growing("spikes", plane, np.uint8, rows=rows, **blosc(shuffle=False))
    for piece in chain([first], rest):
        spikes.append(piece.packed)


class EventsFile(EventSource):
    """Events of one of our HDF5 files, read as they are asked for; may be sent to other processes.

    Args:
        path: the file.

    Raises:
        InputError: not such a file, a data set is missing, or lengths differ. Reading raises it for events out of
            order or outside the sensor, with the index of the event.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._input = Hdf5Input(path)
        self.path = self._input.path
        _check_format(self._input, EVENTS_FORMAT)
        self._count = self._input.count_events()
        self.width, self.height = (int(self._input.attribute(name)) for name in ("width", "height"))
        self._first_ms = int(self._input.attribute("first_ms", "events"))
        self._index: NDArray[np.uint64] | None = None
        self._input.close()

    def __len__(self) -> int:
        return self._count

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice)."""
        start, stop, _ = slice(start, stop).indices(len(self))
        t, x, y, p = (self._input.rows(f"events/{name}", start, stop) for name in _COLUMNS)
        return recorded_events(self.path, t, x, y, p > 0, width=self.width, height=self.height, first=start)

    def _find(self, t_us: int) -> int:
        if self._index is None:
            self._index = self._read_index()
        return first_event_at(
            t_us, self._index, self._first_ms, lambda start, stop: self._input.rows("events/t", start, stop)
        )

    def _read_index(self) -> NDArray[np.uint64]:
        key = "events/ms_to_idx"
        index = self._input.rows(key, 0, len(self._input.dataset(key)))
        if not len(index) or index[-1] != len(self) or (index[1:] < index[:-1]).any():
            raise InputError(self.path, expected=f"{key} that ascends to {len(self)}", found="one that does not")
        return index

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        self._input.close()


def open_spikes(path: str | os.PathLike[str]) -> SpikeStream:
    """A spike stream whose planes are read from the file as they are asked for; may be sent to other processes.

    Raises:
        InputError: not one of our files of spikes, or its data do not fit its size.
    """
    source = Hdf5Input(path)
    _check_format(source, SPIKES_FORMAT)
    planes = source.dataset("spikes")
    height, width = int(source.attribute("height")), int(source.attribute("width"))
    if planes.shape[1:] != (height, -(-width // 8)) or planes.dtype != np.uint8:
        raise InputError(path, expected=f"packed spikes of {width}x{height}", found=f"{planes.dtype} {planes.shape}")
    shape, readout_hz = planes.shape, float(source.attribute("readout_hz"))
    source.close()
    return LazyPlanes(shape, _SpikeRows(source)).stream(width, readout_hz)


class _SpikeRows:
    def __init__(self, source: Hdf5Input) -> None:
        self._source = source

    def __call__(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self._source.rows("spikes", start, stop)


def is_events(path: str | os.PathLike[str]) -> bool:
    """Whether this is one of our files of events.

    Raises:
        InputError: not an HDF5 file.
    """
    with Hdf5Input(path) as source:
        return str(source.file.attrs.get("format")) == EVENTS_FORMAT


def is_spikes(path: str | os.PathLike[str]) -> bool:
    """Whether this is one of our files of spikes.

    Raises:
        InputError: not an HDF5 file.
    """
    with Hdf5Input(path) as source:
        return str(source.file.attrs.get("format")) == SPIKES_FORMAT


def content_of(path: str | os.PathLike[str]) -> str:
    """What an HDF5 file holds, for a message."""
    with Hdf5Input(path) as source:
        return _content(source)


def _content(source: Hdf5Input) -> str:
    stated = source.file.attrs.get("format")
    return f"format '{stated}'" if stated else f"an HDF5 file with {', '.join(source.keys()) or 'no data sets'}"


def _check_format(source: Hdf5Input, expected: str) -> None:
    attributes = source.file.attrs
    if str(attributes.get("format")) != expected:
        raise InputError(source.path, expected=f"format '{expected}'", found=_content(source))
    if attributes.get("version") != VERSION:
        raise InputError(source.path, expected=f"version {VERSION}", found=f"version {attributes.get('version')}")


def _describe(file: h5py.File, kind: str, width: int, height: int) -> None:
    for name, value in {"format": kind, "version": VERSION, "width": width, "height": height}.items():
        file.attrs[name] = value


def blosc(shuffle: bool = True) -> dict[str, Any]:
    """Options of an HDF5 column that compress it quickly; `shuffle` for numbers, not for packed bits."""
    import hdf5plugin

    kind = hdf5plugin.Blosc.BITSHUFFLE if shuffle else hdf5plugin.Blosc.NOSHUFFLE
    return {"compression": hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=kind)}
