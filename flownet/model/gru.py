"""Convolutional gated recurrent unit, over a whole sequence at a time.

Ballas et al., "Delving Deeper into Convolutional Networks for Learning Video Representations", ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from flownet.model import winograd


def gru_step(
    gates: Tensor,  # [B, 3 h, H, W], what the input adds to the gates z, r and q, biases included
    hidden: Tensor | None,  # [B, h, H, W]; None is zero
    recurrent_zr: Callable[[Tensor], Tensor],  # h -> 2 h, without bias
    recurrent_q: Callable[[Tensor], Tensor],  # h -> h, without bias
) -> Tensor:
    """The next hidden state [B, h, H, W].

    z = sigmoid(W_z [h, x]), r = sigmoid(W_r [h, x]), q = tanh(W_q [r h, x]), h' = (1 - z) h + z q.
    """
    z, r, q = gates.chunk(3, dim=1)
    if hidden is None:
        return torch.sigmoid(z) * torch.tanh(q)
    h_z, h_r = recurrent_zr(hidden).chunk(2, dim=1)
    update = torch.sigmoid(z + h_z)
    candidate = torch.tanh(q + recurrent_q(torch.sigmoid(r + h_r) * hidden))
    return torch.lerp(hidden, candidate, update)


def in_sequence(
    x: Tensor,  # [T B, ...]
    like: Tensor,  # [T, B, ...]
) -> Tensor:
    """A flat batch as the sequence [T, B, ...] that it came from."""
    return x.reshape(*like.shape[:2], *x.shape[1:])


class ConvGRU(nn.Module):
    """A GRU whose products are 3x3 convolutions.

    Each gate's convolution over [hidden, input] is split into its two halves: the input's half does not wait for the
    hidden state, so it runs for the whole sequence at once, and for the three gates in one convolution.
    """

    def __init__(self, *, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(in_channels, 3 * hidden_channels, 3, padding=1)
        self.recurrent_zr = nn.Conv2d(hidden_channels, 2 * hidden_channels, 3, padding=1, bias=False)
        self.recurrent_q = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, bias=False)
        self._kept: dict[str, tuple[tuple[int, int], Tensor]] = {}

    def add_to_gates(
        self,
        x: Tensor,  # [T, B, c, H, W], the first c channels of the input
    ) -> Tensor:
        """What a part of the input adds to the gates, biases included: [T, B, 3 h, H, W]."""
        return in_sequence(self._convolved(x.flatten(0, 1), 0, self.input.bias), x)

    def forward(
        self,
        x: Tensor,  # [T, B, C, H, W], or its last channels, if the gates have the others
        hidden: Tensor | None,  # [B, h, H, W], the state before the sequence; None is zero
        gates: Tensor | None = None,  # [T, B, 3 h, H, W], from the first channels of the input
    ) -> Tensor:
        """The hidden states after each step of the sequence: [T, B, h, H, W]."""
        if gates is None:
            gates = self.add_to_gates(x)
        else:
            first = self.input.in_channels - x.shape[2]
            gates = gates + in_sequence(self._convolved(x.flatten(0, 1), first), x)
        recurrent_zr: Callable[[Tensor], Tensor] = self.recurrent_zr
        recurrent_q: Callable[[Tensor], Tensor] = self.recurrent_q
        if winograd.pays(x):
            zr, q = self._transformed("recurrent_zr"), self._transformed("recurrent_q")
            recurrent_zr, recurrent_q = partial(winograd.convolve, weight=zr), partial(winograd.convolve, weight=q)
        states = []
        for step in gates.unbind(0):
            hidden = gru_step(step, hidden, recurrent_zr, recurrent_q)
            states.append(hidden)
        return torch.stack(states)

    def _convolved(self, x: Tensor, first: int, bias: Tensor | None = None) -> Tensor:
        """Channels of the input from the first-th on, [N, c, H, W], convolved: [N, 3 h, H, W]."""
        channels = slice(first, first + x.shape[1])
        if winograd.pays(x):
            return winograd.convolve(x, self._transformed("input")[:, :, channels], bias)
        return functional.conv2d(x, self.input.weight[:, channels], bias, padding=1)

    def _transformed(self, name: str) -> Tensor:
        """A convolution's weights for Winograd's way, transformed once for as long as they stay as they are."""
        weight = getattr(self, name).weight.detach()
        state = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        if name not in self._kept or self._kept[name][0] != state:
            self._kept[name] = state, winograd.transformed(weight)
        return self._kept[name][1]
