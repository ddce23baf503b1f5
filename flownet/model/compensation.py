"""Motion compensation: slices of events moved back to where the motion began."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flownet.model.gru import in_sequence
from flownet.model.warp import warp


def moved_back(
    x: Tensor,  # [T, B, C, H, W]
    flow: Tensor,  # [K, B, 2, H, W], pixels
    ends: Sequence[int],
    middles: Sequence[float],
) -> Tensor:
    """Every slice read where the motion up to its middle has led; outside the picture there are no events: as x.

    Args:
        x: the slices, which are taken to last equally long.
        flow: from the beginning of the first slice to the ends of the slices `ends`.
        ends: K slices in order.
        middles: time at the middle of each slice, in slices; none after the last end.
    """
    paths = flow_at(flow, ends, middles)
    return in_sequence(warp(x.flatten(0, 1), paths.flatten(0, 1), padding="zeros"), x)


def middles_of(number: int, *, of: int, every: int) -> list[float]:
    """Middles in time of slices that are every `every`-th of `of` in an interval, in slices: [number]."""
    kept = -(-of // every)
    return [n // kept * kept + (every * (n % kept) + 0.5) * kept / of for n in range(number)]


def flow_at(
    flow: Tensor,  # [K, B, 2, h, w]
    ends: Sequence[int],
    times: Sequence[float],
) -> Tensor:
    """Flow up to N times, as if motion were uniform between those at which it is known: [N, B, 2, h, w].

    Args:
        flow: from time 0 to the ends of the slices `ends`, which last 1 each.
        ends: K slices in order.
        times: from 0 to the last end.
    """
    flows, known = [torch.zeros_like(flow[0]), *flow], [0.0, *(end + 1.0 for end in ends)]
    found = []
    for time in times:
        after = next(number for number, end in enumerate(known) if end >= time and number)
        share = (time - known[after - 1]) / (known[after] - known[after - 1])
        found.append(torch.lerp(flows[after - 1], flows[after], share))
    return torch.stack(found)
