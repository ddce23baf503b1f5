"""What a tensor carries to a synapse: spikes, or graded values that must be multiplied.

A mark says where a tensor comes from, and is worked out only when synaptic operations are counted (see `ledger`). A
tensor without a mark is analog: every one of its values meets every one of its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_MARK = "_arrivals"


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Events per value of a tensor, of its shape.

    Args:
        spikes: unit spikes, each an addition per synapse; a burst of three or the sum of three spikes counts three.
        graded: 1 where a value must be multiplied, else 0.
    """

    spikes: Tensor
    graded: Tensor

    def of(self, x: Tensor) -> Arrivals:
        """Itself: a mark that is already worked out."""
        return self


class Mark(Protocol):
    """How to tell what a tensor carries."""

    def of(self, x: Tensor) -> Arrivals:
        """The events of that tensor."""
        ...


@dataclass(frozen=True, eq=False)
class Spikes:
    """Whole multiples of an amplitude: so many spikes.

    Args:
        amplitude: what one spike is worth, a scalar or [C] along the channels (axis 1).
    """

    amplitude: Tensor

    def of(self, x: Tensor) -> Arrivals:
        """|x| / amplitude spikes, nothing graded."""
        return Arrivals(spikes=(x / along_channels(self.amplitude, x)).abs().round(), graded=torch.zeros_like(x))


@dataclass(frozen=True)
class Graded:
    """Values that arrive once: at the first of the micro-steps, where they stay on the line or are followed by nothing.

    Args:
        batch: of the samples; those of the first micro-step come first.
        fresh: the values of the first micro-step are new. None: those of every micro-step are.
    """

    batch: int = 0
    fresh: bool | None = None

    def of(self, x: Tensor) -> Arrivals:
        """A graded event per value that arrives and is not zero."""
        graded = (x != 0).to(x.dtype)
        if self.fresh is not None:
            graded[self.batch if self.fresh else 0 :] = 0
        return Arrivals(spikes=torch.zeros_like(x), graded=graded)


def mark(x: Tensor, how: Mark) -> Tensor:
    """The tensor itself, with a mark."""
    setattr(x, _MARK, how)
    return x


def unmark(x: Tensor) -> None:
    """Takes a tensor's mark away: it was written to."""
    if hasattr(x, _MARK):
        delattr(x, _MARK)


def arrivals(x: Tensor) -> Arrivals | None:
    """What a tensor carries; None where that is unknown."""
    how: Mark | None = getattr(x, _MARK, None)
    return None if how is None else how.of(x)


def along_channels(
    value: Tensor,  # [] or [C]
    x: Tensor,  # [N, C, ...]
) -> Tensor:
    """A value per channel in the shape that broadcasts over axis 1; a scalar as it is."""
    return value if value.ndim == 0 else value.reshape(1, -1, *[1] * (x.ndim - 2))
