"""Poses over time: TUM text, MVSEC's odometry and poses (HDF5 or npz).

A pose is where a camera is and how it is turned, to the world: world = rotation(quaternion) @ point + position.

- Text (`.txt`, `.tum`, `.csv`): a line `t x y z qx qy qz qw` with blanks or commas between, seconds and metres; what
  follows a `#` is passed over. So are the trajectories of the TUM benchmark (Sturm et al., "A benchmark for the
  evaluation of RGB-D SLAM systems", IROS 2012) and the `stamped_*.txt` of trajectory evaluations.
- HDF5: `ts`, `poss`, `rots` (x, y, z, w), as in MVSEC's `*_odom.h5`, or the poses [N, 4, 4] of its `*_gt.hdf5`
  (`davis/left/pose`, or `davis/left/odometry`, with `..._ts`).
- npz: `timestamps`, `pos`, `quat` (x, y, z, w), as in MVSEC's `*_odom.npz`.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path

Values = NDArray[np.float64]
_TEXT = (".txt", ".tum", ".csv")
_HDF5 = (".h5", ".hdf5")
_COLUMNS = 8
_LENGTH_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses in order of time.

    Args:
        seconds: float64 [N], rising.
        positions: float64 [N, 3].
        quaternions: float64 [N, 4], x, y, z, w, of length 1.
    """

    seconds: Values
    positions: Values
    quaternions: Values

    def __len__(self) -> int:
        return len(self.seconds)


def read_poses(path: str | os.PathLike[str]) -> Poses:
    """The poses of a file, by its suffix and content.

    Raises:
        InputError: the file is missing, of an unknown suffix or without poses; a line or row that is none (eight
            finite numbers, the last four a quaternion of length 1), or whose time does not come after the one before:
            names the line, counted from 1, or the row, counted from 0.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in (*_TEXT, *_HDF5, ".npz"):
        known = ", ".join((*_TEXT, *_HDF5, ".npz"))
        raise InputError(source, expected=f"poses ({known})", found=f"suffix '{source.suffix}'")
    if not source.is_file():
        raise InputError(source, expected="a file of poses", found="nothing there")
    if suffix in _TEXT:
        return _read_text(source)
    table = _read_hdf5(source) if suffix in _HDF5 else _read_npz(source)
    return _checked(source, table, [f"row {row}" for row in range(len(table))])


def write_poses(path: str | os.PathLike[str], poses: Poses, *, overwrite: bool = False) -> None:
    """Writes poses as TUM text, exactly: reading gives the same numbers.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
    """
    with atomic_path(path, overwrite=overwrite) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("# t x y z qx qy qz qw\n")
        for row in zip(poses.seconds, poses.positions, poses.quaternions, strict=True):
            file.write(" ".join(repr(float(number)) for number in (row[0], *row[1], *row[2])) + "\n")


def _read_text(source: Path) -> Poses:
    rows, places = [], []
    with source.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].replace(",", " ").split()
            if not words:
                continue
            rows.append(_numbers(source, words, number))
            places.append(f"line {number}")
    return _checked(source, np.array(rows).reshape(-1, _COLUMNS), places)


def _numbers(source: Path, words: list[str], line: int) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != _COLUMNS:
        shown = " ".join(words)[:60]
        raise InputError(source, expected="eight numbers, t x y z qx qy qz qw", found=f"'{shown}'", at=f"line {line}")
    return numbers


def _read_npz(source: Path) -> Values:
    names = ("timestamps", "pos", "quat")
    try:
        with np.load(source) as arrays:
            found = {name: arrays[name] for name in names if name in arrays}
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(source, expected="an npz file of numbers", found=str(error).splitlines()[0]) from None
    if len(found) < len(names):
        missing = ", ".join(name for name in names if name not in found)
        raise InputError(source, expected=", ".join(names), found=f"no {missing}")
    return _joined(source, *(found[name] for name in names))


def _read_hdf5(source: Path) -> Values:
    from eventsim.io.hdf5_file import Hdf5Input

    with Hdf5Input(source) as found:
        keys = found.keys()
        if "ts" in keys:
            return _joined(source, *(np.asarray(found.dataset(name)[:]) for name in ("ts", "poss", "rots")))
        for name in ("davis/left/pose", "davis/left/odometry", "davis/right/pose", "davis/right/odometry"):
            if name in keys:
                matrices = np.asarray(found.dataset(name)[:], np.float64)
                return _of_matrices(source, np.asarray(found.dataset(f"{name}_ts")[:]), matrices)
        listed = ", ".join(keys) or "an empty file"
        raise InputError(source, expected="ts, poss and rots, or davis/left/pose or odometry", found=listed)


def _of_matrices(source: Path, seconds: Values, matrices: Values) -> Values:
    from scipy.spatial.transform import Rotation

    if matrices.ndim != 3 or matrices.shape[1:] != (4, 4):
        raise InputError(source, expected="poses [N, 4, 4]", found=f"shape {matrices.shape}")
    bad = np.flatnonzero(~(np.abs(np.linalg.det(matrices[:, :3, :3]) - 1) < _LENGTH_TOLERANCE))
    if len(bad):
        raise InputError(source, expected="a rotation", found="another matrix", at=f"row {bad[0]}")
    return _joined(source, seconds, matrices[:, :3, 3], Rotation.from_matrix(matrices[:, :3, :3]).as_quat())


def _joined(source: Path, seconds: Values, positions: Values, quaternions: Values) -> Values:
    count = len(seconds)
    if seconds.shape != (count,) or positions.shape != (count, 3) or quaternions.shape != (count, 4):
        raise InputError(source, expected="times [N], positions [N, 3] and quaternions [N, 4]",
                         found=f"shapes {seconds.shape}, {positions.shape} and {quaternions.shape}")  # fmt: skip
    return np.concatenate([seconds[:, None], positions, quaternions], axis=1).astype(np.float64)


def _checked(source: Path, table: Values, places: list[str]) -> Poses:
    if len(table) < 2:
        raise InputError(source, expected="at least two poses", found=str(len(table)))
    lengths = np.linalg.norm(table[:, 4:], axis=1)
    rules = {
        "eight finite numbers": np.isfinite(table).all(axis=1),
        "a quaternion of length 1": np.abs(lengths - 1) < _LENGTH_TOLERANCE,
        "a time after the one before": np.diff(table[:, 0], prepend=-np.inf) > 0,
    }
    for expected, good in rules.items():
        bad = np.flatnonzero(~good)
        if len(bad):
            row = " ".join(f"{number:g}" for number in table[bad[0]])
            raise InputError(source, expected=expected, found=f"'{row}'", at=places[bad[0]])
    return Poses(table[:, 0].copy(), table[:, 1:4].copy(), table[:, 4:] / lengths[:, None])
