"""What a network is trained on: slices of events or spikes, the grey frames around them, and exact flow if known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


def _unnumbered() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of dt consecutive intervals each, which begin and end at grey frames.

    Args:
        slices: float32 [B, T, C, H, W], the representation: T / dt slices an interval, intervals in order.
        frames: float32 [B, dt + 1, H, W], the grey frames at the ends of the intervals, each divided by its maximum.
        flow: float32 [B, dt, 2, H, W], exact flow from the first frame to frame 1, ... dt, pixels; nan where it is not
            known. None where the data set was not asked for it.
        index: int64 [B], the draws that the samples came from; -1 where that is not known.

    Raises:
        ValueError: tensors that do not fit together.
    """

    slices: Tensor
    frames: Tensor
    flow: Tensor | None = None
    index: Tensor = field(default_factory=_unnumbered)

    def __post_init__(self) -> None:
        if not len(self.index):
            object.__setattr__(self, "index", torch.full((len(self.slices),), -1))
        self._check()

    def _check(self) -> None:
        if self.slices.ndim != 5 or self.frames.ndim != 4 or self.frames.shape[1] < 2:
            found = f"{list(self.slices.shape)} and {list(self.frames.shape)}"
            raise ValueError(f"expected slices [B, T, C, H, W] and frames [B, dt + 1, H, W], got {found}")
        number, slices, _, height, width = self.slices.shape
        if slices % self.dt:
            raise ValueError(f"expected equally many slices in each of {self.dt} intervals, got {slices}")
        fitting = {"frames": (number, self.dt + 1, height, width), "flow": (number, self.dt, 2, height, width)}
        for name, shape in (fitting | {"index": (number,)}).items():
            found_shape = getattr(self, name)
            if found_shape is not None and found_shape.shape != shape:
                raise ValueError(f"expected {name} {list(shape)}, got {list(found_shape.shape)}")

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def dt(self) -> int:
        """Intervals of a sample."""
        return self.frames.shape[1] - 1

    def split(self, parts: int) -> list[Batch]:
        """The batch in equal parts."""
        slices, frames, index = (tensor.chunk(parts) for tensor in (self.slices, self.frames, self.index))
        flow: Sequence[Tensor | None] = [None] * len(slices) if self.flow is None else self.flow.chunk(parts)
        return [Batch(*piece) for piece in zip(slices, frames, flow, index, strict=True)]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        flow = None if self.flow is None else self.flow.to(device, non_blocking=non_blocking)
        slices, frames, index = (
            tensor.to(device, non_blocking=non_blocking) for tensor in (self.slices, self.frames, self.index)
        )
        return Batch(slices, frames, flow, index)

    def pin_memory(self) -> Batch:
        """The batch in memory that a GPU copies from without waiting; a data loader with pin_memory=True calls it."""
        flow = None if self.flow is None else self.flow.pin_memory()
        return Batch(self.slices.pin_memory(), self.frames.pin_memory(), flow, self.index.pin_memory())


def join(batches: Sequence[Batch]) -> Batch:
    """Batches joined into one.

    Raises:
        ValueError: no batches, or batches of different shapes (other slices, intervals or sizes, or only some with
            flow).
    """
    shapes = {_shape(batch): None for batch in batches}
    if len(shapes) != 1:
        raise ValueError(f"expected batches of one shape, got {' and '.join(shapes) or 'none'}")
    flows = [batch.flow for batch in batches if batch.flow is not None]
    slices, frames, index = (torch.cat([getattr(each, name) for each in batches]) for name in _ALWAYS)
    return Batch(slices, frames, torch.cat(flows) if flows else None, index)


_ALWAYS = ("slices", "frames", "index")


def _shape(batch: Batch) -> str:
    flow = "without flow" if batch.flow is None else "with flow"
    return f"slices {list(batch.slices.shape[1:])}, frames {list(batch.frames.shape[1:])} {flow}"
