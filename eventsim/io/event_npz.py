"""Events as NumPy keeps them: an `.npz` with arrays t, x, y, p and the sensor's width and height, or an `.npy`.

What is written has t int64 in microseconds, x and y uint16, p uint8 (1 = ON), not compressed, so that windows are read
from the file as they are asked for; `numpy.load(path)["t"]` reads it. What others write is accepted too, under the
names in `NAMES`, as far as it can have one meaning only:
- four arrays of one length;
- one structured array with those fields, as tonic has;
- one array [N, 4] whose columns are t, x, y, p, or x, y, t, p, or x, y, p, t: whichever alone can be events.
Times of whole numbers are microseconds, others seconds. A size that is not stated is just large enough for all events.
A compressed array, or one of other kinds than written here, is read into memory whole.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.event_source import EventSource, in_chunks
from eventsim.io.faults import naming, recorded_events
from eventsim.streams.events import Events

#: What t, x, y and p are called.
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
_ORDERS = ("txyp", "xytp", "xypt")
_COLUMNS: dict[str, np.dtype[Any]] = {
    "t": np.dtype(np.int64),
    "x": np.dtype(np.uint16),
    "y": np.dtype(np.uint16),
    "p": np.dtype(np.uint8),
}
_EVENTS_PER_CHUNK = 1 << 20
_LOCAL_HEADER_BYTES, _LENGTHS_AT = 30, 26
Columns = dict[str, NDArray[Any]]


class NpzEvents(EventSource):
    """Events of an `.npz` or `.npy`, read as they are asked for where the file is not compressed.

    Args:
        path: the file.
        height, width: of the sensor, where the file does not state them.
        time_unit: of the times, "s" or "us"; by default as the module says.

    Raises:
        InputError: the file is missing or damaged, holds arrays that are no events or may be several things, or no
            event and no size. Reading raises it for events out of order or outside the sensor, with the index of the
            event.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        height: int | None = None,
        width: int | None = None,
        *,
        time_unit: Literal["s", "us"] | None = None,
    ) -> None:
        self.path = Path(path)
        self._told = {"height": height, "width": width}
        self._time_unit = time_unit
        self._columns: Columns | None = None
        self._open()

    def _open(self) -> Columns:
        if self._columns is None:
            if not self.path.is_file():
                raise InputError(self.path, expected="an .npz or .npy file of events", found="nothing there")
            try:
                arrays = dict(_arrays(self.path))
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
                raise InputError(self.path, expected="a whole .npz or .npy file", found=str(error)) from error
            columns = _columns(self.path, arrays)
            assumed = self._settle_time(columns)
            self._columns = columns
            self._settle_size(arrays, assumed)
        return self._columns

    def _settle_time(self, columns: Columns) -> list[str]:
        """Times as whole microseconds; gives what is taken for granted."""
        t, unit = columns["t"], self._time_unit
        if unit is None:
            unit = "us" if t.dtype.kind in "iu" or bool((t == np.rint(t)).all()) else "s"
        if unit == "s" or t.dtype.kind not in "iu":
            t = np.asarray(t, np.float64) * (1e6 if unit == "s" else 1)
            if not (np.abs(t) < 2.0**63).all():
                raise InputError(self.path, expected="finite times", found=f"{t[~(np.abs(t) < 2.0**63)][0]}")
            columns["t"] = np.rint(t).astype(np.int64)
        return [] if self._time_unit else [f"times in {'seconds' if unit == 's' else 'microseconds'}"]

    def _settle_size(self, arrays: Columns, assumed: list[str]) -> None:
        stated = {name: int(arrays[name]) for name in self._told if name in arrays and arrays[name].ndim == 0}
        told = {name: size for name, size in self._told.items() if size is not None}
        for name, size in told.items():
            if stated.get(name, size) != size:
                raise InputError(self.path, expected=f"{name} {size}", found=f"{name} {stated[name]}")
        known = told | stated
        self.height, self.width = (known.get(name) or self._least(name) for name in ("height", "width"))
        if len(known) < len(self._told):
            assumed = [*assumed, "the size from the largest coordinates"]
        # Who states the size has the layout that is written here, with its unit.
        self.assumed = None if len(stated) == len(self._told) else ", ".join(assumed) or None

    def _least(self, name: str) -> int:
        coordinates = self._open()["y" if name == "height" else "x"]
        if not len(coordinates):
            raise InputError(self.path, expected="events, or the sensor's height and width", found="neither")
        return int(max(coordinates[at : at + _EVENTS_PER_CHUNK].max() for at in _starts(coordinates))) + 1

    def __len__(self) -> int:
        return len(self._open()["t"])

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice)."""
        start, stop, _ = slice(start, stop).indices(len(self))
        t, x, y, p = (np.asarray(self._open()[name][start:stop]) for name in "txyp")
        if not (p.dtype == np.bool_ or np.isin(p, (-1, 0, 1)).all()):
            index = int(np.argmin(np.isin(p, (-1, 0, 1))))
            raise InputError(
                self.path, expected="polarity 0 or 1, or -1 or 1", found=f"{p[index]}", at=f"event {start + index}"
            )
        return recorded_events(self.path, t, x, y, p > 0, width=self.width, height=self.height, first=start)

    def _find(self, t_us: int) -> int:
        # Bisection touches a few pages of a mapped array only.
        return int(np.searchsorted(self._open()["t"], t_us, side="left"))

    def close(self) -> None:
        """Lets go of the arrays; reading opens the file again."""
        self._columns = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_columns": None}


def write_events(path: str | os.PathLike[str], events: Events | Iterable[Events], *, overwrite: bool = False) -> None:
    """Writes events, whole or as consecutive pieces of one recording, in bounded memory.

    Each array is first gathered in an unnamed file beside the output: 13 bytes an event in all.

    Raises:
        ValueError: no piece at all, or pieces from sensors of different sizes or out of order.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with naming(path), atomic_path(path, overwrite=overwrite) as partial, ExitStack() as stack:
        gathered = {name: stack.enter_context(tempfile.TemporaryFile(dir=partial.parent)) for name in _COLUMNS}
        count, piece = 0, None
        for piece in in_chunks(events, _EVENTS_PER_CHUNK):
            count += len(piece)
            for name, dtype in _COLUMNS.items():
                gathered[name].write(getattr(piece, name).astype(dtype).tobytes())
        assert piece is not None  # in_chunks gives at least one piece
        archive = stack.enter_context(zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED))
        for name, dtype in _COLUMNS.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_header(member, dtype, (count,))
                gathered[name].seek(0)
                while block := gathered[name].read(_EVENTS_PER_CHUNK):
                    member.write(block)
        for name in ("width", "height"):
            with archive.open(f"{name}.npy", "w") as member:
                _write_header(member, np.dtype(np.int64), ())
                member.write(np.int64(getattr(piece, name)).tobytes())


def is_events(path: str | os.PathLike[str]) -> bool:
    """Whether an `.npz` or `.npy` is there that is not one array of three axes, as spikes are, nor damaged."""
    try:
        shapes = [shape for _, shape in _shapes(Path(path))]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError):
        return False
    return not (len(shapes) == 1 and len(shapes[0]) == 3)


# --- arrays of files


def _arrays(source: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and arrays, mapped rather than read where they lie in the file as they are."""
    if not zipfile.is_zipfile(source):
        yield "", np.load(source, mmap_mode="r", allow_pickle=False)
        return
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                name = info.filename.removesuffix(".npy")
                shape, fortran, dtype = _read_header(member)
                if info.compress_type != zipfile.ZIP_STORED or not int(np.prod(shape)) or dtype.hasobject:
                    member.seek(0)
                    yield name, npy.read_array(member, allow_pickle=False)
                    continue
                offset = info.header_offset + _local_header_bytes(source, info.header_offset) + member.tell()
            if source.stat().st_size < offset + int(np.prod(shape)) * dtype.itemsize:
                raise zipfile.BadZipFile(f"an array that ends beyond the file, from byte {offset} on")
            order: Literal["F", "C"] = "F" if fortran else "C"
            yield (
                name,
                np.memmap(source, dtype, mode="r", offset=offset, shape=shape or (1,), order=order).reshape(shape),
            )


def _shapes(source: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if not zipfile.is_zipfile(source):
        with source.open("rb") as file:
            yield "", _read_header(file)[0]
        return
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                yield info.filename, _read_header(member)[0]


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)


def _write_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    npy.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})


def _local_header_bytes(source: Path, start: int) -> int:
    """Length of a member's local header; its name and extra field may differ from those of the archive's index."""
    with source.open("rb") as file:
        file.seek(start + _LENGTHS_AT)
        name, extra = np.frombuffer(file.read(4), "<u2")
    return _LOCAL_HEADER_BYTES + int(name) + int(extra)


# --- what arrays mean


def _columns(source: Path, arrays: Columns) -> Columns:
    """t, x, y and p from whatever arrays a file holds."""
    named = _named(arrays)
    large = [array for array in arrays.values() if array.ndim]
    if named is None and len(large) == 1:
        array = large[0]
        if array.dtype.names:
            named = _named({name: array[name] for name in array.dtype.names})
        elif array.ndim == 2 and array.shape[1] == 4:
            named = _ordered(source, array)
    if named is None:
        found = ", ".join(f"{name} {a.dtype} {list(a.shape)}" for name, a in arrays.items())
        expected = "arrays t, x, y, p, a structured array of them, or one [N, 4]"
        raise InputError(source, expected=expected, found=found or "none")
    lengths = {name: array.shape for name, array in named.items()}
    if len(set(lengths.values())) > 1 or named["t"].ndim != 1:
        raise InputError(source, expected="t, x, y and p with one axis of one length", found=str(lengths))
    return {name: _whole(source, name, array) for name, array in named.items()}


def _named(arrays: Columns) -> Columns | None:
    """The arrays by the names that are ours; None unless there is just one for each."""
    lower = {name.lower(): array for name, array in arrays.items()}
    found = {ours: [lower[alias] for alias in aliases if alias in lower] for ours, aliases in NAMES.items()}
    return {name: each[0] for name, each in found.items()} if all(len(each) == 1 for each in found.values()) else None


def _ordered(source: Path, array: NDArray[Any]) -> Columns:
    """The columns of an array [N, 4], in the one order of the usual ones that makes events of them."""
    fitting = [order for order in _ORDERS if _fits(dict(zip(order, array.T, strict=True)))]
    if len(fitting) != 1:
        usual = ", ".join(" ".join(order) for order in _ORDERS)
        found = f"{len(fitting)} of them that may be" if fitting else "none that can be"
        raise InputError(source, expected=f"columns in one of the orders {usual}", found=found)
    return dict(zip(fitting[0], array.T, strict=True))


def _fits(columns: Columns) -> bool:
    t, x, y, p = (columns[name] for name in "txyp")
    if not np.isin(p, (-1, 0, 1)).all() or (t[1:] < t[:-1]).any():
        return False
    return all(bool(((c >= 0) & (c < 1 << 16) & (c == np.rint(c))).all()) for c in (x, y))


def _whole(source: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iufb":
        raise InputError(source, expected=f"numbers for {name}", found=str(array.dtype))
    if name == "t" or array.dtype.kind != "f":
        return array
    if not (np.isfinite(array) & (np.abs(array) < 1 << 31) & (array == np.rint(array))).all():
        raise InputError(source, expected=f"whole numbers for {name}", found="others")
    return array.astype(np.int32)


def _starts(array: NDArray[Any]) -> range:
    return range(0, len(array), _EVENTS_PER_CHUNK)
