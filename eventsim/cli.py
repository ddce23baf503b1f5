"""The `eventsim` command. Heavy libraries are imported where a command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tyro.conf import Positional

from eventsim.command import Options, main as run_main  # isort: skip

if TYPE_CHECKING:
    from eventsim.light.frames import Frames
    from eventsim.streams.spikes import SpikeStream
    from eventsim.view import RGB

Size = tuple[int, int]


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
        chunks = camera.stream(frames, duration_us=duration_us, seed=self.seed)
        shown = track(chunks, "spikes", unit="chunks of 256 planes", quiet=self.quiet)
        write_spikes(self.out, shown, overwrite=self.overwrite)
        write_provenance(self.out, self, camera=camera, height=frames.height, width=frames.width)


@dataclass(kw_only=True)
class Events(_Light):
    """Pictures to the events of an event camera (.hdf5)."""

    camera: str = "davis346"
    """Name of a camera, or a YAML file."""

    def run(self) -> None:
        from eventsim.cameras.event import EventCamera
        from eventsim.io.formats import write_events
        from eventsim.progress import track
        from eventsim.provenance import write_provenance

        camera = EventCamera.preset(self.camera)
        frames = self.frames((camera.height, camera.width))
        chunks = track(camera.stream(frames, seed=self.seed), "events", unit="chunks", quiet=self.quiet)
        write_events(self.out, chunks, overwrite=self.overwrite)
        write_provenance(self.out, self, camera=camera)


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
    ground_truth: bool = True
    """Write OUT_gt.hdf5: flow, depth, poses."""

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
            ground_truth=self.ground_truth,
        )
        steps = record_scene(self.out, scene, camera, recording, seed=self.seed, overwrite=self.overwrite)
        for _ in track(steps, "scene", unit="steps", quiet=self.quiet):
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
        from eventsim.provenance import write_provenance

        if holds_spikes(self.source):
            write_spikes(self.out, self.open_spikes(self.source), overwrite=self.overwrite)
        else:
            write_events(self.out, iter(open_events(self.source)), overwrite=self.overwrite)
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
        from eventsim.view import write_movie, write_picture

        if self.out.suffix.lower() == ".mp4":
            write_movie(self.out, self.pictures(), overwrite=self.overwrite)
        else:
            write_picture(self.out, next(self.pictures()), overwrite=self.overwrite)

    def pictures(self) -> Iterator[RGB]:
        """The frames of the movie; the first is the picture."""
        from eventsim.errors import InputError
        from eventsim.io.formats import holds_spikes, open_events
        from eventsim.view import events_movie, spikes_movie

        found = False
        if holds_spikes(self.source):
            stream = self.open_spikes(self.source)
            planes = [round(ms * stream.readout_hz / 1000) for ms in (self.start_ms, self.window_ms)]
            pictures = spikes_movie(stream[planes[0] :], window=max(planes[1], 1))
        else:
            events = open_events(self.source)
            first = int(events.read(0, 1).t[0]) if len(events) else 0
            last = int(events.read(len(events) - 1, len(events)).t[0]) if len(events) else 0
            rest = events.window(first + round(self.start_ms * 1000), last + 1)
            pictures = events_movie(rest, window_us=round(self.window_ms * 1000))
        for picture in pictures:
            found = True
            yield picture
        if not found:
            raise InputError(self.source, expected=f"a stream beyond {self.start_ms:g} ms", found="nothing there")


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
