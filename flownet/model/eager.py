"""Where ways of our own to compute on a CPU may be gone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def on_cpu(x: Tensor) -> bool:
    """Whether these are numbers in memory, not what a compiler, an exporter or a counter works with."""
    return type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" and not torch.compiler.is_compiling()
