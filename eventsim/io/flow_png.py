"""Optical flow as 16-bit PNG files, as KITTI has it: red and green hold dx and dy, blue whether they are known.

Geiger, Lenz and Urtasun, "Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite", CVPR 2012, and the
development kit's readme: value = 64 flow + 2^15. DSEC has steps of 1/128 pixel instead (Gehrig et al., RA-L 2021).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming

#: Steps of the values per pixel of flow.
KITTI, DSEC = 64, 128
_ZERO, _LARGEST = 1 << 15, (1 << 16) - 1


def write_flow_png(
    path: str | PathLike[str], flow: NDArray[Any], *, per_px: int = KITTI, overwrite: bool = False
) -> None:  # fmt: skip
    """Writes flow [2, H, W] (dx, dy in pixels), rounded to 1 / `per_px` of a pixel.

    What is not finite, or beyond 2^15 / `per_px` pixels (512), is written as unknown.

    Args:
        path: the file.
        flow: what to write.
        per_px: steps per pixel: `KITTI` (64) or `DSEC` (128).
        overwrite: replace an existing file.

    Raises:
        ValueError: a flow of another shape, or without pixels.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    import cv2

    if flow.ndim != 3 or len(flow) != 2 or not flow.size:
        raise ValueError(f"expected a flow [2, H, W], got {flow.shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.rint(flow.astype(np.float64) * per_px) + _ZERO
        known = ((steps >= 0) & (steps <= _LARGEST)).all(axis=0)
    dx, dy = np.where(known, steps, 0).astype(np.uint16)
    done, data = cv2.imencode(".png", np.stack([known.astype(np.uint16), dy, dx], axis=2))
    assert done
    with naming(path), atomic_path(path, overwrite=overwrite) as partial:
        partial.write_bytes(bytes(data))


def read_flow_png(path: str | PathLike[str], *, per_px: int = KITTI) -> NDArray[np.float32]:
    """Flow float32 [2, H, W] (dx, dy in pixels) of a 16-bit PNG; nan where it is unknown.

    Args:
        path: the file.
        per_px: steps per pixel: `KITTI` (64) or `DSEC` (128).

    Raises:
        InputError: the file is missing, or no picture of three channels of 16 bits.
    """
    import cv2

    source = Path(path)
    if not source.is_file():
        raise InputError(source, expected="a PNG file of flow", found="nothing there")
    data = np.frombuffer(source.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if picture is None or picture.dtype != np.uint16 or picture.ndim != 3 or picture.shape[2] != 3:
        found = "no picture" if picture is None else f"{picture.dtype} {list(picture.shape)}"
        raise InputError(source, expected="a PNG of three channels of 16 bits", found=found)
    valid, dy, dx = np.moveaxis(picture, 2, 0)
    flow = (np.stack([dx, dy]).astype(np.float32) - _ZERO) / np.float32(per_px)
    return np.where(valid > 0, flow, np.float32(np.nan))
