"""Writes what cameras' makers record: EVT2 and DAT of Prophesee, AEDAT4 of iniVation, and Event Stream; through faery.

EVT2 and DAT (version 2) keep absolute times where the recording begins within 2.4 hours and 36 minutes of zero.
Otherwise they count from the first event, whose time stands in the header as `t0`, which faery knows and other readers
ignore; a recording of over twice that length is refused.
EVT3 is not written: faery 0.7 loses the time where a pause meets the wrap of its clock, every 16.8 s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.event_source import in_chunks
from eventsim.io.faults import naming
from eventsim.io.vendor import faery_faults, faery_module
from eventsim.streams.events import Events

_EVENTS_PER_CHUNK = 1 << 16


@dataclass(frozen=True)
class _Writer:
    """How faery writes a kind of file, and which times fit."""

    encoder: Callable[[Path, Path, Events, bool], Any]
    write: Callable[[Any, NDArray[np.void], Events], None]
    # A first event from here on makes times count from it; later events may be as far again.
    absolute_below_us: int
    zeroes: bool = True


def write_evt2(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes a `.raw` in EVT2, whole or from consecutive pieces of one recording.

    Raises:
        InputError: faery is not installed, or a sensor or times that the format cannot hold.
        ValueError: no piece at all, or pieces from sensors of different sizes or out of order.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    _write(path, events, _EVT2, overwrite)


def write_dat(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes a Prophesee `.dat`, version 2; as `write_evt2`."""
    _write(path, events, _DAT, overwrite)


def write_aedat4(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes an `.aedat4` with one track of events; as `write_evt2`."""
    _write(path, events, _AEDAT, overwrite)


def write_es(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes an `.es` of the kind dvs; as `write_evt2`. The first event may come at most an hour after zero."""
    _write(path, events, _EVENT_STREAM, overwrite)


def _write(path: str | os.PathLike[str], events: Events | Iterable[Events], writer: _Writer, overwrite: bool) -> None:
    with naming(path), atomic_path(path, overwrite=overwrite) as partial:
        pieces = in_chunks(events, _EVENTS_PER_CHUNK)
        first = next(pieces)
        start = int(first.t[0]) if len(first) else 0
        late = start >= writer.absolute_below_us
        if start < 0 or (late and not writer.zeroes):
            most = writer.absolute_below_us
            raise InputError(path, expected=f"a first event within 0..{most - 1} us", found=f"{start} us")
        with faery_faults(Path(path)), writer.encoder(Path(path), partial, first, late) as encoder:
            for piece in chain([first], pieces):
                past = int(piece.t[-1]) - late * start if len(piece) else 0
                if writer.zeroes and past >= 2 * writer.absolute_below_us:
                    most = 2 * writer.absolute_below_us
                    raise InputError(path, expected=f"times within {most} us, which the format holds", found=f"{past}")
                writer.write(encoder, _packet(piece), piece)


def _packet(events: Events) -> NDArray[np.void]:
    packet = np.empty(len(events), [("t", "=u8"), ("x", "=u2"), ("y", "=u2"), (("p", "on"), "?")])
    for name in "txyp":
        packet[name] = getattr(events, name)
    return packet


def _size(events: Events) -> tuple[int, int]:
    return events.width, events.height


def _write_dat(encoder: Any, packet: NDArray[np.void], _: Events) -> None:
    encoder.write(packet.astype([("t", "=u8"), ("x", "=u2"), ("y", "=u2"), ("payload", "u1")]))


def _write_es(encoder: Any, packet: NDArray[np.void], events: Events) -> None:
    packet["y"] = events.height - 1 - packet["y"]  # its rows count from the bottom
    encoder.write(packet)


def _aedat_encoder(path: Path, partial: Path, events: Events, _late: bool) -> Any:
    aedat = faery_module(path, "aedat")

    def node(name: str, above: str, attributes: Mapping[str, str | int], *nodes: Any) -> Any:
        kinds = {
            key: aedat.DescriptionAttribute("string" if isinstance(value, str) else "int", value)
            for key, value in attributes.items()
        }
        return aedat.DescriptionNode(name, f"{above}{name}/", kinds, list(nodes))

    about = {"compression": "LZ4", "originalOutputName": "events", "typeIdentifier": "EVTS"}
    place = "/mainloop/Recorder/"
    size = node("info", f"{place}outInfo/0/", {"sizeX": events.width, "sizeY": events.height, "source": "retinaflow"})
    description = node("outInfo", place, {}, node("0", f"{place}outInfo/", about, size))
    return aedat.Encoder(partial, [description], aedat.LZ4_DEFAULT)


_EVT2 = _Writer(
    encoder=lambda path, partial, events, late: faery_module(path, "evt").Encoder(
        partial, "evt2", late, _size(events), True
    ),
    write=lambda encoder, packet, _: encoder.write({"events": packet}),
    absolute_below_us=1 << 33,
)
_DAT = _Writer(
    encoder=lambda path, partial, events, late: faery_module(path, "dat").Encoder(
        partial, "dat2", "cd", late, _size(events)
    ),
    write=_write_dat,
    absolute_below_us=1 << 31,
)
_AEDAT = _Writer(
    encoder=_aedat_encoder,
    write=lambda encoder, packet, _: encoder.write(0, packet),
    absolute_below_us=1 << 62,
    zeroes=False,
)
_EVENT_STREAM = _Writer(
    # A late first event would be led up to by a byte for every 127 us.
    encoder=lambda path, partial, events, _: faery_module(path, "es").Encoder(partial, "dvs", False, _size(events)),
    write=_write_es,
    absolute_below_us=3600 * 10**6,
    zeroes=False,
)
