"""The temporal distribution of a batch of recordings in torch, on the device that holds their events.

Every sum over a slice and polarity, and over a pixel, is one `index_add`: no loop over slices or samples, and nothing
waits for the device but the checks of a batch, when it is made, and of windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eventsim.streams.events import Events
from flownet.representation.slices import ONE, By, Weights, check_slices


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """The events of B recordings from sensors of one size, one after another.

    Args:
        t: int64 [N], microseconds, ascending within a sample.
        x, y: integer [N], column and row.
        p: bool [N], True = ON.
        sample: int64 [N], which of the recordings an event is of: 0 .. size - 1, ascending.
        size: number of recordings B; those without events count.
        height, width: of the sensor.

    Raises:
        ValueError: columns of different lengths, kinds or devices; times or samples that fall; a sample or pixel that
            does not exist.
    """

    t: Tensor
    x: Tensor
    y: Tensor
    p: Tensor
    sample: Tensor
    size: int
    height: int
    width: int

    def __post_init__(self) -> None:
        columns = (self.t, self.x, self.y, self.p, self.sample)
        if self.size < 1 or self.height < 1 or self.width < 1:
            raise ValueError(f"expected one sample and pixel or more, got {self.size} of {self.width}x{self.height}")
        if self.t.ndim != 1 or len({(column.shape, column.device) for column in columns}) > 1:
            found = ", ".join(f"{list(column.shape)} on {column.device}" for column in columns)
            raise ValueError(f"expected t, x, y, p and sample of one length on one device, got {found}")
        if (self.t.dtype, self.sample.dtype, self.p.dtype) != (torch.int64, torch.int64, torch.bool):
            found = f"{self.t.dtype}, {self.sample.dtype} and {self.p.dtype}"
            raise ValueError(f"expected t and sample as int64 and p as bool, got {found}")
        self._check_values()

    def _check_values(self) -> None:
        """Asks the device once, for all conditions."""
        step = self.sample.diff()
        broken = {
            "ascending samples": (step < 0).any(),
            "ascending times within a sample": ((self.t.diff() < 0) & (step == 0)).any(),
            f"samples within 0..{self.size - 1}": _outside(self.sample, self.size),
            f"x within 0..{self.width - 1}": _outside(self.x, self.width),
            f"y within 0..{self.height - 1}": _outside(self.y, self.height),
        }
        found = torch.stack(list(broken.values())).tolist()
        if any(found):
            first = list(broken)[found.index(True)]
            raise ValueError(f"expected {first}, got others")

    @classmethod
    def of(cls, events: Sequence[Events], device: torch.device | str = "cpu") -> EventBatch:
        """Recordings from sensors of one size as a batch on a device.

        Raises:
            ValueError: no recordings, or sensors of different sizes.
        """
        sizes = {(each.height, each.width) for each in events}
        if len(sizes) != 1:
            raise ValueError(f"expected recordings from sensors of one size, got {sorted(sizes)}")
        (height, width), lengths = sizes.pop(), [len(each) for each in events]
        t = np.concatenate([each.t for each in events])
        x, y = (np.concatenate([getattr(each, name) for each in events]).astype(np.int32) for name in "xy")
        p = np.concatenate([each.p for each in events])
        sample = np.repeat(np.arange(len(events)), lengths)
        on_device = [torch.from_numpy(column).to(device) for column in (t, x, y, p, sample)]
        columns = dict(zip(("t", "x", "y", "p", "sample"), on_device, strict=True))
        return cls(**columns, size=len(events), height=height, width=width)

    def to(self, device: torch.device | str) -> EventBatch:
        """The batch on a device."""
        t, x, y, p, sample = (each.to(device) for each in (self.t, self.x, self.y, self.p, self.sample))
        return replace(self, t=t, x=x, y=y, p=p, sample=sample)


def temporal_distributions(
    batch: EventBatch,
    slices: int = 5,
    window: tuple[int, int] | Tensor | None = None,  # [t0, t1), microseconds: for all, or int64 [B, 2]
    weights: Weights = "float",
    *,
    by: By = "count",
    every: int = 1,
) -> Tensor:
    """`temporal_distribution` of each recording of a batch, on the device of the batch.

    Times relative to their slice are float64, as in `temporal_distribution`, so the device must know float64 (the CPU
    and CUDA do). On CUDA the order of sums, and so the last bit of a pixel, may change from call to call.

    Args:
        batch: events of B recordings.
        slices, weights, by, every: as of `temporal_distribution`.
        window: only the events with t0 <= t < t1: one window for all recordings, or one for each.

    Returns:
        float32 [B, ceil(S / every), 2, H, W], ON then OFF, without gradient.

    Raises:
        ValueError: as `temporal_distribution`, and windows of another shape than [B, 2].

    Example:
        >>> batch = EventBatch.of([first, second], device="cuda")
        >>> temporal_distributions(batch, slices=5).shape
        torch.Size([2, 5, 2, 260, 346])
    """
    check_slices(slices, window is not None, weights, by, every)
    windows = _windows(batch, window)
    if by == "time" and windows is not None:
        place = _slice_by_time(batch, slices, windows)
    else:
        place = _slice_by_count(batch, slices, windows, drop_remainder=weights == "ceil")
    # Events of no slice, or of one that is not kept, go to a last slice, which is cut off in the end.
    dropped = (place < 0) | (place % every != 0)
    kept = -(-slices // every)
    group = torch.where(dropped, batch.size * kept, batch.sample * kept + place // every)
    weight = _weights(batch, group, batch.size * kept + 1, weights == "ceil")
    pixels = batch.height * batch.width
    pixel = (group * 2 + ~batch.p) * pixels + batch.y.long() * batch.width + batch.x.long()
    image = weight.new_zeros((batch.size * kept + 1) * 2 * pixels, dtype=torch.float32)
    image.index_add_(0, pixel, weight.float())
    return image[: -2 * pixels].view(batch.size, kept, 2, batch.height, batch.width)


def _slice_by_count(batch: EventBatch, slices: int, windows: Tensor | None, *, drop_remainder: bool) -> Tensor:
    """int64 [N], the slice of each event, -1 for those in none."""
    inside = torch.ones_like(batch.p) if windows is None else _inside(batch, windows)
    number = batch.t.new_zeros(batch.size).index_add_(0, batch.sample, inside.long())
    rank = inside.long().cumsum(0) - 1 - (number.cumsum(0) - number)[batch.sample]
    if drop_remainder:
        place = rank // (number // slices).clamp(min=1)[batch.sample]
        inside = inside & (rank < (number // slices * slices)[batch.sample])
    else:
        # The last k with k M // S <= rank: the one that rank + 1 > k M / S allows.
        place = ((rank + 1) * slices - 1) // number.clamp(min=1)[batch.sample]
    return torch.where(inside, place, -1)


def _slice_by_time(batch: EventBatch, slices: int, windows: Tensor) -> Tensor:
    start, stop = windows[batch.sample].unbind(1)
    place = (batch.t - start) * slices // (stop - start).clamp(min=1)
    return torch.where(_inside(batch, windows), place, -1)


def _weights(batch: EventBatch, group: Tensor, groups: int, ceil: bool) -> Tensor:
    """float64 [N], the weight of each event within its group's events of its polarity."""
    first = batch.t.new_zeros(groups).scatter_reduce_(0, group, batch.t, "amin", include_self=False)
    last = batch.t.new_zeros(groups).scatter_reduce_(0, group, batch.t, "amax", include_self=False)
    span = (last - first).clamp(min=1)
    time = (batch.t - first[group]).double() / span[group]
    half = group * 2 + ~batch.p  # one polarity of a group

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(groups * 2).index_add_(0, half, values)

    count = total(torch.ones_like(time))
    deviation = time - (total(time) / count.clamp(min=1))[half]
    sigma = (total(deviation**2) / (count - 1).clamp(min=1)).sqrt() + 1e-4
    density = torch.exp(-0.5 * (deviation / sigma[half]) ** 2)
    weight = density * (count / total(density))[half]
    return (weight > ONE).double() + 1 if ceil else weight


def _inside(batch: EventBatch, windows: Tensor) -> Tensor:
    start, stop = windows[batch.sample].unbind(1)
    return (batch.t >= start) & (batch.t < stop)


def _windows(batch: EventBatch, window: tuple[int, int] | Tensor | None) -> Tensor | None:
    """int64 [B, 2] on the device of the batch."""
    if window is None:
        return None
    windows = window if isinstance(window, Tensor) else torch.tensor([window] * batch.size, dtype=torch.int64)
    if windows.shape != (batch.size, 2) or windows.dtype != torch.int64:
        raise ValueError(f"expected windows as int64 [{batch.size}, 2], got {windows.dtype} {list(windows.shape)}")
    if (windows[:, 1] < windows[:, 0]).any():
        raise ValueError("expected windows that end after they start, got others")
    return windows.to(batch.t.device)


def _outside(values: Tensor, size: int) -> Tensor:
    return ((values < 0) | (values >= size)).any()
