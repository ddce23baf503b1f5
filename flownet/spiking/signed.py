"""Neurons that can take a spike back: their sum does not hang on the order in which inputs arrive."""

from __future__ import annotations

import torch
from torch import Tensor

from flownet.spiking.arrivals import Mark, Spikes, along_channels
from flownet.spiking.neurons import IF, Neuron, State
from flownet.spiking.quantise import Quantiser


class STBIF(Neuron):
    """Spike-tracing bipolar integrate-and-fire: counts its spikes, and moves the count towards its staircase's level.

    You et al., "SpikeZIP-TF: Conversion is All You Need for Transformer-based SNN", ICML 2024. There, with a potential
    v that starts at q / 2: v += x; +1 spike if v >= q and the count is below `high`, -1 if v < 0 and it is above
    `low`; v -= q spike. As v = sum x + q / 2 - q count, that is one step of the count towards
    clip(floor(sum x / q + 1/2), low, high): so it is written here, where the same expression as in the quantiser
    leaves no room for rounding, and where a slope on the negative side or an offset are no different.

    At rest the sum of its output is the quantiser of the sum of its input. With an unclipped staircase and a constant
    current at every micro-step, its mean output is that of a signed IF with one threshold for each sign (Kim et al.,
    "Spiking-YOLO", AAAI 2020), except that it never holds on to a spike that later input belies.

    Args:
        quantiser: the staircase.
        burst: most spikes of one sign in a micro-step.

    Raises:
        ValueError: a burst below 1.
    """

    def __init__(self, quantiser: Quantiser, *, burst: int = 1) -> None:
        super().__init__()
        if burst < 1:
            raise ValueError(f"expected a burst of 1 or more, got {burst}")
        self.quantiser = quantiser
        self.burst = burst

    def start(self, like: Tensor) -> State:
        """Nothing summed, nothing counted. A staircase whose level of 0 is not 0 (a sigmoid's) fires at rest."""
        return torch.zeros_like(like), torch.zeros_like(like)

    def advance(self, currents: Tensor, state: State) -> tuple[Tensor, State]:
        """Micro-step by micro-step, at most `burst` levels each."""
        total, count = state
        spikes = []
        for current in currents.unbind(0):
            total = total + current
            fired = (self.quantiser.level(total) - count).clamp(-self.burst, self.burst)
            count = count + fired
            spikes.append(fired)
        return along_channels(self.quantiser.quantum, currents[0]) * torch.stack(spikes), (total, count)

    def settled(self, state: State) -> bool:
        """Whether every count has reached its level."""
        total, count = state
        return torch.equal(self.quantiser.level(total), count)

    def mark(self) -> Mark:
        """Spikes of either sign."""
        return Spikes(self.quantiser.quantum)


class CalibratedIF(IF):
    """IF with soft reset that takes back spikes of a neuron that has fallen silent, by its inter-spike interval.

    The spike calibration of Li et al., "Spike Calibration: Fast and Accurate Conversion of Spiking Neural Network for
    Object Detection and Segmentation", 2022 (arXiv 2207.02702): neurons that should be inactive fire on the first,
    uneven inputs. A neuron that has been silent for longer than its mean interval (time of the last spike over number
    of spikes) and an allowance emits -1, until it fires again or nothing is left to take back.

    The charge of a spike that is taken back returns to the potential, so that charge is conserved; a potential of 0 or
    more is left alone, since it would fire the same spike again.

    Args:
        threshold: positive, a scalar or [C].
        allowance: micro-steps of silence beyond the mean interval; the authors take half of the window or all of it.
        initial: potential to start from, as a share of the threshold.
        burst: most spikes in a micro-step.

    Raises:
        ValueError: a negative allowance, or as `IF`.
    """

    def __init__(
        self, threshold: float | Tensor, *, allowance: float, initial: float | Tensor = 0.5, burst: int = 1
    ) -> None:
        super().__init__(threshold, initial=initial, burst=burst)
        if allowance < 0:
            raise ValueError(f"expected an allowance of 0 or more micro-steps, got {allowance}")
        self.allowance = allowance

    def start(self, like: Tensor) -> State:
        """Potential; positive spikes; spikes less those taken back; time of the last spike; time."""
        zero = torch.zeros_like(like)
        return (*super().start(like), zero, zero, zero, like.new_zeros(()))

    def advance(self, currents: Tensor, state: State) -> tuple[Tensor, State]:
        """Micro-step by micro-step: fires as IF does, then takes back."""
        potential, number, net, last, now = state
        theta = along_channels(self.threshold.to(currents.dtype), currents[0])
        spikes = []
        for current in currents.unbind(0):
            now = now + 1
            potential = potential + current
            fired = (potential / theta).floor().clamp(0, self.burst)
            number = number + fired
            last = torch.where(fired > 0, now, last)
            silent = now - last > last / number.clamp(min=1) + self.allowance
            fired = torch.where(silent & (fired == 0) & (net > 0) & (potential < 0), -1, fired)
            potential = potential - theta * fired
            net = net + fired
            spikes.append(fired)
        return theta * torch.stack(spikes), (potential, number, net, last, now)
