"""Writes recordings in MVSEC's layout, every key of it, as they are made and in bounded memory.

Maps, images and events are compressed as MVSEC's own are (LZF, which every h5py reads); with bytes shuffled first that
is faster than gzip and about as small.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.io.atomic import atomic_path, refuse_existing
from eventsim.io.hdf5_file import Hdf5Output
from eventsim.io.millisecond_index import MillisecondIndex, first_event_at
from eventsim.streams.events import Events

_COMPRESSED: dict[str, Any] = {"compression": "lzf", "shuffle": True}
_MAPS: dict[str, Any] = {"rows": 1, **_COMPRESSED}
_SMALL: dict[str, Any] = {"rows": 256}
_EVENTS_PER_CHUNK = 1 << 13
_BLEND_US = 25_000
_RED, _BLUE = np.array([0, 0, 255], np.uint8), np.array([255, 0, 0], np.uint8)


class MvsecWriter:
    """A context in which one recording is written; its files appear when it is left without an error, or not at all.

    Each kind of data is added in order of its own time; kinds may come in any order. Times are microseconds after
    `epoch_us` and are stored as absolute seconds.

    Args:
        prefix_or_paths: what stands before `_data.hdf5` and `_gt.hdf5`, or the two paths.
        width, height: of the sensor.
        epoch_us: absolute time of our zero.
        ground_truth: write the ground-truth file too; without it, none may stay beside the new events.
        overwrite: replace existing files, or remove the ground truth that no longer fits.
        camera: "left" or "right".
        rectified: float64 [2, H, W], where the camera has a lens: the pixel (x, y) of the rectified picture for each of
            the camera's own (MVSEC's x and y maps). Depth is then given for both, and events are drawn over the
            rectified one.

    Raises:
        OutputExistsError: a file exists and `overwrite` is false (on entering).
        OSError: the disk takes no more; names the path (from any method and on leaving).
    """

    def __init__(
        self,
        prefix_or_paths: str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]],
        *,
        width: int,
        height: int,
        epoch_us: int = 0,
        ground_truth: bool = True,
        overwrite: bool = False,
        camera: str = "left",
        rectified: NDArray[np.float64] | None = None,
    ) -> None:
        if camera not in ("left", "right"):
            raise ValueError(f"expected camera 'left' or 'right', got {camera!r}")
        if isinstance(prefix_or_paths, tuple):
            self.data_path, self.gt_path = map(Path, prefix_or_paths)
        else:
            self.data_path, self.gt_path = (
                Path(f"{os.fspath(prefix_or_paths)}_{part}.hdf5") for part in ("data", "gt")
            )
        self.width, self.height, self.epoch_us = width, height, epoch_us
        self._ground_truth, self._overwrite, self._group = ground_truth, overwrite, f"davis/{camera}"
        self._rectified = rectified
        self._stack = ExitStack()
        self._series: dict[str, _Series] = {}
        self._index, self._entries = MillisecondIndex(), list[NDArray[np.uint64]]()
        self._first_event = self._last_event = 0

    def __enter__(self) -> MvsecWriter:
        with ExitStack() as stack:
            # Left in reverse order: both files are finished before either gets its name.
            paths = [self.data_path, self.gt_path][: 2 if self._ground_truth else 1]
            partials = [stack.enter_context(atomic_path(path, overwrite=self._overwrite)) for path in paths]
            if not self._ground_truth:
                refuse_existing(self.gt_path, overwrite=self._overwrite)
                stack.push(self._remove_stale_truth)  # once the data file is finished, before it gets its name
            outputs = [stack.enter_context(Hdf5Output(*pair)) for pair in zip(partials, paths, strict=True)]
            self._data, self._gt = outputs[0], outputs[-1]
            stack.push(self._finish)
            self._events = self._data.growing(
                f"{self._group}/events",
                (4,),
                np.float64,
                rows=_EVENTS_PER_CHUNK,
                chunk_row=(1,),  # a column a chunk: compresses better, and times can be read alone
                **_COMPRESSED,
            )
            self._images = self._series_of(self._data, "image_raw", (self.height, self.width), np.uint8, **_MAPS)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add_events(self, events: Events) -> None:
        """The next events.

        Raises:
            ValueError: they come before earlier ones, or from a sensor of another size.
        """
        if (events.width, events.height) != (self.width, self.height):
            raise ValueError(f"expected events from a sensor of {self.width}x{self.height}, "
                             f"got {events.width}x{events.height}")  # fmt: skip
        if not len(events):
            return
        if not self._index.events:
            self._first_event = int(events.t[0])
        elif events.t[0] < self._last_event:
            raise ValueError(f"expected events in order of time, got {events.t[0]} us after {self._last_event} us")
        self._last_event = int(events.t[-1])
        self._entries.append(self._index.extend(events.t))
        seconds = (self.epoch_us + events.t) / 1e6
        self._events.append(np.stack([events.x, events.y, seconds, np.where(events.p, 1.0, -1.0)], axis=1))

    def add_image(self, t_us: int, image: NDArray[np.uint8]) -> None:
        """A grey image, uint8 [H, W]."""
        if image.dtype != np.uint8:
            raise TypeError(f"expected an image of uint8, got {image.dtype}")
        self._images.append(t_us, image)

    def add_flow(self, t_us: int, flow: NDArray[Any]) -> None:
        """Flow [2, H, W] (dx right, dy down) in pixels until the next map. Where it is not finite, 0 is stored, which
        is how MVSEC's readers know pixels without ground truth."""
        finite = np.nan_to_num(np.asarray(flow, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        shape = (2, self.height, self.width)
        self._series_of(self._truth(), "flow_dist", shape, np.float32, **_MAPS).append(t_us, finite)

    def add_depth(self, t_us: int, depth: NDArray[Any], rectified: NDArray[Any] | None = None) -> None:
        """Depth [H, W]; where it is not finite, NaN is stored. Without a lens raw and rectified depth are one data set.

        Raises:
            ValueError: rectified depth without a lens, or none with one.
        """
        if (rectified is None) != (self._rectified is None):
            raise ValueError("expected rectified depth exactly where the writer knows of a lens")
        shape = (self.height, self.width)
        for name, values in (("depth_image_raw", depth), ("depth_image_rect", rectified)):
            if values is not None:
                known = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
                self._series_of(self._truth(), name, shape, np.float32, **_MAPS).append(t_us, known)

    def add_pose(self, t_us: int, pose: NDArray[Any]) -> None:
        """A pose of the camera, 4x4; stored as `pose` and as `odometry`."""
        self._series_of(self._truth(), "pose", (4, 4), np.float64, **_SMALL).append(t_us, np.asarray(pose))

    def add_imu(self, t_us: int, values: NDArray[Any]) -> None:
        """Six inertial values: acceleration x, y, z (m/s^2) and angular velocity x, y, z (rad/s)."""
        self._series_of(self._data, "imu", (6,), np.float64, **_SMALL).append(t_us, np.asarray(values))

    def add_scan(self, t_us: int, points: NDArray[Any]) -> None:
        """A lidar scan [n, 4] (x, y, z, intensity); shorter scans are filled up with NaN."""
        if points.ndim != 2 or points.shape[1] != 4 or not len(points):
            raise ValueError(f"expected points of shape (n, 4), n > 0, got {points.shape}")
        scans = self._series_of(self._data, "/velodyne/scans", points.shape, np.float32, fillvalue=np.nan, **_MAPS)
        scans.widen(len(points))
        padded = np.full(scans.row_shape, np.nan, np.float32)
        padded[: len(points)] = points
        scans.append(t_us, padded)

    def _truth(self) -> Hdf5Output:
        if not self._ground_truth:
            raise ValueError("expected a writer with ground_truth=True, got one without")
        return self._gt

    def _series_of(self, output: Hdf5Output, name: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> _Series:
        """The series of this name, made when it is first needed; names with a slash are not the camera's."""
        if name not in self._series:
            key = name if name.startswith("/") else f"{self._group}/{name}"
            self._series[name] = _Series(output, key, shape, dtype, self.epoch_us, **options)
        return self._series[name]

    # What follows from the rest is written at the end.

    def _finish(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            return
        self._events.flush()
        index = np.concatenate([*self._entries, self._index.last()])
        inds = self._data.growing(f"{self._group}/image_raw_event_inds", (), np.int64, rows=1024)
        inds.append(np.array([self._image_index(t, index) for t in self._images.times_us], np.int64))
        if depth := self._series.get("depth_image_rect", self._series.get("depth_image_raw")):
            self._blend(depth, index)
        if depth and self._rectified is None:
            self._alias("depth_image_raw", "depth_image_rect")
        if "pose" in self._series:
            self._alias("pose", "odometry")

    def _remove_stale_truth(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Readers would pair the new events with the ground truth of an earlier recording."""
        if kind is None and self._overwrite:
            self.gt_path.unlink(missing_ok=True)

    def _image_index(self, t_us: int, index: NDArray[np.uint64]) -> int:
        """Index of the first event at or after an image, -1 for images before the first event."""
        if not self._index.events or t_us < self._first_event:
            return -1
        return self._find(t_us, index)

    def _find(self, t_us: int, index: NDArray[np.uint64]) -> int:
        return first_event_at(t_us, index, self._index.first_ms, self._read_times)

    def _read_times(self, start: int, stop: int) -> NDArray[np.int64]:
        seconds: NDArray[np.float64] = self._events.dataset[start:stop, 2]
        return np.rint(seconds * 1e6).astype(np.int64) - self.epoch_us

    def _blend(self, depth: _Series, index: NDArray[np.uint64]) -> None:
        """Draws the events within 25 ms of every depth map over it."""
        depth.flush()
        shape = (self.height, self.width, 3)
        blended = self._series_of(self._gt, "blended_image_rect", shape, np.uint8, **_MAPS)
        for map_index, t_us in enumerate(depth.times_us):
            start, stop = (self._find(t_us + offset, index) for offset in (-_BLEND_US, _BLEND_US))
            events = self._rectify(self._events.dataset[start:stop])
            blended.append(t_us, blend(depth.values.dataset[map_index], events))

    def _rectify(self, events: NDArray[np.float64]) -> NDArray[np.float64]:
        """The events [n, 4] where they are in the rectified picture, without those outside of it."""
        if self._rectified is None:
            return events
        x, y = np.rint(self._rectified[:, events[:, 1].astype(np.intp), events[:, 0].astype(np.intp)])
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return np.asarray(np.column_stack([x, y, events[:, 2:]])[inside])

    def _alias(self, name: str, alias: str) -> None:
        for suffix in ("", "_ts"):
            self._gt.link(f"{self._group}/{name}{suffix}", f"{self._group}/{alias}{suffix}")


def blend(depth: NDArray[np.float32], events: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A depth map as grey (near is bright, unknown is black) with events over it (ON red, OFF blue).

    Args:
        depth: [H, W], NaN where unknown.
        events: [N, 4], columns x, y, t, p.

    Returns:
        uint8 [H, W, 3]: blue, green, red, as in MVSEC.
    """
    known = np.isfinite(depth) & (depth > 0)
    nearest = depth[known].min() if known.any() else 1.0
    grey = np.where(known, 255 * nearest / np.where(known, depth, 1), 0).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    x, y = events[:, :2].astype(np.intp).T
    picture[y, x] = np.where(events[:, 3:] > 0, _RED, _BLUE)
    return picture


class _Series:
    """Values with their times: the data set of a key, and that of the key with `_ts`."""

    def __init__(
        self, output: Hdf5Output, key: str, row_shape: tuple[int, ...], dtype: Any, epoch_us: int, **options: Any
    ) -> None:
        self.key, self.row_shape, self._epoch_us = key, row_shape, epoch_us
        self.values = output.growing(key, row_shape, dtype, **options)
        self._times = output.growing(f"{key}_ts", (), np.float64, rows=1024)
        self.times_us: list[int] = []

    def append(self, t_us: int, value: NDArray[Any]) -> None:
        if value.shape != self.row_shape:
            raise ValueError(f"expected {self.key} of shape {self.row_shape}, got {value.shape}")
        if self.times_us and t_us <= self.times_us[-1]:
            raise ValueError(f"expected times of {self.key} that rise, got {t_us} us after {self.times_us[-1]} us")
        self.values.append(value[None])
        self.times_us.append(int(t_us))
        self._times.append(np.array([(self._epoch_us + t_us) / 1e6]))

    def widen(self, size: int) -> None:
        """Makes room for rows of `size` along their first axis."""
        if size > self.row_shape[0]:
            self.values.widen(size)
            self.row_shape = (size, *self.row_shape[1:])

    def flush(self) -> None:
        self.values.flush()
