"""One unit of work: items are made and written, those of one light in one pass. The same on any machine, whatever else
is at work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from eventsim.cameras.spike import SpikeCamera
from eventsim.io.atomic import atomic_path
from eventsim.io.checksum import Tally
from eventsim.io.faults import naming
from eventsim.io.hdf5_file import Hdf5Output
from eventsim.io.manifest import Entry
from eventsim.light.frames import Frames, Picture
from eventsim.light.shared import beside
from eventsim.synthesize.fingerprint import source_checksum, source_stamp
from eventsim.synthesize.items import OWN_MOTION, Item
from eventsim.synthesize.light import Light, flow_of, lasting, light_of
from eventsim.synthesize.settings import DatasetSettings
from eventsim.synthesize.sinks import FileSink, ShardSink, Sink


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The items of one file, or of one light.

    Args:
        items: at least one; those of one light come one after the other.
        folder: of the sources.
        out: of the data set.
        settings: of the data set.
        threads: threads to use, by default the cores.
    """

    items: list[Item]
    folder: Path
    out: Path
    settings: DatasetSettings
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of a unit.

    Args:
        rows: of the items that are now on disk, their classes not counted yet.
        failed: source and message, for every item that could not be made.
    """

    rows: list[Entry]
    failed: list[tuple[str, str]]


class _SourceError(Exception):
    """A source that cannot be used. All else that goes wrong, as a full disk, ends the run."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(message)
        self.source, self.message = source, message


def make_unit(unit: Unit) -> Made:
    """Makes the items of one file; those whose source cannot be used are left out.

    Raises:
        OSError: the disk takes no more, or the folder cannot be written.
    """
    items, failed = unit.items, list[tuple[str, str]]()
    while items:
        try:
            return Made(rows=_make(unit, items), failed=failed)
        except _SourceError as error:
            # A shard is begun again, so that nothing of the source is left in it.
            failed += [(error.source, error.message) for item in items if item.source.path == error.source]
            items = [item for item in items if item.source.path != error.source]
    return Made(rows=[], failed=failed)


def _make(unit: Unit, items: list[Item]) -> list[Entry]:
    lights = [list(same) for _, same in groupby(items, lambda item: item.light)]
    if unit.settings.layout == "items":
        rows = [row for same in lights for row in _in_files(unit, same)]
    else:
        path = unit.out / items[0].path
        with naming(path), atomic_path(path, overwrite=True) as partial, Hdf5Output(partial, path) as output:
            rows = [row for same in lights for row in _make_items(unit, same, ShardSink(output))]
    return [_measured(unit.out, row) for row in rows]


def _in_files(unit: Unit, items: list[Item]) -> list[Entry]:
    sink = FileSink(unit.out)
    try:
        return _make_items(unit, items, sink)
    except BaseException:
        for item in items:
            sink.remove(item)
        raise


def _measured(out: Path, row: Entry) -> Entry:
    """The row with the sizes of its files, which are closed now."""
    path_bytes, flow_bytes = ((out / name).stat().st_size if name else 0 for name in (row.path, row.flow_path))
    return replace(row, path_bytes=path_bytes, flow_bytes=flow_bytes)


def _make_items(unit: Unit, items: list[Item], sink: Sink) -> list[Entry]:
    """Makes what several cameras see of one light, in bounded memory: the light is made once."""
    first = items[0]
    path = unit.folder / first.source.path
    with _blaming(path, first.source.path):
        source = {"source_stamp": source_stamp(path), "source_checksum": source_checksum(path)}
        light = light_of(first, unit.folder, unit.settings, unit.threads)
    if first.motion == OWN_MOTION:
        light = replace(light, frames=_blamed(light.frames, path, first.source.path))
    records = [_Record(item, light, sink, unit) for item in items]
    with beside(light.frames, *(record.make for record in records[1:])) as frames:
        records[0].make(frames)
    return [record.row(**source) for record in records]


class _Record:
    """What one camera makes of the light, on its way through the tally into the sink."""

    def __init__(self, item: Item, light: Light, sink: Sink, unit: Unit) -> None:
        self.item, self.light, self.sink, self.unit = item, light, sink, unit
        self.tally = Tally()
        self.duration_us, self.flow_checksum = 0, ""

    def make(self, frames: Frames) -> None:
        """Records the light's frames, and its flow first."""
        item, camera, tally, sink = self.item, self.item.sensor.camera, self.tally, self.sink
        duration_us, threads = self.light.duration_us, self.unit.threads
        if (flow := flow_of(self.light, self.unit.settings.flow_hz)) is not None:
            self.flow_checksum = sink.add_flow(item, flow)
        if isinstance(camera, SpikeCamera):
            spikes = camera.stream(frames, duration_us=duration_us, seed=item.seed, threads=threads)
            sink.add_spikes(item, tally.spikes_of(spikes))
            self.duration_us = round(tally.planes * 1e6 / tally.readout_hz)
        else:
            end_us = list[int]()
            timed = _timed(lasting(frames, duration_us), end_us)
            sink.add_events(item, tally.events_of(camera.stream(timed, seed=item.seed, threads=threads)))
            self.duration_us = end_us[-1]

    def row(self, **source: str) -> Entry:
        """What the manifest says of it."""
        return _row(self.item, self.tally, duration_us=self.duration_us, flow_checksum=self.flow_checksum, **source)


def _row(
    item: Item, tally: Tally, *, duration_us: int, flow_checksum: str, source_stamp: str, source_checksum: str
) -> Entry:
    pixels = tally.height * tally.width
    spikes = item.sensor.kind == "spikes"
    return Entry(
        item=item.name,
        path=item.path,
        flow_path=item.flow_path if flow_checksum else "",
        source=item.source.path,
        source_checksum=source_checksum,
        source_stamp=source_stamp,
        label=item.source.label,
        kind=item.sensor.kind,
        camera=item.sensor.name,
        motion=item.motion,
        repeat=item.repeat,
        seed=item.seed,
        height=tally.height,
        width=tally.width,
        readout_hz=tally.readout_hz,
        planes=tally.planes,
        events=tally.events,
        duration_us=duration_us,
        mean_rate=tally.spikes / (pixels * tally.planes) if spikes else tally.events * 1e6 / (pixels * duration_us),
        checksum=tally.checksum,
        flow_checksum=flow_checksum,
    )


@contextmanager
def _blaming(path: Path, source: str) -> Iterator[None]:
    """Tells what is wrong with a source from what is wrong with the disk or the machine."""
    try:
        yield
    except ValueError as error:  # InputError is one
        message = str(error)
        raise _SourceError(source, message if str(path) in message else f"{path}: {message}") from error
    except OSError as error:
        if error.filename is None or not Path(os.fsdecode(error.filename)).is_relative_to(path):
            raise
        raise _SourceError(source, f"{path}: {error.strerror}") from error


def _blamed(frames: Frames, path: Path, name: str) -> Frames:
    """The frames of a source, whose faults are told from those of what is done with them."""

    def source() -> Iterator[tuple[int, Picture]]:
        with _blaming(path, name):
            yield from frames

    return replace(frames, source=source)


def _timed(frames: Frames, end_us: list[int]) -> Frames:
    """The frames, which leave the time of the last that passed in `end_us`."""

    def source() -> Iterator[tuple[int, Picture]]:
        for t_us, picture in frames:
            end_us[:] = [t_us]
            yield t_us, picture

    return replace(frames, source=source)
