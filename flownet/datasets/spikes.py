"""Training samples from a data set of `eventsim dataset`: windows of spikes, with their class and exact flow."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from eventsim.errors import InputError
from eventsim.io.manifest import Row
from eventsim.io.spike_set import SpikeItem, SpikeSet

_STILL = "none"
_PLANES_AT_ONCE = 256
_MOST_COUNTED = 32_767


class Sample(TypedDict):
    """A sample; a data loader stacks samples of one length and size.

    Args:
        spikes: uint8 [T, H, W] of 0 and 1; with `counted`, int16 [T // counted, H, W].
        label: int64, the class's place in `SpikeDataset.classes`.
        flow: float32 [2, H, W], dx to the right and dy down, pixels from the start to the end of these planes.
    """

    spikes: Tensor
    label: Tensor
    flow: NotRequired[Tensor]


class SpikeDataset(Dataset[Sample]):
    """Windows of the spike streams in a folder that `eventsim dataset` made, in either of its layouts:

        ROOT/
          manifest.csv                          which items there are
          train/cat/purr_pan_0_vidar.h5         spikes
          train/cat/purr_pan_0_vidar_flow.h5    flow of a still that was moved
          test/dog/...                          (or shard-00000.h5, ... with all of that inside)

    Nothing but the manifest is read before a sample is asked for; files are opened where they are read, so that the
    data set can be sent to a data loader's workers.

        loader = DataLoader(SpikeDataset("ROOT", split="train", window=200, flow=True), batch_size=8, num_workers=2)
        for batch in loader:
            batch["spikes"], batch["label"], batch["flow"]   # [8, 200, H, W], [8], [8, 2, H, W]

    Args:
        root: the folder.
        split: a folder at the top, such as "train": only its items, and their classes are the folders below it. The
            classes are numbered over all splits alike. By default all items, and classes are the labels as they are.
        camera: only items of this camera. By default all spike items.
        planes: (start, stop): only these planes of each item; by default all.
        window: planes of a sample; an item gives as many as it holds, one after another, and a rest is left out. By
            default an item is one sample.
        counted: so many planes are added up to one; a rest is left out, and so are items of fewer planes.
        transform: is applied to every sample, in the worker.
        flow: also give the exact flow; 0 where the camera stayed.

    Raises:
        FileNotFoundError: no data set there; names the manifest that was expected.
        InputError: no spikes in it (of this split and camera), none long enough, or, with `flow`, clips, whose flow is
            not known.
        ValueError: a window or count below 1, planes that are no range, or a count larger than the window.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str | None = None,
        camera: str | None = None,
        planes: tuple[int, int] | None = None,
        window: int | None = None,
        counted: int | None = None,
        transform: Callable[[Sample], Sample] | None = None,
        flow: bool = False,
    ) -> None:
        _check(planes, window, counted)
        self.root, self.split, self.counted, self.transform, self.flow = Path(root), split, counted, transform, flow
        rows = SpikeSet(self.root).rows
        self.classes = sorted({_class(row.label, split) for row in rows})
        self._items = [
            SpikeItem(self.root, row)
            for row in rows
            if row.kind == "spikes" and camera in (None, row.camera) and _of_split(row.label, split)
        ]
        self._refuse_unusable(camera)
        self._spans = [_spans(item.row.planes, planes, window, counted or 1) for item in self._items]
        self._ends = list(accumulate(map(len, self._spans)))
        if not len(self):
            expected = f"items of {window or counted or 1} planes or more"
            raise InputError(self.root, expected=expected, found="shorter ones")

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        if isinstance(index, slice):
            raise TypeError(f"expected the number of one sample, got {index}")
        index = range(len(self))[index]
        which = bisect_right(self._ends, index)
        start, stop = self._spans[which][index - self._ends[which]]
        item = self._items[which]
        label = self.classes.index(_class(item.label, self.split))
        sample = Sample(spikes=torch.from_numpy(self._spikes(item, start, stop)), label=torch.tensor(label))
        if self.flow:
            sample["flow"] = torch.from_numpy(_flow(item, start, stop))
        return sample if self.transform is None else self.transform(sample)

    def row(self, index: int) -> Row:
        """The manifest's row of a sample's item."""
        return self._items[bisect_right(self._ends, range(len(self))[index])].row

    def _spikes(self, item: SpikeItem, start: int, stop: int) -> NDArray[np.uint8] | NDArray[np.int16]:
        stream = item.stream
        if self.counted is None:
            return stream.planes(start, stop)
        size = (stream.height, stream.width)
        counts = np.zeros(((stop - start) // self.counted, *size), np.int16)
        step = max(1, _PLANES_AT_ONCE // self.counted)  # counts made at once: long windows are never unpacked whole
        for first in range(0, len(counts), step):
            last = min(first + step, len(counts))
            planes = stream.planes(start + first * self.counted, start + last * self.counted)
            counts[first:last] = planes.reshape(last - first, self.counted, *size).sum(axis=1)
        return counts

    def _refuse_unusable(self, camera: str | None) -> None:
        if not self._items:
            found = f"none (split {self.split or 'any'}, camera {camera or 'any'})"
            raise InputError(self.root, expected="spikes", found=found)
        for item in self._items if self.flow else ():
            if item.row.motion != _STILL and not item.row.flow_checksum:
                raise InputError(self.root, expected="items whose flow is known", found=f"the clip {item.row.item}")


def _check(planes: tuple[int, int] | None, window: int | None, counted: int | None) -> None:
    for name, value in (("window", window), ("counted", counted)):
        if value is not None and value < 1:
            raise ValueError(f"expected {name} of 1 or more, got {value}")
    if planes is not None and not 0 <= planes[0] < planes[1]:
        raise ValueError(f"expected planes (start, stop) with 0 <= start < stop, got {planes}")
    if window is not None and counted is not None and counted > window:
        raise ValueError(f"expected counted of at most the window, {window}, got {counted}")
    if counted is not None and counted > _MOST_COUNTED:
        raise ValueError(f"expected counted of at most {_MOST_COUNTED}, which int16 holds, got {counted}")


def _of_split(label: str, split: str | None) -> bool:
    return split is None or label == split or label.startswith(f"{split}/")


def _class(label: str, split: str | None) -> str:
    """The class of a label: the label, or what stands below the folder at the top, if items are split by these."""
    return label if split is None else label.partition("/")[2] or "."


def _spans(count: int, planes: tuple[int, int] | None, window: int | None, least: int) -> list[tuple[int, int]]:
    """First and last plane + 1 of the samples of an item, of at least so many planes each."""
    start, stop = (0, count) if planes is None else (planes[0], min(planes[1], count))
    length = window or max(stop - start, least)
    return [(at, at + length) for at in range(start, stop - length + 1, length)]


def _flow(item: SpikeItem, start: int, stop: int) -> NDArray[np.float32]:
    """Flow from the start of the first plane's readout to the end of the last's."""
    table = item.flow
    if table is None:
        return np.zeros((2, item.row.height, item.row.width), np.float32)
    last_us = float(table.move_t_us[-1])
    period_us = 1e6 / item.row.readout_hz
    return table.between(start * period_us, min(stop * period_us, last_us))
