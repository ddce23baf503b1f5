"""True flows of one evaluation in one file, so that the next evaluation by the same rules need not compute them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path

Flow = NDArray[np.float32]
#: Part of every key: raised when the same key would mean other flows.
_VERSION = 1


def identity(path: Path) -> dict[str, Any]:
    """What tells a file from another and from its later self: path, size and time of its last change."""
    status = path.stat()
    return {"path": str(path.resolve()), "bytes": status.st_size, "changed_ns": status.st_mtime_ns}


class TruthCache:
    """A context in which true flows are read from a `.npz`, or computed and written to one.

    The file's name ends in a hash of all that defines the flows, and the file holds that in words (`key`). One that
    is not there is written as flows are computed, and gets its name when the context is left without an error. Flows
    are read one by one, so the file may be larger than memory.

    Args:
        folder: where the files are.
        name: how the file's name begins.
        key: all that defines the flows, as JSON takes it.

    Raises:
        InputError: the file is there but is no `.npz` of flows (on entering, and from `flow`).
    """

    def __init__(self, folder: Path, name: str, key: dict[str, Any]) -> None:
        self.key = json.dumps({"version": _VERSION, **key}, sort_keys=True)
        self.path = folder / f"{name}-{hashlib.sha256(self.key.encode()).hexdigest()[:16]}.npz"
        self._stack = ExitStack()
        self._archive: zipfile.ZipFile | None = None
        self._reads = False

    def __enter__(self) -> TruthCache:
        self._reads = self.path.is_file()
        with ExitStack() as stack:
            path = self.path if self._reads else stack.enter_context(atomic_path(self.path, overwrite=True))
            try:
                self._archive = stack.enter_context(zipfile.ZipFile(path, "r" if self._reads else "w"))
            except zipfile.BadZipFile as error:
                raise self._damaged(error) from None
            self._stack = stack.pop_all()
        if not self._reads:
            self._write("key", np.array(self.key))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def flow(self, step: int, compute: Callable[[], Flow]) -> Flow:
        """The true flow of the interval that begins at a step: from the file, or computed (and kept for later)."""
        name = f"flow_{step:06d}"
        if self._reads:
            return self._read(name) if f"{name}.npy" in self._names() else compute()
        found = compute()
        self._write(name, found)
        return found

    def _names(self) -> dict[str, zipfile.ZipInfo]:
        assert self._archive is not None
        return self._archive.NameToInfo

    def _read(self, name: str) -> Flow:
        assert self._archive is not None
        try:
            with self._archive.open(f"{name}.npy") as member:
                return np.asarray(np.lib.format.read_array(member), np.float32)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self._damaged(error) from None

    def _write(self, name: str, array: NDArray[Any]) -> None:
        assert self._archive is not None
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array)

    def _damaged(self, error: Exception) -> InputError:
        return InputError(self.path, expected="cached flows (delete it, and they are computed anew)", found=str(error))
