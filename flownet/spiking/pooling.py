"""Max-pooling of spikes by lateral inhibition."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flownet.model.gru import in_sequence
from flownet.spiking.arrivals import Graded, Mark
from flownet.spiking.neurons import Neuron, State


class LIPool2d(Neuron):
    """Max-pooling of accumulated inputs: the sum of its output is the maximum of its inputs' sums, at every micro-step.

    The lateral inhibition pooling of Li et al., 2022 (arXiv 2207.02702). There each window holds a potential per
    input, r += x; it puts out the largest, and takes that from all: r -= max r. So the potentials are the sums less
    what was put out, and an output is the step of the sums' maximum: computed here as that, for every window that
    max-pooling knows, padding, dilation and ceil mode included. Outputs are graded, and fall when inputs are taken
    back.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as `torch.nn.MaxPool2d`.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    @classmethod
    def of(cls, pool: nn.MaxPool2d) -> LIPool2d:
        """The pooling of spikes in the place of a max-pooling.

        Raises:
            ValueError: it returns indices, which sums do not have.
        """
        if pool.return_indices:
            raise ValueError("expected a max-pooling without indices, got return_indices=True")
        return cls(pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)

    def start(self, like: Tensor) -> State:
        """The sums so far."""
        return (torch.zeros_like(like),)

    def advance(
        self,
        currents: Tensor,  # [T, B, C, H, W]
        state: State,
    ) -> tuple[Tensor, State]:
        """Steps of the maximum [T, B, C, h, w], of all micro-steps at once."""
        sums = torch.cat([state[0][None], state[0] + currents.cumsum(0)])
        most = functional.max_pool2d(sums.flatten(0, 1), self.kernel_size, self.stride, self.padding, self.dilation,
                                     self.ceil_mode)  # fmt: skip
        return in_sequence(most, sums).diff(dim=0), (sums[-1],)

    def settled(self, state: State) -> bool:
        """Always: it answers at once."""
        return True

    def mark(self) -> Mark:
        """Graded values."""
        return Graded()

    def extra_repr(self) -> str:
        """As that of max-pooling."""
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")  # fmt: skip
