"""Sampling an image where a flow points."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def warp(
    image: Tensor,  # [B, C, H, W]
    flow: Tensor,  # [B, 2, H, W], pixels, (dx to the right, dy down)
    *,
    aligned: bool = True,
    padding: Literal["border", "zeros"] = "border",
) -> Tensor:
    """The image read bilinearly at x + flow(x), for every pixel x: [B, C, H, W].

    Args:
        image: what to read.
        flow: where, relative to each pixel.
        aligned: True reads at exactly x + flow. False reproduces the authors' code, which normalises positions for
            pixel centres at the image's corners but samples for pixel edges there, and so reads from
            (x + flow) W / (W - 1) - 1/2.
        padding: what lies outside: the nearest border pixel, or zeros.

    Raises:
        ValueError: image and flow differ in batch or size, or the flow has not two channels.
    """
    if flow.shape[1] != 2 or image.shape[0] != flow.shape[0] or image.shape[2:] != flow.shape[2:]:
        raise ValueError(f"expected a flow [B, 2, H, W] for the image, got {tuple(flow.shape)} and image "
                         f"{tuple(image.shape)}")  # fmt: skip
    x, y = _target(flow)
    height, width = flow.shape[2:]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=aligned)


def in_view(
    flow: Tensor,  # [B, 2, H, W], pixels
) -> Tensor:
    """Where x + flow(x) lies within the image, between the centres of its border pixels: bool [B, 1, H, W]."""
    x, y = _target(flow.detach())
    height, width = flow.shape[2:]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]


def _target(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows that a flow points to: two tensors [B, H, W]."""
    height, width = flow.shape[2:]
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device)
    return columns + flow[:, 0], rows[:, None] + flow[:, 1]
