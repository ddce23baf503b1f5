"""Spiking networks in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eventsim.errors import InputError, OutputExistsError
from flownet import STEFlowNet, load_pretrained, save_pretrained
from flownet.spiking.calibrate import Calibration
from flownet.spiking.conversion import Conversion, balanced, calibrated, searched
from flownet.spiking.convert import NeuronSettings
from flownet.spiking.direct_flow import steflownet_spiking
from flownet.spiking.files import save_spiking
from flownet.spiking.flow import SpikingSTEFlowNet, quantised


def network() -> STEFlowNet:
    torch.manual_seed(0)
    return STEFlowNet(width=4, radius=1, iterations=1, hidden="width").eval()


def slices(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.rand(1, 3, 2, 32, 32, generator=generator), generator)


def conversions() -> dict[str, tuple[STEFlowNet, Conversion]]:
    model = network()
    small = quantised(model, thresholds=calibrated(model, [slices()], calibration=Calibration()).thresholds)
    return {
        "hybrid": (model, calibrated(model, [slices()], steps=4)),
        "signed": (model, calibrated(model, [slices()], steps=4, neurons=NeuronSettings(signed=True), delay=1)),
        "naive": (model, calibrated(model, [slices()], mode="naive", steps=3)),
        "lossless": (small, Conversion(mode="lossless")),
        "learned": (small, calibrated(small, [], steps=5)),
    }


@pytest.mark.parametrize("name", ["hybrid", "signed", "naive", "lossless", "learned"])
def test_a_spiking_network_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    model, conversion = conversions()[name]
    save_spiking(model, conversion, tmp_path / "snn.safetensors", {"trained on": "nothing"})
    again = load_pretrained(tmp_path / "snn.safetensors")
    assert isinstance(again, SpikingSTEFlowNet)
    assert again.windows.steps == conversion.steps
    with torch.no_grad():
        assert torch.equal(again(slices()).final, conversion.of(model)(slices()).final)
    with safe_open(tmp_path / "snn.safetensors", framework="pt") as file:
        assert file.metadata()["trained on"] == "nothing"
    with pytest.raises(OutputExistsError):
        save_spiking(model, conversion, tmp_path / "snn.safetensors")


def test_quantised_and_spiking_trained_networks_are_files_like_others(tmp_path: Path) -> None:
    for number, model in enumerate([quantised(network(), levels=5, gates=7), steflownet_spiking(neuron="srif")]):
        path = tmp_path / f"{number}.safetensors"
        save_pretrained(model.eval(), path)
        again = load_pretrained(path)
        assert type(again) is type(model)
        with torch.no_grad():
            assert torch.equal(again(slices()).final, model(slices()).final)


def test_a_spiking_network_is_not_written_as_an_ordinary_one(tmp_path: Path) -> None:
    model, conversion = conversions()["hybrid"]
    with pytest.raises(ValueError, match="save_spiking"):
        save_pretrained(conversion.of(model), tmp_path / "snn.safetensors")
    with pytest.raises(ValueError, match="lossless mode"):
        save_spiking(model, Conversion(mode="lossless", neurons=NeuronSettings()), tmp_path / "snn.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": "{}"}, "metadata 'config' with source"),
        ({"config": '{"source": "Unet", "config": {}, "mode": "hybrid", "steps": 2, "neurons": null, "delay": 0}'},
         "metadata 'network' to be one of STEFlowNet"),
    ],
)  # fmt: skip
def test_files_that_are_amiss_are_named(change: dict[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "snn.safetensors"
    save_spiking(*conversions()["hybrid"], path)
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, path, metadata=metadata | change)
    with pytest.raises(InputError, match=words):
        load_pretrained(path)
    lost = {name: value for name, value in tensors.items() if name != "threshold:encoder.stem.1"}
    save_file(lost, path, metadata=metadata)
    with pytest.raises(InputError, match=r"got none of encoder\.stem\.1"):
        load_pretrained(path)


# --- conversions


def test_bursts_share_a_threshold() -> None:
    model = network()
    settings: dict[str, Any] = {"calibration": Calibration(method="maximum")}
    single = calibrated(model, [slices()], neurons=NeuronSettings(), **settings)
    burst = calibrated(model, [slices()], neurons=NeuronSettings(burst=4), **settings)
    for name, threshold in single.thresholds.items():
        assert torch.equal(threshold, 4 * burst.thresholds[name])
    # Per channel, and in bursts of four, unless told otherwise.
    assert calibrated(model, [slices()]).neurons == NeuronSettings(burst=4)
    assert calibrated(model, [slices()]).thresholds["encoder.stem.1"].shape == (4,)


def test_more_steps_come_nearer() -> None:
    model = network()
    conversion = calibrated(model, [slices()], calibration=Calibration(method="maximum", per_channel=True))
    spiking, errors = conversion.of(model), []
    with torch.no_grad():
        expected = model(slices()).final
        for steps in (2, 8, 64):
            spiking.windows.steps = steps
            errors.append(float((spiking(slices()).final - expected).norm() / expected.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.03


def test_balanced_thresholds_clip_little() -> None:
    model = network()
    found = balanced(model, [slices()], steps=16, neurons=NeuronSettings())
    most = calibrated(model, [slices()], calibration=Calibration(method="maximum", per_channel=True),
                      neurons=NeuronSettings())  # fmt: skip
    ratios = torch.cat([found.thresholds[name] / each for name, each in most.thresholds.items()])
    assert 0.1 < float(ratios.median()) <= 1


def test_search_finds_a_percentile_near_the_best_of_those_tried() -> None:
    pytest.importorskip("sklearn")
    model = network()
    conversion, found = searched(model, [slices()], steps=4, iterations=2)
    assert len(found.values) == 6
    assert found.value == max(found.values)
    assert all(-5 <= point[0] <= -2 for point in found.tried)
    with torch.no_grad():
        off = (conversion.of(model)(slices()).final - model(slices()).final).norm(dim=1).mean()
    assert float(off) == pytest.approx(-found.value, rel=1e-5)
    with pytest.raises(ValueError, match="learned thresholds"):
        searched(quantised(model), [slices()])
