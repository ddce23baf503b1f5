"""Commands that turn pictures into recordings: `spikes`, `events`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from eventsim.command import Options

if TYPE_CHECKING:
    from eventsim.light.frames import Frames, Picture

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
    interpolate: str = "none"
    """More frames in between: none, linear, dis (along optical flow), or an .onnx file."""
    largest_step_px: float = 1.0
    """With --interpolate: as many frames as keep the largest motion from one to the next to so many pixels."""

    def denser(self, frames: Frames) -> Frames:
        """The frames with more in between, where that is asked for."""
        from eventsim.light.interpolate import interpolated, interpolator_of

        if self.interpolate == "none":
            return frames
        return interpolated(frames, interpolator_of(self.interpolate), largest_step_px=self.largest_step_px)

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
        if self.duration is not None and not 0.5e-6 < self.duration < 1e9:
            raise InputError("--duration", expected="seconds above 0, and not without end", found=f"{self.duration:g}")
        duration_us = None if self.duration is None else round(self.duration * 1e6)
        chunks = camera.stream(self.denser(frames), duration_us=duration_us, seed=self.seed, chunk_planes=_PLANES)
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
        frames = self.denser(self.shown(self.frames((camera.height, camera.width))))
        write_events(self.out, camera.stream(frames, seed=self.seed), overwrite=self.overwrite)
        write_provenance(self.out, self, camera=camera)

    def shown(self, frames: Frames) -> Frames:
        """The frames, which show the progress as they pass: how many events they will make is not known."""
        from eventsim.progress import track

        def source() -> Iterator[tuple[int, Picture]]:
            return track(frames, "events", total=frames.count, unit="frames", quiet=self.quiet)

        return replace(frames, source=source)
