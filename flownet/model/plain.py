"""STE-FlowNet as its authors' code goes about it: passes over slices over scales, everything anew at every step.

To read beside `STEFlowNet`, which computes the same faster; tests hold the two together, `make bench` compares them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from flownet.model.correlation import correlate
from flownet.model.encoder import SLOPE
from flownet.model.gru import ConvGRU
from flownet.model.steflownet import STEFlowNet
from flownet.model.warp import warp


class PlainSTEFlowNet:
    """A network's weights in the plain form, for inputs whose sides are multiples of 16.

    Args:
        model: whose weights (gates are copied, the rest is shared).

    Raises:
        ValueError: it compensates motion in several passes, which the paper's network does not.
    """

    def __init__(self, model: STEFlowNet) -> None:
        if model.config["compensate"] and model.iterations > 1:
            raise ValueError("expected a network of the paper's form, got one that compensates motion")
        self.model = model
        self.gates = [_gates(gru) for gru in model.encoder.grus if isinstance(gru, ConvGRU)]

    def __call__(
        self,
        x: Tensor,  # [B, T, C, H, W]
        slices: Sequence[int],
    ) -> list[Tensor]:
        """Flows at the slices, fine to coarse: four tensors [B, S, 2, h, w], as `Flows.pyramid`."""
        batch, number, _, height, width = x.shape
        flows = [[x.new_zeros(batch, 2, height // 2**s, width // 2**s) for s in range(4)] for _ in range(number)]
        hidden = [
            x.new_zeros(batch, len(gates[0][1]), height // 2**level, width // 2**level)
            for level, gates in enumerate(self.gates, 1)
        ]
        for _ in range(self.model.iterations):
            for index in range(number):
                hidden = self._encode(x[:, 0], x[:, index], flows[index], hidden)
                flows[index] = self.model.decoder(hidden, self.model.bottleneck(hidden[3]), flows[index])
        return [torch.stack([flows[index][scale] for index in slices], dim=1) for scale in range(4)]

    def _encode(self, first: Tensor, second: Tensor, flow: list[Tensor], hidden: list[Tensor]) -> list[Tensor]:
        """The new hidden states, from the slice at the reference time and another, [B, C, H, W]."""
        encoder = self.model.encoder
        before, after = self._pyramid(first), self._pyramid(second)
        entry, states = after[0], []
        for level in range(4):
            matched = after[level]
            if level < 3:
                matched = warp(matched, flow[level + 1], aligned=not encoder.reference)
            volume = functional.leaky_relu(correlate(before[level], matched, radius=encoder.radius), SLOPE)
            volume = functional.leaky_relu(volume, SLOPE) if encoder.reference else volume
            states.append(_step(self.gates[level], torch.cat([entry, volume], 1), hidden[level]))
            entry = encoder.strides[level](states[-1]) if level < 3 else entry
        return states

    def _pyramid(self, x: Tensor) -> list[Tensor]:
        pyramid = [self.model.encoder.stem(x)]
        for module in self.model.encoder.matching:
            pyramid.append(module(pyramid[-1]))
        return pyramid


def _gates(gru: ConvGRU) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the gates z, r and q, each over [hidden, input]."""
    assert gru.input.bias is not None
    recurrent = [*gru.recurrent_zr.weight.chunk(2), gru.recurrent_q.weight]
    inputs, biases = gru.input.weight.chunk(3), gru.input.bias.chunk(3)
    halves = zip(recurrent, inputs, strict=True)
    return [(torch.cat(pair, 1).detach(), bias) for pair, bias in zip(halves, biases, strict=True)]


def _step(gates: list[tuple[Tensor, Tensor]], x: Tensor, hidden: Tensor) -> Tensor:
    """z = sigmoid(W_z [h, x]), r = sigmoid(W_r [h, x]), q = tanh(W_q [r h, x]), h' = (1 - z) h + z q."""

    def gate(index: int, state: Tensor) -> Tensor:
        weight, bias = gates[index]
        return functional.conv2d(torch.cat([state, x], dim=1), weight, bias, padding=1)

    z, r = torch.sigmoid(gate(0, hidden)), torch.sigmoid(gate(1, hidden))
    return (1 - z) * hidden + z * torch.tanh(gate(2, r * hidden))
