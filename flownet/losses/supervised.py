"""The error of a flow where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: Share of each scale, the finest first: coarse flows are only there to help the fine one.
_SHARES = (1.0, 0.5, 0.25, 0.125)
_EPS = 1e-2


def end_point_loss(
    flows: Sequence[Tensor],  # [B, 2, h, w], fine to coarse
    truth: Tensor,  # [B, 2, H, W], pixels, nan where unknown
    counts: Tensor | None = None,  # [B, 1, H, W]
    *,
    elsewhere: float = 1.0,
    relative: bool = False,
) -> Tensor:
    """Mean end-point error over the known pixels in pixels of the full resolution, its scales weighed 1, 1/2, 1/4, 1/8.

    Args:
        flows: one per scale.
        truth: is averaged down to each scale.
        counts: events at each pixel. Errors are judged where there are events.
        elsewhere: weight of the pixels without events, 0 to 1.
        relative: divide each sample's error by the mean length of its true flow plus a pixel, so that fast samples do
            not outweigh the slow. Ours.

    Returns:
        A scalar; 0 where nothing is known.
    """
    known = truth.isfinite().all(dim=1, keepdim=True)
    weight = known.to(truth.dtype)
    if counts is not None:
        weight = weight * torch.where(counts > 0, 1.0, elsewhere)
    clean = truth.nan_to_num(posinf=0, neginf=0)
    if relative:
        weight = weight / (_mean(clean.square().sum(dim=1, keepdim=True).sqrt(), weight) + 1)
    total = flows[0].new_zeros(len(truth))
    for scale, flow in enumerate(flows):
        share = _pooled(weight, scale)
        mean = _pooled(clean * weight, scale) / share.clamp(min=1e-9)
        error = (flow * 2**scale - mean).square().sum(dim=1, keepdim=True)
        summed = ((error + _EPS**2).sqrt() * share).sum(dim=(1, 2, 3))
        total = total + _SHARES[scale] * summed / _pooled(known.to(truth.dtype), scale).sum(dim=(1, 2, 3)).clamp(min=1)
    return total.mean()


def _mean(picture: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of each sample: [B, 1, 1, 1]."""
    axes = (1, 2, 3)
    return (picture * weight).sum(dim=axes, keepdim=True) / weight.sum(dim=axes, keepdim=True).clamp(min=1e-9)


def _pooled(picture: Tensor, scale: int) -> Tensor:
    if not scale:
        return picture
    return functional.avg_pool2d(picture, 2**scale, ceil_mode=True, count_include_pad=False)
