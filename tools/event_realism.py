"""Tables of how real the event cameras' streams are, beside real events of the same moments.

python tools/event_realism.py RECORDING [--frames FRAMES] [--cameras clean noisy ...]

Each camera sees the frames that were recorded beside the events, with more in between along optical flow. The first
table has the cameras' own thresholds; in the second they are chosen so that the numbers of ON and OFF events are the
real ones, and shapes can be compared at equal counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import Positional

from eventsim import EventCamera, Events, Frames, open_events
from eventsim.errors import InputError
from eventsim.io.recorded_frames import recorded_frames
from eventsim.light.frames import Picture
from eventsim.light.interpolate import interpolated, interpolator_of
from eventsim.streams.comparison import markdown_table
from eventsim.streams.event_realism import compare_events

_ROUNDS = 16
_STEP = 0.7
_LEAST, _MOST = 0.02, 3.0

Timed = tuple[int, Picture]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Compare simulated events with the real ones of the same moments.

    Args:
        recording: events.
        frames: where the frames are, if not in the recording itself: an AEDAT4 or MVSEC file, or a list of pictures.
        cameras: presets of event cameras, or YAML files.
        black: grey level that stands for no light; what is below it is black. Negative: light is added everywhere.
        warm_up: intervals between frames that are simulated but not compared: a simulated pixel starts with no
            contrast to make up for, a real one in the middle of something.
        between: frames in between: none, linear, dis or an ONNX file.
        seed: of the simulations.
    """

    recording: Positional[Path]
    frames: Path | None = None
    cameras: tuple[str, ...] = ("esim", "clean", "noisy", "davis240", "davis346")
    black: float = 0.0
    warm_up: int = 1
    between: str = "dis"
    seed: int = 1


def main(settings: Settings) -> None:
    """Prints both tables as Markdown."""
    real = open_events(settings.recording)
    first_us, last_us = real.time_span()
    frames = seen_frames(settings, first_us, last_us)
    made = frames_between(frames, settings)
    window = (frames[min(settings.warm_up, len(frames) - 2)][0], min(frames[-1][0], last_us))
    window = (max(window[0], first_us), window[1])
    wanted = real.window(*window)
    print(f"{len(frames)} frames, {len(made)} with those between; {len(wanted)} events in "
          f"{(window[1] - window[0]) / 1000:g} ms, ON {wanted.p.mean():.3f}.\n")  # fmt: skip
    plain = {name: camera_of(name, wanted) for name in settings.cameras}
    print_table(plain, made, wanted, window, settings.seed)
    matched = {name: matching(camera, made, wanted, window, settings.seed) for name, camera in plain.items()}
    print("\nThresholds for as many events, ON and OFF: ", end="")
    pairs = (f"{name} {level(each, 'threshold_on'):.3g} and {level(each, 'threshold_off'):.3g}"
             for name, each in matched.items())  # fmt: skip
    print(", ".join(pairs) + ".\n")
    print_table(matched, made, wanted, window, settings.seed)


def seen_frames(settings: Settings, first_us: int, last_us: int) -> list[Timed]:
    """The frames in the events' time, and those just before and after it: microseconds and luminance."""
    source = settings.frames or settings.recording
    kept: list[Timed] = []
    for t_us, grey in recorded_frames(source):
        light = np.clip((grey.astype(np.float32) - settings.black) / (255 - settings.black), 0, None)
        if t_us <= first_us:
            kept = []
        kept.append((t_us, light.astype(np.float32)))
        if t_us >= last_us:
            break
    if len(kept) < 2 or kept[0][0] >= last_us:
        raise InputError(source, expected="two frames or more in the events' time", found=f"{len(kept)}")
    return kept


def frames_between(frames: list[Timed], settings: Settings) -> list[Timed]:
    """The frames with more in between."""
    return list(interpolated(listed(frames), interpolator_of(settings.between)))


def listed(frames: list[Timed]) -> Frames:
    """Frames that are held in memory."""
    height, width = frames[0][1].shape
    return Frames(height, width, 1e6 / (frames[1][0] - frames[0][0]), lambda: iter(frames), len(frames))


def camera_of(name: str, like: Events) -> EventCamera:
    """A camera with a sensor of the recording's size."""
    return EventCamera.preset(name, height=like.height, width=like.width)


def level(camera: EventCamera, name: str) -> float:
    """A threshold's mean over pixels."""
    pattern = camera.threshold_pattern(name)
    return float(pattern.mean if pattern.map is None else pattern.map.mean())


def matching(
    camera: EventCamera, frames: list[Timed], real: Events, window: tuple[int, int], seed: int
) -> EventCamera:  # fmt: skip
    """The camera with thresholds for as many ON and as many OFF events as there are, in small steps; the mismatch
    stays the share of them that it was. Noise beyond the real number of events cannot be matched."""
    wanted = np.array([real.p.sum(), (~real.p).sum()]) + 1.0
    own = np.array([level(camera, "threshold_on"), level(camera, "threshold_off")])
    thresholds = own.copy()
    for _ in range(_ROUNDS):
        found = with_thresholds(camera, thresholds / own).simulate(listed(frames), seed=seed).window(*window)
        thresholds *= (np.array([found.p.sum(), (~found.p).sum()]) + 1.0) ** _STEP / wanted**_STEP
        thresholds = np.clip(thresholds, _LEAST, _MOST)
    return with_thresholds(camera, thresholds / own)


def with_thresholds(camera: EventCamera, factors: NDArray[np.float64]) -> EventCamera:
    """A camera whose thresholds are some times its own: plain numbers, or patterns with their spread as it is."""
    patterns = [camera.threshold_pattern(name) for name in ("threshold_on", "threshold_off")]
    changed = [
        replace(each, mean=each.mean * float(factor))
        if each.map is None
        else replace(each, map=(each.map * np.float32(factor)).astype(np.float32))
        for each, factor in zip(patterns, factors, strict=True)
    ]
    return replace(camera, threshold_on=changed[0], threshold_off=changed[1])


def print_table(
    cameras: dict[str, EventCamera], frames: list[Timed], real: Events, window: tuple[int, int], seed: int
) -> None:
    """One column for each camera."""
    columns = {
        f"`{Path(name).stem}`": compare_events(camera.simulate(listed(frames), seed=seed), real, window_us=window)
        for name, camera in cameras.items()
    }
    print(markdown_table(columns))


if __name__ == "__main__":
    main(tyro.cli(Settings))
