"""Motion compensation: slices of events moved back to where the motion began."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flownet.model.gru import in_sequence
from flownet.model.warp import warp


def moved_back(
    x: Tensor,  # [T, B, C, H, W]
    flow: Tensor,  # [K, B, 2, H, W], pixels, from the beginning of the first slice
    ends: Sequence[int],
) -> Tensor:
    """Every slice read where the motion up to its middle has led; no events are outside the picture: as x.

    Args:
        x: the slices, which last equally long.
        flow: up to the ends of the slices `ends`; between these the motion is taken as uniform.
        ends: K slices in order, the last one T - 1.
    """
    shares = _shares(len(x), ends).to(flow)
    paths = torch.einsum("tk,kbchw->tbchw", shares, flow)
    return in_sequence(warp(x.flatten(0, 1), paths.flatten(0, 1), padding="zeros"), x)


def _shares(slices: int, ends: Sequence[int]) -> Tensor:
    """Of the flow up to each end in that up to the middle of each slice: [T, K]."""
    shares = torch.zeros(slices, len(ends))
    times = [end + 1.0 for end in ends]
    for index in range(slices):
        after = next(number for number, time in enumerate(times) if time > index)
        before = times[after - 1] if after else 0.0
        share = (index + 0.5 - before) / (times[after] - before)
        shares[index, after] = share
        if after:
            shares[index, after - 1] = 1 - share
    return shares
