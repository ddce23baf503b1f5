"""Networks that are trained as spiking ones: neurons that run over time within an ordinary network.

Time is the first axis, [T, B, ...]: micro-steps of a picture, or slices of a recording. Nothing is kept from call to
call, so that parts of a batch may be worked on side by side.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from flownet.model.gru import in_sequence
from flownet.spiking.arrivals import Graded, mark
from flownet.spiking.neurons import IF, LIF, SRIF, Neuron
from flownet.spiking.surrogate import Surrogate

#: `if`, `lif`: hard reset. `srif`: soft reset by the spike's value (Guo et al., "Reducing Information Loss for Spiking
#: Neural Networks", ECCV 2022); `srif_mpr`: with their membrane potential rectifier as the gradient of firing.
Kind = Literal["if", "lif", "srif", "srif_mpr"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def neuron(kind: Kind, *, leak: float = 0.5, surrogate: Surrogate | None = None) -> IF:
    """A neuron to train with: threshold 1/2, spikes of value 1.

    Args:
        kind: see `Kind`.
        leak: share of the potential that is left after a step, of `lif`.
        surrogate: gradient of firing; by default the rectifier's for `srif_mpr` and straight-through for the others.

    Raises:
        ValueError: an unknown kind, or a leak as `IF`.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of neuron of {', '.join(KINDS)}, got {kind!r}")
    gradient: Surrogate = surrogate or ("mpr" if kind == "srif_mpr" else "straight")
    if kind == "if":
        return IF(0.5, reset="hard", amplitude=1.0, surrogate=gradient)
    if kind == "lif":
        return LIF(0.5, leak=leak, surrogate=gradient)
    return SRIF(surrogate=gradient)


class OverTime(nn.Sequential):
    """Modules one after another, [T, B, ...] to [T, B, ...]: neurons see time, all others a single batch of T B.

    Batch normalisation in it thus takes its statistics over time too, as `norm.ThresholdBatchNorm2d` is to.
    """

    #: Whether steps are micro-steps of one value, all of which an ordinary network computes once; or slices, which it
    #: computes one by one.
    micro_steps = False

    def forward(self, x: Tensor) -> Tensor:
        """What comes out, step by step."""
        for module in self:
            x = mark(module(x), module.mark()) if isinstance(module, Neuron) else _each(module, x)
        return x


class DirectNetwork(nn.Module):
    """A spiking network for pictures or their slices, whose output is the mean of its last layer's over time.

    Args:
        layers: from [T, B, ...] to [T, B, classes]; the last one has no neurons.
        steps: a picture that comes as a single slice is shown for so many micro-steps (direct coding: the first layer
            and its neurons turn it into spikes).

    Raises:
        ValueError: fewer than one step.
    """

    def __init__(self, layers: OverTime, *, steps: int = 4) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"expected 1 or more steps, got {steps}")
        self.layers = layers
        self.layers.micro_steps = True
        self.steps = steps

    def forward(
        self,
        x: Tensor,  # [B, S, C, H, W], or [B, C, H, W] for a single slice
    ) -> Tensor:
        """[B, classes]."""
        return self.over_time(x).mean(0)

    def over_time(self, x: Tensor) -> Tensor:
        """The last layer's currents at each step: [T, B, classes]."""
        slices = x[:, None] if x.ndim == 4 else x
        shown = slices.transpose(0, 1)
        fresh = None if len(shown) > 1 else True  # a picture that stays on the line is multiplied once
        steps = shown if len(shown) > 1 else shown.expand(self.steps, *shown.shape[1:])
        arriving = mark(steps.flatten(0, 1).clone(), Graded(batch=len(x), fresh=fresh))
        found: Tensor = self.layers(in_sequence(arriving, steps))
        return found


def _each(module: nn.Module, x: Tensor) -> Tensor:
    """A module for single samples over a sequence of them."""
    return in_sequence(module(x.flatten(0, 1)), x)
