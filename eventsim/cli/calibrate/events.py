"""The command `calibrate events`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from eventsim.command import Options, check_output, naming_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eventsim.cameras.calibrate_events.static import StaticNoise
    from eventsim.cameras.calibrate_events.thresholds import Thresholds
    from eventsim.io.event_source import EventSource

_TimeUnit = Literal["s", "us"]
_Exposure = Literal["free", "fixed"]


@dataclass(kw_only=True)
class CalibrateEvents(Options):
    """Recordings of an event camera to a camera file: thresholds and their spread, noise, and what else they tell.

    From events with frames beside them (--recording, --frames: a DAVIS in motion before texture) come the thresholds
    ON and OFF, their mismatch and the dark luminance; from events of a still scene (--static, with its --luminance)
    leak, shot noise, noisy pixels and the refractory period.
    """

    out: Positional[Path]
    """Camera file to write (NAME.yaml); maps, if any, go to NAME_maps.npz beside it."""
    base: str = "davis346"
    """Camera, or YAML file, for everything that is not measured."""
    recording: Path | None = None
    """Events in motion."""
    frames: Path | None = None
    """Frames beside them: .aedat4, MVSEC's *_data.hdf5, or a list of pictures (seconds name) as images.txt."""
    static: Path | None = None
    """Events of a still scene, some minutes long."""
    luminance: float | None = None
    """Luminance of the still scene, 1 where frames would saturate (default: of the frames in the same file)."""
    srgb: bool = False
    """Frames are sRGB (default: linear, as sensors give them)."""
    black_level: float = 0.0
    """Grey value that frames have without light."""
    dark_luminance: float | None = None
    """Added to luminance before the logarithm (default: found from dim against bright pixels, else the base's)."""
    exposure: _Exposure = "free"
    """Whether the frames' exposure may change (then only contrast within a frame counts) or is fixed."""
    frame_offset_us: int = 0
    """Added to the times of the frames, to bring them to the middle of the exposure (largest correlation)."""
    block_frames: int = 16
    """Frames that are compared with each other; fewer where noise events are many."""
    refractory_us: float | None = None
    """Refractory period, where it is known (default: found from --static; else its effect is left in)."""
    height: int | None = None
    """Rows of the sensor, where the files do not state them (default: the frames')."""
    width: int | None = None
    """Columns of the sensor, where the files do not state them (default: the frames')."""
    time_unit: _TimeUnit | None = None
    """Unit of an event's time in .txt, .csv, .npz or .npy (default: us for whole numbers, else s)."""

    def run(self) -> None:
        from eventsim.cameras.calibrate_events.camera import calibrated_camera
        from eventsim.cameras.calibrate_events.static import dead_share
        from eventsim.cameras.event import EventCamera
        from eventsim.cameras.preset import camera_settings
        from eventsim.io.camera_file import write_camera
        from eventsim.provenance import write_provenance

        self.check()
        base = EventCamera.preset(self.base)
        noise, still = self.of_static()
        refractory_us = self.refractory_us
        if refractory_us is None and noise is not None and noise.refractory_us is not None:
            refractory_us = noise.refractory_us.value
        thresholds, moving = self.of_recording(base, noise, refractory_us)
        total = sum(each for each in (still, moving) if each is not None)
        dead, _ = dead_share(total)
        print(f"dead pixels   {dead or 'not told: too few events'}")
        camera = calibrated_camera(
            base,
            thresholds=thresholds,
            noise=noise,
            dead=dead,
            refractory_us=refractory_us,
            size=total.shape,
        )
        write_camera(self.out, *camera_settings(camera), overwrite=self.overwrite)
        found = {"thresholds": _numbers(thresholds), "noise": _numbers(noise), "dead_share": dead}
        write_provenance(self.out, self, found=found)

    def check(self) -> None:
        """Refuses outputs that could not be written, and a choice of recordings that nothing can be measured from."""
        from eventsim.errors import InputError
        from eventsim.io.camera_file import maps_path

        inputs = (self.recording, self.frames, self.static, Path(self.base))
        others = [maps_path(self.out)]
        check_output(self.out, ".yaml", ".yml", overwrite=self.overwrite, inputs=inputs, others=others)
        if bool(self.recording) != bool(self.frames):
            raise InputError("calibrate", expected="--recording together with --frames", found="one of them")
        if not (self.recording or self.static):
            raise InputError("calibrate", expected="--recording and --frames, --static, or all", found="none of them")
        if self.luminance is not None and not 0 <= self.luminance <= 1:
            raise InputError("--luminance", expected="0 to 1", found=f"{self.luminance:g}")
        if self.refractory_us is not None and not 0 <= self.refractory_us < 1e6:
            raise InputError("--refractory-us", expected="0 or more, below a second", found=f"{self.refractory_us:g}")
        with naming_files(Path("calibrate")):
            self.frame_settings()

    def frame_settings(self, **more: Any) -> Any:
        """How the frames are to be understood."""
        from eventsim.cameras.calibrate_events.thresholds import FrameSettings

        given = {"srgb": self.srgb, "black_level": self.black_level, "dark_luminance": self.dark_luminance,
                 "exposure": self.exposure, "block_frames": self.block_frames}  # fmt: skip
        return FrameSettings(**given | more)

    def of_static(self) -> tuple[StaticNoise | None, Any]:
        """The noise of the still scene, and the events of each pixel; prints what was found."""
        if self.static is None:
            return None, None
        from eventsim.cameras.calibrate_events.static import count_static, static_noise

        luminance = self.static_luminance(self.static)
        with self.open_events(self.static, self.height, self.width) as source, naming_files(self.static):
            static = count_static(self.shown(source, "static"), source.time_span())
            found = static_noise(static, luminance)
        print(f"background    ON {found.on_hz}, OFF {found.off_hz} a second and pixel, in {static.seconds:g} s")
        leak = found.leak_rate_hz
        print(f"leak          {leak} Hz, {_share(found.leak_spread)}" if leak.value else f"leak          below "
              f"{leak.error:.2g} Hz: not told from shot noise, taken as 0")  # fmt: skip
        print(f"shot noise    {found.shot_noise_rate_hz} Hz in darkness, {_share(found.shot_spread)}")
        print(f"noisy pixels  {found.hot_share}" + (f", at {found.hot_rate_hz} Hz" if found.hot_rate_hz else ""))
        print(f"refractory    {found.refractory_us or 'not told: no edge in the shortest intervals'}"
              + (" us" if found.refractory_us else ""))  # fmt: skip
        return found, static.counts.sum(axis=(0, 1))

    def static_luminance(self, path: Path) -> float | NDArray[np.float64]:
        """The luminance of the still scene, told or from the frames in its file."""
        from eventsim.errors import InputError
        from eventsim.io.recorded_frames import recorded_frames

        if self.luminance is not None:
            return self.luminance
        try:
            _, picture = next(recorded_frames(path))
        except InputError as error:
            expected = "--luminance, or frames in the recording of the still scene"
            raise InputError(path, expected=expected, found="neither") from error
        values: NDArray[np.float64] = self.frame_settings().scale().luminance[picture]
        return values

    def of_recording(
        self, base: Any, noise: StaticNoise | None, refractory_us: float | None
    ) -> tuple[Thresholds | None, Any]:
        """The thresholds, and the events of each pixel; prints what was found."""
        if self.recording is None or self.frames is None:
            return None, None
        from eventsim.cameras.calibrate_events.counts import count_events
        from eventsim.cameras.calibrate_events.thresholds import fit_thresholds
        from eventsim.errors import InputError

        leak = noise.leak_rate_hz.value if noise else 0.0
        frames = self.timed_frames(self.frames)
        first = next(frames)
        height, width = self.height or first[1].shape[0], self.width or first[1].shape[1]
        if noise is not None and noise.hot.shape != (height, width):
            expected, size = f"{width}x{height} pixels, as {self.frames} has", noise.hot.shape
            raise InputError(str(self.static), expected=expected, found=f"{size[1]}x{size[0]}")
        with self.open_events(self.recording, height, width) as source, naming_files(self.recording, self.frames):
            shown = self.shown(source, "events")
            counts = count_events(shown, _after(first, frames), refractory_us=refractory_us or 0.0)
            settings = self.frame_settings(leak_rate_hz=leak, assumed_dark=base.dark_luminance)
            found = fit_thresholds(counts, settings, noise.hot if noise else None)
        self.tell(found)
        if refractory_us is None:
            kept = min(base.refractory_us, found.shortest_us)
            print(f"refractory    not told: at most {found.shortest_us:.0f} us, {kept:g} of the base's "
                  f"{base.refractory_us:g} us are kept; what it hides is part of the thresholds too")  # fmt: skip
        return found, counts.total.sum(axis=0)

    def tell(self, found: Thresholds) -> None:
        """Prints the thresholds."""
        from eventsim.cameras.calibrate_events.pixels import reliable_map

        dark = f"{found.dark_luminance}" if found.dark_luminance else f"{found.assumed_dark:g}, not measured"
        print(f"frames        {found.frames}, {found.rows} values of pixels; correlation with the events "
              f"{found.correlation:.3f}, {found.turned:.0%} of the events turn")  # fmt: skip
        for name, mean, spread, pixels in (
            ("ON ", found.on, found.spread_on, found.pixels_on),
            ("OFF", found.off, found.spread_off, found.pixels_off),
        ):
            told = f"spread {spread}" if spread else "spread not told"
            if reliable_map(pixels, mean.value, spread) is not None:
                told += ", written as a map"
            print(f"threshold {name} {mean}, {told}")
        print(f"dark          luminance {dark}")
        print(f"by level      contrast over what events tell, dim to bright: {', '.join(map(str, found.level_scale))}")

    def timed_frames(self, path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The frames with their times brought to the middle of the exposure."""
        from eventsim.io.recorded_frames import recorded_frames

        return ((t_us + self.frame_offset_us, picture) for t_us, picture in recorded_frames(path))

    def open_events(self, path: Path, height: int | None, width: int | None) -> EventSource:
        """The events of a file."""
        from eventsim.io.formats import open_events

        return open_events(path, height, width, time_unit=self.time_unit)

    def shown(self, source: EventSource, label: str) -> Any:
        """The events in chunks, with progress."""
        from eventsim.progress import track

        return track(source.chunks(), label, unit="chunks", quiet=self.quiet)


def _after(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _share(spread: Any) -> str:
    return f"spread {spread} of it from pixel to pixel" if spread else "spread not told"


def _numbers(found: Any) -> dict[str, Any] | None:
    """What was found without its pictures, for the record."""
    from dataclasses import fields

    left_out = ("hot", "pixels_on", "pixels_off")
    return None if found is None else {f.name: getattr(found, f.name) for f in fields(found) if f.name not in left_out}
