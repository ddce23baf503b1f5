"""One unit of work: the items of one file are made and written. The same on any machine and with any other at work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eventsim.cameras.spike import SpikeCamera
from eventsim.io.atomic import atomic_path
from eventsim.io.checksum import Tally
from eventsim.io.faults import naming
from eventsim.io.hdf5_file import Hdf5Output
from eventsim.io.manifest import Entry
from eventsim.light.frames import Frames, Picture
from eventsim.synthesize.fingerprint import source_checksum, source_stamp
from eventsim.synthesize.items import OWN_MOTION, Item
from eventsim.synthesize.light import Light, flow_of, lasting, light_of
from eventsim.synthesize.settings import DatasetSettings
from eventsim.synthesize.sinks import FileSink, ShardSink, Sink


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The items of one file.

    Args:
        items: at least one.
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
    if unit.settings.layout == "items":
        rows = [_in_file(unit, item) for item in items]
    else:
        path = unit.out / items[0].path
        with naming(path), atomic_path(path, overwrite=True) as partial, Hdf5Output(partial, path) as output:
            rows = [_make_item(unit, item, ShardSink(output)) for item in items]
    return [_measured(unit.out, row) for row in rows]


def _in_file(unit: Unit, item: Item) -> Entry:
    sink = FileSink(unit.out)
    try:
        return _make_item(unit, item, sink)
    except BaseException:
        sink.remove(item)
        raise


def _measured(out: Path, row: Entry) -> Entry:
    """The row with the sizes of its files, which are closed now."""
    path_bytes, flow_bytes = ((out / name).stat().st_size if name else 0 for name in (row.path, row.flow_path))
    return replace(row, path_bytes=path_bytes, flow_bytes=flow_bytes)


def _make_item(unit: Unit, item: Item, sink: Sink) -> Entry:
    """Makes an item in bounded memory."""
    path = unit.folder / item.source.path
    with _blaming(path, item.source.path):
        source = {"source_stamp": source_stamp(path), "source_checksum": source_checksum(path)}
        light = light_of(item, unit.folder, unit.settings, unit.threads)
    if item.motion == OWN_MOTION:
        light = replace(light, frames=_blamed(light.frames, path, item.source.path))
    flow = flow_of(light, unit.settings.flow_hz)
    flow_checksum = "" if flow is None else sink.add_flow(item, flow)
    tally = Tally()
    duration_us = _record(light, item, sink, tally, unit.threads)
    return _row(item, tally, duration_us=duration_us, flow_checksum=flow_checksum, **source)


def _record(light: Light, item: Item, sink: Sink, tally: Tally, threads: int | None) -> int:
    """Puts what the camera makes of the light through the tally into the sink and returns its length, microseconds."""
    camera = item.sensor.camera
    if isinstance(camera, SpikeCamera):
        spikes = camera.stream(light.frames, duration_us=light.duration_us, seed=item.seed, threads=threads)
        sink.add_spikes(item, tally.spikes_of(spikes))
        return round(tally.planes * 1e6 / tally.readout_hz)
    end_us = list[int]()
    frames = _timed(lasting(light.frames, light.duration_us), end_us)
    sink.add_events(item, tally.events_of(camera.stream(frames, seed=item.seed, threads=threads)))
    return end_us[-1]


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
