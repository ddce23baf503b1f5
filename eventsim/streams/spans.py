"""A stretch of a spike stream that is read a few megabytes at a time, however long it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.spikes import SpikeStream

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Span:
    """Planes start .. stop - 1 of a stream. Unlike a slice of the stream, a span reads nothing by itself.

    Args:
        stream: the stream; may be memory-mapped.
        start, stop: first plane, and the one after the last.

    Raises:
        ValueError: the span is empty or reaches beyond the stream.
    """

    stream: SpikeStream
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= len(self.stream):
            raise ValueError(f"expected planes within 0..{len(self.stream)}, got {self.start} to {self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the sensor."""
        return self.stream.height, self.stream.width

    def chunks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Consecutive pieces: the plane, counted from the span's start, and packed planes uint8 [n, H, ceil(W / 8)]."""
        step = max(1, _CHUNK_BYTES // max(1, self.stream.packed.shape[1] * self.stream.packed.shape[2]))
        for at in range(self.start, self.stop, step):
            # Cameras' files are flipped views; the kernels want rows that lie one after another.
            yield at - self.start, np.ascontiguousarray(self.stream.packed[at : min(at + step, self.stop)])

    def halves(self) -> tuple[Span, Span]:
        """Two spans of the same length, one after the other; of an odd number of planes the last is left out."""
        half = len(self) // 2
        return (
            Span(self.stream, self.start, self.start + half),
            Span(self.stream, self.start + half, self.start + 2 * half),
        )
