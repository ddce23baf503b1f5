"""Flow of many windows in one NumPy archive (.npz), written window by window.

`np.load` gives `flow` [N, 2, H, W] (dx, dy in pixels over the window) and its windows [t0_us, t1_us), int64 [N].
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming


class FlowArchive:
    """An archive that is being written; made by `flow_archive`."""

    def __init__(self, archive: zipfile.ZipFile, count: int, dtype: DTypeLike) -> None:
        self._archive, self._count, self._dtype = archive, count, np.dtype(dtype)
        self._times: list[tuple[int, int]] = []
        self._shape: tuple[int, ...] | None = None
        self._stack = ExitStack()
        self._member: IO[bytes] | None = None

    def add(self, start_us: int, stop_us: int, flow: NDArray[Any]) -> None:
        """Writes the flow [2, H, W] of the next window [start, stop).

        Raises:
            ValueError: a flow of another shape than those before, or more of them than announced.
        """
        if self._member is None:
            self._shape = flow.shape
            self._member = self._stack.enter_context(_member(self._archive, "flow"))
            _write_header(self._member, (self._count, *flow.shape), self._dtype)
        if flow.shape != self._shape or len(self._times) == self._count:
            raise ValueError(f"expected {self._count} flows {self._shape}, got {flow.shape} after {len(self._times)}")
        self._member.write(np.ascontiguousarray(flow, self._dtype).tobytes())
        self._times.append((start_us, stop_us))

    def finish(self) -> None:
        """Writes the windows behind the flow.

        Raises:
            ValueError: fewer flows than announced.
        """
        self.close()
        if len(self._times) != self._count or not self._times:
            raise ValueError(f"expected {self._count} flows, at least 1, got {len(self._times)}")
        for name, times in zip(("t0_us", "t1_us"), np.array(self._times, np.int64).T, strict=True):
            with _member(self._archive, name) as member:
                npy.write_array(member, times)

    def close(self) -> None:
        """Ends the flow."""
        self._stack.close()


@contextmanager
def flow_archive(
    path: str | PathLike[str], count: int, *, dtype: DTypeLike = np.float32, overwrite: bool = False
) -> Iterator[FlowArchive]:
    """An archive of the flow of `count` windows, each added in turn; under its name when all are written.

    Args:
        path: the file (.npz).
        count: number of windows.
        dtype: of the flow: float32, or float16, which keeps 11 bits (a flow of 8 px to 1/256 px).
        overwrite: replace an existing file.

    Raises:
        ValueError: flows of different shapes, or other than `count` of them.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    with (
        naming(path),
        atomic_path(path, overwrite=overwrite) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        writing = FlowArchive(archive, count, dtype)
        try:
            yield writing
            writing.finish()
        finally:
            writing.close()


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # Of a fixed date: the same flows give the same bytes.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_header(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    npy.write_array_header_1_0(member, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
