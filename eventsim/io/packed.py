"""Packed spike planes on their way out of files and into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.spikes import SpikeStream

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class LazyPlanes:
    """Stands for the packed planes [T, H, ceil(W / 8)] of a file and reads those that are sliced.

    Args:
        shape: (T, H, ceil(W / 8)).
        read: gives planes start .. stop - 1.
    """

    shape: tuple[int, int, int]
    read: Callable[[int, int], NDArray[np.uint8]]
    dtype = np.dtype(np.uint8)
    ndim = 3

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """As an array's: the first index (a slice or an integer) chooses what is read, others are applied to that."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        chosen = range(len(self))[first]
        if isinstance(chosen, int):
            plane: NDArray[np.uint8] = self.read(chosen, chosen + 1)[(0, *rest)]
            return plane
        if not chosen:
            return np.zeros((0, *self.shape[1:]), np.uint8)[(slice(None), *rest)]
        # In blocks, so that what `read` needs beside its result, and planes of which little is kept, stay small.
        block = max(1, _CHUNK_BYTES // (self.shape[1] * self.shape[2] * abs(chosen.step)))
        parts = [self._planes(chosen[at : at + block], rest) for at in range(0, len(chosen), block)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _planes(self, chosen: range, rest: list[Any]) -> NDArray[np.uint8]:
        low, high = sorted((chosen[0], chosen[-1]))
        found: NDArray[np.uint8] = self.read(low, high + 1)[(slice(None, None, chosen.step), *rest)]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def stream(self, width: int, readout_hz: float) -> SpikeStream:
        """A stream of these planes; nothing is read before it is asked for."""
        return SpikeStream(cast(NDArray[np.uint8], self), self.shape[1], width, readout_hz)


def stream_chunks(streams: SpikeStream | Iterable[SpikeStream]) -> Iterator[SpikeStream]:
    """One stream in pieces of a few megabytes, or the given pieces of one, checked to belong together.

    Raises:
        ValueError: there is no piece at all, or pieces differ in size or clock.
    """
    first: tuple[int, int, float] | None = None
    for stream in [streams] if isinstance(streams, SpikeStream) else streams:
        found = (stream.height, stream.width, stream.readout_hz)
        first = first or found
        if found != first:
            raise ValueError(f"expected pieces of one stream (height, width, readout_hz) {first}, got {found}")
        planes = max(1, _CHUNK_BYTES // (stream.packed.shape[1] * stream.packed.shape[2]))
        for start in range(0, max(len(stream), 1), planes):
            yield stream[start : start + planes]
    if first is None:
        raise ValueError("expected at least one piece of a stream, got none")
