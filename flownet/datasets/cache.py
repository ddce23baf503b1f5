"""Representations kept from one pass over a data set to the next: in a folder, or in memory.

Of the cells of a temporal distribution of events about 3 % are not zero, so kept are their places and values, exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming

Array = NDArray[Any]
_MOST_CELLS = 1 << 32


def describe(path: Path, **settings: Any) -> str:
    """Everything that defines the representations of a recording, as JSON.

    That is the file's path, size and time of change, the code that makes representations, and the settings.

    Args:
        path: the recording.
        settings: numbers and words, of the representation and of what is read.
    """
    stamp = path.stat()
    file = {"path": str(path.resolve()), "bytes": stamp.st_size, "changed_ns": stamp.st_mtime_ns}
    return json.dumps(file | {"code": _code()} | settings, sort_keys=True, indent=1)


@once
def _code() -> str:
    """Checksum of the modules that make representations, so that a change of theirs is never met with old results."""
    from flownet import representation

    digest = hashlib.sha256()
    for module in sorted(Path(representation.__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Packed:
    """A float32 tensor by its cells that are not zero; whole where that is smaller.

    Args:
        shape: of the tensor.
        places: uint32 [n], of the cells in the flat tensor; None for all of them.
        values: float32 [n].
    """

    shape: tuple[int, ...]
    places: NDArray[np.uint32] | None
    values: NDArray[np.float32]

    @classmethod
    def of(cls, tensor: Tensor) -> Packed:
        """A tensor, packed.

        Raises:
            ValueError: another type, or too many cells to number them in 32 bits.
        """
        if tensor.dtype != torch.float32 or tensor.numel() >= _MOST_CELLS:
            raise ValueError(f"expected float32 of less than 2^32 cells, got {tensor.dtype} {list(tensor.shape)}")
        flat = tensor.reshape(-1).numpy()
        places = np.flatnonzero(flat)
        if 2 * len(places) >= len(flat):
            return cls(tuple(tensor.shape), None, flat.copy())
        return cls(tuple(tensor.shape), places.astype(np.uint32), flat[places])

    def tensor(self) -> Tensor:
        """The tensor, in memory of its own."""
        if self.places is None:
            return torch.from_numpy(self.values.copy()).view(self.shape)
        flat = np.zeros(int(np.prod(self.shape)), np.float32)
        flat[self.places] = self.values
        return torch.from_numpy(flat).view(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + (0 if self.places is None else self.places.nbytes)

    def words(self) -> NDArray[np.uint32]:
        """As it is kept in a file: number of axes, shape, places if any, and the values' bits: uint32 [words]."""
        head = np.array([len(self.shape), *self.shape], np.uint32)
        return np.concatenate([head, *([] if self.places is None else [self.places]), self.values.view(np.uint32)])

    @classmethod
    def of_words(cls, words: NDArray[np.uint32]) -> Packed:
        """The reverse of `words`.

        Raises:
            ValueError: words that are no packed tensor.
        """
        axes = int(words[0]) if len(words) else 0
        if not 0 < axes < len(words):
            raise ValueError(f"expected a number of axes, their sizes and cells, got {len(words)} words")
        shape = tuple(int(size) for size in words[1 : 1 + axes])
        rest, cells = words[1 + axes :], int(np.prod(shape))
        if len(rest) == cells:
            return cls(shape, None, rest.view(np.float32))
        places, values = np.split(rest, 2) if len(rest) % 2 == 0 else (rest, rest)
        if len(rest) % 2 or len(rest) > cells or (len(places) and places.max() >= cells):
            raise ValueError(f"expected the cells of a tensor {list(shape)}, got {len(rest)} words")
        return cls(shape, places, values.view(np.float32))


class Cache:
    """Keeps nothing: everything is made again whenever it is asked for."""

    def slices(self, source: str, first: int, make: Callable[[], Tensor]) -> Tensor:
        """The representation of a recording's interval: float32, kept or made now.

        Args:
            source: what defines it, from `describe`.
            first: number of the interval in its recording.
            make: makes it.
        """
        return make()

    def array(self, source: str, name: str, first: int, make: Callable[[], Array]) -> Array:
        """Something else that belongs to a recording, a grey frame say; not to be written to."""
        return make()


class MemoryCache(Cache):
    """Keeps what was used last in memory, in every process for itself: each worker of a data loader has its own.

    Args:
        memory_mb: most that is kept, in megabytes (10^6 bytes).

    Raises:
        ValueError: not above 0.
    """

    def __init__(self, memory_mb: float) -> None:
        if not memory_mb > 0:
            raise ValueError(f"expected memory_mb above 0, got {memory_mb}")
        self.memory_mb, self.nbytes = memory_mb, 0
        self._kept: OrderedDict[tuple[str, str, int], Packed | Array] = OrderedDict()

    def slices(self, source: str, first: int, make: Callable[[], Tensor]) -> Tensor:
        """As `Cache`."""
        packed = self._recall((source, "slices", first), lambda: Packed.of(make()))
        assert isinstance(packed, Packed)
        return packed.tensor()

    def array(self, source: str, name: str, first: int, make: Callable[[], Array]) -> Array:
        """As `Cache`."""
        array = self._recall((source, name, first), make)
        assert not isinstance(array, Packed)
        return array

    def _recall(self, key: tuple[str, str, int], make: Callable[[], Packed | Array]) -> Packed | Array:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._kept[key] = made = make()
        self.nbytes += made.nbytes
        while self.nbytes > 1e6 * self.memory_mb:
            self.nbytes -= self._kept.popitem(last=False)[1].nbytes
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict(), "nbytes": 0}


class FolderCache(Cache):
    """Keeps representations in a folder, for any number of processes at a time; arrays are not kept.

        FOLDER/<checksum of what defines them>/source.json     what defines them
                                               000000.npy      an interval, packed

    Files appear whole or not at all; one that was damaged since is made again. Nothing is ever removed.

    Args:
        folder: where; made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def slices(self, source: str, first: int, make: Callable[[], Tensor]) -> Tensor:
        """As `Cache`.

        Raises:
            OSError: the disk takes no more; names the file.
        """
        path = self.folder / hashlib.sha256(source.encode()).hexdigest()[:24] / f"{first:06d}.npy"
        try:
            return Packed.of_words(np.load(path)).tensor()
        except FileNotFoundError:
            pass
        except (ValueError, OSError, EOFError):  # damaged
            path.unlink(missing_ok=True)
        made = make()
        self._keep(path, source, Packed.of(made))
        return made

    def _keep(self, path: Path, source: str, packed: Packed) -> None:
        described = path.with_name("source.json")
        with naming(described):
            if not described.exists():
                with atomic_path(described, overwrite=True) as partial:
                    partial.write_text(source, encoding="utf-8")
        with naming(path), atomic_path(path, overwrite=True) as partial:
            np.save(partial, packed.words())


def open_cache(cache: Path | str | None, memory_mb: float = 512.0) -> Cache:
    """A cache in a folder, in memory ("memory", of `memory_mb` in each process), or none (None)."""
    if cache is None:
        return Cache()
    return MemoryCache(memory_mb) if cache == "memory" else FolderCache(Path(cache))
