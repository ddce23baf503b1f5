"""What Muon does to a network's weights, and what is left to Adam."""

from __future__ import annotations

import torch
from torch import nn

from flownet import steflownet_tiny
from flownet.train import TrainConfig
from flownet.train.optimizers import MuonAndAdam, optimizer_of

RATE = 1e-2


def test_matrices_move_equally_in_all_directions_and_others_by_adam() -> None:
    torch.manual_seed(0)
    model = steflownet_tiny(width=4)
    optimizer = optimizer_of(TrainConfig(optimizer="muon", learning_rate=RATE), model)
    assert isinstance(optimizer, MuonAndAdam)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    moved = {name: before[name] - value.detach() for name, value in model.named_parameters()}
    for name, parts in {"encoder.grus.1.input.weight": 3, "encoder.grus.1.recurrent_zr.weight": 2,
                        "encoder.matching.0.0.weight": 1, "decoder.deconvs.1.0.weight": 1}.items():  # fmt: skip
        for matrix in moved[name].flatten(1).chunk(parts):
            singular = torch.linalg.svdvals(matrix) / (RATE * 0.2 * max(matrix.shape) ** 0.5)
            # Five iterations bring them to about 1 (Jordan et al.: 0.7 to 1.2).
            assert 0.6 < singular.min() < singular.max() < 1.3, name
    for name in ("encoder.grus.1.input.bias", "decoder.heads.0.1.weight"):
        torch.testing.assert_close(moved[name].abs(), torch.full_like(moved[name], RATE), rtol=1e-4, atol=0)


def test_learning_rates_and_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    optimizer = optimizer_of(TrainConfig(optimizer="muon", learning_rate=1.0, weight_decay=0.5), model)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(torch.allclose(each.weight, torch.tensor(1 - 0.5 * RATE)) for each in model)
    assert all(torch.equal(each.bias, torch.ones(8)) for each in model)
