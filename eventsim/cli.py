"""The `eventsim` command. Heavy libraries are imported where a command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tyro.conf import Positional

from eventsim.command import Options, main as run_main  # isort: skip

if TYPE_CHECKING:
    from eventsim.errors import InputError
    from eventsim.light.frames import Frames, Picture
    from eventsim.streams.spikes import SpikeStream
    from eventsim.view import RGB

Size = tuple[int, int]
_PLANES = 256


@dataclass(kw_only=True)
class _Light(Options):
    """Options of the commands that start from pictures."""

    source: Positional[Path]
    """Folder of images, a single image (a still), or a video."""
    out: Positional[Path]
    """File to write."""
    fps: float | None = None
    """Frames a second; by default the video's own, and 30 for folders."""
    size: Size | None = None
    """Height and width to scale and crop the pictures to; by default the camera's."""
    native: bool = False
    """Keep the pictures' own size."""
    linear: bool = False
    """The pictures hold linear light already; otherwise integers are decoded from sRGB."""

    def frames(self, sensor: Size) -> Frames:
        """The source's frames at the size asked for."""
        from eventsim.light.frames import read_frames

        size = None if self.native else self.size or sensor
        return read_frames(self.source, fps=self.fps, size=size, linear=self.linear)


@dataclass(kw_only=True)
class Spikes(_Light):
    """Pictures to the spike stream of a spike camera (.dat or .hdf5)."""

    camera: str = "vidar"
    """Name of a camera, or a YAML file."""
    duration: float | None = None
    """Time to record, in seconds; needed for a still. The last frame is held."""

    def run(self) -> None:
        from eventsim.cameras.spike import SpikeCamera
        from eventsim.errors import InputError
        from eventsim.io.formats import write_spikes
        from eventsim.progress import track
        from eventsim.provenance import write_provenance

        camera = SpikeCamera.preset(self.camera)
        frames = self.frames((camera.height, camera.width))
        if frames.count == 1 and self.duration is None:
            raise InputError(self.source, expected="a sequence of frames, or --duration for a still", found="a still")
        duration_us = None if self.duration is None else round(self.duration * 1e6)
        chunks = camera.stream(frames, duration_us=duration_us, seed=self.seed, chunk_planes=_PLANES)
        total = self.chunks(frames, camera.readout_hz)
        shown = track(chunks, "spikes", total=total, unit=f"chunks of {_PLANES} planes", quiet=self.quiet)
        write_spikes(self.out, shown, overwrite=self.overwrite)
        write_provenance(self.out, self, camera=camera, height=frames.height, width=frames.width)

    def chunks(self, frames: Frames, readout_hz: float) -> int | None:
        """How many chunks of planes there will be, where that is known."""
        seconds = self.duration
        if seconds is None and frames.count is not None:
            seconds = frames.count / frames.fps
        return None if seconds is None else -(-round(seconds * readout_hz) // _PLANES)


@dataclass(kw_only=True)
class Events(_Light):
    """Pictures to the events of an event camera (.hdf5)."""

    camera: str = "davis346"
    """Name of a camera, or a YAML file."""

    def run(self) -> None:
        from eventsim.cameras.event import EventCamera
        from eventsim.io.formats import write_events
        from eventsim.provenance import write_provenance

        camera = EventCamera.preset(self.camera)
        frames = self.shown(self.frames((camera.height, camera.width)))
        write_events(self.out, camera.stream(frames, seed=self.seed), overwrite=self.overwrite)
        write_provenance(self.out, self, camera=camera)

    def shown(self, frames: Frames) -> Frames:
        """The frames, which show the progress as they pass: how many events they will make is not known."""
        from eventsim.progress import track

        def source() -> Iterator[tuple[int, Picture]]:
            return track(frames, "events", total=frames.count, unit="frames", quiet=self.quiet)

        return replace(frames, source=source)


@dataclass(kw_only=True)
class Scene(Options):
    """A photograph under a moving camera to a recording in MVSEC's layout, with exact flow."""

    out: Positional[Path]
    """Prefix of the files: OUT_data.hdf5 and OUT_gt.hdf5."""
    picture: Path
    """The photograph that the plane before the camera shows."""
    camera: str = "davis346"
    """Name of an event camera, or a YAML file."""
    duration: float = 3.0
    """Length in seconds."""
    frame_hz: float = 32.0
    """Grey frames a second."""
    flow_hz: float = 20.0
    """Ground-truth maps a second."""
    speed_px: float = 70.0
    """Mean speed of the picture's motion, pixels a second."""
    size: Size | None = None
    """Height and width of the sensor; by default the camera's."""
    data_only: bool = False
    """Write no OUT_gt.hdf5 (flow, depth, poses)."""

    def run(self) -> None:
        from eventsim.cameras.event import EventCamera
        from eventsim.light.frames import read_frames
        from eventsim.light.scenes import SceneStyle, draw_scene
        from eventsim.progress import track
        from eventsim.provenance import write_provenance
        from eventsim.synthesize import Recording, record_scene

        camera = EventCamera.preset(self.camera)
        height, width = self.size or (camera.height, camera.width)
        _, picture = next(iter(read_frames(self.picture)))
        scene = draw_scene(picture, SceneStyle(height=height, width=width, speed_px=self.speed_px), self.seed)
        recording = Recording(
            duration_us=round(self.duration * 1e6),
            frame_hz=self.frame_hz,
            flow_hz=self.flow_hz,
            ground_truth=not self.data_only,
        )
        times = record_scene(self.out, scene, camera, recording, seed=self.seed, overwrite=self.overwrite)
        total = recording.duration_us // 1000
        for _ in track(times, "scene", total=total, unit="ms", quiet=self.quiet, reached=lambda t_us: t_us // 1000):
            pass
        write_provenance(self.out, self, camera=camera)


@dataclass(kw_only=True)
class _SpikeFile(Options):
    """Options for reading spikes from files without a header."""

    height: int | None = None
    """Rows of a .dat file's planes (default 250)."""
    width: int | None = None
    """Columns of a .dat file's planes (default 400)."""

    def open_spikes(self, path: Path) -> SpikeStream:
        """The spike stream of a file."""
        from eventsim.io.formats import open_spikes

        return open_spikes(path, height=self.height, width=self.width)


@dataclass(kw_only=True)
class Convert(_SpikeFile):
    """One file format to another, chosen by the suffixes."""

    source: Positional[Path]
    """File of events or spikes."""
    out: Positional[Path]
    """File to write."""

    def run(self) -> None:
        from eventsim.io.formats import holds_spikes, open_events, write_events, write_spikes
        from eventsim.progress import track
        from eventsim.provenance import write_provenance

        if holds_spikes(self.source):
            stream = self.open_spikes(self.source)
            starts = range(0, max(len(stream), 1), _PLANES)
            shown = track(starts, "convert", total=len(starts), unit="chunks", quiet=self.quiet)
            write_spikes(self.out, (stream[at : at + _PLANES] for at in shown), overwrite=self.overwrite)
        else:
            pieces = track(open_events(self.source), "convert", unit="chunks", quiet=self.quiet)
            write_events(self.out, pieces, overwrite=self.overwrite)
        write_provenance(self.out, self)


@dataclass(kw_only=True)
class Info(_SpikeFile):
    """What a file of events or spikes holds."""

    source: Positional[Path]
    """File of events or spikes."""

    def run(self) -> None:
        for name, value in self.facts():
            print(f"{name:<14}{value}")

    def facts(self) -> Iterator[tuple[str, str]]:
        """Names and values, in the order in which they are shown."""
        from eventsim.io.formats import holds_spikes, open_events

        yield "file", str(self.source)
        if holds_spikes(self.source):
            stream = self.open_spikes(self.source)
            yield "sensor", f"{stream.width}x{stream.height}"
            yield "planes", f"{len(stream)} at {stream.readout_hz:g} Hz ({stream.duration_us / 1e6:.6g} s)"
            yield "mean rate", f"{stream.rate().mean():.6f} spikes per readout"
            return
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
class View(_SpikeFile):
    """Events or spikes as a picture (.png) or a movie (.mp4)."""

    source: Positional[Path]
    """File of events or spikes."""
    out: Positional[Path]
    """Picture or movie to write."""
    start_ms: float = 0.0
    """Where the picture starts, in milliseconds after the first event or plane."""
    window_ms: float = 10.0
    """Time that a picture, or a frame of the movie, collects."""

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
            write_movie(self.out, shown, overwrite=self.overwrite)
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
            stream = self.open_spikes(self.source)
            start, window = (round(ms * stream.readout_hz / 1000) for ms in (self.start_ms, self.window_ms))
            window = max(window, 1)
            if start + window > len(stream):
                raise self.too_short(f"{self.start_ms + self.window_ms:g} ms of spikes", stream.duration_us)
            stop = len(stream) if movie else start + window
            return spikes_movie(stream, start, stop, window=window), (stop - start) // window
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


@dataclass(kw_only=True)
class Compare(_SpikeFile):
    """Statistics of a simulated spike stream beside a real one's."""

    simulated: Positional[Path]
    """Simulated stream."""
    real: Positional[Path]
    """Real recording of a still scene."""

    def run(self) -> None:
        from eventsim.streams.realism import compare_streams

        print(compare_streams(self.open_spikes(self.simulated), self.open_spikes(self.real), seed=self.seed))


COMMANDS: dict[str, type[Options]] = {
    "spikes": Spikes,
    "events": Events,
    "scene": Scene,
    "convert": Convert,
    "info": Info,
    "view": View,
    "compare": Compare,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `eventsim` command."""
    run_main("eventsim", COMMANDS, arguments)
