"""Optical flow as Middlebury .flo files: a magic number, width and height, then (dx, dy) row by row, little-endian."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path

_MAGIC = np.float32(202021.25)


def write_flo(path: str | PathLike[str], flow: NDArray[np.float32], *, overwrite: bool = False) -> None:
    """Writes flow [2, H, W] (dx, dy in pixels)."""
    _, height, width = flow.shape
    with atomic_path(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        file.write(_MAGIC.astype("<f4").tobytes())
        file.write(np.array([width, height], "<i4").tobytes())
        file.write(np.ascontiguousarray(flow.transpose(1, 2, 0), "<f4").tobytes())


def read_flo(path: str | PathLike[str]) -> NDArray[np.float32]:
    """Flow [2, H, W] (dx, dy in pixels) of a .flo file.

    Raises:
        InputError: the file does not start with the format's magic number, or its length does not fit its size.
    """
    data = Path(path).read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != _MAGIC:
        raise InputError(path, expected="a .flo file (magic number 202021.25)", found="something else", at="byte 0")
    width, height = (int(value) for value in np.frombuffer(data, "<i4", 2, offset=4))
    if len(data) != 12 + 8 * width * height:
        raise InputError(path, expected=f"{12 + 8 * width * height} bytes for {width}x{height}", found=str(len(data)))
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).transpose(2, 0, 1).astype(np.float32)
