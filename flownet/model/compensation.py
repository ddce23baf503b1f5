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
    known = torch.cat([torch.zeros_like(flow[:1]), flow])
    times = [0.0, *(end + 1.0 for end in ends)]
    paths = []
    for middle in (index + 0.5 for index in range(len(x))):
        after = next(number for number, time in enumerate(times) if time > middle)
        share = (middle - times[after - 1]) / (times[after] - times[after - 1])
        paths.append(torch.lerp(known[after - 1], known[after], share))
    return in_sequence(warp(x.flatten(0, 1), torch.cat(paths), padding="zeros"), x)
