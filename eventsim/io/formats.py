"""Which module reads and writes which file: a new format is one new module and one line in a table here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from eventsim.errors import InputError
from eventsim.io import dsec, event_npz, hdf5, mvsec, npz, text, vendor, vendor_writer, vidar
from eventsim.io.atomic import refuse_existing
from eventsim.io.event_source import EventSource, in_chunks
from eventsim.io.text import TimeUnit
from eventsim.io.vidar import DatLayout, Padding
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream

_Format = TypeVar("_Format", bound="_EventFormat | _SpikeFormat")


@dataclass(frozen=True)
class _EventFormat:
    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[Path], bool]
    open: Callable[..., EventSource]
    write: Callable[..., None] | None
    key: str  # names it among those that share a suffix
    # Options of `open` and `write` for what the file does not state.
    open_options: tuple[str, ...] = ()
    write_options: tuple[str, ...] = ()


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


_HDF5 = (".h5", ".hdf5")
_EVENTS_PER_CHUNK = 1 << 20


def _write_mvsec(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Events in MVSEC's layout, without images and ground truth."""
    name = os.fspath(path)
    if not name.endswith("_data.hdf5"):
        raise InputError(path, expected="a name that ends in _data.hdf5, as MVSEC's do", found=Path(path).name)
    pieces = in_chunks(events, _EVENTS_PER_CHUNK)
    refuse_existing(path, overwrite=overwrite)
    first = next(pieces)
    with mvsec.MvsecWriter(
        name.removesuffix("_data.hdf5"),
        width=first.width,
        height=first.height,
        ground_truth=False,
        overwrite=overwrite,
    ) as out:
        for piece in chain([first], pieces):
            out.add_events(piece)


_SIZE = ("height", "width")
# Where formats share a suffix, the first that recognises the content reads, and the first that can write writes unless
# another is asked for by its key.
_EVENT_FORMATS = (
    _EventFormat("RetinaFlow HDF5", _HDF5, hdf5.is_events, hdf5.EventsFile, hdf5.write_events, "retinaflow"),
    _EventFormat("MVSEC", _HDF5, mvsec.is_mvsec, mvsec.MvsecRecording, _write_mvsec, "mvsec"),
    _EventFormat("DSEC", _HDF5, dsec.is_dsec, dsec.DsecEvents, dsec.write_events, "dsec"),
    _EventFormat(
        "text",
        (".txt", ".csv"),
        Path.is_file,
        text.TextEvents,
        text.write_events,
        "text",
        open_options=(*_SIZE, "time_unit"),
        write_options=("time_unit",),
    ),
    _EventFormat(
        "NumPy arrays",
        (".npz",),
        event_npz.is_events,
        event_npz.NpzEvents,
        event_npz.write_events,
        "numpy",
        open_options=(*_SIZE, "time_unit"),
    ),
    _EventFormat(
        "NumPy array",
        (".npy",),
        event_npz.is_events,
        event_npz.NpzEvents,
        None,
        "numpy",
        open_options=(*_SIZE, "time_unit"),
    ),
    _EventFormat("EVT", (".raw",), vendor.is_vendor, vendor.VendorEvents, vendor_writer.write_evt2, "evt2", _SIZE),
    _EventFormat("DAT", (".dat",), vendor.is_vendor, vendor.VendorEvents, vendor_writer.write_dat, "dat", _SIZE),
    _EventFormat(
        "AEDAT4", (".aedat4",), vendor.is_vendor, vendor.VendorEvents, vendor_writer.write_aedat4, "aedat4", _SIZE
    ),
    _EventFormat("ES", (".es",), vendor.is_vendor, vendor.VendorEvents, vendor_writer.write_es, "es", _SIZE),
)
_SPIKE_FORMATS = (
    _SpikeFormat("RetinaFlow HDF5", _HDF5, hdf5.is_spikes, hdf5.open_spikes, hdf5.write_spikes),
    _SpikeFormat(
        "Vidar",
        (".dat",),
        lambda path: path.is_file() and not vendor.is_vendor(path),
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
        lambda path: path.is_file() and not event_npz.is_events(path),
        npz.open_spikes,
        npz.write_spikes,
        open_options=("readout_hz",),
        assumed=lambda readout_hz=npz.READOUT_HZ, **_: f"{readout_hz:g} Hz",
    ),
)


def open_events(
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
    *,
    time_unit: TimeUnit | None = None,
) -> EventSource:
    """Recorded events, by suffix and content; read in windows, so that the file may be larger than memory.

    What a format states itself is not to be told: then only `height` and `width` may be, and must agree.

    Args:
        path: .h5 or .hdf5 (our own, MVSEC, DSEC), .txt, .csv, .npz, .npy, .raw, .dat, .aedat4 or .es.
        height, width: of the sensor, where the file does not state them (`EventSource.assumed` says what is taken
            for granted without them).
        time_unit: of the times of text and NumPy's files, "s" or "us"; by default as these modules say.

    Raises:
        InputError: the file is missing, of an unknown suffix, not of a known format, of another size, or states itself
            what is told here; or faery is needed and not installed.
        ValueError: a height or width below 1.
    """
    source = Path(path)
    _check_size(height, width)
    chosen = _event_format(source)
    options = _given(time_unit=time_unit)
    _refuse_options(source, chosen.name, options, chosen.open_options)
    if "height" in chosen.open_options:
        return chosen.open(source, height, width, **options)
    events = chosen.open(source, **options)
    _check_agreement(source, height, width, events)
    return events


def event_format(path: str | os.PathLike[str]) -> str:
    """The name of the format that `open_events` reads a file as.

    Raises:
        InputError: as `open_events`.
    """
    return _event_format(Path(path)).name


def _event_format(source: Path) -> _EventFormat:
    candidates = _of_suffix(source, _EVENT_FORMATS)
    if not source.is_file():
        raise InputError(source, expected="a file of events", found="nothing there")
    for candidate in candidates:
        if candidate.recognise(source):
            return candidate
    names = " or ".join(candidate.name for candidate in candidates)
    found = hdf5.content_of(source) if candidates[0].suffixes == _HDF5 else "another content"
    raise InputError(source, expected=f"events as {names}", found=found)


def write_events(
    path: str | os.PathLike[str],
    events: Events | Iterable[Events],
    overwrite: bool = False,
    *,
    format: str | None = None,
    time_unit: TimeUnit | None = None,
) -> None:
    """Writes events (whole, or as an iterable of consecutive pieces) in the format of the path's suffix.

    Args:
        path: .h5 or .hdf5, .txt, .csv, .npz, .raw (EVT2), .dat (Prophesee's), .aedat4 or .es.
        events: what to write.
        overwrite: replace an existing file.
        format: for HDF5: "retinaflow" (the default), "dsec" or "mvsec" (events alone).
        time_unit: of text: "s" (the default) or "us".

    Raises:
        InputError: no such format is written under this suffix, or one that has no such option; or faery is needed
            and not installed.
        ValueError: no piece at all, or pieces that do not belong together or in the format.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    writers = [candidate for candidate in _of_suffix(Path(path), _EVENT_FORMATS) if candidate.write]
    chosen = next((each for each in writers if format in (None, each.key)), None)
    if chosen is None or chosen.write is None:
        known = " or ".join(each.key for each in writers) or "another suffix, as these files are only read"
        raise InputError(path, expected=f"format {known}" if writers else known, found=format or Path(path).suffix)
    options = _given(time_unit=time_unit)
    _refuse_options(path, chosen.name, options, chosen.write_options)
    chosen.write(path, events, overwrite=overwrite, **options)


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
    _check_size(height, width)
    chosen = _of_suffix(source, _SPIKE_FORMATS)[0]
    _refuse_events(source, chosen.name)
    options = _given(layout=layout, flipped=flipped, padding=padding, readout_hz=readout_hz)
    _refuse_options(source, chosen.name, options, chosen.open_options)
    if not chosen.states_size:
        return chosen.open(source, **_given(height=height, width=width), **options)
    stream = chosen.open(source, **options)
    _check_agreement(source, height, width, stream)
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


def _refuse_events(source: Path, name: str) -> None:
    """For a suffix that events share: HDF5 tells itself what it holds instead."""
    for other in _EVENT_FORMATS:
        if source.suffix.lower() in other.suffixes and other.suffixes != _HDF5 and other.recognise(source):
            raise InputError(source, expected=f"spikes as {name}", found=f"events as {other.name}")


def _check_size(height: int | None, width: int | None) -> None:
    for name, length in (("height", height), ("width", width)):
        if length is not None and length < 1:
            raise ValueError(f"expected a {name} of at least 1 pixel, got {length}")


def _check_agreement(source: Path, height: int | None, width: int | None, found: EventSource | SpikeStream) -> None:
    if (height or found.height, width or found.width) != (found.height, found.width):
        raise InputError(
            source, expected=f"height {height}, width {width}", found=f"height {found.height}, width {found.width}"
        )


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
