"""Commands on recordings: `convert`, `info`, `view`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from eventsim.command import Options

if TYPE_CHECKING:
    from eventsim.errors import InputError
    from eventsim.io.event_source import EventSource
    from eventsim.streams.spikes import SpikeStream
    from eventsim.view import RGB

_PLANES = 256
# As in eventsim.io.vidar, eventsim.io.text and eventsim.view, which are too heavy to load for `--help`.
_Orientation = Literal["flipped", "upright"]
_Padding = Literal["plane", "stream"]
_TimeUnit = Literal["s", "us"]
_Shown = Literal["tfp", "tfi", "tfstp", "planes"]


@dataclass(kw_only=True)
class SpikeFile(Options):
    """Options for reading spikes from files that do not state their own conventions."""

    height: int | None = None
    """Rows of the sensor, where the file does not state them (default of a spike camera's .dat: the layout's)."""
    width: int | None = None
    """Columns of the sensor, where the file does not state them (default of a spike camera's .dat: the layout's)."""
    layout: str | None = None
    """Layout of a .dat file: vidar (the default), vidar416 (with 16 status columns), spift or sps100."""
    orientation: _Orientation | None = None
    """Whether a .dat file holds its pictures upside-down (default: as its layout does; vidar's are flipped)."""
    padding: _Padding | None = None
    """What is filled up in a .dat file whose planes are no whole bytes: each plane (default), or the whole stream."""
    readout_hz: float | None = None
    """Readouts a second of a .dat or .npz file (default 20000)."""

    def open_spikes(self, path: Path, *, alone: bool = False) -> SpikeStream:
        """The spike stream of a file.

        Args:
            path: the file.
            alone: the command reads no other file, so that an option that this one does not take is an error.
        """
        from eventsim.io.formats import open_spikes, reading_options

        options = self.reading()
        if not alone:
            options = {name: value for name, value in options.items() if name in reading_options(path)}
        return open_spikes(path, height=self.height, width=self.width, **options)

    def reading(self) -> dict[str, Any]:
        """The options of `eventsim.io.formats.open_spikes` besides height and width."""
        return as_layout(self.layout, self.orientation, self.padding) | {"readout_hz": self.readout_hz}


def as_layout(layout: str | None, orientation: _Orientation | None, padding: _Padding | None) -> dict[str, Any]:
    """The options of `eventsim.io.formats.write_spikes` from those of the command line."""
    flipped = None if orientation is None else orientation == "flipped"
    return {"layout": layout, "flipped": flipped, "padding": padding}


@dataclass(kw_only=True)
class RecordingFile(SpikeFile):
    """Options for reading spikes or events from files that do not state their own conventions."""

    time_unit: _TimeUnit | None = None
    """Unit of an event's time in .txt, .csv, .npz or .npy (default: us for whole numbers, else s)."""

    def open_events(self, path: Path, *unwanted: str) -> EventSource:
        """The events of a file.

        Args:
            path: the file.
            unwanted: names of further options that only spikes take.

        Raises:
            InputError: an option for spikes is given, or one that the file's format settles itself.
        """
        from eventsim.io.formats import open_events

        refuse_options(path, self, "spikes", "layout", "orientation", "padding", "readout_hz", *unwanted)
        return open_events(path, self.height, self.width, time_unit=self.time_unit)


def refuse_options(source: Path, options: RecordingFile, kind: str, *names: str) -> None:
    """For a source that has no use for the options of another kind of recording.

    Raises:
        InputError: one of them is given.
    """
    from eventsim.errors import InputError

    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]
    if given:
        other = {"spikes": "events", "events": "spikes"}[kind]
        raise InputError(source, expected=f"{kind}, for {', '.join(given)}", found=other)


@dataclass(kw_only=True)
class Convert(RecordingFile):
    """One file format to another, chosen by the suffixes.

    Spikes: .h5, .dat (Vidar's), .npz. Events: .h5 (also MVSEC's and DSEC's), .txt, .csv, .npz; with the extra
    `formats` also .raw (EVT2, EVT3), .dat (Prophesee's), .aedat4 and .es.
    """

    source: Positional[Path]
    """File of events or spikes."""
    out: Positional[Path]
    """File to write."""
    to_layout: str | None = None
    """Layout of a .dat file to write (default vidar, of any size)."""
    to_orientation: _Orientation | None = None
    """Whether a .dat file to write holds its pictures upside-down (default: as its layout does)."""
    to_padding: _Padding | None = None
    """What is filled up in a .dat file to write whose planes are no whole bytes (default: each plane)."""
    to_format: str | None = None
    """Format of events in an .h5 file to write: retinaflow (default), dsec or mvsec (then named *_data.hdf5)."""
    to_time_unit: _TimeUnit | None = None
    """Unit of the times in a text file to write (default s)."""

    def run(self) -> None:
        from eventsim.io.formats import holds_spikes
        from eventsim.provenance import write_provenance

        if holds_spikes(self.source):
            self.convert_spikes()
        else:
            self.convert_events()
        write_provenance(self.out, self)

    def convert_spikes(self) -> None:
        """Writes the spikes of the source, some planes at a time."""
        from eventsim.io.formats import write_spikes
        from eventsim.progress import track

        refuse_options(self.source, self, "events", "time_unit", "to_format", "to_time_unit")
        stream = self.open_spikes(self.source, alone=True)
        starts = range(0, max(len(stream), 1), _PLANES)
        shown = track(starts, "convert", total=len(starts), unit="chunks", quiet=self.quiet)
        layout = as_layout(self.to_layout, self.to_orientation, self.to_padding)
        write_spikes(self.out, (stream[at : at + _PLANES] for at in shown), overwrite=self.overwrite, **layout)

    def convert_events(self) -> None:
        """Writes the events of the source, piece by piece."""
        from eventsim.io.formats import write_events
        from eventsim.progress import track

        events = self.open_events(self.source, "to_layout", "to_orientation", "to_padding")
        pieces = track(events, "convert", unit="chunks", quiet=self.quiet)
        write_events(self.out, pieces, overwrite=self.overwrite, format=self.to_format, time_unit=self.to_time_unit)


@dataclass(kw_only=True)
class Info(RecordingFile):
    """What a file of events or spikes holds."""

    source: Positional[Path]
    """File of events or spikes."""

    def run(self) -> None:
        for name, value in self.facts():
            print(f"{name:<14}{value}")

    def facts(self) -> Iterator[tuple[str, str]]:
        """Names and values, in the order in which they are shown."""
        from eventsim.io.formats import holds_spikes

        yield "file", str(self.source)
        yield from self.facts_of_spikes() if holds_spikes(self.source) else self.facts_of_events()

    def facts_of_spikes(self) -> Iterator[tuple[str, str]]:
        """What a spike stream is, and how often pixels fire."""
        from eventsim.io.formats import assumed_conventions

        refuse_options(self.source, self, "events", "time_unit")
        stream = self.open_spikes(self.source, alone=True)
        assumed = assumed_conventions(self.source, height=self.height, width=self.width, **self.reading())
        if assumed:
            yield "assumed", f"{assumed} (the file does not state it)"
        yield "sensor", f"{stream.width}x{stream.height}"
        yield "planes", f"{len(stream)} at {stream.readout_hz:g} Hz ({stream.duration_us / 1e6:.6g} s)"
        yield "mean rate", f"{stream.rate().mean():.6f} spikes per readout"

    def facts_of_events(self) -> Iterator[tuple[str, str]]:
        """What a recording of events is, in one pass."""
        from eventsim.io.formats import event_format

        events = self.open_events(self.source)
        total, on, first, last = 0, 0, None, 0
        for chunk in events:
            if len(chunk):
                first = int(chunk.t[0]) if first is None else first
                total, on, last = total + len(chunk), on + int(chunk.p.sum()), int(chunk.t[-1])
        yield "format", event_format(self.source)
        if events.assumed:
            yield "assumed", f"{events.assumed} (the file does not state it)"
        yield "sensor", f"{events.width}x{events.height}"
        yield "events", f"{total} ({on} ON, {total - on} OFF)"
        if first is not None:
            yield "time", f"{first} to {last} us ({(last - first) / 1e6:.6g} s)"
            yield "mean rate", f"{total / max(last - first, 1):.6g} million events/s"


@dataclass(kw_only=True)
class View(RecordingFile):
    """Events or spikes as a picture (.png, .jpg ...) or a movie (.mp4, .gif)."""

    source: Positional[Path]
    """File of events or spikes."""
    out: Positional[Path]
    """Picture or movie to write."""
    start_ms: float = 0.0
    """Where the picture starts, in milliseconds after the first event or plane."""
    window_ms: float = 10.0
    """Time that a picture, or a frame of the movie, collects or stands for."""
    show: _Shown | None = None
    """Intensity counted (tfp, default), from intervals (tfi) or short-term plasticity (tfstp), or single planes."""

    def run(self) -> None:
        from eventsim.io.atomic import refuse_existing
        from eventsim.progress import track
        from eventsim.provenance import write_provenance
        from eventsim.view import is_movie, write_movie, write_picture

        movie = is_movie(self.out)
        refuse_existing(self.out, overwrite=self.overwrite)
        self.check_times()
        pictures, total = self.pictures(movie)
        if movie:
            shown = track(pictures, "view", total=total, unit="pictures", quiet=self.quiet)
            write_movie(self.out, shown, total=total, overwrite=self.overwrite)
        else:
            write_picture(self.out, next(pictures), overwrite=self.overwrite)
        write_provenance(self.out, self)

    def check_times(self) -> None:
        """Refuses times that no stream has."""
        from eventsim.errors import InputError

        if not 0 <= self.start_ms < float("inf"):
            raise InputError("--start-ms", expected="0 or more", found=f"{self.start_ms:g}")
        if not 0 < self.window_ms < float("inf"):
            raise InputError("--window-ms", expected="more than 0", found=f"{self.window_ms:g}")

    def pictures(self, movie: bool) -> tuple[Iterator[RGB], int]:
        """The frames of the movie, or only the first of them, and their number."""
        from eventsim.io.formats import holds_spikes
        from eventsim.view import events_movie, spikes_movie

        if holds_spikes(self.source):
            refuse_options(self.source, self, "events", "time_unit")
            stream = self.open_spikes(self.source, alone=True)
            start, window = (round(ms * stream.readout_hz / 1000) for ms in (self.start_ms, self.window_ms))
            window = max(window, 1)
            if start + window > len(stream):
                raise self.too_short(f"{self.start_ms + self.window_ms:g} ms of spikes", stream.duration_us)
            stop = len(stream) if movie else start + window
            shown = spikes_movie(stream, start, stop, window=window, show=self.show or "tfp")
            return shown, (stop - start) // window
        events = self.open_events(self.source, "show")
        if not len(events):
            raise self.too_short("events", 0)
        first, last = events.time_span()
        start = first + round(self.start_ms * 1000)
        if start > last:
            raise self.too_short(f"events beyond {self.start_ms:g} ms", last - first)
        window = max(round(self.window_ms * 1000), 1)
        stop = last + 1 if movie else start + 1
        return events_movie(events, start, stop, window_us=window), len(range(start, stop, window))

    def too_short(self, expected: str, length_us: float) -> InputError:
        """The error of a source that ends before the picture."""
        from eventsim.errors import InputError

        return InputError(self.source, expected=expected, found=f"{length_us / 1000:g} ms")
