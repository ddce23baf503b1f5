"""Training samples from recordings in MVSEC's layout: two grey frames and the events between them. Never the flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording
from flownet.datasets.augment import random_patch
from flownet.datasets.grey import normalise_grey
from flownet.representation import temporal_distribution


@dataclass(frozen=True)
class Batch:
    """Samples for the network and its losses.

    Args:
        slices: float32 [B, T, C, H, W], the representation.
        first, second: float32 [B, 1, H, W], grey frames at the ends of the interval, each divided by its maximum.
    """

    slices: Tensor
    first: Tensor
    second: Tensor

    def split(self, parts: int) -> list[Batch]:
        """The batch in equal parts."""
        pieces = (tensor.chunk(parts) for tensor in (self.slices, self.first, self.second))
        return [Batch(*piece) for piece in zip(*pieces, strict=True)]


class MvsecPairs(Dataset[Batch]):
    """Random patches of pairs of consecutive grey frames, with the events between them.

    The folder holds recordings in MVSEC's layout; flow files beside them are not opened:

        indoor_flying1_data.hdf5  indoor_flying1_gt.hdf5
        indoor_flying2_data.hdf5  ...

    Draw n of the data set depends on (seed, n) alone: pass over the pairs n // len(pairs) visits them in an order of
    its own, and the patches of draw n come from a generator of its own. So any number of workers gives the same
    batches, and training can go on from any draw.

    Args:
        recordings: `*_data.hdf5` files, or folders that hold them.
        crop: rows and columns of a patch.
        patches: patches taken from each pair that is read.
        slices: slices of the representation.
        weights: weighting of the representation, "float" or "ceil".
        seed: of order, patches and symmetries.

    Raises:
        InputError: no recordings, one without two grey frames, or one smaller than the crop.
    """

    def __init__(
        self,
        recordings: Sequence[Path],
        *,
        crop: tuple[int, int] = (64, 64),
        patches: int = 1,
        slices: int = 5,
        weights: Literal["float", "ceil"] = "float",
        seed: int = 0,
    ) -> None:
        self.recordings = [_usable(MvsecRecording(path), crop) for path in find_recordings(recordings)]
        self.crop, self.patches, self.slices, self.weights, self.seed = crop, patches, slices, weights, seed
        self.pairs = [(r, i) for r, recording in enumerate(self.recordings) for i in range(len(recording.image_ts) - 1)]

    def __getitem__(self, draw: int) -> Batch:
        """The patches of one draw, as a batch."""
        epoch, place = divmod(draw, len(self.pairs))
        which, index = self.pairs[order_of_epoch(self.seed, epoch, len(self.pairs))[place]]
        recording = self.recordings[which]
        rng = np.random.default_rng([self.seed, draw])
        slices = temporal_distribution(
            recording.events_between_images(index, index + 1), self.slices, weights=self.weights
        )
        frames = [torch.from_numpy(recording.image(i)) for i in (index, index + 1)]
        height, width = slices.shape[-2:]
        patches = [random_patch(rng, height=height, width=width, crop=self.crop) for _ in range(self.patches)]
        first, second = (
            torch.stack([torch.from_numpy(normalise_grey(patch(frame).numpy()))[None] for patch in patches])
            for frame in frames
        )
        return Batch(torch.stack([patch(slices) for patch in patches]), first, second)


@lru_cache(maxsize=4)
def order_of_epoch(seed: int, epoch: int, pairs: int) -> NDArray[np.int64]:
    """The order in which a pass over the pairs visits them: int64 [pairs]."""
    return np.random.default_rng([seed, 0x0D3A, epoch]).permutation(pairs)


def _usable(recording: MvsecRecording, crop: tuple[int, int]) -> MvsecRecording:
    """The recording, checked, its times read and its file closed again: workers open it for themselves."""
    if len(recording.image_ts) < 2:
        raise InputError(recording.data_path, expected="two grey frames or more", found=str(len(recording.image_ts)))
    if crop[0] > recording.height or crop[1] > recording.width:
        size = f"{recording.height}x{recording.width}"
        raise InputError(recording.data_path, expected=f"at least {crop[0]}x{crop[1]} pixels (the crop)", found=size)
    recording.close()
    return recording


class Draws(Sampler[int]):
    """Draw numbers start, start + 1, ... up to stop: what a `MvsecPairs` is asked for."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


def join(batches: Sequence[Batch]) -> Batch:
    """Batches joined into one."""
    return Batch(*(torch.cat([getattr(batch, name) for batch in batches]) for name in ("slices", "first", "second")))


def find_recordings(sources: Sequence[Path]) -> list[Path]:
    """The `*_data.hdf5` files among files and folders, in order of their names.

    Raises:
        InputError: a source that is missing, or a folder that holds none.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        here = sorted(source.glob("*_data.hdf5")) if source.is_dir() else [source] if source.is_file() else []
        if not here:
            raise InputError(source, expected="a recording in MVSEC's layout or a folder of *_data.hdf5", found="none")
        found += here
    return found
