"""The stream of a spike camera: one bit per pixel and readout, packed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SpikeStream:
    """Binary planes on a readout clock; plane n is the readout at (n + 1) / readout_hz.

    Args:
        packed: uint8 [T, H, ceil(W / 8)]; bit k (least significant first) of byte b is pixel 8 b + k of the row, and
            the bits past W are 0. May be a memory map: nothing is read before it is asked for.
        height: rows H.
        width: columns W.
        readout_hz: readouts a second.

    Raises:
        ValueError: the packed array does not fit the size, or the clock is not positive.
        TypeError: the packed array is not uint8.
    """

    packed: NDArray[np.uint8]
    height: int
    width: int
    readout_hz: float

    def __post_init__(self) -> None:
        expected = (self.height, -(-self.width // 8))
        if self.packed.dtype != np.uint8:
            raise TypeError(f"expected packed spikes as uint8, got {self.packed.dtype}")
        if self.packed.ndim != 3 or self.packed.shape[1:] != expected:
            raise ValueError(f"expected packed spikes of shape (T, {expected[0]}, {expected[1]}) for a sensor of "
                             f"{self.width}x{self.height}, got {self.packed.shape}")  # fmt: skip
        if not self.readout_hz > 0:
            raise ValueError(f"expected a positive readout_hz, got {self.readout_hz}")

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: slice) -> SpikeStream:
        """The planes of a slice, still packed.

        Raises:
            ValueError: a step other than 1, which would be another clock.
        """
        if index.step not in (None, 1):
            raise ValueError(f"expected consecutive planes (a step of 1), got a step of {index.step}")
        return SpikeStream(self.packed[index], self.height, self.width, self.readout_hz)

    @property
    def duration_us(self) -> float:
        """Length of the stream in microseconds."""
        return len(self) / self.readout_hz * 1e6

    def planes(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Planes start .. stop - 1 as uint8 [n, H, W] of 0 and 1."""
        return np.unpackbits(self.packed[start:stop], axis=2, count=self.width, bitorder="little")

    def rate(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Spikes per readout of each pixel over planes start .. stop - 1: float32 [H, W] in [0, 1].

        Unpacks 256 planes at a time, so that a memory-mapped stream is never held whole.
        """
        start, stop, _ = slice(start, stop).indices(len(self))
        if stop <= start:
            raise ValueError(f"expected at least one plane, got planes {start} to {stop} of {len(self)}")
        count = np.zeros((self.height, self.width), np.int64)
        for first in range(start, stop, 256):
            count += self.planes(first, min(first + 256, stop)).sum(axis=0, dtype=np.int64)
        return (count / (stop - start)).astype(np.float32)

    @classmethod
    def from_planes(cls, planes: NDArray[np.uint8] | NDArray[np.bool_], readout_hz: float) -> SpikeStream:
        """A stream from planes [T, H, W] of 0 and 1."""
        if planes.ndim != 3:
            raise ValueError(f"expected planes of shape (T, H, W), got {planes.shape}")
        _, height, width = planes.shape
        return cls(np.packbits(planes.astype(bool), axis=2, bitorder="little"), height, width, readout_hz)
