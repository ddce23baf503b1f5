"""What cameras' makers record: EVT2 and EVT3 (`.raw`) and DAT of Prophesee, AEDAT4 of iniVation, and Event Stream (ES).

All through faery (the extra `formats`), which decodes from a file's beginning on: a window costs a pass over what lies
before it, consecutive windows one pass in all (see `PieceSource`). EVT2.1 is not read, as faery cannot.

`eventsim.io.vendor_writer` is the other half.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.event_source import PieceSource
from eventsim.io.faults import recorded_events
from eventsim.streams.events import Events

_AEDAT4, _ES = b"#!AER-DAT4.0", b"Event Stream"
_HEADER_BYTES = 1 << 16
_LARGEST = 1 << 11  # EVT's and DAT's coordinates have 11 bits and 14 bits, of which 11 are in use
# Sensors by the words of Prophesee's headers that name them: width, height.
_SENSORS = {
    "gen3": (640, 480), "gen31": (640, 480), "gen4": (1280, 720), "gen41": (1280, 720), "imx636": (1280, 720),
    "genx320": (320, 320),
}  # fmt: skip
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as OpenCV's


class VendorEvents(PieceSource):
    """Events of a camera maker's file, decoded as they are asked for; may be sent to other processes.

    Args:
        path: a `.raw` (EVT2, EVT3), `.dat` (Prophesee's), `.aedat4` (its first track of events) or `.es`.
        height, width: of the sensor, where the file does not state them; by default those of the sensor that a
            Prophesee header names, or just large enough for all events, which costs a pass over the file.

    Raises:
        InputError: faery is not installed; the file is missing, damaged, of another kind, or states another size.
            Reading raises it for events out of order or outside the sensor, with the index of the event.
    """

    def __init__(self, path: str | os.PathLike[str], height: int | None = None, width: int | None = None) -> None:
        super().__init__(Path(path))
        if not self.path.is_file():
            raise InputError(self.path, expected="a recording of events", found="nothing there")
        self._kind = kind_of(self.path)
        with faery_faults(self.path):
            stated = _stated_size(self.path, self._kind)
        for name, told, found in (("width", width, stated[0]), ("height", height, stated[1])):
            if told and found and told != found:
                raise InputError(self.path, expected=f"{name} {told}", found=f"{name} {found}")
        self.width, self.height = width or stated[0], height or stated[1]
        if not (self.width and self.height):
            self._guess_size()

    def _guess_size(self) -> None:
        told = self.width, self.height
        self.width, self.height = _named_sensor(self.path) or (0, 0)
        if self.width:
            self.assumed = f"the size of the sensor that the header names, {self.width}x{self.height}"
        else:
            self.assumed = "the size from the largest coordinates"
            self.width = self.height = _LARGEST
            most = np.max([(piece.x.max(), piece.y.max()) for piece in self._pieces(0)] or [(-1, -1)], axis=0) + 1
            if not most.all():
                raise InputError(self.path, expected="events, or the sensor's height and width", found="neither")
            self.width, self.height = map(int, most)
        self.width, self.height = told[0] or self.width, told[1] or self.height

    def _pieces(self, first: int) -> Iterator[Events]:
        yield from islice(self._decode(), first, None)

    def _decode(self) -> Iterator[Events]:
        count = 0
        with faery_faults(self.path):
            for packet in _KINDS[self._kind].packets(self.path):
                if len(packet):
                    t, x, y, p = (packet[name] for name in packet.dtype.names or ())
                    y = self.height - 1 - y.astype(np.int64) if self._kind == "ES" else y
                    yield recorded_events(
                        self.path, t.astype(np.int64), x, y, p > 0, width=self.width, height=self.height, first=count
                    )
                count += len(packet)


def aedat4_frames(path: str | os.PathLike[str]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The frames of an AEDAT4 file, in the order of the file; one at a time is decoded.

    Args:
        path: the file.

    Returns:
        Time of the middle of the exposure (absolute, microseconds) and grey picture, uint8 [H, W]: colour as its luma
        (ITU-R BT.601), 16 bits by their upper 8.

    Raises:
        InputError: faery is not installed, or the file is missing, damaged or no AEDAT4.
    """
    source = Path(path)
    if not source.is_file() or kind_of(source) != "AEDAT4":
        raise InputError(source, expected="an AEDAT4 file", found="another" if source.is_file() else "nothing there")
    with faery_faults(source), faery_module(source, "aedat").Decoder(source) as decoder:
        for track, packet in decoder:
            if track.data_type == "frame":
                yield int(packet.t), _grey(packet.pixels)


def _grey(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = np.rint(pixels[..., :3] @ _GREY)
    return np.ascontiguousarray(pixels, np.uint8)


def kind_of(path: str | os.PathLike[str]) -> str:
    """What a file is by its first bytes: EVT, DAT, AEDAT4 or ES.

    Raises:
        InputError: none of them.
    """
    with Path(path).open("rb") as file:
        start = file.read(len(_ES))
    header = _header(Path(path))
    if start == _AEDAT4:
        return "AEDAT4"
    if start == _ES:
        return "ES"
    if header and ("evt" in header or "EVT" in header.get("format", "")):
        return "EVT"
    if header.keys() & {"Data", "Version", "Height", "Width"}:
        return "DAT"
    raise InputError(path, expected="a header of EVT2, EVT3, DAT, AEDAT4 or ES", found="none of them")


def is_vendor(path: str | os.PathLike[str]) -> bool:
    """Whether a file is there whose first bytes are those of a kind that is read here."""
    try:
        return bool(kind_of(path))
    except (InputError, OSError):
        return False


def _header(path: Path) -> dict[str, str]:
    """The lines `% name value` that a Prophesee file begins with."""
    with path.open("rb") as file:
        lines = re.match(rb"(% [A-Za-z][ -~]*\r?\n)*", file.read(_HEADER_BYTES))
    text = lines[0].decode("ascii") if lines else ""
    pairs = (line.lstrip("% ").partition(" ") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _named_sensor(path: Path) -> tuple[int, int] | None:
    words = re.split(r"[^a-z0-9]+", " ".join(_header(path).values()).lower())
    return next((_SENSORS[word] for word in words if word in _SENSORS), None)


# --- through faery


@dataclass(frozen=True)
class _Kind:
    """How faery decodes a kind of file: packets of events, structured arrays of t, x, y, p."""

    module: str
    packets: Callable[[Path], Iterator[NDArray[np.void]]]


def _evt_packets(path: Path) -> Iterator[NDArray[np.void]]:
    with faery_module(path, "evt").Decoder(path, (_LARGEST, _LARGEST), _evt_version(path)) as decoder:
        for packet in decoder:
            if "events" in packet:
                yield packet["events"]


def _evt_version(path: Path) -> str:
    header = _header(path)
    stated = f"{header.get('evt', '')} {header.get('format', '').partition(';')[0]}"
    if "2.1" in stated or "EVT21" in stated:
        raise InputError(path, expected="EVT2 or EVT3", found="EVT2.1")
    return "evt2" if stated.startswith("2") or "EVT2" in stated else "evt3"


def _dat_packets(path: Path) -> Iterator[NDArray[np.void]]:
    with faery_module(path, "dat").Decoder(path, (_LARGEST, _LARGEST), "dat2") as decoder:
        if decoder.event_type not in ("cd", "2d"):
            raise InputError(path, expected="events of a change of light", found=f"events '{decoder.event_type}'")
        yield from decoder


def _aedat4_packets(path: Path) -> Iterator[NDArray[np.void]]:
    with faery_module(path, "aedat").Decoder(path) as decoder:
        chosen = next((track.id for track in decoder.tracks() if track.data_type == "events"), None)
        for track, packet in decoder:
            if track.id == chosen:
                yield packet


def _es_packets(path: Path) -> Iterator[NDArray[np.void]]:
    with faery_module(path, "es").Decoder(path, 0) as decoder:
        for packet in decoder:
            if decoder.event_type == "atis":
                packet = packet[~packet["exposure"]][["t", "x", "y", "polarity"]]
            yield packet


_KINDS = {
    "EVT": _Kind("evt", _evt_packets),
    "DAT": _Kind("dat", _dat_packets),
    "AEDAT4": _Kind("aedat", _aedat4_packets),
    "ES": _Kind("es", _es_packets),
}


def _stated_size(path: Path, kind: str) -> tuple[int, int]:
    """Width and height as the file states them, or 0."""
    module = faery_module(path, _KINDS[kind].module)
    if kind == "AEDAT4":
        with module.Decoder(path) as decoder:
            for track in decoder.tracks():
                if track.data_type == "events":
                    return int(track.dimensions[0]), int(track.dimensions[1])
        raise InputError(path, expected="a track of events", found="none")
    if kind == "ES":
        with module.Decoder(path, 0) as decoder:
            if decoder.event_type not in ("dvs", "atis"):
                raise InputError(path, expected="events dvs or atis", found=f"events '{decoder.event_type}'")
            return int(decoder.dimensions[0]), int(decoder.dimensions[1])
    # Where the header states no size, faery gives back this one, which no sensor has.
    version = _evt_version(path) if kind == "EVT" else "dat2"
    with module.Decoder(path, (_LARGEST, _LARGEST), version) as decoder:
        width, height = decoder.dimensions
    return (0, 0) if (width, height) == (_LARGEST, _LARGEST) else (int(width), int(height))


def faery_module(path: Path, module: str) -> Any:
    """One of faery's modules for a kind of file.

    Raises:
        InputError: faery is not installed; tells how to.
    """
    try:
        return getattr(import_module("faery"), module)
    except ImportError:
        raise InputError(
            path, expected="the package faery, which reads and writes it: pip install retinaflow[formats]", found="none"
        ) from None


@contextmanager
def faery_faults(path: Path) -> Iterator[None]:
    """faery's errors as ours: it raises RuntimeError for a damaged file and lets Rust panic over what it cannot do."""
    try:
        yield
    except (RuntimeError, UnicodeDecodeError) as error:
        raise InputError(path, expected="a whole recording", found=str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(path, expected="a whole recording", found=str(error)) from None
