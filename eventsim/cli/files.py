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
    from eventsim.streams.spikes import SpikeStream
    from eventsim.view import RGB

_PLANES = 256
# As in eventsim.io.vidar and eventsim.view, which are too heavy to load for `--help`.
_Orientation = Literal["flipped", "upright"]
_Padding = Literal["plane", "stream"]
_Shown = Literal["tfp", "tfi", "tfstp", "planes"]


@dataclass(kw_only=True)
class SpikeFile(Options):
    """Options for reading spikes from files that do not state their own conventions."""

    height: int | None = None
    """Rows of a .dat file's planes (default: the layout's)."""
    width: int | None = None
    """Columns of a .dat file's planes (default: the layout's)."""
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
class Convert(SpikeFile):
    """One file format to another, chosen by the suffixes."""

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

        stream = self.open_spikes(self.source, alone=True)
        starts = range(0, max(len(stream), 1), _PLANES)
        shown = track(starts, "convert", total=len(starts), unit="chunks", quiet=self.quiet)
        layout = as_layout(self.to_layout, self.to_orientation, self.to_padding)
        write_spikes(self.out, (stream[at : at + _PLANES] for at in shown), overwrite=self.overwrite, **layout)

    def convert_events(self) -> None:
        """Writes the events of the source, piece by piece."""
        from eventsim.io.formats import open_events, write_events
        from eventsim.progress import track

        refuse_spike_options(self.source, self, "to_layout", "to_orientation", "to_padding")
        pieces = track(open_events(self.source), "convert", unit="chunks", quiet=self.quiet)
        write_events(self.out, pieces, overwrite=self.overwrite)


def refuse_spike_options(source: Path, options: SpikeFile, *more: str) -> None:
    """For a source of events, which has no use for the options of spikes.

    Raises:
        InputError: one of them is given.
    """
    from eventsim.errors import InputError

    names = ("layout", "orientation", "padding", "readout_hz", *more)
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]
    if given:
        raise InputError(source, expected=f"spikes, for {', '.join(given)}", found="events")


@dataclass(kw_only=True)
class Info(SpikeFile):
    """What a file of events or spikes holds."""

    source: Positional[Path]
    """File of events or spikes."""

    def run(self) -> None:
        for name, value in self.facts():
            print(f"{name:<14}{value}")

    def facts(self) -> Iterator[tuple[str, str]]:
        """Names and values, in the order in which they are shown."""
        from eventsim.io.formats import assumed_conventions, holds_spikes, open_events

        yield "file", str(self.source)
        if holds_spikes(self.source):
            stream = self.open_spikes(self.source, alone=True)
            assumed = assumed_conventions(self.source, height=self.height, width=self.width, **self.reading())
            if assumed:
                yield "assumed", f"{assumed} (the file does not state it)"
            yield "sensor", f"{stream.width}x{stream.height}"
            yield "planes", f"{len(stream)} at {stream.readout_hz:g} Hz ({stream.duration_us / 1e6:.6g} s)"
            yield "mean rate", f"{stream.rate().mean():.6f} spikes per readout"
            return
        refuse_spike_options(self.source, self)
        events = open_events(self.source)
        total, on, first, last = 0, 0, None, 0
        for chunk in events:
            if len(chunk):
                first = int(chunk.t[0]) if first is None else first
                total, on, last = total + len(chunk), on + int(chunk.p.sum()), int(chunk.t[-1])
        yield "sensor", f"{events.width}x{events.height}"
        yield "events", f"{total} ({on} ON, {total - on} OFF)"
        if first is not None:
            yield "time", f"{first} to {last} us ({(last - first) / 1e6:.6g} s)"
            yield "mean rate", f"{total / max(last - first, 1):.6g} million events/s"


@dataclass(kw_only=True)
class View(SpikeFile):
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
        from eventsim.io.formats import holds_spikes, open_events
        from eventsim.view import events_movie, spikes_movie

        if holds_spikes(self.source):
            stream = self.open_spikes(self.source, alone=True)
            start, window = (round(ms * stream.readout_hz / 1000) for ms in (self.start_ms, self.window_ms))
            window = max(window, 1)
            if start + window > len(stream):
                raise self.too_short(f"{self.start_ms + self.window_ms:g} ms of spikes", stream.duration_us)
            stop = len(stream) if movie else start + window
            shown = spikes_movie(stream, start, stop, window=window, show=self.show or "tfp")
            return shown, (stop - start) // window
        refuse_spike_options(self.source, self, "show")
        events = open_events(self.source)
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
