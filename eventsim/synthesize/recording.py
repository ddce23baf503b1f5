"""Scenes recorded by the cameras into files of MVSEC's layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.event import EventCamera
from eventsim.io.mvsec import MvsecWriter
from eventsim.light.frames import Frames, grey_picture
from eventsim.light.scenes import Scene, render_scene, speeds_px
from eventsim.settings import require

#: Start of simulated recordings, so that their times are epoch seconds as MVSEC's are.
EPOCH_US = 1_500_000_000_000_000
_LARGEST_STEP_PX = 0.5
_SCAN_STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How a scene is recorded in MVSEC's layout.

    Args:
        duration_us: length.
        frame_hz: grey frames a second (MVSEC: about 32 indoors, 45 outdoors).
        flow_hz: ground-truth maps a second (MVSEC: 20); flow, depth and poses.
        imu_hz: inertial measurements a second.
        ground_truth: write `*_gt.hdf5` beside `*_data.hdf5`.

    Raises:
        ValueError: a length or rate that is not positive.
    """

    duration_us: int = 3_000_000
    frame_hz: float = 32.0
    flow_hz: float = 20.0
    imu_hz: float = 1000.0
    ground_truth: bool = True

    def __post_init__(self) -> None:
        require(self, above="duration_us frame_hz flow_hz imu_hz")


def record_scene(
    prefix: str | PathLike[str],
    scene: Scene,
    camera: EventCamera,
    recording: Recording,
    *,
    seed: int = 0,
    overwrite: bool = False,
    threads: int | None = None,
) -> Iterator[int]:
    """Records what an event camera sees of a scene in MVSEC's layout; both files appear when all is written.

    Args:
        prefix: the files are `<prefix>_data.hdf5` and `<prefix>_gt.hdf5`.
        scene: what is seen.
        camera: its events are written; its grey frames are the scene's luminance, sRGB-encoded in 8 bits.
        recording: lengths and rates.
        seed: of the camera's noise.
        overwrite: replace existing files.
        threads: threads to use, by default the cores.

    Yields:
        The time reached (us) after each map of ground truth and chunk of events; nothing happens unless it is iterated.
    """
    writer = MvsecWriter(
        prefix,
        width=scene.width,
        height=scene.height,
        epoch_us=EPOCH_US,
        ground_truth=recording.ground_truth,
        overwrite=overwrite,
    )
    with writer:
        if recording.ground_truth:
            for t_us in _clock(recording.flow_hz, recording.duration_us):
                _add_ground_truth(writer, scene, t_us, recording.flow_hz)
                yield 0
        for t_us in _clock(recording.imu_hz, recording.duration_us):
            writer.add_imu(t_us, scene.path.inertial(t_us))
        light = _photographed(scene, recording, writer, threads)
        for events in camera.stream(light, seed=seed, threads=threads, chunk_events=1 << 16):
            writer.add_events(events)
            if len(events):
                yield int(events.t[-1])
    yield recording.duration_us


def steps_per_frame(scene: Scene, recording: Recording) -> int:
    """Luminance frames per grey frame that keep the fastest motion within half a pixel a step."""
    fastest = float(speeds_px(scene, recording.duration_us).max())
    return max(1, math.ceil(fastest / recording.frame_hz / _LARGEST_STEP_PX))


def _photographed(scene: Scene, recording: Recording, writer: MvsecWriter, threads: int | None) -> Frames:
    """The scene's luminance frames; every so many, one is also written as a grey frame while it passes."""
    steps = steps_per_frame(scene, recording)
    light = render_scene(scene, duration_us=recording.duration_us, fps=recording.frame_hz * steps, threads=threads)

    def frames() -> Iterator[tuple[int, NDArray[np.float32]]]:
        for index, (t_us, luminance) in enumerate(light):
            if index % steps == 0:
                writer.add_image(t_us, grey_picture(luminance))
            yield t_us, luminance

    return Frames(light.height, light.width, light.fps, frames, light.count)


def _clock(hz: float, duration_us: int) -> Iterator[int]:
    """Ticks from 0 to the first at or after the duration, in microseconds."""
    for tick in range(math.ceil(duration_us * hz / 1e6 - 1e-9) + 1):
        yield round(tick * 1e6 / hz)


def _add_ground_truth(writer: MvsecWriter, scene: Scene, t_us: int, flow_hz: float) -> None:
    """Flow from this map's time to the next one's, depth, pose, and a scan of the visible points."""
    depth = scene.depth(t_us)
    writer.add_flow(t_us, scene.flow(t_us, t_us + round(1e6 / flow_hz)))
    writer.add_depth(t_us, depth)
    writer.add_pose(t_us, scene.path.matrix(t_us))
    writer.add_scan(t_us, _scan(scene, depth))


def _scan(scene: Scene, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points on a grid of pixels in the camera's axes, as a laser scan would have them: float32 [n, 4], x, y, z, 0."""
    y, x = np.mgrid[0 : scene.height : _SCAN_STRIDE, 0 : scene.width : _SCAN_STRIDE]
    z = depth[y, x]
    right, down = (x - (scene.width - 1) / 2) * z, (y - (scene.height - 1) / 2) * z
    points = np.stack([right / scene.focal_px, down / scene.focal_px, z, np.zeros_like(z)], axis=-1)
    return points.reshape(-1, 4).astype(np.float32)
