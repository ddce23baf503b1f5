"""Integrate-and-fire neurons over a window of micro-steps, for training and for inference.

A neuron takes currents [T, B, ...] and gives spikes of the same shape, amplitude included. In each micro-step

    m = leak v + x;  fires where m >= threshold;  v = m - reset (soft) or 0 (hard) where it fired

State is passed and returned, never kept: a window that is cut into chunks gives the same spikes as in one piece.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flownet.spiking.arrivals import Mark, Spikes, along_channels
from flownet.spiking.quantise import positive
from flownet.spiking.surrogate import Surrogate, fire

State = tuple[Tensor, ...]


class Neuron(nn.Module):
    """What spikes over a window: subclasses say how a state starts and goes on."""

    def start(
        self,
        like: Tensor,  # [B, ...], the current of one micro-step
    ) -> State:
        """The state before the first micro-step."""
        raise NotImplementedError

    def advance(
        self,
        currents: Tensor,  # [T, B, ...]
        state: State,
    ) -> tuple[Tensor, State]:
        """Spikes [T, B, ...] of these micro-steps, and the state after them."""
        raise NotImplementedError

    def settled(self, state: State) -> bool:
        """Whether it would stay silent as long as nothing arrives."""
        raise NotImplementedError

    def mark(self) -> Mark:
        """What its output carries to the next synapse."""
        raise NotImplementedError

    def forward(
        self,
        currents: Tensor,  # [T, B, ...]
    ) -> Tensor:
        """Spikes [T, B, ...] of a whole window."""
        return self.advance(currents, self.start(currents[0]))[0]


class IF(Neuron):
    """Integrate-and-fire; with a leak below 1, LIF.

    With soft reset, half the threshold to start from and a constant current z, its mean output is exactly
    `quantise.QCFS` of z with L = T levels (Bu et al., ICLR 2022); that start also minimises the expected squared error
    of any conversion (Bu et al., "Optimized Potential Initialization for Low-latency Spiking Neural Networks",
    AAAI 2022).

    Args:
        threshold: positive, a scalar or [C] along axis 1 of a micro-step's current.
        initial: potential to start from, as a share of the threshold: a scalar or [C].
        reset: "soft" subtracts, "hard" starts from 0 again.
        burst: most spikes in a micro-step (Li and Zeng, "Efficient and Accurate Conversion of Spiking Neural Network
            with Burst Spikes", IJCAI 2022). QCFS networks must not burst: their clip is part of what they learned.
        leak: share of the potential that is left after a micro-step, above 0 and up to 1.
        amplitude: value of a spike; by default the threshold.
        reset_by: what a soft reset takes per spike; by default the threshold.
        surrogate: gradient of firing; only spikes without bursts have one.
        detach_reset: let no gradients through the reset.

    Raises:
        ValueError: a threshold that is not positive, a burst below 1, another leak, or an unknown reset.
    """

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        *,
        initial: float | Tensor = 0.0,
        reset: Literal["soft", "hard"] = "soft",
        burst: int = 1,
        leak: float = 1.0,
        amplitude: float | Tensor | None = None,
        reset_by: float | Tensor | None = None,
        surrogate: Surrogate = "straight",
        detach_reset: bool = False,
    ) -> None:
        super().__init__()
        if burst < 1 or not 0 < leak <= 1:
            raise ValueError(f"expected a burst of 1 or more and a leak above 0 and up to 1, got {burst} and {leak}")
        if reset not in ("soft", "hard"):
            raise ValueError(f"expected a reset 'soft' or 'hard', got {reset!r}")
        self.register_buffer("threshold", positive(threshold))
        self.register_buffer("initial", torch.as_tensor(initial, dtype=self.threshold.dtype))
        self.register_buffer("amplitude", positive(threshold if amplitude is None else amplitude))
        self.register_buffer("reset_by", positive(threshold if reset_by is None else reset_by))
        self.threshold: Tensor
        self.initial: Tensor
        self.amplitude: Tensor
        self.reset_by: Tensor
        self.reset = reset
        self.burst = burst
        self.leak = leak
        self.surrogate: Surrogate = surrogate
        self.detach_reset = detach_reset

    def start(self, like: Tensor) -> State:
        """The initial potential, as large as the current."""
        return (torch.zeros_like(like) + along_channels((self.initial * self.threshold).to(like.dtype), like),)

    def advance(self, currents: Tensor, state: State) -> tuple[Tensor, State]:
        """Micro-step by micro-step: see the module."""
        (potential,) = state
        threshold, reset_by, amplitude = (
            along_channels(value.to(currents.dtype), currents[0])
            for value in (self.threshold, self.reset_by, self.amplitude)
        )
        spikes = []
        for current in currents.unbind(0):
            membrane = current + (potential if self.leak == 1 else self.leak * potential)
            fired = self._fired(membrane, threshold)
            spikes.append(fired)
            taken = fired.detach() if self.detach_reset else fired
            potential = membrane - reset_by * taken if self.reset == "soft" else membrane * (1 - taken.clamp(max=1))
        return amplitude * torch.stack(spikes), (potential,)

    def mark(self) -> Mark:
        """Spikes of its amplitude."""
        return Spikes(self.amplitude)

    def _fired(self, membrane: Tensor, threshold: Tensor) -> Tensor:
        if self.burst > 1:
            return (membrane / threshold).floor().clamp(0, self.burst)
        return fire(membrane, threshold, self.surrogate)

    def extra_repr(self) -> str:
        """What is not a tensor."""
        return f"reset={self.reset}, burst={self.burst}, leak={self.leak}, surrogate={self.surrogate}"


class LIF(IF):
    """Leaky integrate-and-fire with hard reset and spikes of value 1: m = leak v + x.

    Args:
        threshold: positive, a scalar or [C].
        leak: share of the potential that is left after a micro-step.
        surrogate: gradient of firing.
        detach_reset: let no gradients through the reset.

    Raises:
        ValueError: as `IF`.
    """

    def __init__(
        self,
        threshold: float | Tensor = 0.5,
        *,
        leak: float = 0.5,
        surrogate: Surrogate = "straight",
        detach_reset: bool = False,
    ) -> None:
        super().__init__(threshold, reset="hard", leak=leak, amplitude=torch.ones_like(positive(threshold)),
                         surrogate=surrogate, detach_reset=detach_reset)  # fmt: skip


class SRIF(IF):
    """Soft-reset integrate-and-fire of InfLoR-SNN: a reset takes the spike's value, 1, which is twice the threshold.

    Guo et al., "Reducing Information Loss for Spiking Neural Networks", ECCV 2022. Inputs of 1.5, 1.2, 1.5, 0.9 and
    1.4 thresholds make it fire three times, IF with hard reset four, and IF that takes the threshold five.

    Args:
        surrogate: "mpr", the membrane potential rectifier, which changes gradients and no spike; or another.
        detach_reset: let no gradients through the reset.
    """

    def __init__(self, *, surrogate: Surrogate = "mpr", detach_reset: bool = False) -> None:
        super().__init__(0.5, amplitude=1.0, reset_by=1.0, surrogate=surrogate, detach_reset=detach_reset)


def spikes_of_constant(
    current: Tensor,  # [B, ...]
    steps: int,
    *,
    threshold: float | Tensor,
    initial: float = 0.5,
) -> Tensor:
    """How often IF with soft reset and a start at 0 to 1 thresholds fires on a constant current, at once: [B, ...].

    clip(floor((z T + v0) / theta), 0, T), the map that QCFS is the activation of.

    Raises:
        ValueError: fewer than one micro-step, a start outside of 0 to 1, or a threshold that is not positive.
    """
    if steps < 1 or not 0 <= initial <= 1:
        raise ValueError(f"expected 1 or more steps and a start from 0 to 1, got {steps} and {initial}")
    theta = along_channels(positive(threshold).to(current.dtype), current)
    return (current * steps / theta + initial).floor().clamp(0, steps)
