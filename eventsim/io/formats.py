"""Which module reads and writes which file: a new format is one new module and one line in a table here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from eventsim.errors import InputError
from eventsim.io import hdf5, mvsec, vidar
from eventsim.io.event_source import EventSource
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream

_Format = TypeVar("_Format", bound="_EventFormat | _SpikeFormat")


@dataclass(frozen=True)
class _EventFormat:
    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[Path], bool]
    open: Callable[[Path], EventSource]
    write: Callable[..., None] | None


@dataclass(frozen=True)
class _SpikeFormat:
    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[Path], bool]
    open: Callable[..., SpikeStream]
    write: Callable[..., None]


# Where formats share a suffix, the first that recognises the content reads, and the first that can write writes.
_EVENT_FORMATS = (
    _EventFormat("RetinaFlow HDF5", (".h5", ".hdf5"), hdf5.is_events, hdf5.EventsFile, hdf5.write_events),
    _EventFormat("MVSEC", (".h5", ".hdf5"), mvsec.is_mvsec, mvsec.MvsecRecording, None),
)
_SPIKE_FORMATS = (
    _SpikeFormat("RetinaFlow HDF5", (".h5", ".hdf5"), hdf5.is_spikes, hdf5.open_spikes, hdf5.write_spikes),
    _SpikeFormat("Vidar", (".dat",), Path.is_file, vidar.open_spikes, vidar.write_spikes),
)


def open_events(path: str | os.PathLike[str]) -> EventSource:
    """Recorded events, by suffix and content; read in windows, so that the file may be larger than memory.

    Raises:
        InputError: the file is missing, of an unknown suffix, or not of a known format.
    """
    source = Path(path)
    candidates = _of_suffix(source, _EVENT_FORMATS)
    if not source.is_file():
        raise InputError(source, expected="a file of events", found="nothing there")
    for candidate in candidates:
        if candidate.recognise(source):
            return candidate.open(source)
    names = " or ".join(candidate.name for candidate in candidates)
    raise InputError(source, expected=f"events as {names}", found=hdf5.content_of(source))


def write_events(path: str | os.PathLike[str], events: Events | Iterable[Events], overwrite: bool = False) -> None:
    """Writes events (whole, or as an iterable of consecutive pieces) in the format of the path's suffix.

    Raises:
        InputError: no format is written under this suffix.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    writers = [candidate.write for candidate in _of_suffix(Path(path), _EVENT_FORMATS) if candidate.write]
    writers[0](path, events, overwrite=overwrite)


def holds_spikes(path: str | os.PathLike[str]) -> bool:
    """Whether a file of a known format holds spikes (rather than events), by suffix and content.

    Raises:
        InputError: the file is missing or of an unknown suffix.
    """
    source = Path(path)
    candidates = _of_suffix(source, (*_SPIKE_FORMATS, *_EVENT_FORMATS))
    if not source.is_file():
        raise InputError(source, expected="a file of spikes or events", found="nothing there")
    return any(candidate.recognise(source) for candidate in candidates if isinstance(candidate, _SpikeFormat))


def open_spikes(path: str | os.PathLike[str], height: int | None = None, width: int | None = None) -> SpikeStream:
    """A spike stream, by suffix; planes are read as they are asked for.

    Args:
        path: .h5, .hdf5 or .dat.
        height, width: of the sensor. A `.dat` does not state them (by default 250 and 400); where the file does, they
            must agree.

    Raises:
        InputError: the file is missing, of an unknown suffix, damaged, or of another size.
        ValueError: a height or width below 1.
    """
    source = Path(path)
    for name, length in (("height", height), ("width", width)):
        if length is not None and length < 1:
            raise ValueError(f"expected a {name} of at least 1 pixel, got {length}")
    chosen = _of_suffix(source, _SPIKE_FORMATS)[0]
    if chosen.open is vidar.open_spikes:
        return vidar.open_spikes(source, height or vidar.HEIGHT, width or vidar.WIDTH)
    stream = chosen.open(source)
    if (height or stream.height, width or stream.width) != (stream.height, stream.width):
        raise InputError(
            source, expected=f"height {height}, width {width}", found=f"height {stream.height}, width {stream.width}"
        )
    return stream


def write_spikes(
    path: str | os.PathLike[str], stream: SpikeStream | Iterable[SpikeStream], overwrite: bool = False
) -> None:
    """Writes a spike stream (whole, or as an iterable of consecutive pieces) in the format of the path's suffix.

    Raises:
        InputError: no format is written under this suffix.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    _of_suffix(Path(path), _SPIKE_FORMATS)[0].write(path, stream, overwrite=overwrite)


def _of_suffix(path: Path, formats: tuple[_Format, ...]) -> list[_Format]:
    found = [each for each in formats if path.suffix.lower() in each.suffixes]
    if not found:
        known = "; ".join(f"{each.name} ({', '.join(each.suffixes)})" for each in formats)
        raise InputError(path, expected=f"a known format: {known}", found=f"suffix '{path.suffix}'")
    return found
