"""Where the items of a data set go: a file each, or a shard. Both take an item's flow and its spikes or events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from eventsim.io import shards
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.io.flow_table import FlowTable, add_flow
from eventsim.io.formats import write_events, write_spikes
from eventsim.io.hdf5_file import Hdf5Output
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream
from eventsim.synthesize.items import Item


class Sink(ABC):
    """Takes items; every method raises OSError when the disk takes no more."""

    @abstractmethod
    def add_flow(self, item: Item, flow: FlowTable) -> str:
        """Takes the item's flow and returns its checksum."""

    @abstractmethod
    def add_spikes(self, item: Item, pieces: Iterator[SpikeStream]) -> None:
        """Takes the item's spikes, piece by piece."""

    @abstractmethod
    def add_events(self, item: Item, pieces: Iterator[Events]) -> None:
        """Takes the item's events, piece by piece."""


class FileSink(Sink):
    """A file for each item's spikes or events, one for its flow; each appears when it is whole.

    Args:
        out: folder of the data set.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def remove(self, item: Item) -> None:
        """Removes what there is of an item that could not be finished."""
        for name in (item.path, item.flow_path):
            (self._out / name).unlink(missing_ok=True)

    def add_flow(self, item: Item, flow: FlowTable) -> str:
        path = self._out / item.flow_path
        with naming(path), atomic_path(path, overwrite=True) as partial, Hdf5Output(partial, path) as output:
            return add_flow(output, "", flow)

    def add_spikes(self, item: Item, pieces: Iterator[SpikeStream]) -> None:
        write_spikes(self._out / item.path, pieces, overwrite=True)

    def add_events(self, item: Item, pieces: Iterator[Events]) -> None:
        write_events(self._out / item.path, pieces, overwrite=True)


class ShardSink(Sink):
    """A group for each item in one file.

    Args:
        output: the file in the making.
    """

    def __init__(self, output: Hdf5Output) -> None:
        self._output = output

    def add_flow(self, item: Item, flow: FlowTable) -> str:
        return add_flow(self._output, item.name, flow)

    def add_spikes(self, item: Item, pieces: Iterator[SpikeStream]) -> None:
        shards.add_spikes(self._output, item.name, pieces)

    def add_events(self, item: Item, pieces: Iterator[Events]) -> None:
        shards.add_events(self._output, item.name, pieces)
