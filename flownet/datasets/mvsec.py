"""Training samples from recordings in MVSEC's layout: consecutive grey frames and the events between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording
from flownet.datasets.augment import Augmentation
from flownet.datasets.batch import Batch as Batch
from flownet.datasets.batch import join as join
from flownet.datasets.cache import describe, open_cache
from flownet.datasets.splits import Part, Split, load_split
from flownet.datasets.windows import Draws as Draws
from flownet.datasets.windows import Opened, Window, Windows
from flownet.datasets.windows import order_of_epoch as order_of_epoch
from flownet.ground_truth import flow_between, known
from flownet.representation import temporal_distribution
from flownet.representation.slices import Weights, check_slices

_DATA = "_data.hdf5"


class MvsecPairs(Windows):
    """Random patches of dt + 1 consecutive grey frames, with the events between them.

    The folder holds recordings in MVSEC's layout; flow files beside them are opened only with `flow`:

        indoor_flying1_data.hdf5  indoor_flying1_gt.hdf5
        indoor_flying2_data.hdf5  ...

    However large the files, only the times of frames and their indices among the events are held; the rest is read as
    it is drawn, and files are opened where they are read, so that the data set can be sent to a data loader's workers.
    Windows without any event are left out.

        samples = MvsecPairs([Path("mvsec")], dt=4, slices=13, every=3, split="train_steflow", cache=Path("kept"))
        loader = DataLoader(samples, batch_size=8, sampler=Draws(0, 1000), num_workers=2, collate_fn=join)

    Args:
        recordings: `*_data.hdf5` files, or folders that hold them.
        dt: intervals of a sample: 1 or 4 in the literature.
        camera: "left", "right" or "both"; by default the split's, or left. Ground truth is the left one's, or is beside
            the right one's in the same way.
        flow: give the exact flow of `*_gt.hdf5` from the first frame to each of the others, nan where unknown; windows
            that it does not cover are left out.
        split: a split of MVSEC's by name, or one of your own: only its sequences (named as the files are), and of them
            only the valid ranges.
        crop, patches, augment, seed: as `Windows`.
        slices, weights, every: of the representation of each interval, as `temporal_distribution`.
        cache: keep representations in a folder, or ("memory") representations, frames and flow in each process's
            memory.
        memory_mb: most that is kept in the memory of a process, megabytes.

    Raises:
        InputError: no recordings, one without dt + 1 grey frames, or one smaller than the crop; a split whose sequences
            are not all there; no ground truth (with `flow`); no window left.
        ValueError: options that cannot be.
    """

    def __init__(
        self,
        recordings: Sequence[Path],
        *,
        dt: int = 1,
        camera: str | None = None,
        flow: bool = False,
        split: str | Split | None = None,
        crop: tuple[int, int] | None = (64, 64),
        patches: int = 1,
        augment: Augmentation | str = "flips",
        slices: int = 5,
        weights: Weights = "float",
        every: int = 1,
        cache: Path | str | None = None,
        memory_mb: float = 512.0,
        seed: int = 0,
    ) -> None:
        super().__init__(crop=crop, patches=patches, augment=augment, seed=seed)
        check_slices(slices, False, weights, "count", every)
        if dt < 1:
            raise ValueError(f"expected dt of 1 or more, got {dt}")
        self.dt, self.flow = dt, flow
        self.slices, self.weights, self.every = slices, weights, every
        rules = load_split("mvsec", split) if isinstance(split, str) else split
        paths = _of_split(find_recordings(recordings), rules)
        cameras = _cameras(camera, rules)
        self.recordings = [MvsecRecording(path, camera=each) for path in paths for each in cameras]
        firsts = [self._usable(recording, rules) for recording in self.recordings]
        #: Recording and first frame of each window: int32 [windows, 2].
        self.pairs = np.concatenate(
            [np.stack([np.full_like(first, number), first], axis=1) for number, first in enumerate(firsts)]
        ).astype(np.int32)
        if not len(self.pairs):
            expected = "events between grey frames" + " with ground truth" * flow
            raise InputError(paths[0], expected=expected, found="none in this or any other recording")
        self._sources = [self._describe(path, each) for path in paths for each in cameras]
        self._cache, self._opened = open_cache(cache, memory_mb), Opened(self.recordings)

    def __len__(self) -> int:
        return len(self.pairs)

    def window(self, number: int) -> Window:
        """Window 0 .. len - 1, whole."""
        which, first = (int(each) for each in self.pairs[number])
        recording, frames = self._opened[which], range(first, first + self.dt)
        slices = [self._slices(recording, which, i) for i in frames]
        images = [
            self._cache.array(self._sources[which], "image", i, lambda i=i: recording.image(i))  # type: ignore[misc]
            for i in (*frames, first + self.dt)
        ]
        flow = torch.from_numpy(self._flow(recording, which, first)) if self.flow else None
        return Window(torch.cat(slices), torch.from_numpy(np.stack(images)), flow)

    def _slices(self, recording: MvsecRecording, which: int, first: int) -> Tensor:
        def make() -> Tensor:
            events = recording.events_between_images(first, first + 1)
            return temporal_distribution(events, self.slices, weights=self.weights, every=self.every)

        return self._cache.slices(self._sources[which], first, make)

    def _flow(self, recording: MvsecRecording, which: int, first: int) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            maps, times = _ReadOnce(recording.flow_maps), recording.image_ts[first : first + self.dt + 1].tolist()
            return np.stack([nan_unknown(flow_between(maps, recording.flow_ts, times[0], end)) for end in times[1:]])

        return self._cache.array(self._sources[which], f"flow {self.dt}", first, make)

    def _usable(self, recording: MvsecRecording, rules: Split | None) -> NDArray[np.int64]:
        """First frames of the recording's windows; its times are read, and its files closed again."""
        _check_size(recording, self.dt, self.crop)
        part = Part() if rules is None else rules.sequences[_name(recording.data_path)]
        first = part.first_frames(recording.image_ts, self.dt)
        inds = np.maximum(recording.event_inds, 0)
        first = first[inds[first + self.dt] > inds[first]]
        if self.flow:
            known, times = recording.flow_ts, recording.image_ts
            if recording.flow_maps.shape[2:] != (recording.height, recording.width):
                raise InputError(recording.gt_path, expected=f"flow of {recording.height}x{recording.width}",
                                 found=f"shape {recording.flow_maps.shape}")  # fmt: skip
            first = first[(times[first] >= known[0]) & (times[first + self.dt] <= known[-1])]
        recording.close()
        return first

    def _describe(self, path: Path, camera: str) -> str:
        return describe(path, camera=camera, slices=self.slices, weights=self.weights, every=self.every)


def nan_unknown(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """A flow [2, H, W] of MVSEC's, in which 0 in both components is unknown, with nan there instead."""
    return np.where(known(flow), flow, np.float32(np.nan))


class _ReadOnce:
    """Flow maps of a file [F, 2, H, W], of which each is read once."""

    def __init__(self, maps: Any) -> None:
        self.shape: tuple[int, ...] = maps.shape
        self._maps, self._read = maps, dict[int, Any]()

    def __getitem__(self, index: int, /) -> Any:
        if index not in self._read:
            self._read[index] = np.asarray(self._maps[index])
        return self._read[index]


def _check_size(recording: MvsecRecording, dt: int, crop: tuple[int, int] | None) -> None:
    path, frames = recording.data_path, len(recording.image_ts)
    if frames < dt + 1:
        needed = "two" if dt == 1 else dt + 1
        raise InputError(path, expected=f"{needed} grey frames or more", found=str(frames))
    if len(recording.event_inds) != frames:
        expected = f"image_raw_event_inds of {frames} frames"
        raise InputError(path, expected=expected, found=str(len(recording.event_inds)))
    if crop is not None and (crop[0] > recording.height or crop[1] > recording.width):
        size = f"{recording.height}x{recording.width}"
        raise InputError(path, expected=f"at least {crop[0]}x{crop[1]} pixels (the crop)", found=size)


def _cameras(camera: str | None, rules: Split | None) -> tuple[str, ...]:
    if camera is None:
        return ("left",) if rules is None else rules.cameras
    if camera not in ("left", "right", "both"):
        raise ValueError(f"expected camera 'left', 'right' or 'both', got {camera!r}")
    return ("left", "right") if camera == "both" else (camera,)


def _of_split(paths: list[Path], rules: Split | None) -> list[Path]:
    """The recordings that a split names."""
    if rules is None:
        return paths
    rules.check_complete({_name(path) for path in paths}, os.path.commonpath([path.parent for path in paths]))
    return [path for path in paths if _name(path) in rules.sequences]


def _name(path: Path) -> str:
    """The sequence's name: the file's, without `_data.hdf5`."""
    return path.name.removesuffix(_DATA)


def find_recordings(sources: Sequence[Path]) -> list[Path]:
    """The `*_data.hdf5` files among files and folders, in order of their names.

    Raises:
        InputError: a source that is missing, or a folder that holds none.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        here = sorted(source.glob(f"*{_DATA}")) if source.is_dir() else [source] if source.is_file() else []
        if not here:
            raise InputError(source, expected="a recording in MVSEC's layout or a folder of *_data.hdf5", found="none")
        found += here
    return found
