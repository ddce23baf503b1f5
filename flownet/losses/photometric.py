"""Brightness constancy: what the second image, warped back by the flow, differs in from the first.

As in Ding et al., AAAI 2022, after Zhu et al., "EV-FlowNet", RSS 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from flownet.model.warp import in_view, warp

Kind = Literal["charbonnier", "census", "ssim"]
Penalty = Callable[[Tensor, Tensor], Tensor]


def photometric_loss(
    flows: Sequence[Tensor],  # [B, 2, h, w], fine to coarse: full resolution, 1/2, 1/4 ...
    first: Tensor,  # [B, 1, H, W], grey, each image divided by its maximum
    second: Tensor,  # [B, 1, H, W]
    *,
    reference: bool = False,
    kind: Kind = "charbonnier",
    visible: Tensor | None = None,  # [B, 1, H, W]
    alpha: float = 0.45,
    eps: float = 1e-3,
) -> Tensor:
    """How far the second image, read where the flow points, is from the first.

    By default the mean over the pixels of a sample that the flow keeps in view, averaged over scales and samples, with
    images averaged down to each scale. The authors' code (`reference`) instead sums over all pixels, so that the weight
    of smoothness depends on batch and crop, makes pixels out of view pay for their whole brightness, takes its smaller
    images by bilinear sampling, and warps half a pixel off.

    Args:
        flows: one per scale.
        first, second: the images.
        reference: the authors' form.
        kind: "charbonnier" is (d^2 + eps^2)^alpha of the difference; "census" compares each pixel's order with its 24
            neighbours, softly (Meister et al., "UnFlow", AAAI 2018), and "ssim" the structural similarity of windows of
            3x3 pixels (Wang et al., TIP 2004): both forgive changes of light.
        visible: where the first image is seen in the second (0 to 1); elsewhere nothing is compared.
        alpha, eps: of the Charbonnier penalty.

    Raises:
        ValueError: images of different shapes, flows that are not those of their scales, or an unknown kind.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(f"expected two images [B, C, H, W], got {tuple(first.shape)} and {tuple(second.shape)}")
    penalties: dict[str, Penalty] = {
        "charbonnier": lambda a, b: _charbonnier(a - b, alpha, eps),
        "census": _census,
        "ssim": _dissimilarity,
    }
    if kind not in penalties:
        raise ValueError(f"expected a kind among {', '.join(penalties)}, got {kind!r}")
    per_scale = []
    for scale, flow in enumerate(flows):
        before, after = (at_scale(image, flow, scale, reference) for image in (first, second))
        if reference:
            per_scale.append(_charbonnier(warp_reference(after, flow) - before, alpha, eps).sum())
            continue
        seen = in_view(flow).to(flow.dtype)
        if visible is not None:
            seen = seen * at_scale(visible, flow, scale)
        penalty = penalties[kind](warp(after, flow), before) * seen
        axes = (1, 2, 3)
        per_scale.append((penalty.sum(dim=axes) / (seen.sum(dim=axes) * first.shape[1]).clamp(min=1)).mean())
    return torch.stack(per_scale).mean()


def warp_reference(
    image: Tensor,  # [B, C, H, W]
    flow: Tensor,  # [B, 2, H, W], pixels
) -> Tensor:
    """The warp of the authors' loss: half a pixel off, and 0 wherever it reads anything from outside the image."""
    inside = warp(torch.ones_like(image), flow.detach(), aligned=False, padding="zeros") >= 0.9999
    return warp(image, flow, aligned=False, padding="zeros") * inside


def at_scale(image: Tensor, flow: Tensor, scale: int, reference: bool = False) -> Tensor:
    """The image at a flow's scale, whose pixels are blocks of 2^scale counted from the top left corner.

    Raises:
        ValueError: a flow of another size than that scale's.
    """
    height, width = image.shape[2:]
    factor = 2**scale
    expected = (len(image), 2, -(-height // factor), -(-width // factor))
    if tuple(flow.shape) != expected:
        raise ValueError(f"expected a flow {expected} at scale {scale}, got {tuple(flow.shape)}")
    if reference:
        return functional.interpolate(image, flow.shape[2:], mode="bilinear", align_corners=False)
    return functional.avg_pool2d(image, factor, ceil_mode=True, count_include_pad=False)


def _charbonnier(difference: Tensor, alpha: float, eps: float) -> Tensor:
    return (difference.square() + eps**2) ** alpha


def _census(one: Tensor, other: Tensor, radius: int = 2) -> Tensor:
    """The share of neighbours to which two pictures' pixels stand in another order, softly: 0 to 1."""
    total = torch.zeros_like(one)
    pads = (radius, radius, radius, radius)
    around, around_other = (functional.pad(picture, pads, mode="replicate") for picture in (one, other))
    height, width = one.shape[2:]
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            place = ..., slice(dy, dy + height), slice(dx, dx + width)
            apart = _order(around[place] - one) - _order(around_other[place] - other)
            total = total + apart.square() / (0.1 + apart.square())
    return total / ((2 * radius + 1) ** 2 - 1)


def _order(difference: Tensor) -> Tensor:
    """-1 (darker) to 1 (brighter), steepest within about a grey level or ten of none (UnFlow: 0.81 for 8 bits)."""
    scaled: Tensor = difference * 255 / 8
    return scaled * torch.rsqrt(0.81 + scaled.square())


def _dissimilarity(one: Tensor, other: Tensor) -> Tensor:
    """(1 - SSIM) / 2 of 3x3 windows, the pictures in 0..1."""
    mean_one, mean_other = (_mean_3x3(picture) for picture in (one, other))
    variance_one = _mean_3x3(one.square()) - mean_one.square()
    variance_other = _mean_3x3(other.square()) - mean_other.square()
    covariance = _mean_3x3(one * other) - mean_one * mean_other
    level = (2 * mean_one * mean_other + 0.01**2) / (mean_one.square() + mean_other.square() + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_one + variance_other + 0.03**2)
    return (1 - level * structure).clamp(0, 2) / 2


def _mean_3x3(picture: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
