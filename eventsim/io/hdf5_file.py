"""HDF5 files: read lazily and from several processes, written front to back with one clear error on a full disk."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.faults import naming


class Hdf5Input:
    """An HDF5 file, opened when it is first read and anew in every process, so that it can be sent to workers."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = 0

    @property
    def file(self) -> h5py.File:
        """The open file.

        Raises:
            InputError: it is missing, truncated or not HDF5.
        """
        if self._file is None or self._process != os.getpid():
            import hdf5plugin  # noqa: F401  (teaches HDF5 the compressions that such files use)

            if not self.path.is_file():
                raise InputError(self.path, expected="an HDF5 file", found="nothing there")
            try:
                self._file = h5py.File(self.path, "r")
            except OSError as error:
                reason = str(error).splitlines()[0]
                raise InputError(
                    self.path, expected="an HDF5 file", found=f"one that cannot be opened ({reason})"
                ) from None
            self._process = os.getpid()
        return self._file

    def count_events(self) -> int:
        """Number of events in `events/t`, `x`, `y` and `p`.

        Raises:
            InputError: one is missing, or their lengths differ.
        """
        lengths = {name: len(self.dataset(f"events/{name}")) for name in ("t", "x", "y", "p")}
        if len(set(lengths.values())) > 1:
            raise InputError(self.path, expected="events/t, x, y and p of one length", found=str(lengths))
        return lengths["t"]

    def dataset(self, key: str) -> h5py.Dataset:
        """The data set under a key.

        Raises:
            InputError: there is none; names the keys that are there.
        """
        found = self.file.get(key)
        if not isinstance(found, h5py.Dataset):
            raise InputError(self.path, expected=f"data set {key}", found=", ".join(self.keys()) or "an empty file")
        return found

    def attribute(self, name: str, key: str = "/") -> Any:
        """An attribute of the file, or of the group or data set under a key.

        Raises:
            InputError: there is none; names the attributes that are there.
        """
        attributes = self.file[key].attrs
        if name not in attributes:
            raise InputError(self.path, expected=f"attribute {name} of {key}", found=", ".join(attributes) or "none")
        return attributes[name]

    def keys(self) -> list[str]:
        """The names of all data sets."""
        names: list[str] = []
        self.file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        return names

    def rows(self, key: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start .. stop - 1 of a data set.

        Raises:
            InputError: they cannot be read (a damaged file); names key and row.
        """
        dataset = self.dataset(key)
        try:
            return np.asarray(dataset[start:stop])
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise InputError(self.path, expected="readable data", found=reason, at=f"{key}, row {start}") from None

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def __enter__(self) -> Hdf5Input:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}


class Hdf5Output:
    """A context in which one new HDF5 file is written.

    HDF5 does not survive a write that fails: it fails again while closing, and the process may end in a segmentation
    fault. So all writes go through `_Disk`, which never fails towards HDF5; the error is raised here instead, once.

    Args:
        path: where to write (usually a temporary path).
        name: the name for messages.

    Raises:
        OSError: the disk takes no more; names `name`. From any method and from leaving the context.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | os.PathLike[str]) -> None:
        self.name = name
        self._columns: list[Growing] = []
        with naming(name):
            self._disk = _Disk(path)
        try:
            with uninterrupted():
                self.file = h5py.File(self._disk, "w")
        except BaseException:
            self._disk.close()
            raise

    def __enter__(self) -> Hdf5Output:
        return self

    def growing(self, key: str, row_shape: tuple[int, ...], dtype: Any, *, rows: int, **options: Any) -> Growing:
        """A new data set of no rows yet, stored in chunks of `rows` rows; options as h5py's create_dataset takes."""
        column = Growing(self, key, row_shape, dtype, rows=rows, **options)
        self._columns.append(column)
        return column

    def link(self, key: str, alias: str) -> None:
        """Gives a data set a second name."""
        with uninterrupted():
            self.file[alias] = self.file[key]
        self.check()

    def check(self) -> None:
        """Raises the error of the first write that failed, if one did."""
        with naming(self.name):
            if self._disk.failure is not None:
                raise self._disk.failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for column in self._columns:
                    column.flush()
        finally:
            with uninterrupted():
                self.file.close()
                self._disk.close()
        if kind is None:
            self.check()


class Growing:
    """A data set that is appended to. Rows wait until a chunk is full, so that every chunk is written once.

    Args:
        output: the file.
        key: name of the data set.
        row_shape: shape of one row; its first axis may grow (`widen`).
        dtype: of the elements.
        rows: rows a chunk.
        options: as h5py's create_dataset takes; `chunk_row` is the row's share in a chunk where that is not all.
    """

    def __init__(
        self,
        output: Hdf5Output,
        key: str,
        row_shape: tuple[int, ...],
        dtype: Any,
        *,
        rows: int,
        chunk_row: tuple[int, ...] | None = None,
        **options: Any,
    ) -> None:
        self._output, self._rows, self._dtype = output, rows, np.dtype(dtype)
        self._waiting: list[NDArray[Any]] = []
        self.count = self._written = 0
        with uninterrupted():
            self.dataset = output.file.create_dataset(
                key,
                shape=(0, *row_shape),
                maxshape=(None,) * (1 + len(row_shape)),
                chunks=(rows, *(chunk_row or row_shape)),
                dtype=dtype,
                **options,
            )
        output.check()

    def append(self, rows: NDArray[Any]) -> None:
        """Adds rows [n, ...] at the end."""
        self._waiting.append(np.asarray(rows, self._dtype))
        self.count += len(rows)
        waiting = self.count - self._written
        if waiting >= self._rows:
            self._write(waiting - waiting % self._rows)
        elif self._waiting[-1] is rows or self._waiting[-1].base is not None:
            self._waiting[-1] = self._waiting[-1].copy()  # the caller may use its memory again

    def flush(self) -> None:
        """Writes what still waits; only then can all rows be read from `dataset`."""
        self._write(self.count - self._written)

    def widen(self, size: int) -> None:
        """Lets rows have `size` along their first axis; rows that were shorter are filled up."""
        self.flush()
        with uninterrupted():
            self.dataset.resize(size, axis=1)
        self._output.check()

    def _write(self, count: int) -> None:
        if not count:
            return
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting = [rows[count:].copy()] if count < len(rows) else []
        with uninterrupted():
            self.dataset.resize(self._written + count, axis=0)
            self.dataset[self._written :] = rows[:count]
        self._written += count
        self._output.check()


class _Disk:
    """The file behind an HDF5 file in the making. After a write has failed, later ones are kept in memory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115  (closed by the owner)
        self._lost: list[tuple[int, bytes]] = []
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        start = self._file.tell()
        if self.failure is None:
            try:
                self._store(view)
            except OSError as error:
                self.failure = error
        if self.failure is not None:
            self._lost.append((start, bytes(view)))
            self._file.seek(start + len(view))
        return len(view)

    def _store(self, view: memoryview) -> None:
        while len(view):
            view = view[self._file.write(view) :]

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start = self._file.tell()
        found = self._file.readinto(view)
        for at, data in self._lost:
            low, high = max(at, start), min(at + len(data), start + len(view))
            if low < high:
                view[low - start : high - start] = data[low - at : high - at]
                found = max(found, high - start)
        return found

    def read(self, size: int = -1) -> bytes:  # h5py knows a file by this method
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self._lost:
            ends = [at + len(data) for at, data in self._lost]
            return self._file.seek(max(*ends, self._file.seek(0, os.SEEK_END)))
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.failure = self.failure or error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keeps signals waiting while HDF5 works: it calls `_Disk`, and an exception raised in there would wreck it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda *what: arrived.append(what))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for signal_number, frame in arrived:
            ours[signal.Signals(signal_number)](signal_number, frame)
