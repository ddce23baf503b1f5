"""What changes the weights, by the configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flownet.model.gru import ConvGRU
from flownet.train.config import TrainConfig

# Outputs of a flow head: too few rows for a matrix.
_FEW_ROWS = 2


def optimizer_of(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer | MuonAndAdam:
    """The configured optimiser; weight decay spares biases."""
    if config.optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"expected torch 2.9 or newer for optimizer muon, got {torch.__version__}")
        return MuonAndAdam(model, learning_rate=config.learning_rate, weight_decay=config.weight_decay)
    return _adam(list(model.parameters()), config.learning_rate, config.weight_decay)


class MuonAndAdam:
    """Muon for what multiplies, Adam for biases, thresholds and the last layers.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024: every matrix moves by its momentum
    with all singular values made equal. The matrix of a convolution has a row for each output channel (of a transposed
    one, for each input channel); those of a GRU's gates are matrices of their own. Steps have the size of Adam's
    (torch's "match_rms_adamw").
    """

    def __init__(self, model: nn.Module, *, learning_rate: float, weight_decay: float) -> None:
        gates = {id(weight): number for gru in model.modules() if isinstance(gru, ConvGRU)
                 for weight, number in ((gru.input.weight, 3), (gru.recurrent_zr.weight, 2))}  # fmt: skip
        parameters = list(model.parameters())
        large = [each for each in parameters if each.ndim > 1 and len(each) > _FEW_ROWS]
        # Views: torch's Muon takes matrices, and changes the weights through them.
        parts = [_matrices(each.data.view(len(each), -1), gates.get(id(each), 1)) for each in large]
        self._matrices = [(each, [nn.Parameter(part) for part in own]) for each, own in zip(large, parts, strict=True)]
        views = [part for _, own in self._matrices for part in own]
        self._muon = torch.optim.Muon(views, lr=learning_rate, weight_decay=weight_decay,
                                      adjust_lr_fn="match_rms_adamw")  # fmt: skip
        taken = {id(each) for each in large}
        self._adam = _adam([each for each in parameters if id(each) not in taken], learning_rate, weight_decay)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both."""
        return [*self._muon.param_groups, *self._adam.param_groups]

    def step(self) -> None:
        """Changes the weights by the gradients that they hold."""
        for weight, parts in self._matrices:
            gradients = [None] * len(parts) if weight.grad is None else _matrices(weight.grad, len(parts))
            for part, gradient in zip(parts, gradients, strict=True):
                part.grad = gradient
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Of both."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])


def _adam(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    weights = [each for each in parameters if each.ndim > 1]
    biases = [each for each in parameters if each.ndim <= 1]
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.Adam(groups, lr=learning_rate)


def _matrices(weight: Tensor, number: int) -> list[Tensor]:
    """A weight's rows as a number of matrices."""
    return list(weight.flatten(1).chunk(number))
