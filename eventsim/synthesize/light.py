"""The light of an item: a still that stays or is seen by a moving camera, or a clip; and exact flow where known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from eventsim.cameras.spike import SpikeCamera
from eventsim.errors import InputError
from eventsim.io.flow_table import FlowTable, LazyMaps, Maps, flow_of_move
from eventsim.light.frames import Frames, Picture, read_frames
from eventsim.light.motions import MotionStyle, move_between, moving_frames, still_scene
from eventsim.light.scenes import Scene
from eventsim.synthesize.items import OWN_MOTION, Item
from eventsim.synthesize.settings import STAYS, STILL_SECONDS, DatasetSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class Light:
    """What falls on a sensor.

    Args:
        frames: from time 0 on, of the sensor's size.
        duration_us: how long it lasts; None: as long as the frames.
        scene: of a still under motion.
    """

    frames: Frames
    duration_us: int | None
    scene: Scene | None = None


def light_of(item: Item, folder: Path, settings: DatasetSettings, threads: int | None = None) -> Light:
    """The light of an item; of a clip, nothing but the first frame is read before it is asked for.

    Raises:
        InputError: the source is missing, empty, damaged, of an unknown kind, or shorter than one readout.
    """
    source, camera = folder / item.source.path, item.sensor.camera
    size = (camera.height, camera.width)
    seconds = settings.duration
    if item.motion == OWN_MOTION:
        frames = read_frames(source, fps=settings.fps, size=size, linear=settings.linear)
        _refuse_too_short(source, frames, settings, camera)
        return Light(frames=frames, duration_us=None if seconds is None else round(seconds * 1e6))
    duration_us = round((STILL_SECONDS if seconds is None else seconds) * 1e6)
    if item.motion == STAYS:
        picture = _picture(source, size, settings.linear)
        return Light(frames=held(picture, duration_us), duration_us=duration_us)
    style = MotionStyle(height=size[0], width=size[1], speed_px=settings.speed)
    scene = still_scene(_picture(source, None, settings.linear), item.motion, style, item.motion_seed)
    frames = moving_frames(scene, item.motion, duration_us=duration_us, threads=threads)
    return Light(frames=frames, duration_us=duration_us, scene=scene)


def held(picture: Picture, duration_us: int) -> Frames:
    """A still as two frames, at 0 and at the end: event cameras need a change to look for."""
    times = (0, duration_us)
    height, width = picture.shape
    return Frames(height, width, 1e6 / duration_us, lambda: ((t_us, picture) for t_us in times), len(times))


def lasting(frames: Frames, duration_us: int | None) -> Frames:
    """The frames up to exactly a duration, or, without one, up to the end of the last frame's time.

    Light is linear between frames; the last is held. Spike cameras do the same by themselves.
    """

    def source() -> Iterator[tuple[int, Picture]]:
        last: tuple[int, Picture] | None = None
        for t_us, picture in frames:
            if duration_us is not None and t_us >= duration_us:
                yield duration_us, picture if last is None else _between(last, (t_us, picture), duration_us)
                return
            yield t_us, picture
            last = t_us, picture
        if last is not None:
            yield last[0] + round(1e6 / frames.fps) if duration_us is None else duration_us, last[1]

    return Frames(frames.height, frames.width, frames.fps, source)


def flow_of(light: Light, flow_hz: float) -> FlowTable | None:
    """The exact flow of a still under motion, its maps made as they are read; None for all other light."""
    scene, frames, end_us = light.scene, light.frames, light.duration_us
    if scene is None or frames.count is None or end_us is None:
        return None
    ticks = (round(tick * 1e6 / flow_hz) for tick in range(int(end_us * flow_hz / 1e6) + 1))
    t_us = np.array([*(tick for tick in ticks if tick < end_us), end_us], np.int64)
    move_t_us = np.array([round(index * 1e6 / frames.fps) for index in range(frames.count)], np.int64)
    moves = np.stack([move_between(scene, 0, t) for t in move_t_us.tolist()])
    size = (scene.height, scene.width)

    def maps(start: int, stop: int) -> Maps:
        pairs = pairwise(t_us[start : stop + 1].tolist())
        return np.stack([flow_of_move(move_between(scene, *pair), *size) for pair in pairs])

    return FlowTable(LazyMaps((len(t_us) - 1, 2, *size), maps), t_us, moves, move_t_us)


def _refuse_too_short(source: Path, frames: Frames, settings: DatasetSettings, camera: object) -> None:
    if settings.duration is None and frames.count is not None and isinstance(camera, SpikeCamera):
        seconds, readout = frames.count / frames.fps, 1 / camera.readout_hz
        if seconds < readout:
            raise InputError(source, expected=f"a clip of one readout, {readout:g} s, or more", found=f"{seconds:g} s")


def _picture(source: Path, size: tuple[int, int] | None, linear: bool) -> Picture:
    return next(iter(read_frames(source, size=size, linear=linear)))[1]


def _between(before: tuple[int, Picture], after: tuple[int, Picture], t_us: int) -> Picture:
    share = np.float32((t_us - before[0]) / (after[0] - before[0]))
    return np.asarray(before[1] + share * (after[1] - before[1]), np.float32)
