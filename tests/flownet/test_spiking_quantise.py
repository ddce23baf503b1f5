"""Quantised activations: values, gradients, thresholds; and batch normalisation folded away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from flownet.spiking.fold import fold_batch_norm, fold_into
from flownet.spiking.norm import ThresholdBatchNorm2d
from flownet.spiking.quantise import QCFS, HardSigmoidQ, HardTanhQ, QuantisedLeakyReLU, Staircase


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_qcfs_has_the_authors_gradients() -> None:
    levels, threshold = 4, 2.0
    qcfs = QCFS(levels).double()
    qcfs.threshold = threshold
    z = torch.linspace(-1, 3, 401, dtype=torch.float64)[None].requires_grad_()
    (grad,) = torch.autograd.grad(qcfs(z).sum(), z)
    half = threshold / (2 * levels)
    sure = ((z + half).abs() > 1e-9) & ((z - threshold + half).abs() > 1e-9)
    band = ((z > -half) & (z < threshold - half)).double()
    assert torch.equal(grad[sure], band[sure])
    for value in z.detach().flatten()[::13]:
        out = qcfs(value.reshape(1, 1))
        (found,) = torch.autograd.grad(out.sum(), qcfs.raw_threshold)
        found = found / torch.sigmoid(qcfs.raw_threshold)  # of the threshold itself
        inside = -half < value < threshold - half
        expected = (out.item() - value) / threshold if inside else float(value > 0)
        assert found.item() == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_the_leaky_quantiser_rounds_a_leaky_relu(slope: float) -> None:
    z = randn(1, 5000) * 20
    quantiser = QuantisedLeakyReLU(8, slope, 2.0).double()
    expected = ((functional.leaky_relu(z, slope) * 4 + 0.5).floor() / 4).clamp(-2, 2)
    assert torch.allclose(quantiser(z), expected, atol=1e-12)
    assert torch.equal(quantiser.quantum * quantiser.level(z), quantiser(z))


def test_hard_gates_are_rounded_clips() -> None:
    z = randn(1, 5000) * 3
    assert (HardSigmoidQ(16).double()(z) - functional.hardtanh(z / 4 + 0.5, 0, 1)).abs().max() <= 1 / 32 + 1e-12
    assert (HardTanhQ(10).double()(z) - functional.hardtanh(z)).abs().max() <= 1 / 20 + 1e-12
    assert torch.equal(HardTanhQ(4)(torch.tensor([[-9.0, 0.3, 9.0]])), torch.tensor([[-1.0, 0.25, 1.0]]))


def test_a_quantum_is_as_exact_as_its_network() -> None:
    assert HardTanhQ(10).double().quantum == torch.tensor(1, dtype=torch.float64) / 10


def test_thresholds_stay_positive_however_they_are_trained() -> None:
    qcfs = QCFS(4, 0.01)
    optimiser = torch.optim.SGD(qcfs.parameters(), lr=1.0)
    for _ in range(20):
        optimiser.zero_grad()
        qcfs(torch.ones(1, 1)).sum().backward()
        optimiser.step()
    assert qcfs.threshold > 0


@pytest.mark.parametrize("threshold", [1e-4, 1.0, 300.0])
def test_thresholds_are_what_they_are_set_to(threshold: float) -> None:
    qcfs = QCFS(4).double()
    qcfs.threshold = threshold
    assert qcfs.threshold.item() == pytest.approx(threshold, rel=1e-9)
    assert QCFS(4, threshold).threshold.item() == pytest.approx(threshold, rel=2e-3)


@pytest.mark.parametrize(
    "make",
    [lambda: QCFS(0), lambda: QCFS(4, 0.0), lambda: QuantisedLeakyReLU(4, 2.0), lambda: HardSigmoidQ(0),
     lambda: Staircase(-1.0)],
)  # fmt: skip
def test_misuse_is_named(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def trained_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.BatchNorm1d | nn.BatchNorm2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(-2, 2)
        norm.bias.normal_()
    return norm.eval()


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)),
        (nn.ConvTranspose2d(4, 6, 4, 2, 1), nn.BatchNorm2d(6)),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, bias=False), ThresholdBatchNorm2d(6)),
        (nn.Linear(4, 6), nn.BatchNorm1d(6)),
    ],
    ids=str,
)
def test_folding_changes_nothing(layer: nn.Module, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(layer, trained_norm(norm), nn.ReLU()).double().eval()
    x = randn(3, 4) if isinstance(layer, nn.Linear) else randn(3, 4, 7, 8)
    folded = fold_batch_norm(model)
    assert isinstance(folded, nn.Sequential)
    assert isinstance(folded[1], nn.Identity)
    assert torch.allclose(folded(x), model(x), atol=1e-12)


class _Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(5)
        self.conv = nn.Conv2d(2, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.conv(x))
        return found


def test_named_pairs_are_folded_too() -> None:
    torch.manual_seed(0)
    model = _Joined().double().eval()
    trained_norm(model.norm)
    folded = fold_batch_norm(model, [("conv", "norm")])
    assert isinstance(folded.norm, nn.Identity)
    assert torch.allclose(folded(randn(2, 2, 6, 6)), model(randn(2, 2, 6, 6)), atol=1e-12)
    with pytest.raises(ValueError, match=r"expected .* got norm \(BatchNorm2d\)"):
        fold_batch_norm(model, [("norm", "conv")])
    with pytest.raises(ValueError, match="expected a normalisation of 5 channels"):
        fold_into(model.conv, nn.BatchNorm2d(4))
