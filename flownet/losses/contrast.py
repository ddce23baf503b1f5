"""Contrast: events of one edge, moved back along the flow, fall on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eventsim.streams.events import Events


def contrast_loss(
    flow: Tensor,  # [B, 2, H, W], pixels over the window
    events: Events | Tensor | Sequence[Events | Tensor],
    *,
    window: tuple[float, float] | None = None,
) -> Tensor:
    """How blurred the events are after the flow is taken out of them: -1 for no better than no motion, less is sharper.

    An event at time s of the window (0..1) at pixel x moves to its start, x - s flow(x), and to its end,
    x + (1 - s) flow(x); the images of the moved events have variances V. The loss is minus their mean over the
    variance of the events where they are. Both ends count, for a flow that drives all events together in one place
    (event collapse) sharpens only one of them.

    Gallego, Rebecq and Scaramuzza, "A Unifying Contrast Maximization Framework for Event Cameras", CVPR 2018; several
    reference times after Shiba, Aoki and Gallego, "Secrets of Event-Based Optical Flow", ECCV 2022.

    Args:
        flow: the flow of each sample.
        events: of each sample: `Events`, or a tensor [N, 4] of t, x, y, p (float64 where t is an absolute time).
            One of them, without a list, for a batch of one. Polarities count alike.
        window: start and end of the flow's interval, in the unit of t; by default the first and the last event.

    Returns:
        The mean over the samples that have events; 0, without gradient, if none has.

    Raises:
        ValueError: other than one set of events per sample, or an empty window.
    """
    samples = [events] if isinstance(events, Events | Tensor) else list(events)
    if len(samples) != len(flow):
        raise ValueError(f"expected events of {len(flow)} samples, as of the flow, got {len(samples)}")
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"expected a window that ends after it starts, got {window[0]} to {window[1]}")
    columns = [_columns(each, flow) for each in samples]
    losses = [
        -_sharpness(each, _moments(t, window).to(flow.dtype), x, y)
        for each, (t, x, y) in zip(flow, columns, strict=True)
        if len(t)
    ]
    return torch.stack(losses).mean() if losses else flow.sum() * 0


def slice_contrast_loss(
    flow: Tensor,  # [B, 2, H, W], pixels over the window
    slices: Tensor,  # [B, T, C, H, W]
) -> Tensor:
    """`contrast_loss` of what the network saw: each cell that is not zero is so many events in the middle of its slice.

    Slices are taken to last equally long; of T slices, time is known to 1/T of the window. Needs neither frames nor
    the events themselves.
    """
    losses = []
    for each, sample in zip(flow, slices, strict=True):
        cells = sample.sum(dim=1)
        k, y, x = cells.nonzero(as_tuple=True)
        if len(k):
            losses.append(-_sharpness(each, (k.to(flow.dtype) + 0.5) / len(cells), x, y, cells[k, y, x]))
    return torch.stack(losses).mean() if losses else flow.sum() * 0


def _columns(events: Events | Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Times float64, columns and rows int64 of the events, where the flow is."""
    if isinstance(events, Events):
        arrays: tuple[Any, ...] = (events.t.astype(np.float64), events.x.astype(np.int64), events.y.astype(np.int64))
        t, x, y = (torch.from_numpy(array).to(flow.device) for array in arrays)
        return t, x, y
    if events.ndim != 2 or events.shape[1] != 4:
        raise ValueError(f"expected events [N, 4] of t, x, y, p, got {tuple(events.shape)}")
    t, x, y, _ = events.to(flow.device).unbind(1)
    return t.double(), x.long(), y.long()


def _moments(t: Tensor, window: tuple[float, float] | None) -> Tensor:
    """Times as shares of the window."""
    start, end = window if window is not None else (float(t[0]), float(t[-1]))
    return (t - start) / max(end - start, 1e-12)


def _sharpness(flow: Tensor, moment: Tensor, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Variance of the images of moved events over that of the events where they are."""
    dx, dy = flow[:, y, x]
    still = _image(x.to(flow.dtype), y.to(flow.dtype), flow, weight).var(correction=0)
    at_start = _image(x - moment * dx, y - moment * dy, flow, weight).var(correction=0)
    at_end = _image(x + (1 - moment) * dx, y + (1 - moment) * dy, flow, weight).var(correction=0)
    return (at_start + at_end) / (2 * still.clamp(min=1e-12))


def _image(x: Tensor, y: Tensor, like: Tensor, weights: Tensor | None = None) -> Tensor:
    """Events at any positions, each shared bilinearly among the four pixels around it: [H, W]."""
    height, width = like.shape[-2:]
    image = like.new_zeros(height * width)
    left, top = x.detach().floor(), y.detach().floor()
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside * (1 if weights is None else weights)
        index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        image = image.index_add(0, index, weight)
    return image.view(height, width)
