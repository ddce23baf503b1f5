"""The decoder of STE-FlowNet: flow at four scales, coarse to fine, each added to an earlier estimate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flownet.model.encoder import SLOPE


def deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    """A transposed 4x4 convolution that doubles the resolution, and a LeakyReLU(0.1)."""
    return nn.Sequential(nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1), nn.LeakyReLU(SLOPE))


def flow_head(in_channels: int, between: int) -> nn.Sequential:
    """Features to flow at twice their resolution, all linear: the flow is in pixels of its own scale."""
    return nn.Sequential(nn.ConvTranspose2d(in_channels, between, 4, 2, 1), nn.Conv2d(between, 2, 1))


class Decoder(nn.Module):
    """Scale by scale, [state of the GRU, upsampled features, flow of the coarser scale] to flow.

    Args:
        heads: four modules from features to flow at twice their resolution, fine to coarse.
        deconvs: three modules from features to features at twice their resolution, fine to coarse.
    """

    def __init__(self, *, heads: Sequence[nn.Module], deconvs: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.deconvs = nn.ModuleList(deconvs)

    def forward(
        self,
        states: Sequence[Tensor],  # four [N, h_l, h, w], 1/2 to 1/16
        bottleneck: Tensor,  # [N, C, h, w] at 1/16
        flows: Sequence[Tensor] | None,  # four [N, 2, h, w], full resolution to 1/8, the estimate before; None is zero
    ) -> list[Tensor]:
        """Flows at full resolution, 1/2, 1/4 and 1/8: [N, 2, h, w], each in pixels of its own scale."""
        refined: list[Tensor] = []
        x = torch.cat([states[-1], bottleneck], dim=1)
        for level in reversed(range(len(states))):
            flow = self.heads[level](x)
            # Estimates add up over passes: under autocast they are kept as float32.
            flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
            refined.insert(0, flow if flows is None else flow + flows[level])
            if level:
                x = torch.cat([states[level - 1], self.deconvs[level - 1](x), refined[0]], dim=1)
        return refined
