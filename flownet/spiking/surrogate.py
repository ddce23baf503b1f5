"""Gradients through firing: a step forwards, a smooth bump backwards.

A membrane m with threshold V fires where m >= V. All surrogates are written for u = m / (2 V), so that the threshold
lies at 1/2 and a spike of value 1 at V = 1/2 leaves u = m: the scale in which the membrane potential rectifier is
defined (Guo et al., "Reducing Information Loss for Spiking Neural Networks", ECCV 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

#: `straight`: 1 on (0, 1), the straight-through gradient of clamp(u, 0, 1). `mpr`: the rectifier's slope there.
#: `arctan`: 1 / (1 + (pi (2 u - 1))^2), which reaches every membrane.
Surrogate = Literal["straight", "mpr", "arctan"]

_STEEPNESS = 3.0


def rectify_potential(
    u: Tensor,  # any shape, membranes whose threshold is 1/2
) -> Tensor:
    """The membrane potential rectifier of the same paper: potentials drawn towards 0 and 1, the threshold unmoved.

    phi(u) = 1 - (1 - u)^(1/3) for u < 0; tanh(3 (u - 1/2)) / (2 tanh(3/2)) + 1/2 for 0 <= u <= 1; u^(1/3) above.
    As phi(u) >= 1/2 exactly where u >= 1/2, it changes no spike: what it changes is the gradient.
    """
    between = torch.tanh(_STEEPNESS * (u - 0.5)) / (2 * math.tanh(_STEEPNESS / 2)) + 0.5
    below = 1 - (1 - u.clamp(max=0)) ** (1 / 3)
    return torch.where(u < 0, below, torch.where(u > 1, u.clamp(min=1) ** (1 / 3), between))


def fire(
    membrane: Tensor,  # any shape
    threshold: Tensor,  # broadcastable to it
    surrogate: Surrogate,
) -> Tensor:
    """1 where membrane >= threshold, else 0, with the surrogate's gradient for the membrane (none for the threshold).

    Raises:
        ValueError: an unknown surrogate.
    """
    if surrogate not in _SLOPES:
        raise ValueError(f"expected a surrogate of {', '.join(get_args(Surrogate))}, got {surrogate!r}")
    spikes: Tensor = _Fire.apply(membrane, threshold, surrogate)  # type: ignore[no-untyped-call]
    return spikes


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, membrane: Tensor, threshold: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(membrane, threshold)
        ctx.surrogate = surrogate
        return (membrane >= threshold).to(membrane.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        membrane, threshold = ctx.saved_tensors
        slope = _SLOPES[ctx.surrogate](membrane / (2 * threshold))
        return grad * slope / (2 * threshold), None, None


def _inside(u: Tensor) -> Tensor:
    return ((u > 0) & (u < 1)).to(u.dtype)


def _mpr(u: Tensor) -> Tensor:
    # Of the rectifier's three branches only the middle one lies where a straight-through gradient passes.
    return _inside(u) * _STEEPNESS / (2 * math.tanh(_STEEPNESS / 2)) * (1 - torch.tanh(_STEEPNESS * (u - 0.5)) ** 2)


def _arctan(u: Tensor) -> Tensor:
    return 1 / (1 + (math.pi * (2 * u - 1)) ** 2)


_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {"straight": _inside, "mpr": _mpr, "arctan": _arctan}
