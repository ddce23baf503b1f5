"""First weights of a network."""

from __future__ import annotations

import math

import torch
from torch import nn

from flownet.model.encoder import SLOPE
from flownet.model.gru import ConvGRU


def initialise(model: nn.Module, *, reference: bool, generator: torch.Generator | None = None) -> None:
    """Draws normal weights for every convolution, and zero biases; by default from torch's global generator.

    By default with the variance that keeps a LeakyReLU's scale (He et al., "Delving Deep into Rectifiers", 2015):
    2 / (1 + slope^2) per input. Of a transposed 4x4 convolution of stride 2, a quarter of the inputs meets any one
    output. The authors instead draw with variance 3 / (k k in_channels) throughout.
    """
    recurrent = {id(gru.recurrent_zr): gru.input.in_channels for gru in model.modules() if isinstance(gru, ConvGRU)}
    recurrent |= {id(gru.recurrent_q): gru.input.in_channels for gru in model.modules() if isinstance(gru, ConvGRU)}
    recurrent |= {id(gru.input): gru.recurrent_q.in_channels for gru in model.modules() if isinstance(gru, ConvGRU)}
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        # The halves of a gate's convolution count as the one that they are.
        inputs = (module.in_channels + recurrent.get(id(module), 0)) * math.prod(module.kernel_size)
        if reference:
            variance = 3 / inputs
        else:
            variance = 2 / (1 + SLOPE**2) / (inputs / math.prod(module.stride) if module.transposed else inputs)
        nn.init.normal_(module.weight, std=math.sqrt(variance), generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
