"""What can go wrong for every item alike is tried once before anything is made, and not blamed on the sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eventsim.cameras.spike import SpikeCamera
from eventsim.errors import InputError
from eventsim.light.motions import MotionStyle, moving_frames, still_scene
from eventsim.synthesize.light import held
from eventsim.synthesize.settings import STAYS, STILL_SECONDS, DatasetSettings, Sensor
from eventsim.synthesize.sources import Source

#: The most frames of light and maps of flow that are made for an item.
MOST_FRAMES = 1_000_000
#: By how much a picture may grow or shrink in a zoom.
MOST_ZOOM = 1000.0
_TRIAL_US = 1000


def try_out(folder: Path, sources: Sequence[Source], sensors: Sequence[Sensor], settings: DatasetSettings) -> None:
    """Lets every camera record a moment of darkness, and counts what each motion needs.

    Raises:
        InputError: a camera that cannot record (its maps are of another size, or the duration is shorter than a
            readout), a motion of more than `MOST_FRAMES` or `MOST_ZOOM`, or settings for stills or clips where there
            are none.
    """
    stills = any(source.kind == "still" for source in sources)
    if not stills and set(settings.motion) != {STAYS}:
        found = "clips alone, which move by themselves"
        raise InputError(folder, expected=f"pictures for motion {' '.join(settings.motion)}", found=found)
    if settings.fps is not None and all(source.kind == "still" for source in sources):
        found = "stills alone (--clips takes the pictures of a folder for frames)"
        raise InputError(folder, expected=f"clips for {settings.fps:g} frames a second", found=found)
    seconds = settings.duration or STILL_SECONDS
    for sensor in sensors:
        try:
            _try_camera(sensor, seconds if stills else settings.duration)
            for motion in settings.motion:
                _try_motion(sensor, motion, settings, seconds)
        except ValueError as error:
            raise InputError(f"camera {sensor.name}: {error}") from error


def _try_camera(sensor: Sensor, seconds: float | None) -> None:
    camera = sensor.camera
    darkness = np.zeros((camera.height, camera.width), np.float32)
    duration_us = _TRIAL_US
    if isinstance(camera, SpikeCamera):
        enough_us = math.ceil(1e6 / camera.readout_hz) + 1
        duration_us = enough_us if seconds is None else min(enough_us, round(seconds * 1e6))
        next(camera.stream(darkness, duration_us=duration_us, chunk_planes=1))
    else:
        next(camera.stream(held(darkness, duration_us)))


def _try_motion(sensor: Sensor, motion: str, settings: DatasetSettings, seconds: float) -> None:
    if motion == STAYS:
        return
    height, width = sensor.camera.height, sensor.camera.width
    style = MotionStyle(height=height, width=width, speed_px=settings.speed)
    asked = f"{motion} at {settings.speed:g} pixels a second for {seconds:g} s"
    zoom = style.speed_px / style.mean_radius_px * seconds
    if motion == "zoom" and zoom > math.log(MOST_ZOOM):
        raise ValueError(f"expected a zoom of at most {MOST_ZOOM:g} times, got 10^{zoom / math.log(10):.0f}, {asked}")
    # Of other seeds it takes other numbers, of the same magnitude.
    scene = still_scene(np.zeros((height, width), np.float32), motion, style, settings.seed)
    frames = moving_frames(scene, motion, duration_us=round(seconds * 1e6)).count or 0
    for what, count in (("frames of light", frames), ("maps of flow", math.ceil(seconds * settings.flow_hz))):
        if count > MOST_FRAMES:
            raise ValueError(f"expected at most {MOST_FRAMES:,} {what} an item, got {count:,}, {asked}")
