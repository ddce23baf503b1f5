"""Spiking networks as NIR graphs: what can be expressed comes back the same, what cannot is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eventsim.errors import InputError
from flownet import STEFlowNet
from flownet.spiking.calibrate import Calibration, thresholds
from flownet.spiking.conversion import calibrated
from flownet.spiking.convert import NeuronSettings, convert
from flownet.spiking.direct import DirectNetwork, OverTime, neuron
from flownet.spiking.direct_flow import steflownet_spiking
from flownet.spiking.neurons import IF, LIF
from flownet.spiking.nir_files import encoder_of, read_nir, write_nir
from flownet.spiking.norm import ThresholdBatchNorm2d
from flownet.spiking.quantise import QCFS


def trains(*shape: int) -> Tensor:
    return torch.rand(6, 2, *shape, generator=torch.Generator().manual_seed(0)) * 1.5


def test_without_the_package_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(InputError, match=r"pip install retinaflow\[nir\]"):
        write_nir(nn.Sequential(nn.Linear(2, 2)), tmp_path / "x.nir", input_shape=(2,))


@pytest.mark.parametrize("make", [lambda: neuron("if"), lambda: neuron("lif", leak=0.75),
                                  lambda: LIF(0.3, leak=0.5)])  # fmt: skip
def test_hard_resets_come_back_as_they_were(make: object, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    torch.manual_seed(0)
    assert callable(make)
    layers = OverTime(nn.Conv2d(2, 4, 3, stride=2, padding=1), ThresholdBatchNorm2d(4), make(),
                      nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), make(), nn.AvgPool2d(2), nn.Dropout(),
                      nn.Flatten(), nn.Linear(24, 5), make(), nn.Linear(5, 3)).eval()  # fmt: skip
    write_nir(DirectNetwork(layers), tmp_path / "net.nir", input_shape=(2, 8, 8))
    again = read_nir(tmp_path / "net.nir")
    x = trains(2, 8, 8)
    with torch.no_grad():
        assert torch.allclose(again(x), layers(x), atol=1e-5)
        assert layers(x).abs().max() > 0.1
    assert not (tmp_path / "net.nir.json").exists()


@pytest.mark.parametrize("amplitude", [2.5, torch.tensor([0.5, 1.0, 2.0, 4.0])])
def test_amplitudes_go_into_the_weights_behind(amplitude: float | Tensor, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    torch.manual_seed(0)
    spikes = IF(0.5, reset="hard", amplitude=amplitude)
    for rest in ([nn.Conv2d(4, 4, 3, groups=2)], [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3)]):
        layers = OverTime(nn.Conv2d(2, 4, 3), spikes, *rest)
        write_nir(layers, tmp_path / "net.nir", input_shape=(2, 8, 8), overwrite=True)
        with torch.no_grad():
            assert torch.allclose(read_nir(tmp_path / "net.nir")(trains(2, 8, 8)), layers(trains(2, 8, 8)), atol=1e-5)


def test_soft_resets_are_written_only_when_asked_and_what_they_lose_can_be_told(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 16),
                          nn.ReLU(), nn.Linear(16, 10)).eval()  # fmt: skip
    x = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    spiking = convert(model, steps=32, thresholds=thresholds(model, [x], Calibration(method="maximum")))
    with pytest.raises(ValueError, match="got IF at place 1, whose reset is soft"):
        write_nir(spiking, tmp_path / "net.nir", input_shape=(1, 6, 6))
    assert not list(tmp_path.iterdir())
    write_nir(spiking, tmp_path / "net.nir", input_shape=(1, 6, 6), allow_reset_mismatch=True)
    told = json.loads((tmp_path / "net.nir.json").read_text())
    assert [each["reset"] for each in told["neurons"]] == ["soft", "soft"]
    assert told["neurons"][0]["initial"] == 0.5
    with torch.no_grad():
        expected, meant = model(x), spiking(x)
        found = read_nir(tmp_path / "net.nir")(x.expand(32, *x.shape)).mean(0)
    losses = [float((each - expected).norm() / expected.norm()) for each in (meant, found)]
    assert losses[1] > 5 * losses[0]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([nn.ConvTranspose2d(2, 2, 2)], "got ConvTranspose2d at place 0"),
        ([nn.Conv2d(2, 2, 3), nn.LeakyReLU()], "got LeakyReLU at place 1"),
        ([nn.Conv2d(2, 2, 3), nn.Upsample(scale_factor=2)], "got Upsample at place 1"),
        ([nn.MaxPool2d(2), nn.Conv2d(2, 2, 1)], "got MaxPool2d at place 0"),
        ([nn.Conv2d(2, 2, 3), IF(1.0, reset="hard", burst=3)], "got IF at place 1, which bursts"),
        ([nn.Conv2d(2, 2, 3), IF(1.0, reset="hard", initial=0.5)], "does not start at 0"),
        ([nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")], "got Conv2d at place 0"),
    ],
)
def test_what_nir_cannot_express_is_refused(layers: list[nn.Module], words: str, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    with pytest.raises(ValueError, match=words):
        write_nir(nn.Sequential(*layers), tmp_path / "net.nir", input_shape=(2, 8, 8))
    assert not list(tmp_path.iterdir())


def test_signed_and_lossless_networks_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    model = nn.Sequential(nn.Conv2d(2, 2, 3), QCFS(4, 1.0)).eval()
    for spiking in (convert(model, steps=4, neurons=NeuronSettings(signed=True)), convert(model, mode="lossless")):
        with pytest.raises(ValueError, match=r"STBIF|sum form"):
            write_nir(spiking, tmp_path / "net.nir", input_shape=(2, 8, 8), allow_reset_mismatch=True)


def test_the_encoder_of_a_flow_network_trained_on_spikes(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    torch.manual_seed(0)
    model = steflownet_spiking(neuron="lif")
    encoder, channels = encoder_of(model)
    write_nir(encoder, tmp_path / "encoder.nir", input_shape=(channels, 32, 32))
    x = trains(2, 32, 32)
    with torch.no_grad():
        assert torch.equal(read_nir(tmp_path / "encoder.nir")(x), model.encoder.features(x)[-1])


def test_the_encoder_of_other_flow_networks_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    torch.manual_seed(0)
    model = STEFlowNet(width=4, radius=1, iterations=1, hidden="width").eval()
    x = torch.rand(1, 2, 2, 32, 32)
    for each, words in ((model, "LeakyReLU"), (calibrated(model, [x]).of(model), "STBIF")):
        encoder, channels = encoder_of(each)
        with pytest.raises(ValueError, match=f"got {words} at place 1"):
            write_nir(encoder, tmp_path / "encoder.nir", input_shape=(channels, 32, 32))


def test_files_that_are_no_chain_are_named(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    import numpy as np

    (tmp_path / "none.nir").write_bytes(b"no graph")
    with pytest.raises(InputError, match="a NIR graph"):
        read_nir(tmp_path / "none.nir")
    nir.write(str(tmp_path / "other.nir"), nir.NIRGraph.from_list(nir.Threshold(threshold=np.ones(3))))
    with pytest.raises(InputError, match=r"Conv2d, Affine.*threshold \(Threshold\)"):
        read_nir(tmp_path / "other.nir")
