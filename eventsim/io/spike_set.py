"""A data set made by `eventsim dataset`, read back: its items by number, whatever way they lie on disk.

OUT/
  manifest.csv            a row an item (see `manifest.Row`)
  dataset.json            what it was made with
  <label>/<item>.h5       layout "items" (or .dat): spikes or events
  <label>/<item>_flow.h5  the exact flow, where the camera moved before a still
  shard-00000.h5          layout "shards": many items each, with their flow
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventsim.errors import InputError
from eventsim.io.checksum import Tally
from eventsim.io.event_source import EventSource
from eventsim.io.flow_table import FlowTable, flow_checksum, open_flow
from eventsim.io.formats import open_events, open_spikes
from eventsim.io.manifest import Row, read_manifest
from eventsim.io.packed import stream_chunks
from eventsim.io.shards import ShardEvents, shard_spikes
from eventsim.streams.spikes import SpikeStream

# What h5py raises, and we with it, when a file is damaged inside.
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.h5"


@dataclass(frozen=True)
class SpikeItem:
    """An item of a data set; nothing is read before it is asked for.

    Args:
        root: folder of the data set.
        row: its row of the manifest.
    """

    root: Path
    row: Row

    @property
    def label(self) -> str:
        """Folder of the source, from the folder of the sources."""
        return self.row.label

    @property
    def class_index(self) -> int:
        """Number of the label among all labels, sorted."""
        return self.row.class_index

    @property
    def stream(self) -> SpikeStream:
        """The spikes, read as they are asked for.

        Raises:
            ValueError: an item of events.
            InputError: the file is missing or damaged, or is not of the manifest's size.
        """
        row = self.row
        if row.kind != "spikes":
            raise ValueError(f"expected an item of spikes, got {row.item}, which holds {row.kind}")
        if self._sharded:
            stream = shard_spikes(self.root / row.path, row.item)
        else:
            stream = open_spikes(self.root / row.path, row.height, row.width)
        if len(stream) != row.planes:
            raise InputError(self.root / row.path, expected=f"{row.planes} planes", found=str(len(stream)), at=row.item)
        return SpikeStream(stream.packed, row.height, row.width, row.readout_hz)

    @property
    def events(self) -> EventSource:
        """The events, read as they are asked for.

        Raises:
            ValueError: an item of spikes.
            InputError: the file is missing or damaged.
        """
        row = self.row
        if row.kind != "events":
            raise ValueError(f"expected an item of events, got {row.item}, which holds {row.kind}")
        return ShardEvents(self.root / row.path, row.item) if self._sharded else open_events(self.root / row.path)

    @property
    def flow(self) -> FlowTable | None:
        """The exact flow, read as it is asked for; None where none is known (a clip) or nothing moved.

        Raises:
            InputError: the file is missing or damaged.
        """
        if not self.row.flow_checksum:
            return None
        return open_flow(self.root / self.row.flow_path, self.row.item if self._sharded else "")

    def check(self) -> None:
        """Reads all of it.

        Raises:
            InputError: a file is missing or damaged, or the content is not what the manifest's checksums say.
        """
        try:
            self._compare()
        except InputError:
            raise
        except _DAMAGE as error:
            path, reason = self.root / self.row.path, " ".join(str(error).split()) or type(error).__name__
            raise InputError(path, expected="a whole item", found=reason, at=self.row.item) from error

    def _compare(self) -> None:
        tally, row = Tally(), self.row
        if row.kind == "spikes":
            passing: Iterator[object] = tally.spikes_of(stream_chunks(self.stream))
        else:
            passing = tally.events_of(self.events)
        for _ in passing:
            pass
        found = [(row.path, row.checksum, tally.checksum)]
        if (table := self.flow) is not None:
            found.append((row.flow_path, row.flow_checksum, flow_checksum(table)))
        for path, stated, computed in found:
            if stated != computed:
                raise InputError(self.root / path, expected=f"checksum {stated}", found=computed, at=row.item)

    @property
    def _sharded(self) -> bool:
        return not self.row.path.startswith(self.row.item)


class SpikeSet:
    """The items of a data set in the order of its manifest; may be sent to other processes.

        for item in SpikeSet("OUT"):
            item.label, item.class_index, item.row.motion
            item.stream.planes(0, 100)          # uint8 [100, H, W]
            item.flow.between(0, 5_000)         # float32 [2, H, W]

    Args:
        root: folder of the data set.

    Raises:
        FileNotFoundError: no manifest there, as in the folder of a data set that is not finished.
        InputError: a damaged manifest.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.rows = read_manifest(self.root)

    @property
    def labels(self) -> list[str]:
        """All labels; the class index is the place in this list."""
        return sorted({row.label for row in self.rows})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> SpikeItem:
        if isinstance(index, slice):
            raise TypeError(f"expected the number of one item, got {index}")
        return SpikeItem(self.root, self.rows[index])

    def __iter__(self) -> Iterator[SpikeItem]:
        return (SpikeItem(self.root, row) for row in self.rows)

    def check(self) -> Iterator[InputError | None]:
        """Reads every item and gives what is wrong with it, or None."""
        for item in self:
            try:
                item.check()
            except InputError as error:
                yield error
            else:
                yield None
