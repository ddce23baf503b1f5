"""Activations of a few levels, which neurons reproduce: a staircase over a monotone drive.

Every quantiser is q clip(floor(f(x) / q + 1/2), low, high), of a quantum q, a monotone f and whole bounds. So a neuron
that counts its spikes and moves the count towards the staircase's level of its summed input comes to rest at exactly
the same value, in whatever order that input arrives (`signed.STBIF`): two-sided, with a slope, or with an offset.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from flownet.spiking.arrivals import along_channels


def floor_through(x: Tensor) -> Tensor:
    """floor(x) with the gradient of x (straight-through)."""
    return x + (x.floor() - x).detach()


class Quantiser(nn.Module):
    """A staircase; subclasses say its quantum and its drive.

    Args:
        low, high: the lowest and highest level, quanta; infinite ones do not clip.

    Raises:
        ValueError: low is not below high.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"expected a lowest level below the highest, got {low} and {high}")
        self.low = low
        self.high = high

    @property
    def quantum(self) -> Tensor:
        """What one level is worth, positive: a scalar or [C]."""
        raise NotImplementedError

    def drive(
        self,
        x: Tensor,  # [N, C, ...]
    ) -> Tensor:
        """f(x) / q, before rounding."""
        raise NotImplementedError

    def level(self, x: Tensor) -> Tensor:
        """The level of each value, whole numbers as floats: clip(floor(f(x) / q + 1/2), low, high)."""
        return (self.drive(x) + 0.5).clamp(self.low, self.high).floor()

    def forward(self, x: Tensor) -> Tensor:
        """The quantised activation, with straight-through gradients between the bounds."""
        return along_channels(self.quantum, x) * floor_through((self.drive(x) + 0.5).clamp(self.low, self.high))


class _Learned(Quantiser):
    """A quantiser whose outermost level, the threshold, is learned; kept positive as softplus of a parameter."""

    def __init__(self, levels: int, threshold: float | Tensor, low: int, slope: float) -> None:
        super().__init__(low, _whole(levels))
        self.levels = levels
        self.slope = slope
        self.raw_threshold = nn.Parameter(_before_softplus(torch.as_tensor(threshold, dtype=torch.get_default_dtype())))

    @property
    def threshold(self) -> Tensor:
        """The learned threshold lambda, the value of the highest level: a scalar or [C].

        Setting it makes a new parameter: do so before an optimiser is made.
        """
        return functional.softplus(self.raw_threshold)

    @threshold.setter
    def threshold(self, value: float | Tensor) -> None:
        target = torch.as_tensor(value, dtype=self.raw_threshold.dtype, device=self.raw_threshold.device)
        self.raw_threshold = nn.Parameter(_before_softplus(target))

    @property
    def quantum(self) -> Tensor:
        """lambda / L."""
        return self.threshold / self.levels

    def drive(self, x: Tensor) -> Tensor:
        """leaky(x) L / lambda."""
        quanta = x * self.levels / along_channels(self.threshold, x)
        return quanta if self.slope == 1 else torch.where(quanta < 0, self.slope * quanta, quanta)

    def extra_repr(self) -> str:
        """Levels, and slope where there is one."""
        return f"levels={self.levels}" + ("" if self.slope == 1 else f", slope={self.slope}")


class QCFS(_Learned):
    """Quantised ReLU with learned clip: lambda clip(floor(x L / lambda + 1/2) / L, 0, 1).

    Bu et al., "Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency Spiking Neural Networks", ICLR 2022.
    Gradients as in the authors' code: d/dx is 1 for -lambda / 2L < x < lambda - lambda / 2L, else 0; d/dlambda is
    (h - x) / lambda there, 0 below and 1 above.

    Args:
        levels: L, 1 or more.
        threshold: lambda to start from, positive: a scalar or [C]. Small ones clip most of an untrained network.

    Raises:
        ValueError: fewer levels, or a threshold that is not positive.
    """

    def __init__(self, levels: int = 8, threshold: float | Tensor = 8.0) -> None:
        super().__init__(levels, threshold, low=0, slope=1)


class QuantisedLeakyReLU(_Learned):
    """Quantised LeakyReLU, clipped on both sides: lambda clip(floor(leaky(x) L / lambda + 1/2) / L, -1, 1).

    The levels lie on the output's grid, so that on the side of the slope a step is 1 / slope times as wide.

    Args:
        levels: L per side, 1 or more.
        slope: of negative inputs, 0 to 1; 0 makes it a ReLU.
        threshold: lambda to start from, positive: a scalar or [C].

    Raises:
        ValueError: fewer levels, another slope, or a threshold that is not positive.
    """

    def __init__(self, levels: int = 8, slope: float = 0.1, threshold: float | Tensor = 8.0) -> None:
        if not 0 <= slope <= 1:
            raise ValueError(f"expected a slope from 0 to 1, got {slope}")
        super().__init__(levels, threshold, low=-_whole(levels), slope=slope)


class _Fixed(Quantiser):
    def __init__(self, levels: int, low: int) -> None:
        super().__init__(low, _whole(levels))
        self.levels = levels
        # So that the quantum is divided out in the present precision, not rounded in the one at the start.
        self.register_buffer("_one", torch.ones(()), persistent=False)
        self._one: Tensor

    @property
    def quantum(self) -> Tensor:
        """1 / G."""
        return self._one / self.levels

    def extra_repr(self) -> str:
        """Levels."""
        return f"levels={self.levels}"


class HardSigmoidQ(_Fixed):
    """Hard sigmoid clip(x / 4 + 1/2, 0, 1), rounded to multiples of 1 / G.

    Args:
        levels: G, 1 or more.

    Raises:
        ValueError: fewer levels.
    """

    def __init__(self, levels: int = 16) -> None:
        super().__init__(levels, low=0)

    def drive(self, x: Tensor) -> Tensor:
        """G (x / 4 + 1/2)."""
        return self.levels * (x / 4 + 0.5)


class HardTanhQ(_Fixed):
    """Hard tanh clip(x, -1, 1), rounded to multiples of 1 / G.

    Args:
        levels: G per side, 1 or more.

    Raises:
        ValueError: fewer levels.
    """

    def __init__(self, levels: int = 16) -> None:
        super().__init__(levels, low=-levels)

    def drive(self, x: Tensor) -> Tensor:
        """G x."""
        return self.levels * x


class Counted(_Fixed):
    """Rounds what already is in quanta of 1 / G, within -1 to 1: a state computed from whole counts, without ties that
    hang on the last digit.

    Args:
        levels: G per side, 1 or more.

    Raises:
        ValueError: fewer levels.
    """

    def __init__(self, levels: int = 16) -> None:
        super().__init__(levels, low=-levels)

    def drive(self, x: Tensor) -> Tensor:
        """Itself."""
        return x


class Staircase(Quantiser):
    """An unclipped staircase, for neurons that nothing but their rate bounds: theta floor(f(x) / theta + 1/2).

    Args:
        threshold: theta, positive: a scalar or [C].
        slope: of negative inputs; 0 for a ReLU.

    Raises:
        ValueError: a threshold that is not positive.
    """

    def __init__(self, threshold: float | Tensor, slope: float = 0.0) -> None:
        super().__init__(0 if slope == 0 else -math.inf, math.inf)
        self.slope = slope
        self.register_buffer("threshold", positive(threshold))
        self.threshold: Tensor

    @property
    def quantum(self) -> Tensor:
        """theta."""
        return self.threshold

    def drive(self, x: Tensor) -> Tensor:
        """leaky(x) / theta."""
        quanta = x / along_channels(self.threshold, x)
        return torch.where(quanta < 0, self.slope * quanta, quanta)


def positive(threshold: float | Tensor) -> Tensor:
    """A threshold as a float tensor [] or [C].

    Raises:
        ValueError: it is not positive, or has more axes.
    """
    value = torch.as_tensor(threshold)
    value = value.detach().clone() if value.is_floating_point() else value.to(torch.get_default_dtype())
    if value.ndim > 1 or (not value.is_meta and not bool((value > 0).all())):
        raise ValueError(f"expected a positive threshold, one or one per channel, got {threshold}")
    return value


def _before_softplus(threshold: Tensor) -> Tensor:
    value = positive(threshold)
    # log(exp(v) - 1), written so that large thresholds do not overflow.
    return value + torch.log(-torch.expm1(-value))


def _whole(levels: int) -> int:
    if levels < 1:
        raise ValueError(f"expected 1 or more levels, got {levels}")
    return levels
