"""STE-FlowNet quantised and on spikes."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flownet.model.gru import ConvGRU
from flownet.model.steflownet import Flows, STEFlowNet
from flownet.spiking.calibrate import Calibration, thresholds
from flownet.spiking.convert import Mode, convert
from flownet.spiking.flow import QuantisedSTEFlowNet, quantised
from flownet.spiking.gru import QuantisedConvGRU, blend
from flownet.spiking.quantise import QCFS, QuantisedLeakyReLU


@cache
def slices() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.poisson(torch.rand(1, 3, 2, 32, 32, generator=generator, dtype=torch.float64), generator)


def network(**config: Any) -> STEFlowNet:
    torch.manual_seed(0)
    model = STEFlowNet(**{"width": 4, "radius": 1, "iterations": 1, "hidden": "width"} | config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model


def calibrated(model: STEFlowNet, **settings: Any) -> dict[str, Tensor]:
    return thresholds(model, [slices()], Calibration(**settings))


def worst(found: Flows, expected: Flows) -> float:
    pairs = [*zip(found.pyramid, expected.pyramid, strict=True),
             *zip(found.state.hidden, expected.state.hidden, strict=True)]  # fmt: skip
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({}, {}),
        ({"iterations": 2, "hidden": "input"}, {"activation": "relu"}),
        ({"reference": True, "iterations": 2}, {"levels": 5, "gates": 10}),
        ({"normalise_input": True}, {"levels": 4, "gates": 8}),
        ({"iterations": 2, "compensate": True, "width": (4, 6, 8, 8)}, {}),
    ],
)
def test_lossless_is_the_quantised_network(config: dict[str, Any], settings: dict[str, Any]) -> None:
    model = network(**config)
    small = quantised(model, thresholds=calibrated(model), **settings)
    spiking = convert(small, mode="lossless")
    with torch.no_grad():
        expected = small(slices(), [0, 2])
        assert worst(spiking(slices(), [0, 2]), expected) < 1e-12
        # States move, and are neither all zero nor all at their bounds.
        assert 0.01 < float(expected.state.hidden[0].abs().mean()) < 0.9


def test_lossless_goes_on_from_a_state() -> None:
    model = network(iterations=2)
    small = quantised(model, thresholds=calibrated(model))
    spiking = convert(small, mode="lossless")
    with torch.no_grad():
        before, after = slices()[:, :2], slices()[:, 2:]
        first, spiked = small(before).state, spiking(before).state
        for arguments in ({}, {"reference": before[:, 0]}):
            expected = small(after, state=first, **arguments)
            assert worst(spiking(after, state=spiked, **arguments), expected) < 1e-12


def test_windows_as_long_as_the_finest_count_are_enough() -> None:
    model = network()
    small = quantised(model, levels=4, gates=8, thresholds=calibrated(model))
    spiking = convert(small, mode="lossless")
    with torch.no_grad():
        expected = small(slices())
        spiking(slices())
        longest = spiking.windows.longest
        spiking.windows.steps = longest
        assert worst(spiking(slices()), expected) < 1e-12
        spiking.windows.steps = 2
        assert worst(spiking(slices()), expected) > 1e-2


@pytest.mark.parametrize("mode", ["hybrid", "naive"])
def test_rates_come_near_only_with_analog_gates(mode: Mode) -> None:
    model = network()
    spiking = convert(model, mode=mode, steps=4, thresholds=calibrated(model, method="maximum"))
    errors = []
    with torch.no_grad():
        expected = model(slices(), [0, 2])
        for steps in (4, 32, 128):
            spiking.windows.steps = steps
            found = spiking(slices(), [0, 2])
            errors.append(float((found.final - expected.final).norm() / expected.final.norm()))
    assert errors == sorted(errors, reverse=True)
    assert (errors[-1] < 0.02) if mode == "hybrid" else (errors[-1] > 0.05)


def test_the_naive_form_runs_several_passes() -> None:
    model = network(iterations=2)
    found = convert(model, mode="naive", steps=4, thresholds=calibrated(model))(slices(), [1, 2])
    assert found.pyramid[0].shape == (1, 2, 2, 32, 32)


def test_quantised_networks_may_be_hybrid() -> None:
    model = network()
    small = quantised(model, thresholds=calibrated(model, method="maximum"), levels=64, gates=64)
    spiking = convert(small, steps=256)
    with torch.no_grad():
        expected = small(slices()).final
        assert float((spiking(slices()).final - expected).norm() / expected.norm()) < 0.15


def test_many_levels_are_nearly_the_network_with_hard_gates() -> None:
    """And so nearly the network where its gates are not saturated."""
    model = network()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ConvGRU):
                for parameter in module.parameters():
                    parameter *= 0.1
        small = quantised(model, levels=4096, gates=4096, thresholds=calibrated(model, method="maximum"))
        expected = model(slices()).final
        assert float((small(slices()).final - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize(("activation", "kind"), [("leaky", QuantisedLeakyReLU), ("relu", QCFS)])
def test_quantised_keeps_weights_and_keys(activation: Any, kind: type[nn.Module]) -> None:
    model = network()
    small = quantised(model, activation=activation, thresholds=calibrated(model))
    kinds = {type(module) for module in small.modules()}
    assert kind in kinds
    assert nn.LeakyReLU not in kinds
    assert ConvGRU not in kinds
    extra = set(small.state_dict()) - set(model.state_dict())
    assert set(model.state_dict()) <= set(small.state_dict())
    assert all(name.endswith("raw_threshold") for name in extra)
    assert all(torch.equal(small.state_dict()[name], value) for name, value in model.state_dict().items())
    again = QuantisedSTEFlowNet(**small.config).double()
    again.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(again(slices()).final, small(slices()).final)


@pytest.mark.parametrize("recompute", [False, True])
def test_quantised_networks_train(recompute: bool) -> None:
    model = network(iterations=2).train()
    small = quantised(model, thresholds=calibrated(model))
    small.recompute = recompute
    flows = small(slices(), [2])
    sum(flow.square().mean() for flow in flows.pyramid).backward()  # type: ignore[union-attr]
    silent = [name for name, parameter in small.named_parameters()
              if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()]  # fmt: skip
    assert silent == []


@pytest.mark.parametrize("levels", [3, 10, 16])
def test_states_round_alike_whatever_the_order_of_sums(levels: int) -> None:
    """Every combination of counts, against whole numbers: ties are common."""
    z, h, q = torch.meshgrid(torch.arange(levels + 1), torch.arange(-levels, levels + 1),
                             torch.arange(-levels, levels + 1), indexing="ij")  # fmt: skip
    exact = (2 * ((levels - z) * h + z * q) + levels).div(2 * levels, rounding_mode="floor")
    for dtype in (torch.float32, torch.float64):
        found = blend(z.to(dtype) / levels, h.to(dtype) / levels, q.to(dtype) / levels, levels)
        assert torch.equal((found + 0.5).floor().long(), exact)
    assert isinstance(QuantisedConvGRU(in_channels=2, hidden_channels=2, levels=levels), ConvGRU)


def test_what_does_not_fit_is_named() -> None:
    model = network()
    small = quantised(model)
    with pytest.raises(ValueError, match=r"none of encoder\.stem\.1 \(LeakyReLU\)"):
        convert(model, steps=4)
    with pytest.raises(ValueError, match=r"expected a network of flow\.quantised"):
        convert(model, mode="lossless")
    with pytest.raises(ValueError, match="expected a STEFlowNet"):
        quantised(small)
    with pytest.raises(ValueError, match="one per channel"):
        quantised(model, thresholds={"encoder.stem.1": torch.ones(4)})
    with pytest.raises(ValueError, match="not spiking yet"):
        convert(convert(small, steps=2), steps=2)
    with pytest.raises(ValueError, match="expected an activation"):
        QuantisedSTEFlowNet(activation="elu", width=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got gru \(ConvGRU\)"):
        convert(nn.ModuleDict({"gru": ConvGRU(in_channels=2, hidden_channels=2)}), steps=2)
