"""Data sets of windows, cut into patches at random, so that a draw depends on the seed and its number alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flownet.datasets.augment import Augmentation, named_augmentation, random_patch
from flownet.datasets.batch import Batch
from flownet.datasets.grey import normalise_grey


@dataclass(frozen=True, eq=False)
class Window:
    """What lies between the first and the last frame of a sample, whole and as it was recorded.

    Args:
        slices: float32 [T, C, H, W].
        frames: [dt + 1, H, W], of any unit with 0 for black and levels of about 1 or more.
        flow: float32 [dt, 2, H, W], pixels from the first frame to frame 1, ... dt; nan is unknown.
    """

    slices: Tensor
    frames: Tensor
    flow: Tensor | None = None


class Windows(Dataset[Batch], ABC):
    """Random patches of windows; a data set of its own says what windows there are.

    Draw n depends on (seed, n) alone: pass over the windows n // len(self) visits them in an order of its own, and the
    patches of draw n come from a generator of its own. So any number of workers gives the same batches, and training
    can go on from any draw (`Draws(start, stop)`).

    Args:
        crop: rows and columns of a patch; None for whole pictures.
        patches: patches taken from each window that is read.
        augment: "none", "flips", "paper" (flips, rotation and resized crops) or an `Augmentation`.
        seed: of order, patches and symmetries.

    Raises:
        ValueError: no patches, or an unknown augmentation.
    """

    def __init__(self, *, crop: tuple[int, int] | None, patches: int, augment: Augmentation | str, seed: int) -> None:
        if patches < 1:
            raise ValueError(f"expected patches of 1 or more, got {patches}")
        self.crop, self.patches, self.seed = crop, patches, seed
        self.augment = named_augmentation(augment)

    @abstractmethod
    def __len__(self) -> int:
        """Number of windows: draws of one pass."""

    @abstractmethod
    def window(self, number: int) -> Window:
        """Window 0 .. len - 1, whole."""

    def __getitem__(self, draw: int) -> Batch:
        """The patches of one draw, as a batch."""
        epoch, place = divmod(draw, len(self))
        window = self.window(int(order_of_epoch(self.seed, epoch, len(self))[place]))
        rng = np.random.default_rng([self.seed, draw])
        height, width = window.slices.shape[-2:]
        crop = self.crop or (height, width)
        patches = [
            random_patch(rng, height=height, width=width, crop=crop, augment=self.augment) for _ in range(self.patches)
        ]
        frames = normalise_grey(torch.stack([patch(window.frames) for patch in patches]).numpy())
        flow = None if window.flow is None else torch.stack([patch.flow(window.flow) for patch in patches])
        slices = torch.stack([patch(window.slices) for patch in patches])
        return Batch(slices, torch.from_numpy(frames), flow, torch.full((self.patches,), draw))


@lru_cache(maxsize=16)
def order_of_epoch(seed: int, epoch: int, windows: int) -> NDArray[np.int64]:
    """The order in which a pass over the windows visits them: int64 [windows]."""
    return np.random.default_rng([seed, 0x0D3A, epoch]).permutation(windows)


class Draws(Sampler[int]):
    """Draw numbers start, start + 1, ... up to stop: what a data set of windows is asked for."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


class Closable(Protocol):
    """Something that opens its files when it is read."""

    def close(self) -> None:
        """Closes them; reading opens them again."""


Recording = TypeVar("Recording", bound=Closable)


class Opened(Generic[Recording]):
    """Many recordings, of which those that were used last may be open: each takes descriptors and some memory.

    Args:
        recordings: all of them.
        most: recordings that are open at a time.
    """

    def __init__(self, recordings: Sequence[Recording], most: int = 32) -> None:
        self.recordings, self._most, self._used = recordings, most, OrderedDict[int, None]()

    def __getitem__(self, number: int) -> Recording:
        """A recording, to be read now."""
        self._used.pop(number, None)
        self._used[number] = None
        if len(self._used) > self._most:
            self.recordings[self._used.popitem(last=False)[0]].close()
        return self.recordings[number]
