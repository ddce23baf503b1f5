"""Checksums of content rather than of files: the same for any format, layout, compression and split into pieces.

Spikes: sha256 of the packed planes. Events: sha256 of the four sha256 of t (int64), x, y (uint16) and p (uint8).
Flow: the same of its arrays (see `flow_table`). Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream

EVENT_COLUMNS = {"t": np.int64, "x": np.uint16, "y": np.uint16, "p": np.uint8}


class Tally:
    """Counts and checksum of a stream that passes on its way to a file."""

    def __init__(self) -> None:
        self.planes = self.events = self.spikes = self.height = self.width = 0
        self.readout_hz = 0.0
        self._digests = {name: hashlib.sha256() for name in ("spikes", *EVENT_COLUMNS)}

    def spikes_of(self, pieces: Iterable[SpikeStream]) -> Iterator[SpikeStream]:
        """The pieces of a spike stream, counted."""
        for piece in pieces:
            self.height, self.width, self.readout_hz = piece.height, piece.width, piece.readout_hz
            packed = np.ascontiguousarray(piece.packed)
            self.planes += len(packed)
            self.spikes += int(np.bitwise_count(packed).sum(dtype=np.int64))
            self._digests["spikes"].update(packed.reshape(-1).data)
            yield piece

    def events_of(self, pieces: Iterable[Events]) -> Iterator[Events]:
        """The pieces of a recording of events, counted."""
        for piece in pieces:
            self.height, self.width = piece.height, piece.width
            self.events += len(piece)
            for name, dtype in EVENT_COLUMNS.items():
                self._digests[name].update(content_bytes(getattr(piece, name), dtype))
            yield piece

    @property
    def checksum(self) -> str:
        """The checksum of what passed: of planes where there were any, else of events."""
        if self.planes:
            return self._digests["spikes"].hexdigest()
        return joined_checksum(self._digests[name].digest() for name in EVENT_COLUMNS)


def content_bytes(values: NDArray[Any], dtype: Any) -> bytes:
    """The bytes of an array's numbers as little-endian numbers of this type."""
    return np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()


def joined_checksum(digests: Iterable[bytes]) -> str:
    """One checksum of several: the sha256 of their bytes, in hexadecimal digits."""
    return hashlib.sha256(b"".join(digests)).hexdigest()
