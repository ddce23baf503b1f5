"""Light at the times that it is needed: frames as far apart as the motion of the moment allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from eventsim.light.frames import Frames
from eventsim.light.lighting import Lighting
from eventsim.light.scenes import Scene

Picture = NDArray[np.float32]
_LARGEST_STEP_PX = 0.5
_FRAMES_PER_PERIOD = 16
_MOST_EXPOSED = 64


def adaptive_frames(
    scene: Scene,
    *,
    stops_us: Sequence[int],
    largest_step_px: float = _LARGEST_STEP_PX,
    lighting: Lighting | None = None,
    threads: int | None = None,
) -> Frames:
    """The scene's luminance frames at the times of `step_times`, rendered as they are asked for.

    Args:
        scene: what is seen.
        stops_us: times that each get a frame, rising; the first and the last are the first and last frame's.
        largest_step_px: as far as anything moves from one frame to the next.
        lighting: applied to the luminance; its exposure is for grey frames only.
        threads: threads to use, by default the cores.
    """

    def frames() -> Iterator[tuple[int, Picture]]:
        for t_us in step_times(scene, stops_us, largest_step_px=largest_step_px, lighting=lighting):
            luminance = scene.luminance(t_us, threads=threads)
            yield t_us, luminance if lighting is None else lighting.applied(luminance, t_us)

    rate = (len(stops_us) - 1) * 1e6 / (stops_us[-1] - stops_us[0])
    return Frames(scene.height, scene.width, rate, frames)


def step_times(
    scene: Scene,
    stops_us: Sequence[int],
    *,
    largest_step_px: float = _LARGEST_STEP_PX,
    lighting: Lighting | None = None,
) -> Iterator[int]:
    """Times (us) from the first stop to the last, each stop among them.

    From each time to the next nothing moves by more than `largest_step_px`, as `Scene.largest_px` measures it, a period
    of the fastest wave in a path has 16 steps, and one of the brightness as well.

    Raises:
        ValueError: fewer than two stops.
    """
    if len(stops_us) < 2:
        raise ValueError(f"expected at least two stops, got {len(stops_us)}")
    longest = _longest_step_us(scene, lighting)
    step = min(longest, 1000.0)
    now = stops_us[0]
    yield now
    for stop in stops_us[1:]:
        while now < stop:
            step = _allowed_step(scene, now, min(2 * step, longest), largest_step_px)
            # What is left goes in equal steps: a short one at the end would cost as much as a long one.
            count = math.ceil((stop - now) / step - 1e-6)
            now = stop if count <= 1 else now + max(1, math.floor((stop - now) / count))
            yield now


def exposed(scene: Scene, t_us: int, lighting: Lighting, *, threads: int | None = None) -> Picture:
    """The luminance of a grey frame: the mean over the exposure, centred on a time: float32 [H, W].

    It is averaged from views half a pixel apart, 64 at most.
    """
    half = lighting.exposure_us / 2
    if not half:
        return lighting.applied(scene.luminance(t_us, threads=threads), t_us)
    moved = scene.largest_px(t_us - half, t_us) + scene.largest_px(t_us, t_us + half)
    needed = max(moved / _LARGEST_STEP_PX, 2 * half / lighting.longest_step_us)
    count = int(np.clip(math.ceil(needed), 1, _MOST_EXPOSED))
    times = t_us - half + 2 * half * (np.arange(count) + 0.5) / count
    total = np.zeros((scene.height, scene.width), np.float32)
    for moment in times:
        total += lighting.applied(scene.luminance(moment, threads=threads), moment)
    return total / np.float32(count)


def _allowed_step(scene: Scene, t_us: int, wanted_us: float, largest_px: float) -> float:
    """As long a step from a time as motion allows, at most what is wanted, at least 1 us."""
    step = wanted_us
    while step > 1:
        moved = scene.largest_px(t_us, t_us + step)
        if moved <= largest_px:
            break
        # Nearly in proportion to time; a little less, so that the next try is the last.
        step = max(1.0, step * min(0.97 * largest_px / moved, 0.7))
    return step


def _longest_step_us(scene: Scene, lighting: Lighting | None) -> float:
    fastest = max(path.fastest_hz for path in (scene.path, *(p.path for p in scene.planes if p.path is not None)))
    period = 1e6 / (fastest * _FRAMES_PER_PERIOD) if fastest else math.inf
    return min(period, math.inf if lighting is None else lighting.longest_step_us, 1e6)
