"""Training samples from DSEC's sequences: events between the times of images, and the published flow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsim.errors import InputError
from flownet.datasets.augment import Augmentation
from flownet.datasets.cache import describe, open_cache
from flownet.datasets.dsec_files import Camera, DsecSequence, find_sequences
from flownet.datasets.splits import Split, load_split
from flownet.datasets.windows import Opened, Window, Windows
from flownet.representation import temporal_distribution
from flownet.representation.slices import Weights, check_slices

Interval = Literal["flow", "images"]
# Images are exposed within a millisecond of the times that the flow states for them.
_NEAR_US = 1_000
# A pause in the ground truth is longer than this many of its steps.
_PAUSE = 1.5


class DsecSequences(Windows):
    """Random patches of windows of DSEC's sequences.

    An interval lasts from one flow to the next, 100 ms (`interval="flow"`: every second image where there is no flow),
    or from image to image, 50 ms (`"images"`). The published flow is over 100 ms from its beginning: with dt = 1 of
    "flow", or the second of dt = 2 "images", and nan over other times.

        samples = DsecSequences([Path("dsec/train")], split="fit", flow=True, crop=(288, 384))

    Args:
        sequences: folders of sequences, or folders that hold them (see `dsec_files`).
        dt: intervals of a sample.
        interval: "flow" or "images".
        camera: "left" or "right"; flow is in the left one's view.
        flow: give the flow; windows without any are left out.
        frames: read the images, which must be there; False: frames are black.
        rectify: in the rectified view, in which the flow is; or as the sensor saw it.
        split: a split of DSEC's by name, or one of your own: only its sequences, and of them only the valid ranges (of
            the times that intervals begin and end at).
        crop, patches, augment, seed: as `Windows`.
        slices, weights, every: of the representation of each interval, as `temporal_distribution`.
        cache, memory_mb: as `MvsecPairs`.

    Raises:
        InputError: no sequences, or not all of the split's; a crop larger than the sensor; files that are missing, or
            do not belong together; no window left.
        ValueError: options that cannot be; the flow of the right camera or of the unrectified view.
    """

    def __init__(
        self,
        sequences: Sequence[Path],
        *,
        dt: int = 1,
        interval: Interval = "flow",
        camera: Camera = "left",
        flow: bool = False,
        frames: bool = True,
        rectify: bool = True,
        split: str | Split | None = None,
        crop: tuple[int, int] | None = (256, 256),
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
        _check(dt, interval, camera, flow=flow, rectify=rectify)
        self.dt, self.interval, self.flow, self.frames = dt, interval, flow, frames
        self.slices, self.weights, self.every = slices, weights, every
        rules = load_split("dsec", split) if isinstance(split, str) else split
        folders = _of_split(find_sequences([Path(source) for source in sequences], camera), rules, sequences)
        self.sequences = [DsecSequence(folder, camera, rectify=rectify) for folder in folders]
        #: Times at which intervals begin and end, of each sequence: int64 [n], microseconds.
        self.ticks = [self._ticks(sequence) for sequence in self.sequences]
        firsts = [self._firsts(*pair, rules) for pair in zip(self.sequences, self.ticks, strict=True)]
        #: Sequence and first tick of each window: int64 [windows, 2].
        self.starts = np.concatenate(
            [np.stack([np.full_like(first, number), first], axis=1) for number, first in enumerate(firsts)]
        )
        if not len(self.starts):
            expected = f"windows of {dt} intervals" + " with flow" * flow
            raise InputError(folders[0], expected=expected, found="none in this or any other sequence")
        self._sources = [self._describe(sequence) for sequence in self.sequences]
        self._cache, self._opened = open_cache(cache, memory_mb), Opened(self.sequences)

    def __len__(self) -> int:
        return len(self.starts)

    def window(self, number: int) -> Window:
        """Window 0 .. len - 1, whole."""
        which, first = (int(each) for each in self.starts[number])
        sequence, ticks = self._opened[which], self.ticks[which][first : first + self.dt + 1].tolist()
        slices = [self._slices(sequence, which, *pair) for pair in pairwise(ticks)]
        images = [self._image(sequence, which, tick) for tick in ticks]
        flow = torch.from_numpy(self._flow(sequence, which, ticks)) if self.flow else None
        return Window(torch.cat(slices), torch.from_numpy(np.stack(images)), flow)

    def _slices(self, sequence: DsecSequence, which: int, start_us: int, end_us: int) -> Tensor:
        def make() -> Tensor:
            events = sequence.events(start_us, end_us)
            return temporal_distribution(events, self.slices, weights=self.weights, every=self.every)

        return self._cache.slices(self._sources[which], start_us, make)

    def _image(self, sequence: DsecSequence, which: int, tick: int) -> NDArray[np.uint8]:
        if not self.frames:
            return np.zeros((sequence.height, sequence.width), np.uint8)
        return self._cache.array(
            self._sources[which], "image", tick, lambda: sequence.image(_nearest(sequence.image_us, tick))
        )

    def _flow(self, sequence: DsecSequence, which: int, ticks: list[int]) -> NDArray[np.float32]:
        """Flow from the first tick to each of the others: float32 [dt, 2, H, W], nan where none is published."""

        def make() -> NDArray[np.float32]:
            flow = np.full((self.dt, 2, sequence.height, sequence.width), np.nan, np.float32)
            for number in np.flatnonzero(sequence.flow_us[:, 0] == ticks[0]):
                if (end := int(sequence.flow_us[number, 1])) in ticks[1:]:
                    flow[ticks.index(end) - 1] = sequence.flow(int(number))
            return flow

        return self._cache.array(self._sources[which], f"flow {self.dt}", ticks[0], make)

    def _ticks(self, sequence: DsecSequence) -> NDArray[np.int64]:
        if self.crop is not None and (self.crop[0] > sequence.height or self.crop[1] > sequence.width):
            expected = f"at least {self.crop[0]}x{self.crop[1]} pixels (the crop)"
            raise InputError(sequence.folder, expected=expected, found=f"{sequence.height}x{sequence.width}")
        if self.interval == "images":
            return sequence.image_us
        flow_us = sequence.flow_us
        if self.flow and not len(flow_us):
            raise InputError(sequence.folder, expected="flow/forward_timestamps.txt", found="nothing there")
        ticks: NDArray[np.int64] = np.unique(flow_us) if len(flow_us) else sequence.image_us[::2]
        return ticks

    def _firsts(self, sequence: DsecSequence, ticks: NDArray[np.int64], rules: Split | None) -> NDArray[np.int64]:
        """First ticks of the sequence's windows: those without a pause, within the events and the valid range."""
        first: NDArray[np.int64] = np.arange(max(len(ticks) - self.dt, 0))
        if rules is not None:
            first = rules.sequences[sequence.name].first_frames(ticks / 1e6, self.dt)
        steps = np.diff(ticks)
        pauses = np.concatenate([[0], np.cumsum(steps > _PAUSE * np.median(steps))]) if len(steps) else steps
        first = first[pauses[first + self.dt] == pauses[first]]
        begin, end = sequence.span_us()
        first = first[(ticks[first] >= begin) & (ticks[first + self.dt] <= end)]
        if self.flow:
            spans = {tuple(span) for span in sequence.flow_us.tolist()}
            known = [any((ticks[i], ticks[i + k]) in spans for k in range(1, self.dt + 1)) for i in first]
            first = first[np.array(known, bool)]
        for tick in np.unique([ticks[first + k] for k in range(self.dt + 1)]).tolist() if self.frames else ():
            _check_image(sequence, tick)
        sequence.close()
        return first

    def _describe(self, sequence: DsecSequence) -> str:
        return describe(
            sequence.events_path,
            rectify=sequence.rectify,
            interval=self.interval,
            slices=self.slices,
            weights=self.weights,
            every=self.every,
        )


def _check(dt: int, interval: str, camera: str, *, flow: bool, rectify: bool) -> None:
    if dt < 1:
        raise ValueError(f"expected dt of 1 or more, got {dt}")
    if interval not in ("flow", "images"):
        raise ValueError(f"expected interval 'flow' or 'images', got {interval!r}")
    if camera not in ("left", "right"):
        raise ValueError(f"expected camera 'left' or 'right', got {camera!r}")
    if flow and (camera != "left" or not rectify):
        raise ValueError("expected the rectified view of the left camera with flow=True, which is where the flow is")


def _of_split(folders: list[Path], rules: Split | None, sources: Sequence[Path]) -> list[Path]:
    if rules is None:
        return folders
    rules.check_complete({folder.name for folder in folders}, sources[0])
    return [folder for folder in folders if folder.name in rules.sequences]


def _nearest(times: NDArray[np.int64], time: int) -> int:
    return int(np.abs(times - time).argmin())


def _check_image(sequence: DsecSequence, tick: int) -> None:
    found = int(sequence.image_us[_nearest(sequence.image_us, tick)])
    if abs(found - tick) > _NEAR_US:
        expected = f"an image within {_NEAR_US} us of {tick} us, when a flow begins or ends"
        raise InputError(sequence.folder, expected=expected, found=f"the nearest at {found} us")
