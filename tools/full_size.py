"""A recording of MVSEC's layout and full size, to try readers, evaluation and training on without MVSEC itself.

python tools/full_size.py OUT [--odometry outdoor_day1_odom.h5] [--evaluate] [--train]

OUT gets outdoor_day1_data.hdf5 and outdoor_day1_gt.hdf5 with every key, shape and type of MVSEC's own: about 18 GB of
data and 9 GB of ground truth as programs see them. On disk they take a fraction: events, images and flow are written
for the frames of the STE-FlowNet protocol (9200 to 9600 and 10500 to 10900) alone, and chunks that are never written
take no space. Events there are random, over pictures and flow of a moving texture.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import Positional

from eventsim.io.atomic import atomic_path
from eventsim.io.mvsec import HEIGHT, WIDTH
from eventsim.io.poses import Poses, read_poses

IMAGE_HZ, POSE_HZ, IMU_HZ = 45.7, 20.0, 1000.0
# Ground truth of outdoor_day1 begins so long after the first image.
TRUTH_DELAY_S = 5.3
TRUTH_MAPS, BEFORE_EVENTS = 5134, 10
COMPRESSED: dict[str, Any] = {"compression": "lzf", "shuffle": True}
SKY_ROWS = 60


@dataclass(frozen=True)
class FullSize:
    """A recording of MVSEC's layout and full size."""

    out: Positional[Path]
    """Folder of the files."""
    odometry: Path | None = None
    """MVSEC's odometry of outdoor_day1, whose times and poses the ground truth takes; by default made up."""
    frames: tuple[tuple[int, int], ...] = ((9200, 9600), (10500, 10900))
    """Frames that events, pictures and flow are written for."""
    events_per_frame: int = 14_000
    """Events between two images."""
    seed: int = 0
    """Seed of the events."""
    overwrite: bool = False
    """Write the files anew; by default those that are there are used."""
    evaluate: bool = False
    """Evaluate a network on it in a process of its own and print its report, time and peak memory."""
    train: bool = False
    """Train two steps on it likewise."""
    model: str = "zero"
    """What is evaluated: a trained network's name or file, a builder's name (untrained), or "zero" (no network)."""
    protocol: str = "steflow"
    """Rules of the evaluation."""
    dt: int = 1
    """Grey frames per interval."""

    def run(self) -> None:
        """Writes and tries the recording."""
        data, truth = (self.out / f"outdoor_day1_{part}.hdf5" for part in ("data", "gt"))
        if self.overwrite or not (data.exists() and truth.exists()):
            start = time.monotonic()
            write(data, truth, self)
            print(f"written in {time.monotonic() - start:.1f} s")
        for path in (data, truth):
            print(
                f"{path.name}: {logical_bytes(path) / 1e9:.2f} GB, {path.stat().st_blocks * 512 / 1e9:.2f} GB on disk"
            )
        if self.evaluate:
            measure(_EVALUATE, str(data), self.model, self.protocol, str(self.dt))
        if self.train:
            measure(_TRAIN, str(data), str(self.dt))


@dataclass(frozen=True)
class Clock:
    """Times of everything, absolute seconds in float64."""

    images: NDArray[np.float64]
    poses: Poses

    @property
    def maps(self) -> NDArray[np.float64]:
        """Times of flow and depth."""
        return self.poses.seconds[:TRUTH_MAPS]


def write(data: Path, truth: Path, settings: FullSize) -> None:
    """Writes both files; they appear when both are whole."""
    clock = read_clock(settings.odometry)
    with atomic_path(data, overwrite=True) as partial, h5py.File(partial, "w") as file:
        for camera in ("left", "right"):
            write_camera(file.create_group(f"davis/{camera}"), clock, settings, empty=camera == "right")
        scans = file.create_group("velodyne")
        series(scans, "scans", clock.maps, (60_000, 4), np.float32)
    with atomic_path(truth, overwrite=True) as partial, h5py.File(partial, "w") as file:
        write_truth(file.create_group("davis/left"), clock, settings)


def read_clock(odometry: Path | None) -> Clock:
    """The clock of an odometry file, or one that is made up."""
    if odometry is None:
        number = TRUTH_MAPS + 3
        still = np.zeros((number, 7))
        still[:, 0], still[:, 6] = np.arange(number) / POSE_HZ * 5, 1
        poses = Poses(1.5e9 + np.arange(number) / POSE_HZ, still[:, :3], still[:, 3:])
    else:
        poses = read_poses(odometry)
    first = poses.seconds[0] - TRUTH_DELAY_S
    return Clock(np.arange(first, poses.seconds[-1], 1 / IMAGE_HZ), poses)


def write_camera(group: h5py.Group, clock: Clock, settings: FullSize, *, empty: bool) -> None:
    """Events, images and inertial measurements of a camera; only their times, if it is to be empty."""
    times, each = clock.images, settings.events_per_frame
    number = np.arange(len(times)) - BEFORE_EVENTS
    group["image_raw_event_inds"] = np.where(number >= 0, number * each, -1)
    events = group.create_dataset("events", (int(number[-1] + 1) * each, 4), np.float64, chunks=(1 << 13, 1),
                                  **COMPRESSED)  # fmt: skip
    images = series(group, "image_raw", times, (HEIGHT, WIDTH), np.uint8)
    series(group, "imu", np.arange(times[0], times[-1], 1 / IMU_HZ), (6,), np.float64, rows=256)
    if empty:
        return
    rng, picture = np.random.default_rng(settings.seed), texture()
    for start, stop in written(settings, len(times)):
        for frame in range(start, stop):
            at = int(number[frame]) * each
            events[at : at + each] = some_events(rng, each, times[frame], times[frame + 1])
        for frame in range(start, stop + 1):
            images[frame] = np.roll(picture, (frame, -2 * frame), axis=(0, 1))


def write_truth(group: h5py.Group, clock: Clock, settings: FullSize) -> None:
    """Flow, depth and poses."""
    times, images, half = clock.maps, clock.images, (HEIGHT, WIDTH)
    flow = series(group, "flow_dist", times, (2, *half), np.float32)
    for name in ("depth_image_raw", "depth_image_rect"):
        series(group, name, times, half, np.float32)
    series(group, "blended_image_rect", times, (*half, 3), np.uint8)
    for start, stop in written(settings, len(images)):
        first, last = np.searchsorted(times, (images[start], images[stop]))
        for index in range(max(first - 2, 0), min(last + 2, len(times))):
            flow[index] = moving(IMAGE_HZ / POSE_HZ)
    for name in ("pose", "odometry"):
        poses = series(group, name, clock.poses.seconds, (4, 4), np.float64, rows=256)
        poses[:] = matrices(clock.poses)


def series(
    group: h5py.Group, name: str, times: NDArray[np.float64], shape: tuple[int, ...], kind: Any, rows: int = 1
) -> h5py.Dataset:
    """A data set of one row for each time, of which nothing is written yet, and its times."""
    group[f"{name}_ts"] = times
    return group.create_dataset(name, (len(times), *shape), kind, chunks=(rows, *shape), **COMPRESSED)


def written(settings: FullSize, frames: int) -> list[tuple[int, int]]:
    """First frames and frames + 1 of the intervals that are written: four more, for the last frames of dt = 4."""
    return [(start, min(stop + 4, frames - 1)) for start, stop in settings.frames]


def some_events(rng: np.random.Generator, number: int, start: float, end: float) -> NDArray[np.float64]:
    """Random events [n, 4] within an interval: x, y, t, p."""
    columns = (rng.integers(0, WIDTH, number), rng.integers(0, HEIGHT, number))
    t = np.sort(rng.uniform(start, end, number))
    return np.stack([*columns, t, rng.choice([-1.0, 1.0], number)], axis=1)


def texture() -> NDArray[np.uint8]:
    """A picture of waves: uint8 [H, W]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.uint8(128 + 60 * np.sin(x / 7) + 60 * np.cos(y / 5))


def moving(frames: float) -> NDArray[np.float32]:
    """The flow of that picture over so many frames, unknown in the sky: float32 [2, H, W]."""
    flow = np.zeros((2, HEIGHT, WIDTH), np.float32)
    flow[0, SKY_ROWS:], flow[1, SKY_ROWS:] = -2 * frames, frames
    return flow


def matrices(poses: Poses) -> NDArray[np.float64]:
    """Poses as matrices: float64 [N, 4, 4]."""
    from scipy.spatial.transform import Rotation

    matrix = np.tile(np.eye(4), (len(poses), 1, 1))
    matrix[:, :3, :3], matrix[:, :3, 3] = Rotation.from_quat(poses.quaternions).as_matrix(), poses.positions
    return matrix


def logical_bytes(path: Path) -> int:
    """Bytes of all data sets of a file, written or not."""
    sizes: list[int] = []
    with h5py.File(path) as file:
        file.visititems(lambda _, each: sizes.append(each.nbytes) if isinstance(each, h5py.Dataset) else None)
    return sum(sizes)


def measure(code: str, *arguments: str) -> None:
    """Runs code in a process of its own, and prints what it says, its time and the most memory it held."""
    start = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", code + _PEAK, *arguments], check=False, text=True, stdout=subprocess.PIPE
    )
    print(said.stdout.strip())
    if said.returncode:
        raise SystemExit(said.returncode)
    print(f"{time.monotonic() - start:.1f} s in all")


_EVALUATE = """
import sys, torch
from types import SimpleNamespace
from flownet.evaluate import evaluate
from flownet.model.pretrained import load_pretrained
from flownet.model.steflownet import BUILDERS
class Zero(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.none = torch.nn.Parameter(torch.zeros(1))
    def forward(self, x):
        return SimpleNamespace(final=x.new_zeros(len(x), 2, *x.shape[-2:]))
path, name, protocol, dt = sys.argv[1:]
model = Zero() if name == "zero" else BUILDERS[name]() if name in BUILDERS else load_pretrained(name)
print(evaluate(model, path, protocol, int(dt)))
"""
_TRAIN = """
import sys, tempfile
from pathlib import Path
from flownet.train import TrainConfig, train
with tempfile.TemporaryDirectory() as folder:
    train(TrainConfig(data=(sys.argv[1],), steps=2, workers=0), Path(folder) / "run", quiet=True)
print("two steps trained")
"""
_PEAK = """
import re
from pathlib import Path
print("VmHWM", round(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024), "MB")
"""


if __name__ == "__main__":
    tyro.cli(FullSize).run()
