"""Raw `.dat` files of spike cameras: planes of bits back to back, without a header.

Bits run along rows, least significant first. Nothing in the file states its size, clock or conventions: a `DatLayout`
does, and `LAYOUTS` names those of known cameras and programs. A new layout is one line there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial as bound
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.io.packed import LazyPlanes, stream_chunks
from eventsim.streams.spikes import SpikeStream

Bytes = NDArray[np.uint8]
#: Where H * W is no multiple of 8, zeros fill up every `plane` to a whole byte (SPCS, SCSim), or planes run on within
#: bytes and only the `stream`'s end is filled up (SpikeCV's reader).
Padding = Literal["plane", "stream"]

# A frame of the sps100: 1000 rows of two halves, each of 500 pixels and 12 bits of line number and channel.
_SIDE, _HALF_BYTES, _HALF_COLUMNS, _LINES, _WORD_BYTES = 1000, 64, 500, 500, 16
_HALVES = 2 * _SIDE
_FRAME_BYTES = _HALVES * _HALF_BYTES
_CHANNEL_BIT = 10


@dataclass(frozen=True, kw_only=True)
class DatLayout:
    """What a `.dat` does not state.

    Args:
        height, width: of the picture, in pixels.
        readout_hz: readouts a second.
        flipped: the picture is stored upside-down, as by the first Vidar.
        padding: how planes that are no whole number of bytes follow each other.
        status_columns: further columns at the end of each row that hold no picture; dropped by the reader, 0 from
            the writer.
        line_tags: rows are those of the sps100, a 1000x1000 camera on PCIe. The 1024 bits (128 bytes, eight words of
            16) of a row are two halves of 64 bytes. Of a half, bits 0..499 are pixels; the other 12 are a tag, the
            upper bits of its last two bytes: bits 4..13 of that little-endian word are the line number 1..500, bits
            14..15 the channel 0..3. A frame begins at the half that is tagged line 500, channel 0.
            Inferred, as no public text says so: a tag ends each half row, not each word (12 bits of every word would
            leave 928 of 1000 pixels); the columns that public code drops, 500..511 and 1000..1011, are the two tags,
            the second counted without the first (1012..1023 of the raw row); the 2000 halves carry each of 500 lines
            x 4 channels once; rows come in the order of the picture, from the top. Unknown is the order of the lines
            between a frame's ends (line 500 of channel 0, line 500 of channel 3): the reader takes that of the first
            frame and holds all others to it; the writer numbers lines 500 down to 1 for channels 0 and 1, then 1 up
            to 500 for 2 and 3.

    Raises:
        ValueError: a height or width below 1, another padding, or line tags on another size than 1000x1000.
    """

    height: int
    width: int
    readout_hz: float = 20000.0
    flipped: bool = True
    padding: Padding = "plane"
    status_columns: int = 0
    line_tags: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected a {name} of at least 1 pixel, got {getattr(self, name)}")
        if self.padding not in get_args(Padding):
            raise ValueError(f"expected a padding of {' or '.join(get_args(Padding))}, got {self.padding!r}")
        if self.line_tags and (self.height, self.width) != (_SIDE, _SIDE):
            raise ValueError(f"expected {_SIDE}x{_SIDE} pixels for lines with tags, got {self.width}x{self.height}")

    @property
    def raw_width(self) -> int:
        """Bits of a row, status columns included."""
        return self.width + self.status_columns

    @property
    def plane_bits(self) -> int:
        """Bits of a plane before any padding."""
        return self.height * self.raw_width

    def __str__(self) -> str:
        """The conventions in words."""
        words = ["rows from the bottom up" if self.flipped else "rows from the top down"]
        if self.line_tags:
            words.append("lines with tags")
        if self.status_columns:
            words.append(f"{self.status_columns} status columns dropped")
        if self.plane_bits % 8:
            words.append(f"padding '{self.padding}'")
        return ", ".join([*words, f"{self.readout_hz:g} Hz"])


LAYOUTS = {
    "vidar": DatLayout(height=250, width=400),
    "vidar416": DatLayout(height=250, width=400, status_columns=16),
    "spift": DatLayout(height=500, width=800, flipped=False),
    "sps100": DatLayout(height=_SIDE, width=_SIDE, flipped=False, line_tags=True),
}


def dat_layout(layout: str | DatLayout = "vidar", **changes: Any) -> DatLayout:
    """A layout, by its name in `LAYOUTS` or as it is, with the fields replaced that are given and not None.

    Raises:
        ValueError: an unknown name, or changes that the layout refuses.
    """
    if isinstance(layout, str):
        if layout not in LAYOUTS:
            raise ValueError(f"expected a layout of {', '.join(LAYOUTS)}, got {layout!r}")
        layout = LAYOUTS[layout]
    return replace(layout, **{name: value for name, value in changes.items() if value is not None})


def open_spikes(
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
    readout_hz: float | None = None,
    *,
    layout: str | DatLayout = "vidar",
    flipped: bool | None = None,
    padding: Padding | None = None,
) -> SpikeStream:
    """A spike stream over a `.dat` file; nothing is read before it is asked for.

    Where rows start at bytes (a width that is a multiple of 8) the planes are a view of the mapped file, flipped
    without a copy. Otherwise, and with line tags, planes are packed anew as they are read. In a file with line tags,
    what lies before the first frame's start and after the last whole frame is skipped, as a recording may be cut
    anywhere; every line that is read is checked.

    Args:
        path: the file.
        height, width, readout_hz, flipped, padding: instead of the layout's own.
        layout: name in `LAYOUTS`, or a layout.

    Raises:
        InputError: the file is missing, empty or does not hold a whole number of planes; names another padding or
            layout of this size that would fit. With line tags: there is no frame start, or, once it is read, a line
            is out of order; names plane, line and byte.
        ValueError: an unknown layout, or one that cannot be.
    """
    source = Path(path)
    chosen = dat_layout(
        layout, height=height, width=width, readout_hz=readout_hz, flipped=flipped, padding=padding
    )  # fmt: skip
    if not source.is_file():
        raise InputError(source, expected="a .dat file of spikes", found="nothing there")
    return _open_tagged(source, chosen) if chosen.line_tags else _open_bits(source, chosen)


def write_spikes(
    path: str | os.PathLike[str],
    stream: SpikeStream | Iterable[SpikeStream],
    *,
    overwrite: bool = False,
    layout: str | DatLayout = "vidar",
    flipped: bool | None = None,
    padding: Padding | None = None,
) -> None:
    """Writes a spike stream, whole or as consecutive pieces, in bounded memory.

    Args:
        path: the file.
        stream: what to write, of any size that the layout takes; size and clock are not stored.
        overwrite: replace an existing file.
        layout: name in `LAYOUTS`, or a layout.
        flipped, padding: instead of the layout's own.

    Raises:
        ValueError: no piece at all, pieces of different sizes or clocks, an unknown layout, or one for another size.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    chosen = dat_layout(layout, flipped=flipped, padding=padding)
    with naming(path), atomic_path(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        for data in _encoded(stream_chunks(stream), chosen):
            file.write(data)


# --- planes of bits


def _open_bits(source: Path, layout: DatLayout) -> SpikeStream:
    count = _count_planes(source, layout)
    raw = np.memmap(source, np.uint8, mode="r")
    if layout.width % 8 == 0 and layout.raw_width % 8 == 0:
        packed = raw.reshape(count, layout.height, layout.raw_width // 8)[:, :: _step(layout), : layout.width // 8]
        return SpikeStream(packed, layout.height, layout.width, layout.readout_hz)
    read = bound(_read_bits, raw, layout)
    return LazyPlanes((count, layout.height, -(-layout.width // 8)), read).stream(layout.width, layout.readout_hz)


def _count_planes(source: Path, layout: DatLayout) -> int:
    size = source.stat().st_size
    if count := _planes_in(size, layout):
        return count
    bits = layout.plane_bits if layout.padding == "stream" else -(-layout.plane_bits // 8) * 8
    plane = f"{bits} bits" if bits % 8 else f"{bits // 8} bytes"
    raise InputError(
        source,
        expected=f"whole planes of {plane} for {layout.raw_width}x{layout.height}",
        found=f"{size} bytes, {8 * size / bits:.2f} planes",
        at=f"byte {8 * size // bits * bits // 8}" + _what_fits(size, layout),
    )


def _planes_in(size: int, layout: DatLayout) -> int | None:
    """Number of planes in a file of this many bytes, None where it is not whole."""
    if layout.padding == "stream":
        count, rest = divmod(8 * size, layout.plane_bits)
        return count if rest < 8 else None  # less than a byte fills up the last one
    count, rest = divmod(size, -(-layout.plane_bits // 8))
    return None if rest else count


def _what_fits(size: int, layout: DatLayout) -> str:
    """For an error: the other padding, and layouts for the same picture, in which the file is whole."""
    others = {f"padding '{name}'": replace(layout, padding=name) for name in get_args(Padding)}
    others |= {f"layout '{name}'": each for name, each in LAYOUTS.items() if not each.line_tags}
    fits = [
        name
        for name, each in others.items()
        if (each.height, each.width) == (layout.height, layout.width) and _planes_in(size, each)
    ]
    return f"; the size fits {' or '.join(fits)}" if fits else ""


def _read_bits(raw: Bytes, layout: DatLayout, start: int, stop: int) -> Bytes:
    planes = _bits(raw, layout, start, stop).reshape(-1, layout.height, layout.raw_width)
    return np.packbits(planes[:, :: _step(layout), : layout.width], axis=2, bitorder="little")


def _bits(raw: Bytes, layout: DatLayout, start: int, stop: int) -> Bytes:
    """The bits [n, plane_bits] of planes start .. stop - 1."""
    bits = layout.plane_bits
    if layout.padding == "plane":
        plane = -(-bits // 8)
        return np.unpackbits(
            raw[start * plane : stop * plane].reshape(-1, plane), axis=1, count=bits, bitorder="little"
        )  # fmt: skip
    first, last = start * bits, stop * bits
    skipped = first % 8
    found = np.unpackbits(raw[first // 8 : -(-last // 8)], count=skipped + last - first, bitorder="little")
    return found[skipped:].reshape(-1, bits)


def _encoded(pieces: Iterable[SpikeStream], layout: DatLayout) -> Iterator[bytes]:
    carried = np.zeros(0, np.uint8)  # bits of a byte that is not full yet
    for piece in pieces:
        layout = replace(layout, height=piece.height, width=piece.width)
        if layout.line_tags:
            yield _tagged(piece, layout)
        elif piece.width % 8 == 0 and not layout.status_columns:
            # Rows are whole bytes in the file as in the stream.
            yield np.asarray(piece.packed)[:, :: _step(layout)].tobytes()
        else:
            planes = np.pad(piece.planes()[:, :: _step(layout)], ((0, 0), (0, 0), (0, layout.status_columns)))
            if layout.padding == "plane":
                yield np.packbits(planes.reshape(len(planes), -1), axis=1, bitorder="little").tobytes()
                continue
            bits = np.concatenate([carried, planes.reshape(-1)])
            full = len(bits) // 8 * 8
            yield np.packbits(bits[:full], bitorder="little").tobytes()
            carried = bits[full:]
    yield np.packbits(carried, bitorder="little").tobytes()


def _step(layout: DatLayout) -> int:
    return -1 if layout.flipped else 1


# --- lines with tags


def _open_tagged(source: Path, layout: DatLayout) -> SpikeStream:
    size = source.stat().st_size
    if size < _FRAME_BYTES:
        raise InputError(source, expected=f"frames of {_FRAME_BYTES} bytes", found=f"{size} bytes")
    raw = np.memmap(source, np.uint8, mode="r")
    first = _first_frame(source, raw)
    order = _tags(raw[first : first + _FRAME_BYTES].reshape(_HALVES, _HALF_BYTES))
    read = bound(_read_tagged, source, raw[first:], first, order, layout)
    return LazyPlanes(((size - first) // _FRAME_BYTES, _SIDE, _SIDE // 8), read).stream(_SIDE, layout.readout_hz)


def _first_frame(source: Path, raw: Bytes) -> int:
    """Byte offset of the first frame. A pixel's bits may look like the tag of a start, but not a frame's like all."""
    searched = min(_FRAME_BYTES, len(raw) - _FRAME_BYTES) + _HALF_BYTES
    searched -= searched % _WORD_BYTES
    tags = _tags(raw[:searched].reshape(-1, _WORD_BYTES))
    ends = _WORD_BYTES * (1 + np.flatnonzero(tags == _tag(_LINES, 0)))
    best = (-1, 0, 0)
    for start in ends[ends >= _HALF_BYTES] - _HALF_BYTES:
        found = _tags(raw[start : start + _FRAME_BYTES].reshape(_HALVES, _HALF_BYTES))
        fault = _first_fault(found)
        if fault is None:
            return int(start)
        best = max(best, (fault, int(start), int(found[fault])))
    fault, start, tag = best
    if fault < 0:
        expected = f"a frame start (line {_LINES} of channel 0) in the first {searched} bytes"
        raise InputError(source, expected=expected, found="none")
    at = f"plane 0, byte {start + fault * _HALF_BYTES}"
    raise InputError(source, expected=f"each line of 1..{_LINES} once a channel", found=_line(tag), at=at)


def _first_fault(tags: NDArray[np.uint16]) -> int | None:
    """Index of the first half row of a frame whose line cannot be or was there before."""
    lines = tags & ((1 << _CHANNEL_BIT) - 1)
    good = np.zeros(len(tags), bool)
    good[np.unique(tags, return_index=True)[1]] = True
    wrong = np.flatnonzero(~good | (lines < 1) | (lines > _LINES))
    return int(wrong[0]) if len(wrong) else None


def _read_tagged(
    source: Path, raw: Bytes, first: int, order: NDArray[np.uint16], layout: DatLayout, start: int, stop: int
) -> Bytes:
    halves = raw[start * _FRAME_BYTES : stop * _FRAME_BYTES].reshape(-1, _HALVES, _HALF_BYTES)
    tags = _tags(halves)
    wrong = np.argwhere(tags != order)
    if len(wrong):
        plane, half = (int(index) for index in wrong[0])
        offset = first + (start + plane) * _FRAME_BYTES + half * _HALF_BYTES
        expected, found = _line(order[half]), _line(tags[plane, half])
        raise InputError(source, expected=expected, found=found, at=f"plane {start + plane}, byte {offset}")
    bits = np.unpackbits(halves, axis=2, count=_HALF_COLUMNS, bitorder="little")
    return np.packbits(bits.reshape(-1, _SIDE, _SIDE)[:, :: _step(layout)], axis=2, bitorder="little")


def _tagged(piece: SpikeStream, layout: DatLayout) -> bytes:
    planes = piece.planes()[:, :: _step(layout)].reshape(-1, _HALVES, _HALF_COLUMNS)
    filled = np.pad(planes, ((0, 0), (0, 0), (0, 8 * _HALF_BYTES - _HALF_COLUMNS)))
    halves = np.packbits(filled, axis=2, bitorder="little")
    tags = _written_order() << 4
    halves[:, :, -2] |= (tags & 0xFF).astype(np.uint8)
    halves[:, :, -1] = tags >> 8
    return halves.tobytes()


def _written_order() -> NDArray[np.uint16]:
    lines = np.concatenate([np.arange(_LINES, 0, -1), np.arange(1, _LINES + 1)])
    channels = np.repeat([[0, 1], [2, 3]], _LINES, axis=0)
    order: NDArray[np.uint16] = (lines[:, None] | channels << _CHANNEL_BIT).reshape(-1).astype(np.uint16)
    return order


def _tags(halves: Bytes) -> NDArray[np.uint16]:
    """Line and channel from the last two bytes of half rows or words [..., bytes], without the four pixels below."""
    ends = halves[..., -2:].astype(np.uint16)
    tags: NDArray[np.uint16] = (ends[..., 0] | ends[..., 1] << np.uint16(8)) >> np.uint16(4)
    return tags


def _tag(line: int, channel: int) -> int:
    return line | channel << _CHANNEL_BIT


def _line(tag: int) -> str:
    return f"line {tag & ((1 << _CHANNEL_BIT) - 1)} of channel {tag >> _CHANNEL_BIT}"
