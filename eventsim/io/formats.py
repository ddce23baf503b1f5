"""Which module reads and writes which file: a new format is one new module and one line in a table here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eventsim.errors import InputError
from eventsim.io import hdf5, mvsec, npz, vidar
from eventsim.io.event_source import EventSource
from eventsim.io.vidar import DatLayout, Padding
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
    states_size: bool = True
    # Options of `open` and `write` for what the file does not state.
    open_options: tuple[str, ...] = ()
    write_options: tuple[str, ...] = ()
    assumed: Callable[..., str] | None = None  # what `open` takes for granted, in words


# Where formats share a suffix, the first that recognises the content reads, and the first that can write writes.
_EVENT_FORMATS = (
    _EventFormat("RetinaFlow HDF5", (".h5", ".hdf5"), hdf5.is_events, hdf5.EventsFile, hdf5.write_events),
    _EventFormat("MVSEC", (".h5", ".hdf5"), mvsec.is_mvsec, mvsec.MvsecRecording, None),
)
_SPIKE_FORMATS = (
    _SpikeFormat("RetinaFlow HDF5", (".h5", ".hdf5"), hdf5.is_spikes, hdf5.open_spikes, hdf5.write_spikes),
    _SpikeFormat(
        "Vidar",
        (".dat",),
        Path.is_file,
        vidar.open_spikes,
        vidar.write_spikes,
        states_size=False,
        open_options=("layout", "flipped", "padding", "readout_hz"),
        write_options=("layout", "flipped", "padding"),
        assumed=lambda **options: str(vidar.dat_layout(**options)),
    ),
    _SpikeFormat(
        "SpikingSIM",
        (".npz",),
        Path.is_file,
        npz.open_spikes,
        npz.write_spikes,
        open_options=("readout_hz",),
        assumed=lambda readout_hz=npz.READOUT_HZ, **_: f"{readout_hz:g} Hz",
    ),
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


def open_spikes(
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
    *,
    layout: str | DatLayout | None = None,
    flipped: bool | None = None,
    padding: Padding | None = None,
    readout_hz: float | None = None,
) -> SpikeStream:
    """A spike stream, by suffix; planes are read as they are asked for (but see `npz.open_spikes`).

    What a format states itself is not to be told: then only `height` and `width` may be, and must agree.

    Args:
        path: .h5, .hdf5, .dat or .npz.
        height, width: of the sensor; for a `.dat` by default its layout's.
        layout: of a `.dat`: a name in `vidar.LAYOUTS` (by default "vidar"), or a `vidar.DatLayout`.
        flipped, padding: of a `.dat`, instead of its layout's own.
        readout_hz: of a `.dat` or `.npz`; by default the layout's, or 20 kHz.

    Raises:
        InputError: the file is missing, of an unknown suffix, damaged, of another size, or states itself what is
            told here.
        ValueError: a height or width below 1, an unknown layout, or one that cannot be.
    """
    source = Path(path)
    for name, length in (("height", height), ("width", width)):
        if length is not None and length < 1:
            raise ValueError(f"expected a {name} of at least 1 pixel, got {length}")
    chosen = _of_suffix(source, _SPIKE_FORMATS)[0]
    options = _given(layout=layout, flipped=flipped, padding=padding, readout_hz=readout_hz)
    _refuse_options(source, chosen.name, options, chosen.open_options)
    if not chosen.states_size:
        return chosen.open(source, **_given(height=height, width=width), **options)
    stream = chosen.open(source, **options)
    if (height or stream.height, width or stream.width) != (stream.height, stream.width):
        raise InputError(
            source, expected=f"height {height}, width {width}", found=f"height {stream.height}, width {stream.width}"
        )
    return stream


def reading_options(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the options, besides height and width, that `open_spikes` takes for files of this suffix.

    Raises:
        InputError: an unknown suffix.
    """
    return _of_suffix(Path(path), _SPIKE_FORMATS)[0].open_options


def assumed_conventions(path: str | os.PathLike[str], **options: Any) -> str | None:
    """What `open_spikes` with these options takes for granted of a file that does not state it, in words.

    Returns:
        The conventions; None where the file states them all.

    Raises:
        InputError: an unknown suffix.
        ValueError: an unknown layout, or one that cannot be.
    """
    chosen = _of_suffix(Path(path), _SPIKE_FORMATS)[0]
    return chosen.assumed(**_given(**options)) if chosen.assumed else None


def write_spikes(
    path: str | os.PathLike[str],
    stream: SpikeStream | Iterable[SpikeStream],
    overwrite: bool = False,
    *,
    layout: str | DatLayout | None = None,
    flipped: bool | None = None,
    padding: Padding | None = None,
) -> None:
    """Writes a spike stream (whole, or as an iterable of consecutive pieces) in the format of the path's suffix.

    Args:
        path: .h5, .hdf5, .dat or .npz.
        stream: what to write.
        overwrite: replace an existing file.
        layout: of a `.dat`: a name in `vidar.LAYOUTS` (by default "vidar"), or a `vidar.DatLayout`.
        flipped, padding: of a `.dat`, instead of its layout's own.

    Raises:
        InputError: no format is written under this suffix, or one that has no such options.
        ValueError: an unknown layout, or one for another size; no piece at all, or pieces that do not belong together.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    chosen = _of_suffix(Path(path), _SPIKE_FORMATS)[0]
    options = _given(layout=layout, flipped=flipped, padding=padding)
    _refuse_options(path, chosen.name, options, chosen.write_options)
    chosen.write(path, stream, overwrite=overwrite, **options)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse_options(path: str | os.PathLike[str], name: str, options: dict[str, Any], known: tuple[str, ...]) -> None:
    refused = {option: value for option, value in options.items() if option not in known}
    if refused:
        found = ", ".join(f"{option} {value}" for option, value in refused.items())
        raise InputError(path, expected=f"no {' or '.join(refused)}, which {name} settles itself", found=found)


def _of_suffix(path: Path, formats: tuple[_Format, ...]) -> list[_Format]:
    found = [each for each in formats if path.suffix.lower() in each.suffixes]
    if not found:
        known = "; ".join(f"{each.name} ({', '.join(each.suffixes)})" for each in formats)
        raise InputError(path, expected=f"a known format: {known}", found=f"suffix '{path.suffix}'")
    return found
