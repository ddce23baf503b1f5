"""Smoothness of a flow: where nothing is seen, it goes on as around."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flownet.losses.photometric import at_scale

#: Falls of the weight across an edge of the picture: e^-1 at a step of a tenth of its range.
_EDGES = 10.0


def smoothness_loss(
    flows: Sequence[Tensor],  # [B, 2, h, w], fine to coarse
    image: Tensor | None = None,  # [B, 1, H, W]
) -> Tensor:
    """Second-order smoothness: sum_s 2^-s (mean|u_xx| + mean|u_yy| + 2 mean|u_xy|), s = 0 the finest scale.

    Ding et al., AAAI 2022. Given the first image, second differences count less across its edges, where flow may
    break: times exp(-10 |gradient|), after Jonschkowski et al., "What Matters in Unsupervised Optical Flow", ECCV 2020.

    Raises:
        ValueError: a flow narrower or lower than 3 pixels, which has no second differences.
    """
    loss = flows[0].new_zeros(())
    for scale, flow in enumerate(flows):
        if min(flow.shape[2:]) < 3:
            raise ValueError(f"expected flows of at least 3x3 pixels, got {tuple(flow.shape)} at scale {scale}")
        along_x, along_y = flow.diff(dim=3), flow.diff(dim=2)
        xx, yy, xy = (each.abs() for each in (along_x.diff(dim=3), along_y.diff(dim=2), along_x.diff(dim=2)))
        if image is not None:
            step_x, step_y = (_weights(at_scale(image, flow, scale).diff(dim=dim)) for dim in (3, 2))
            xx = xx * torch.minimum(step_x[..., 1:], step_x[..., :-1])
            yy = yy * torch.minimum(step_y[..., 1:, :], step_y[..., :-1, :])
            xy = xy * torch.minimum(step_x[..., 1:, :], step_y[..., 1:])
        loss = loss + 0.5**scale * (xx.mean() + yy.mean() + 2 * xy.mean())
    return loss


def _weights(step: Tensor) -> Tensor:
    return torch.exp(-_EDGES * step.abs().mean(dim=1, keepdim=True))
