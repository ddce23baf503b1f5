"""Exact flow of a still before a moving camera: maps over stated intervals, and the homographies behind them.

In HDF5 (at the top of a file of its own, or in the group `flow` of a shard's item): `maps`, `t_us`, `moves`,
`move_t_us` as in `FlowTable`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.io.checksum import content_bytes, joined_checksum
from eventsim.io.hdf5 import blosc
from eventsim.io.hdf5_file import Hdf5Input, Hdf5Output

Maps = NDArray[np.float32]
_COLUMNS = {"maps": np.float32, "t_us": np.int64, "moves": np.float64, "move_t_us": np.int64}


@dataclass(frozen=True, eq=False)
class FlowTable:
    """Exact flow between any two times of a recording.

    Args:
        maps: float32 [F, 2, H, W], an array or `LazyMaps`: dx to the right and dy down, pixels from t_us[k] to
            t_us[k + 1].
        t_us: int64 [F + 1].
        moves: float64 [M, 3, 3]: the pixel x at the first time is at moves[k] x (homogeneous) at move_t_us[k].
        move_t_us: int64 [M], M >= 2, the times of the light's frames: between them light is linear in time.
    """

    maps: Maps | LazyMaps
    t_us: NDArray[np.int64]
    moves: NDArray[np.float64]
    move_t_us: NDArray[np.int64]

    def between(self, t0_us: float, t1_us: float) -> Maps:
        """Displacement of every pixel from t0 to t1: float32 [2, H, W], also of pixels that leave the view.

        Raises:
            ValueError: a time outside the recording.
        """
        first, last = int(self.move_t_us[0]), int(self.move_t_us[-1])
        if not first <= min(t0_us, t1_us) <= max(t0_us, t1_us) <= last:
            raise ValueError(f"expected times within {first} .. {last} us, got {t0_us:g} and {t1_us:g} us")
        height, width = self.maps.shape[2:]
        return flow_of_move(self._move(t1_us) @ np.linalg.inv(self._move(t0_us)), height, width)

    def _move(self, t_us: float) -> NDArray[np.float64]:
        after = int(np.clip(np.searchsorted(self.move_t_us, t_us), 1, len(self.move_t_us) - 1))
        before = after - 1
        share = (t_us - self.move_t_us[before]) / (self.move_t_us[after] - self.move_t_us[before])
        return np.asarray((1 - share) * self.moves[before] + share * self.moves[after])


@dataclass(frozen=True, eq=False)
class LazyMaps:
    """Stands for the maps [F, 2, H, W] of a file and reads those that are indexed (by an integer or a slice).

    Args:
        shape: (F, 2, H, W).
        read: gives maps start .. stop - 1.
    """

    shape: tuple[int, ...]
    read: Callable[[int, int], Maps]
    dtype = np.dtype(np.float32)
    ndim = 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> Maps:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self.read(start, max(start, stop))[::step] if step > 0 else self[:][index]
        at = range(len(self))[index]
        one: Maps = self.read(at, at + 1)[0]
        return one

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


def flow_of_move(move: NDArray[np.float64], height: int, width: int) -> Maps:
    """The displacement of every pixel under a homography [3, 3]: float32 [2, H, W], pixels."""
    grid = np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))]).astype(np.float64)
    x, y, z = np.tensordot(move, grid, 1)
    return np.stack([x / z - grid[0], y / z - grid[1]]).astype(np.float32)


def add_flow(output: Hdf5Output, group: str, table: FlowTable) -> str:
    """Adds a flow table to an HDF5 file, in bounded memory, and returns its checksum.

    Args:
        output: the file.
        group: where in it; "" for the top.
        table: the table; its maps are read one by one.
    """
    digests = {name: hashlib.sha256() for name in _COLUMNS}
    column = output.growing(_key(group, "maps"), tuple(table.maps.shape[1:]), np.float32, rows=1, **blosc())
    for index in range(table.maps.shape[0]):
        flow = table.maps[index]
        column.append(flow[None])
        digests["maps"].update(content_bytes(flow, np.float32))
    for name in list(_COLUMNS)[1:]:
        values = getattr(table, name)
        small = output.growing(_key(group, name), values.shape[1:], _COLUMNS[name], rows=256)
        small.append(values)
        small.flush()  # a shard goes on with the next item
        digests[name].update(content_bytes(values, _COLUMNS[name]))
    return joined_checksum(digest.digest() for digest in digests.values())


def open_flow(path: str | os.PathLike[str], group: str = "") -> FlowTable:
    """The flow table of a file, or of a shard's item; maps are read as they are indexed, also in other processes.

    Raises:
        InputError: no flow there.
    """
    with Hdf5Input(path) as source:
        shape = source.dataset(_key(group, "maps")).shape
        t_us, moves, move_t_us = (np.asarray(source.dataset(_key(group, name))[:]) for name in list(_COLUMNS)[1:])
    return FlowTable(LazyMaps(shape, _Rows(source, _key(group, "maps"))), t_us, moves, move_t_us)


def flow_checksum(table: FlowTable) -> str:
    """The checksum of a flow table, read map by map."""
    maps = hashlib.sha256()
    for index in range(table.maps.shape[0]):
        maps.update(content_bytes(table.maps[index], np.float32))
    rest = (content_bytes(getattr(table, name), _COLUMNS[name]) for name in list(_COLUMNS)[1:])
    return joined_checksum([maps.digest(), *(hashlib.sha256(values).digest() for values in rest)])


def _key(group: str, name: str) -> str:
    return f"{group}/flow/{name}" if group else name


@dataclass(frozen=True)
class _Rows:
    source: Hdf5Input
    key: str

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        return self.source.rows(self.key, start, stop)
