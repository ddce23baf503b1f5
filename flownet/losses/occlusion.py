"""What of the first image is still seen in the second, by the flows there and back."""

from __future__ import annotations

from torch import Tensor

from flownet.model.warp import in_view, warp


def backwards(
    slices: Tensor,  # [B, T, C, H, W]
) -> Tensor:
    """The slices as the same scene would make them with time run backwards: in the other order, ON for OFF."""
    turned = slices.flip(1)
    return turned.flip(2) if slices.shape[2] == 2 else turned


def consistent(
    forward: Tensor,  # [B, 2, H, W], pixels
    backward: Tensor,  # [B, 2, H, W], from the second image to the first
) -> Tensor:
    """Where the way there and back ends near its start: 1.0 or 0.0, [B, 1, H, W], without gradient.

    |f + b(x + f)|^2 < 0.01 (|f|^2 + |b|^2) + 0.5, after Sundaram et al., ECCV 2010; pixels out of view are not.
    """
    forward, backward = forward.detach(), backward.detach()
    returned = warp(backward, forward)
    apart = (forward + returned).square().sum(dim=1, keepdim=True)
    lengths = forward.square().sum(dim=1, keepdim=True) + returned.square().sum(dim=1, keepdim=True)
    return ((apart < 0.01 * lengths + 0.5) & in_view(forward)).to(forward.dtype)
