"""Conversion of ordinary modules: exact where it should be, near where it may be, and refused by name elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from flownet.spiking import window
from flownet.spiking.calibrate import (
    Calibration,
    balanced_thresholds,
    readout_delay,
    set_thresholds,
    thresholds,
    unbounded,
)
from flownet.spiking.convert import NeuronSettings, SpikingModel, convert
from flownet.spiking.quantise import QCFS, HardSigmoidQ, HardTanhQ, QuantisedLeakyReLU
from flownet.spiking.search import maximise, share_of


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


class Residual(nn.Module):
    """One activation used twice, a sum of spikes, a concatenation, an upsampling: nothing sequential."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.ConvTranspose2d(12, 4, 4, 2, 1)
        self.act = activation
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(4 + 12, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
        x = self.act(self.norm(self.first(x)))
        y = self.act(self.second(x))
        y += x
        both = torch.cat([x, y], dim=1)
        out = self.last(torch.cat([self.act(self.third(both)), self.up(both)], dim=1))
        return {"out": out, "parts": (x, y)}


def residual(activation: nn.Module) -> Residual:
    torch.manual_seed(0)
    model = Residual(activation).double().eval()
    with torch.no_grad():
        model(randn(16, 2, 8, 8) * 2)
        model.norm.running_mean.normal_()  # type: ignore[union-attr]
        model.norm.bias.normal_()
    return model


def feed_forward(activation: type[nn.Module] | object = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    make = activation if callable(activation) else nn.ReLU
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), make(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1),
        make(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 16), make(), nn.Linear(16, 4),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize(
    "activation", [QCFS(8, 2.0), QuantisedLeakyReLU(4, 0.1, 3.0), HardTanhQ(16), HardSigmoidQ(10)], ids=str
)
def test_lossless_is_the_quantised_network(activation: nn.Module) -> None:
    model, x = residual(activation), randn(3, 2, 8, 8, seed=1)
    spiking = convert(model, mode="lossless")
    with torch.no_grad():
        expected, found = model(x), spiking(x)
    assert relative(found["out"], expected["out"]) < 1e-12
    for part, other in zip(found["parts"], expected["parts"], strict=True):
        assert relative(part, other) < 1e-12
    assert isinstance(found["parts"], tuple)
    assert spiking.windows.longest > 1


def test_lossless_holds_with_pooling_and_folding() -> None:
    model, x = feed_forward(lambda: QCFS(4, 1.5)), randn(5, 1, 8, 8)
    with torch.no_grad():
        assert relative(convert(model, mode="lossless")(x), model(x)) < 1e-12


def test_lossless_too_short_is_not_exact() -> None:
    model, x = feed_forward(lambda: QCFS(8, 1.0)), randn(5, 1, 8, 8)
    with torch.no_grad():
        assert relative(convert(model, mode="lossless", steps=1)(x), model(x)) > 1e-3


def test_one_layer_of_qcfs_is_exact_in_as_many_steps() -> None:
    """Behind a first layer, whose current is constant; deeper ones see uneven spikes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 5, 3), QCFS(8, 1.0), nn.Conv2d(5, 3, 3)).double()
    x = randn(4, 2, 7, 7)
    with torch.no_grad():
        assert relative(convert(model, steps=8)(x), model(x)) < 1e-12


@pytest.mark.parametrize("activation", [HardSigmoidQ(16), HardTanhQ(16), nn.ReLU6()], ids=str)
def test_bounded_activations_have_rates_without_calibration(activation: nn.Module) -> None:
    """On a constant current: to a step of the quantiser and of the window."""
    z = torch.linspace(-8, 8, 321, dtype=torch.float64)[None]
    with torch.no_grad():
        found, expected = convert(activation.double(), steps=64)(z), activation(z)
    assert (found - expected).abs().max() <= 1 / 32 + 6 / 128


def test_rates_come_near_as_windows_grow() -> None:
    model, x = feed_forward(), randn(20, 1, 8, 8)
    found = thresholds(model, [x], Calibration(method="maximum"))
    with torch.no_grad():
        expected = model(x)
        errors = {
            name: [relative(out, expected) for out in spiking.trace(x, steps=[4, 16, 64, 256])]
            for name, spiking in {
                "if": convert(model, steps=4, thresholds=found),
                "signed": convert(model, steps=4, thresholds=found, neurons=NeuronSettings(signed=True)),
                "zero": convert(model, steps=4, thresholds=found, neurons=NeuronSettings(initial=0)),
                "hard": convert(model, steps=4, thresholds=found, neurons=NeuronSettings(reset="hard")),
            }.items()
        }
    assert errors["if"][3] < 0.02
    assert errors["signed"][3] < 0.02
    assert errors["signed"] == sorted(errors["signed"], reverse=True)
    assert errors["zero"][1] > 2 * errors["if"][1]
    assert errors["hard"][3] > 5 * errors["if"][3]


def test_windows_in_chunks_are_windows_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = residual(nn.LeakyReLU(0.1)), randn(2, 2, 8, 8)
    spiking = convert(model, steps=13, thresholds={"act": 2.0}, delay=3)
    together = spiking(x)["out"]
    monkeypatch.setattr(window, "_NUMBERS", 3 * x.numel())
    assert torch.allclose(spiking(x)["out"], together, atol=1e-12)
    monkeypatch.setattr(window, "_NUMBERS", 1)
    assert torch.allclose(spiking(x)["out"], together, atol=1e-12)


def test_a_trace_is_windows_one_by_one() -> None:
    model, x = feed_forward(), randn(3, 1, 8, 8)
    spiking = convert(model, steps=1, thresholds=thresholds(model, [x]), delay=5)
    for steps, out in zip([2, 7, 20], spiking.trace(x, steps=[2, 7, 20]), strict=True):
        spiking.windows.steps = steps
        assert torch.allclose(spiking(x), out, atol=1e-12)


def test_a_delay_leaves_the_first_steps_out() -> None:
    spiking = convert(nn.ReLU(), steps=8, thresholds={"": 1.0}, delay=4, neurons=NeuronSettings(initial=0))
    assert isinstance(spiking, SpikingModel)
    # 0.25 spikes at steps 4 and 8.
    assert spiking(torch.full((1, 1), 0.25)).item() == 1 / 4
    spiking.windows.delay = 0
    spiking.windows.steps = 7
    assert spiking(torch.full((1, 1), 0.25)).item() == pytest.approx(1 / 7)


def test_the_network_itself_is_left_as_it_was() -> None:
    model = feed_forward().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = randn(4, 1, 8, 8)
    convert(model, steps=4, thresholds=thresholds(model, [x]))(x)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_naive_sigmoids_are_far_off() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8), nn.Sigmoid(), nn.Linear(8, 3)).double()
    x = randn(50, 8) * 3
    with torch.no_grad():
        model[2].weight *= 6  # type: ignore[operator]
        errors = [relative(convert(model, mode="naive", steps=steps, thresholds=thresholds(model, [x]))(x), model(x))
                  for steps in (64, 512)]  # fmt: skip
    assert errors[1] > 0.05
    assert errors[1] > 0.8 * errors[0]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.layer(x))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Softmax(1))), {}, r"got 1\.0 \(Softmax\)"),
        (nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2)), {}, r"got 1 \(GRU\)"),
        (nn.Sigmoid(), {}, r"got the network \(Sigmoid\)"),
        (nn.Sequential(nn.ReLU()), {}, r"got none of 0 \(ReLU\)"),
        (nn.Sequential(nn.ReLU()), {"mode": "lossless"}, r"got 0 \(ReLU\)"),
        (nn.ReLU(), {"mode": "spiky"}, "expected a mode"),
        (nn.ReLU(), {"steps": None}, "expected 1 or more steps"),
        (nn.Sequential(QCFS(4)), {"neurons": NeuronSettings(burst=4)}, "expected no bursts"),
        (nn.Sequential(QCFS(4)), {"mode": "lossless", "delay": 2}, "expected neither"),
    ],
)
def test_what_does_not_spike_is_named(model: nn.Module, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(model, **{"steps": 4} | arguments)  # type: ignore[call-overload]


def test_functions_in_the_place_of_modules_are_refused() -> None:
    with pytest.raises(ValueError, match="got the function relu"):
        convert(Functional(), steps=4)(torch.ones(1, 3))


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        NeuronSettings(signed=True, allowance=2)


def test_thresholds_are_maxima_and_percentiles() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.LeakyReLU(inplace=True))
    x = torch.arange(-1000.0, 1001.0).reshape(-1, 1).repeat(1, 2) * torch.tensor([1.0, 0.5])
    assert unbounded(model) == ["1", "2"]
    found = thresholds(model, [x[:1000], x[1000:]], Calibration(method="maximum", per_channel=True))
    assert found["1"].tolist() == [1000, 500]
    whole = thresholds(model, [x], Calibration(share=0.9))["2"]
    # Half of the values are zeros.
    assert float(whole) == pytest.approx(float(torch.quantile(x.clamp(min=0), 0.9)), rel=0.01)
    with pytest.raises(ValueError, match="got none"):
        thresholds(model, [])
    with pytest.raises(ValueError, match="share"):
        Calibration(share=1.5)


def test_balancing_moves_towards_what_is_clipped() -> None:
    x = torch.linspace(0, 1, 1001)[:, None] * torch.tensor([1.0, 4.0])
    model = nn.Sequential(nn.ReLU())
    once = balanced_thresholds(model, [x], rate=0.5)["0"]
    assert once.tolist() == pytest.approx([0.5, 2.0], rel=1e-3)
    often = balanced_thresholds(model, [x] * 200, rate=0.5)["0"]
    assert (often > once).all()
    assert (often < torch.tensor([1.0, 4.0])).all()
    assert readout_delay({"0": often}, [x.mean(0)]) == pytest.approx(float(often.mean() / 2 / 2.0))


def test_channels_that_are_mostly_negative_are_not_clipped() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.1), nn.Conv2d(4, 2, 1)).double().eval()
    with torch.no_grad():
        model[0].bias[1] = -5.0  # type: ignore[index, union-attr]
    x = torch.rand(3, 2, 12, 12, dtype=torch.float64)
    found = thresholds(model, [x], Calibration(method="maximum", per_channel=True))["1"]
    with torch.no_grad():
        assert torch.equal(found, model[:2](x).abs().amax(dim=(0, 2, 3)))
        assert model[:2](x)[:, 1].amax() < 0
        spiking = convert(model, steps=64, thresholds={"1": found})
        torch.testing.assert_close(spiking(x), model(x), rtol=0, atol=0.02)


def test_learned_thresholds_start_from_calibrated_ones() -> None:
    model = feed_forward(lambda: QCFS(4))
    set_thresholds(model, {"2": torch.tensor(3.0)})
    assert model[2].threshold.item() == pytest.approx(3.0)  # type: ignore[union-attr, operator]
    with pytest.raises(ValueError, match="got 0"):
        set_thresholds(model, {"0": torch.tensor(3.0)})


def test_the_search_finds_a_hill() -> None:
    pytest.importorskip("sklearn")
    found = maximise(lambda p: -((p[0] - 0.3) ** 2) - (p[1] + 2) ** 2, [(0, 1), (-4, 0)], iterations=15, seed=1)
    assert found.best == pytest.approx((0.3, -2), abs=0.15)
    assert found.value == max(found.values)
    assert len(found.tried) == 20
    assert share_of(-3) == pytest.approx(0.999)
    with pytest.raises(ValueError, match="expected bounds"):
        maximise(lambda p: 0.0, [(1, 0)])


@pytest.mark.slow
def test_digits_show_what_the_papers_say() -> None:
    """Initial potential, threshold and reset: the gaps that are too wide for chance."""
    datasets = pytest.importorskip("sklearn.datasets")
    images = torch.tensor(datasets.load_digits().images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(datasets.load_digits().target)
    torch.manual_seed(0)
    order = torch.randperm(len(images))
    train, test = order[:1257], order[1257:]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(5):
        for batch in train[torch.randperm(len(train))].split(64):
            optimiser.zero_grad()
            functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()
    model.eval()
    found = thresholds(model, [images[train]], Calibration(method="maximum"))

    def accuracy(logits: Tensor) -> float:
        return float((logits.argmax(1) == labels[test]).float().mean())

    def at(steps: int, settings: NeuronSettings) -> float:
        with torch.no_grad():
            return accuracy(convert(model, steps=steps, thresholds=found, neurons=settings)(images[test]))

    with torch.no_grad():
        ordinary = accuracy(model(images[test]))
    assert at(8, NeuronSettings()) - at(8, NeuronSettings(initial=0)) > 0.1
    assert abs(at(32, NeuronSettings()) - ordinary) < 0.015
    assert at(32, NeuronSettings()) > at(32, NeuronSettings(reset="hard"))
