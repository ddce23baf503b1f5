"""Scenes recorded by the cameras: an event camera into files of MVSEC's layout, a spike camera beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.event import EventCamera
from eventsim.cameras.spike import SpikeCamera
from eventsim.io.atomic import refuse_existing
from eventsim.io.formats import write_spikes
from eventsim.io.mvsec import MvsecWriter
from eventsim.light.frames import Frames, grey_picture
from eventsim.light.lighting import Lighting
from eventsim.light.scenes import Scene
from eventsim.light.shared import beside
from eventsim.light.timing import adaptive_frames, exposed
from eventsim.settings import require

#: Start of simulated recordings, so that their times are epoch seconds as MVSEC's are.
EPOCH_US = 1_500_000_000_000_000
_SCAN_STRIDE = 8
_EVENTS_PER_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How a scene is recorded in MVSEC's layout.

    Args:
        duration_us: length.
        frame_hz: grey frames a second (MVSEC: about 32 indoors, 45 outdoors).
        flow_hz: ground-truth maps a second (MVSEC: 20); flow, depth and poses.
        imu_hz: inertial measurements a second.
        ground_truth: write `*_gt.hdf5` beside `*_data.hdf5`.
        lighting: how the scene is lit, and how long grey frames are exposed; None: as its textures are.

    Raises:
        ValueError: a length or rate that is not positive.
    """

    duration_us: int = 3_000_000
    frame_hz: float = 32.0
    flow_hz: float = 20.0
    imu_hz: float = 1000.0
    ground_truth: bool = True
    lighting: Lighting | None = None

    def __post_init__(self) -> None:
        require(self, above="duration_us frame_hz flow_hz imu_hz")

    @property
    def grey_us(self) -> list[int]:
        """Times of the grey frames, from 0 to the last that is not after the end."""
        count = int(self.duration_us * self.frame_hz / 1e6 + 1e-9) + 1
        return [round(index * 1e6 / self.frame_hz) for index in range(count)]

    @property
    def stops_us(self) -> list[int]:
        """Times at which light is needed in any case: of the grey frames, and the end."""
        return [*(t_us for t_us in self.grey_us if t_us < self.duration_us), self.duration_us]


def record_scene(
    prefix: str | os.PathLike[str],
    scene: Scene,
    camera: EventCamera,
    recording: Recording,
    *,
    spike_camera: SpikeCamera | None = None,
    seed: int = 0,
    overwrite: bool = False,
    threads: int | None = None,
) -> Iterator[int]:
    """Records what an event camera sees of a scene in MVSEC's layout; the files appear when all is written.

    Args:
        prefix: the files are `<prefix>_data.hdf5` and `<prefix>_gt.hdf5`.
        scene: what is seen.
        camera: its events are written; its grey frames are the scene's luminance, sRGB-encoded in 8 bits.
        recording: lengths, rates and light.
        spike_camera: sees the same light from the same place, pixel for pixel, so that ground truth is the same; its
            spikes are `<prefix>_spikes.h5`. Its sensor takes the scene's size: maps must have it already.
        seed: of the cameras' noise.
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
        rectified=None if scene.lens is None else scene.rays,
    )
    spikes_path = spikes_beside(prefix)
    if spike_camera is not None:
        refuse_existing(spikes_path, overwrite=overwrite)

    def record_spikes(light: Frames) -> None:
        if spike_camera is not None:
            spikes = spike_camera.stream(light, duration_us=recording.duration_us, seed=seed, threads=threads)
            write_spikes(spikes_path, spikes, overwrite=overwrite)

    with writer:
        if recording.ground_truth:
            for t_us in _clock(recording.flow_hz, recording.duration_us):
                _add_ground_truth(writer, scene, t_us, recording.flow_hz)
                yield 0
        for t_us in _clock(recording.imu_hz, recording.duration_us):
            writer.add_imu(t_us, scene.path.inertial(t_us))
        light = _photographed(scene, recording, writer, threads)
        with beside(light, *([record_spikes] if spike_camera else [])) as shared:
            for events in camera.stream(shared, seed=seed, threads=threads, chunk_events=_EVENTS_PER_CHUNK):
                writer.add_events(events)
                if len(events):
                    yield min(int(events.t[-1]), recording.duration_us)
    yield recording.duration_us


def spikes_beside(prefix: str | os.PathLike[str]) -> Path:
    """Where `record_scene` puts a spike camera's view."""
    path = Path(prefix)
    return path.with_name(f"{path.name}_spikes.h5")


def _photographed(scene: Scene, recording: Recording, writer: MvsecWriter, threads: int | None) -> Frames:
    """The scene's luminance frames; at the times of grey frames, one is also written while it passes."""
    lighting, grey = recording.lighting, set(recording.grey_us)
    light = adaptive_frames(scene, stops_us=recording.stops_us, lighting=lighting, threads=threads)

    def frames() -> Iterator[tuple[int, NDArray[np.float32]]]:
        for t_us, luminance in light:
            if t_us in grey:
                blurred = lighting is not None and lighting.exposure_us > 0
                shown = exposed(scene, t_us, lighting, threads=threads) if lighting and blurred else luminance
                writer.add_image(t_us, grey_picture(shown))
            yield t_us, luminance

    return replace(light, source=frames)


def _clock(hz: float, duration_us: int) -> Iterator[int]:
    """Ticks from 0 to the first at or after the duration, in microseconds."""
    for tick in range(math.ceil(duration_us * hz / 1e6 - 1e-9) + 1):
        yield round(tick * 1e6 / hz)


def _add_ground_truth(writer: MvsecWriter, scene: Scene, t_us: int, flow_hz: float) -> None:
    """Flow from this map's time to the next one's, depth, pose, and a scan of the visible points."""
    view = scene.view(t_us, light=False)
    writer.add_flow(t_us, scene.flow_from(view, t_us + round(1e6 / flow_hz)))
    pinhole = None if scene.lens is None else replace(scene, lens=None).depth(t_us)
    writer.add_depth(t_us, view.depth, pinhole)
    writer.add_pose(t_us, scene.path.matrix(t_us))
    writer.add_scan(t_us, _scan(scene, view.depth))


def _scan(scene: Scene, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points on a grid of pixels in the camera's axes, as a laser scan would have them: float32 [n, 4], x, y, z, 0."""
    grid = np.s_[::_SCAN_STRIDE, ::_SCAN_STRIDE]
    y, x = np.mgrid[0 : scene.height, 0 : scene.width] if scene.lens is None else scene.rays[::-1]
    with np.errstate(invalid="ignore"):
        z = np.where(np.isfinite(depth), depth, np.nan)[grid]
        right, down = (x[grid] - (scene.width - 1) / 2) * z, (y[grid] - (scene.height - 1) / 2) * z
    points = np.stack([right / scene.focal_px, down / scene.focal_px, z, np.zeros_like(z)], axis=-1)
    return points.reshape(-1, 4).astype(np.float32)
