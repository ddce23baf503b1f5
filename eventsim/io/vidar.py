"""The Vidar camera's raw `.dat`: planes of H * W bits back to back, no header.

Bits run along rows, least significant first. Cameras store the picture upside-down, so readers and writers flip rows
unless told otherwise. Where H * W is not a multiple of 8, each plane is filled up to a whole byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial as bound
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.io.packed import LazyPlanes, stream_chunks
from eventsim.streams.spikes import SpikeStream

#: The first Vidar camera.
HEIGHT, WIDTH, READOUT_HZ = 250, 400, 20000.0


def open_spikes(
    path: str | os.PathLike[str],
    height: int = HEIGHT,
    width: int = WIDTH,
    readout_hz: float = READOUT_HZ,
    *,
    flipped: bool = True,
) -> SpikeStream:
    """A spike stream over a `.dat` file; nothing is read before it is asked for.

    With a width that is a multiple of 8 the planes are a view of the mapped file, flipped without a copy. With other
    widths rows do not start at bytes, and planes are packed anew as they are read.

    Args:
        path: the file.
        height, width, readout_hz: of the camera, which the file does not state.
        flipped: the picture is stored upside-down, as by the camera.

    Raises:
        InputError: the file is missing, empty or does not hold a whole number of planes.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(source, expected="a .dat file of spikes", found="nothing there")
    plane, size = _plane_bytes(height, width), source.stat().st_size
    if size == 0 or size % plane:
        raise InputError(
            source,
            expected=f"whole planes of {plane} bytes for {width}x{height}",
            found=f"{size} bytes, {size / plane:.2f} planes",
            at=f"byte {size - size % plane}",
        )
    raw = np.memmap(source, np.uint8, mode="r", shape=(size // plane, plane))
    if width % 8 == 0:
        packed = raw.reshape(len(raw), height, width // 8)
        return SpikeStream(packed[:, ::-1] if flipped else packed, height, width, readout_hz)
    read = bound(_packed_rows, raw, height, width, flipped)
    return LazyPlanes((len(raw), height, -(-width // 8)), read).stream(width, readout_hz)


def write_spikes(
    path: str | os.PathLike[str],
    stream: SpikeStream | Iterable[SpikeStream],
    *,
    overwrite: bool = False,
    flipped: bool = True,
) -> None:
    """Writes a spike stream, whole or as consecutive pieces, in bounded memory.

    Args:
        path: the file.
        stream: what to write; size and clock are not stored.
        overwrite: replace an existing file.
        flipped: store the picture upside-down, as the camera does.

    Raises:
        ValueError: no piece at all, or pieces of different sizes or clocks.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with naming(path), atomic_path(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        for piece in stream_chunks(stream):
            file.write(_file_bytes(piece, flipped))


def _plane_bytes(height: int, width: int) -> int:
    return -(-height * width // 8)


def _file_bytes(stream: SpikeStream, flipped: bool) -> bytes:
    if stream.width % 8 == 0:
        return np.asarray(stream.packed)[:, :: -1 if flipped else 1].tobytes()
    planes = stream.planes()[:, :: -1 if flipped else 1]
    return np.packbits(planes.reshape(len(planes), -1), axis=1, bitorder="little").tobytes()


def _packed_rows(
    raw: NDArray[np.uint8], height: int, width: int, flipped: bool, start: int, stop: int
) -> NDArray[np.uint8]:
    bits = np.unpackbits(raw[start:stop], axis=1, count=height * width, bitorder="little")
    planes = bits.reshape(-1, height, width)[:, :: -1 if flipped else 1]
    return np.packbits(planes, axis=2, bitorder="little")
