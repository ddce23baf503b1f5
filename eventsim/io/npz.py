"""Spikes as SpikingSIM keeps them: an `.npz` with one array `arr_0`, uint8 or bool [H, W, T] of 0 and 1.

`numpy.load(path)["arr_0"]` reads it. It holds a byte a bit, so a long stream is better kept in another format. The
file states the size of the pictures but no clock.

Zhao, Zhang, Ma, Yu and Huang, "SpikingSIM: A bio-inspired spiking simulator", ISCAS 2022.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial as bound
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.io.packed import LazyPlanes, stream_chunks
from eventsim.streams.spikes import SpikeStream

Bytes = NDArray[np.uint8]
#: Of the first Vidar, whose recordings SpikingSIM compares with.
READOUT_HZ = 20000.0

_KEY, _MEMBER = "arr_0", "arr_0.npy"
_BLOCK_BYTES = 1 << 25
_LOCAL_HEADER_BYTES, _LENGTHS_AT = 30, 26


def open_spikes(path: str | os.PathLike[str], readout_hz: float = READOUT_HZ) -> SpikeStream:
    """The spike stream of an `.npz`.

    A compressed array can only be read from its beginning on and holds the pixels one after another: it is read here
    and now, into a packed stream of H * W * T / 8 bytes, with about 64 MiB beside it (or two rows of pixels, 2 W T
    bytes, where that is more). Of an array that is not compressed nothing is read before it is asked for.

    Args:
        path: the file.
        readout_hz: of the camera, which the file does not state.

    Raises:
        InputError: the file is missing, damaged, holds other arrays than `arr_0`, or one of another shape, type or
            with other values than 0 and 1. Without compression, values are checked as they are read.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(source, expected="an .npz file of spikes", found="nothing there")
    try:
        with zipfile.ZipFile(source) as archive, archive.open(_only_member(source, archive)) as member:
            shape, fortran = _read_header(source, member)
            header, info = member.tell(), archive.getinfo(_MEMBER)
            if info.file_size != header + int(np.prod(shape)):
                found = f"{info.file_size - header}"
                raise InputError(source, expected=f"{int(np.prod(shape))} bytes of {_KEY}", found=found)
            if info.compress_type == zipfile.ZIP_STORED:
                return _mapped(source, info.header_offset, header, shape, fortran, readout_hz)
            packed = (_pack_planes if fortran else _pack_pixels)(source, member, shape)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(source, expected="a whole .npz file", found=str(error)) from error
    return SpikeStream(packed, shape[0], shape[1], readout_hz)


def write_spikes(
    path: str | os.PathLike[str], stream: SpikeStream | Iterable[SpikeStream], *, overwrite: bool = False
) -> None:
    """Writes a spike stream, whole or as consecutive pieces, as a compressed array; the clock is not stored.

    The file holds the pixels one after another, so the stream is gone through once for every 32 MiB of the array (or
    for every row of pixels, W * T bytes, where that is more), which are held in memory. Pieces are first
    gathered in an unnamed file of H * W * T / 8 bytes beside the output.

    Args:
        path: the file.
        stream: what to write.
        overwrite: replace an existing file.

    Raises:
        ValueError: no piece at all, or pieces of different sizes or clocks.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with (
        naming(path),
        atomic_path(path, overwrite=overwrite) as partial,
        tempfile.TemporaryFile(dir=partial.parent) as gathered,
    ):
        whole = stream if isinstance(stream, SpikeStream) else _gather(stream, gathered)
        shape = (whole.height, whole.width, len(whole))
        with (
            zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(_MEMBER, "w", force_zip64=True) as member,
        ):
            npy.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for block in _pixel_blocks(whole):
                member.write(block.data)


# --- reading


def _only_member(source: Path, archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    if names != [_MEMBER]:
        found = ", ".join(name.removesuffix(".npy") for name in names) or "none"
        raise InputError(source, expected=f"one array {_KEY}", found=found)
    return _MEMBER


def _read_header(source: Path, member: IO[bytes]) -> tuple[tuple[int, int, int], bool]:
    """Shape of the array, and whether the first index runs fastest."""
    try:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(member)
    except ValueError as error:
        raise InputError(source, expected=f"a NumPy array {_KEY}", found=str(error)) from error
    if dtype not in (np.dtype(np.uint8), np.dtype(np.bool_)) or len(shape) != 3 or 0 in shape[:2]:
        raise InputError(source, expected=f"{_KEY} as uint8 or bool [H, W, T]", found=f"{dtype} {list(shape)}")
    return shape, fortran


def _pack_pixels(source: Path, member: IO[bytes], shape: tuple[int, int, int]) -> Bytes:
    """Packed planes from an array in which time runs fastest, some rows of pixels at a time."""
    height, width, count = shape
    packed = np.empty((count, height, -(-width // 8)), np.uint8)
    rows = max(1, _BLOCK_BYTES // max(width * count, 1))
    for row in range(0, height, rows):
        block = _read_block(source, member, (min(rows, height - row), width, count), f"row {row}")
        packed[:, row : row + rows] = np.packbits(block.transpose(2, 0, 1), axis=2, bitorder="little")
    return packed


def _pack_planes(source: Path, member: IO[bytes], shape: tuple[int, int, int]) -> Bytes:
    """Packed planes from an array in which rows run fastest and time slowest, some planes at a time."""
    height, width, count = shape
    packed = np.empty((count, height, -(-width // 8)), np.uint8)
    planes = max(1, _BLOCK_BYTES // (width * height))
    for plane in range(0, count, planes):
        block = _read_block(source, member, (min(planes, count - plane), width, height), f"plane {plane}")
        packed[plane : plane + planes] = np.packbits(block.transpose(0, 2, 1), axis=2, bitorder="little")
    return packed


def _read_block(source: Path, member: IO[bytes], shape: tuple[int, int, int], where: str) -> Bytes:
    size = int(np.prod(shape))
    data = member.read(size)
    if len(data) != size:
        raise InputError(source, expected=f"{size} bytes of {_KEY}", found=f"{len(data)}", at=where)
    return _checked(source, np.frombuffer(data, np.uint8), where).reshape(shape)


def _checked(source: Path, values: Bytes, where: str) -> Bytes:
    if values.size and (highest := values.max()) > 1:
        raise InputError(source, expected="0 and 1", found=f"{highest}", at=f"the block from {where}")
    return values


def _mapped(
    source: Path, local_header: int, npy_header: int, shape: tuple[int, int, int], fortran: bool, readout_hz: float
) -> SpikeStream:
    """A lazy stream over an array that lies in the archive as it is, behind a local header and NumPy's."""
    height, width, count = shape
    if not count:
        return SpikeStream.from_planes(np.zeros((0, height, width), np.uint8), readout_hz)
    offset = local_header + _local_header_bytes(source, local_header) + npy_header
    if source.stat().st_size < offset + int(np.prod(shape)):
        raise zipfile.BadZipFile(f"an array that ends beyond the file, from byte {offset} on")
    array = np.memmap(source, np.uint8, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")
    return LazyPlanes((count, height, -(-width // 8)), bound(_read_mapped, source, array)).stream(width, readout_hz)


def _local_header_bytes(source: Path, start: int) -> int:
    """Length of a member's local header; its name and extra field may differ from those of the archive's index."""
    with source.open("rb") as file:
        file.seek(start + _LENGTHS_AT)
        name, extra = np.frombuffer(file.read(4), "<u2")
    return _LOCAL_HEADER_BYTES + int(name) + int(extra)


def _read_mapped(source: Path, array: Bytes, start: int, stop: int) -> Bytes:
    planes = _checked(source, np.ascontiguousarray(array[:, :, start:stop].transpose(2, 0, 1)), f"plane {start}")
    return np.packbits(planes, axis=2, bitorder="little")


# --- writing


def _gather(pieces: Iterable[SpikeStream], file: IO[bytes]) -> SpikeStream:
    """One stream over an open file that pieces are written to."""
    count, piece = 0, None
    for piece in stream_chunks(pieces):
        file.write(np.asarray(piece.packed).tobytes())
        count += len(piece)
    assert piece is not None  # stream_chunks gives at least one piece
    file.flush()
    if not count:
        return piece
    shape = (count, *piece.packed.shape[1:])
    return SpikeStream(np.memmap(file, np.uint8, mode="r", shape=shape), piece.height, piece.width, piece.readout_hz)


def _pixel_blocks(stream: SpikeStream) -> Iterator[Bytes]:
    """Blocks of the array [H, W, T] that follow each other in the file."""
    rows = max(1, _BLOCK_BYTES // max(stream.width * len(stream), 1))
    planes = max(1, (_BLOCK_BYTES >> 3) // (min(rows, stream.height) * stream.width))
    for row in range(0, stream.height, rows):
        block = np.empty((min(rows, stream.height - row), stream.width, len(stream)), np.uint8)
        for first in range(0, len(stream), planes):
            part = stream.packed[first : first + planes, row : row + rows]
            bits = np.unpackbits(part, axis=2, count=stream.width, bitorder="little")
            block[:, :, first : first + planes] = bits.transpose(1, 2, 0)
        yield block
