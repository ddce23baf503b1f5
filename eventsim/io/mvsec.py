"""MVSEC (Zhu et al., 2018): `<name>_data.hdf5` with events and images, `<name>_gt.hdf5` with depth, poses and flow.

Times are absolute seconds in float64. Events are rows x, y, t, p with p of -1 or +1. `MvsecWriter` is the other half.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.event_source import EventSource
from eventsim.io.faults import recorded_events
from eventsim.io.hdf5_file import Hdf5Input
from eventsim.io.mvsec_writer import MvsecWriter as MvsecWriter
from eventsim.streams.events import Events

#: The DAVIS 346 of every MVSEC sequence.
WIDTH, HEIGHT = 346, 260
_DATA, _GROUND_TRUTH = "_data.hdf5", "_gt.hdf5"


class MvsecRecording(EventSource):
    """One camera of an MVSEC sequence, read as it is asked for; may be sent to other processes.

    Args:
        data_path: the `*_data.hdf5`.
        gt_path: the `*_gt.hdf5`, needed only for flow, depth and poses; by default the one beside the data.
        camera: "left" or "right".

    Raises:
        InputError: the data file cannot be opened or has no events of this camera. Reading raises it for a data set
            that is missing (naming those that are there), and for events out of order or outside the sensor (with
            the index of the event).
    """

    def __init__(
        self, data_path: str | os.PathLike[str], gt_path: str | os.PathLike[str] | None = None, camera: str = "left"
    ) -> None:
        self.data_path = Path(data_path)
        self.gt_path = _beside(self.data_path) if gt_path is None else Path(gt_path)
        self._data, self._gt = Hdf5Input(self.data_path), Hdf5Input(self.gt_path)
        self._group = f"davis/{camera}"
        events = self._data.dataset(f"{self._group}/events")
        if events.ndim != 2 or events.shape[1] != 4:
            raise InputError(self.data_path, expected="events [N, 4]", found=f"shape {events.shape}", at=events.name)
        self._count = len(events)
        images = self._data.file.get(f"{self._group}/image_raw")
        size: tuple[int, int] = (HEIGHT, WIDTH) if images is None else images.shape[1:3]
        self.height, self.width = size
        self._data.close()

    def __len__(self) -> int:
        return self._count

    def events(self, start: int = 0, stop: int | None = None) -> Events:
        """Events start .. stop - 1 (as in a slice, but a negative start is 0, as in `event_inds`).

        Their times are absolute, in whole microseconds.
        """
        start, stop, _ = slice(max(start, 0), stop).indices(len(self))
        x, y, t, p = self._data.rows(f"{self._group}/events", start, stop).T
        with np.errstate(invalid="ignore"):  # NaN becomes a coordinate outside the sensor, which is then refused
            x, y = x.astype(np.int32), y.astype(np.int32)
        return recorded_events(
            self.data_path, _microseconds(t), x, y, p > 0, width=self.width, height=self.height, first=start
        )

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """As `events`: what every reader of events calls it."""
        return self.events(start, stop)

    def events_between_images(self, i: int, j: int) -> Events:
        """The events from image i up to image j, by `event_inds`."""
        start, stop = (max(int(self.event_inds[k]), 0) for k in (i, j))
        return self.events(start, stop)

    def _find(self, t_us: int) -> int:
        """Index of the first event at or after a time, by bisection of the file."""
        times = self._data.dataset(f"{self._group}/events")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if _microseconds(times[middle, 2]) < t_us:
                low = middle + 1
            else:
                high = middle
        return low

    @cached_property
    def image_ts(self) -> NDArray[np.float64]:
        """Times of the images: float64 [M], seconds."""
        return self._all(self._data, "image_raw_ts")

    @cached_property
    def event_inds(self) -> NDArray[np.int64]:
        """For every image an index such that events [inds[k - 1], inds[k]) lie between images k - 1 and k: int64 [M].

        Negative before the first event.
        """
        return self._all(self._data, "image_raw_event_inds")

    def image(self, i: int) -> NDArray[np.uint8]:
        """Grey image i: uint8 [H, W]."""
        return np.asarray(self._data.dataset(f"{self._group}/image_raw")[i])

    @property
    def flow_maps(self) -> h5py.Dataset:
        """Ground-truth flow, read where it is sliced: [F, 2, H, W] (dx right, dy down), pixels until the next map."""
        return self._ground_truth.dataset(f"{self._group}/flow_dist")

    @cached_property
    def flow_ts(self) -> NDArray[np.float64]:
        """Times of the flow maps: float64 [F], seconds."""
        return self._all(self._ground_truth, "flow_dist_ts")

    @property
    def depth_maps(self) -> h5py.Dataset:
        """Depth in metres in the raw image, NaN where unknown, read where it is sliced: [D, H, W]."""
        return self._ground_truth.dataset(f"{self._group}/depth_image_raw")

    @cached_property
    def depth_ts(self) -> NDArray[np.float64]:
        """Times of the depth maps: float64 [D], seconds."""
        return self._all(self._ground_truth, "depth_image_raw_ts")

    @cached_property
    def poses(self) -> NDArray[np.float64]:
        """Poses of the camera: float64 [P, 4, 4]."""
        return self._all(self._ground_truth, "pose")

    @cached_property
    def pose_ts(self) -> NDArray[np.float64]:
        """Times of the poses: float64 [P], seconds."""
        return self._all(self._ground_truth, "pose_ts")

    @property
    def _ground_truth(self) -> Hdf5Input:
        if not self.gt_path.is_file():
            raise InputError(self.data_path, expected=f"ground truth in {self.gt_path}", found="nothing there")
        return self._gt

    def _all(self, source: Hdf5Input, name: str) -> NDArray[Any]:
        return np.asarray(source.dataset(f"{self._group}/{name}")[()])

    def close(self) -> None:
        """Closes both files; reading opens them again."""
        self._data.close()
        self._gt.close()


def open_recording(path: str | os.PathLike[str], camera: str = "left") -> MvsecRecording:
    """A sequence by its `*_data.hdf5` or by what stands before `_data.hdf5`.

    Raises:
        InputError: as `MvsecRecording`.
    """
    given = Path(path)
    return MvsecRecording(given if given.is_file() else given.with_name(given.name + _DATA), camera=camera)


def _beside(data: Path) -> Path:
    return data.with_name(data.stem.removesuffix("_data") + _GROUND_TRUTH)


def is_mvsec(path: str | os.PathLike[str]) -> bool:
    """Whether an HDF5 file has events in MVSEC's place.

    Raises:
        InputError: not an HDF5 file.
    """
    with Hdf5Input(path) as source:
        return any(f"davis/{camera}/events" in source.file for camera in ("left", "right"))


def _microseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Exact for epoch times: float64 resolves 0.24 us there."""
    return np.rint(np.asarray(seconds) * 1e6).astype(np.int64)
