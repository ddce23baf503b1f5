"""A table of what frames in between are worth: streams from every 4th and 8th frame against those from all frames.

python tools/interpolation.py SOURCE ... [--fps 1000]

A source is a folder of pictures or a video. For each interpolator, the light of a clip whose frames were thinned is
recorded by event cameras and compared with what the same cameras record of all the frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import Positional

from eventsim import EventCamera, Events, Frames, read_frames
from eventsim.light.frames import Picture
from eventsim.light.interpolate import interpolated, interpolator_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Compare interpolators on clips of many frames a second.

    Args:
        sources: folders of pictures, or videos; each is one clip.
        fps: frames a second of the clips.
        size: height and width to scale and crop to.
        interpolators: names, or paths of ONNX files.
        cameras: event cameras.
        thinning: take every so many-th frame.
        cell_px, cell_us: of the cells in which events are counted.
    """

    sources: Positional[tuple[Path, ...]]
    fps: float = 1000.0
    size: tuple[int, int] = (360, 640)
    interpolators: tuple[str, ...] = ("none", "linear", "dis")
    cameras: tuple[str, ...] = ("clean", "davis346")
    thinning: tuple[int, ...] = (4, 8)
    cell_px: int = 8
    cell_us: int = 5000


@dataclass(frozen=True)
class Score:
    """What one clip came to, by one interpolator and one camera; the page around the table explains the names."""

    on: float
    off: float
    correlation: float
    rmse: float
    cells: float


class Row(NamedTuple):
    """One clip by one camera and one way to fill the time between the frames that are left."""

    camera: str
    every: int
    kind: str
    score: Score
    light: float
    frames: int
    made: int
    seconds: float


def listed(frames: list[tuple[int, Picture]], fps: float) -> Frames:
    """Frames that are held in memory."""
    height, width = frames[0][1].shape
    return Frames(height, width, fps, lambda: iter(frames), len(frames))


def compared(found: Events, reference: Events, end_us: int, settings: Settings) -> Score:
    """How far a stream is from its reference."""
    ours, theirs = (in_cells(events, end_us, settings) for events in (found, reference))
    pixels = per_pixel(found), per_pixel(reference)
    off, on = ours.sum(axis=(1, 2, 3)) / np.maximum(theirs.sum(axis=(1, 2, 3)), 1)
    correlation = np.corrcoef(*pixels)[0, 1]
    rmse = np.sqrt(np.mean((pixels[0] - pixels[1]) ** 2))
    return Score(on, off, correlation, rmse, np.abs(ours - theirs).sum() / max(theirs.sum(), 1))


def in_cells(events: Events, end_us: int, settings: Settings) -> NDArray[np.int64]:
    """Events counted by polarity, time, row and column of the cell: int64 [2, T, h, w]."""
    px, us = settings.cell_px, settings.cell_us
    shape = (2, end_us // us + 1, -(-events.height // px), -(-events.width // px))
    index = np.ravel_multi_index((events.p.astype(int), events.t // us, events.y // px, events.x // px), shape)
    return np.bincount(index, minlength=int(np.prod(shape))).reshape(shape)


def per_pixel(events: Events) -> NDArray[np.float64]:
    """Events of each pixel, float64 [H * W]."""
    index = events.y.astype(int) * events.width + events.x
    return np.bincount(index, minlength=events.width * events.height).astype(float)


def exposure_error(frames: Frames, reference: list[tuple[int, Picture]]) -> float:
    """Root mean square error of the light between every two reference frames, in thousandths of saturation."""
    bounds = np.array([t_us for t_us, _ in reference])
    sums = np.zeros((len(bounds) - 1, frames.height, frames.width), np.float32)
    for (t0, first), (t1, second) in pairwise(frames):
        pieces = [t0, *bounds[(bounds > t0) & (bounds < t1)], t1]
        for begin, end in pairwise(pieces):
            middle = np.float32(((begin + end) / 2 - t0) / (t1 - t0))
            bin_ = int(np.searchsorted(bounds, begin, side="right")) - 1
            share = np.float32((end - begin) / (bounds[bin_ + 1] - bounds[bin_]))
            sums[bin_] += share * (first + middle * (second - first))
    means = [(first + second) / 2 for (_, first), (_, second) in pairwise(reference)]
    return 1000 * float(np.sqrt(np.mean([np.mean((a - b) ** 2) for a, b in zip(sums, means, strict=True)])))


def clip_rows(source: Path, settings: Settings) -> Iterator[Row]:
    """The rows of one clip. Those of all frames, recorded with another seed, tell what the noise alone comes to."""
    every_frame = list(read_frames(source, fps=settings.fps, size=settings.size))
    cameras = {name: EventCamera.preset(name) for name in settings.cameras}
    full, again = (
        {name: camera.simulate(listed(every_frame, settings.fps), seed=seed) for name, camera in cameras.items()}
        for seed in (0, 1)
    )
    for every in settings.thinning:
        kept = every_frame[::every]
        end_us = kept[-1][0]
        reference = [timed for timed in every_frame if timed[0] <= end_us]
        wanted = {name: events.window(0, end_us) for name, events in full.items()}
        for kind in settings.interpolators:
            start = time.perf_counter()
            made = listed(list(interpolated(listed(kept, settings.fps / every), interpolator_of(kind))), settings.fps)
            seconds = time.perf_counter() - start
            error = exposure_error(made, reference)
            for name, camera in cameras.items():
                found = camera.simulate(made).window(0, end_us)
                score = compared(found, wanted[name], end_us, settings)
                yield Row(name, every, kind, score, error, len(made), len(made) - len(kept), seconds)
        for name, events in again.items():
            score = compared(events.window(0, end_us), wanted[name], end_us, settings)
            yield Row(name, every, "all frames, another seed", score, 0.0, len(reference), 0, 0.0)


def main(settings: Settings) -> None:
    """Prints the table as Markdown: means over the clips."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for source in settings.sources:
        for row in clip_rows(source, settings):
            groups.setdefault((row.camera, row.every, row.kind), []).append(row)
    print(
        "| camera | of the frames | between | frames | ON | OFF | correlation | RMSE | cells | better | worse | light |"
    )
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (camera, every, kind), rows in sorted(groups.items(), key=lambda group: group[0][:2]):
        means = [np.mean([getattr(row.score, field.name) for row in rows]) for field in fields(Score)]
        plain = groups[camera, every, settings.interpolators[0]]
        gains = [before.score.cells - row.score.cells for row, before in zip(rows, plain, strict=True)]
        counts = f"{sum(gain > 0 for gain in gains)} | {sum(gain < 0 for gain in gains)}"
        frames, light = (np.mean([getattr(row, name) for row in rows]) for name in ("frames", "light"))
        scores = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| `{camera}` | every {every}th | {kind} | {frames:.0f} | {scores} | {counts} | {light:.1f} |")
    print_speed([row for rows in groups.values() for row in rows if row.camera == settings.cameras[0]])


def print_speed(rows: list[Row]) -> None:
    """How many frames between each interpolator made in a second, flow and the count of steps included."""
    for kind in dict.fromkeys(row.kind for row in rows):
        made, seconds = (sum(getattr(row, name) for row in rows if row.kind == kind) for name in ("made", "seconds"))
        if made:
            print(f"\n{kind}: {made / seconds:.0f} frames a second", end="")
    print()


if __name__ == "__main__":
    main(tyro.cli(Settings))
