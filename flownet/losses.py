"""Losses that need no flow labels: brightness constancy between frames, smoothness, and the sharpness of events.

Photometric and smoothness as in Ding et al., AAAI 2022, after Zhu et al., "EV-FlowNet", RSS 2018, and Meister et al.,
"UnFlow", AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from eventsim.streams.events import Events
from flownet.model.warp import in_view, warp


def photometric_loss(
    flows: Sequence[Tensor],  # [B, 2, h, w], fine to coarse: full resolution, 1/2, 1/4 ...
    first: Tensor,  # [B, 1, H, W], grey, each image divided by its maximum
    second: Tensor,  # [B, 1, H, W]
    *,
    reference: bool = False,
    alpha: float = 0.45,
    eps: float = 1e-3,
) -> Tensor:
    """Charbonnier penalty (d^2 + eps^2)^alpha of what the second image, warped back by the flow, differs in.

    By default the mean over the pixels that the flow keeps in view, averaged over scales, with images averaged down
    to each scale. The authors' code (`reference`) instead sums over all pixels, so that the weight of smoothness
    depends on batch and crop, makes pixels out of view pay for their whole brightness, takes its smaller images by
    bilinear sampling, and warps half a pixel off.

    Raises:
        ValueError: images of different shapes, or flows that are not those of their scales.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(f"expected two images [B, C, H, W], got {tuple(first.shape)} and {tuple(second.shape)}")
    per_scale = []
    for scale, flow in enumerate(flows):
        before, after = (_downsample(image, flow, scale, reference) for image in (first, second))
        if reference:
            penalty = _charbonnier(warp_reference(after, flow) - before, alpha, eps)
            per_scale.append(penalty.sum())
            continue
        seen = in_view(flow)
        penalty = _charbonnier(warp(after, flow) - before, alpha, eps) * seen
        per_scale.append(penalty.sum() / (seen.sum() * first.shape[1]).clamp(min=1))
    return torch.stack(per_scale).mean()


def smoothness_loss(
    flows: Sequence[Tensor],  # [B, 2, h, w], fine to coarse
) -> Tensor:
    """Second-order smoothness: sum_s 2^-s (mean|u_xx| + mean|u_yy| + 2 mean|u_xy|), s = 0 the finest scale.

    Raises:
        ValueError: a flow narrower or lower than 3 pixels, which has no second differences.
    """
    loss = flows[0].new_zeros(())
    for scale, flow in enumerate(flows):
        if min(flow.shape[2:]) < 3:
            raise ValueError(f"expected flows of at least 3x3 pixels, got {tuple(flow.shape)} at scale {scale}")
        along_x, along_y = flow.diff(dim=3), flow.diff(dim=2)
        terms = along_x.diff(dim=3).abs().mean() + along_y.diff(dim=2).abs().mean()
        loss = loss + 0.5**scale * (terms + 2 * along_x.diff(dim=2).abs().mean())
    return loss


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
    losses = [-_sharpness(each, *column, window) for each, column in zip(flow, columns, strict=True) if len(column[0])]
    return torch.stack(losses).mean() if losses else flow.sum() * 0


def warp_reference(
    image: Tensor,  # [B, C, H, W]
    flow: Tensor,  # [B, 2, H, W], pixels
) -> Tensor:
    """The warp of the authors' loss: half a pixel off, and 0 wherever it reads anything from outside the image."""
    inside = warp(torch.ones_like(image), flow.detach(), aligned=False, padding="zeros") >= 0.9999
    return warp(image, flow, aligned=False, padding="zeros") * inside


def _charbonnier(difference: Tensor, alpha: float, eps: float) -> Tensor:
    return (difference.square() + eps**2) ** alpha


def _downsample(image: Tensor, flow: Tensor, scale: int, reference: bool) -> Tensor:
    """The image at a flow's scale, whose pixels are blocks of 2^scale counted from the top left corner."""
    height, width = image.shape[2:]
    factor = 2**scale
    expected = (len(image), 2, -(-height // factor), -(-width // factor))
    if tuple(flow.shape) != expected:
        raise ValueError(f"expected a flow {expected} at scale {scale}, got {tuple(flow.shape)}")
    if reference:
        return functional.interpolate(image, flow.shape[2:], mode="bilinear", align_corners=False)
    return functional.avg_pool2d(image, factor, ceil_mode=True, count_include_pad=False)


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


def _sharpness(flow: Tensor, t: Tensor, x: Tensor, y: Tensor, window: tuple[float, float] | None) -> Tensor:
    """Variance of the images of moved events over that of the events where they are."""
    start, end = window if window is not None else (float(t[0]), float(t[-1]))
    moment = ((t - start) / max(end - start, 1e-12)).to(flow.dtype)
    dx, dy = flow[:, y, x]
    still = _image(x.to(flow.dtype), y.to(flow.dtype), flow).var(correction=0)
    at_start = _image(x - moment * dx, y - moment * dy, flow).var(correction=0)
    at_end = _image(x + (1 - moment) * dx, y + (1 - moment) * dy, flow).var(correction=0)
    return (at_start + at_end) / (2 * still.clamp(min=1e-12))


def _image(x: Tensor, y: Tensor, like: Tensor) -> Tensor:
    """Events at any positions, each shared bilinearly among the four pixels around it: [H, W]."""
    height, width = like.shape[-2:]
    image = like.new_zeros(height * width)
    left, top = x.detach().floor(), y.detach().floor()
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
        index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        image = image.index_add(0, index, weight)
    return image.view(height, width)
