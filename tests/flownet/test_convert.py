"""Checkpoints to safetensors: training's own and the authors'."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from eventsim.errors import InputError
from flownet.export import load_checkpoint
from flownet.model.pretrained import load_pretrained
from flownet.model.steflownet import STEFlowNet, steflownet_tiny
from flownet.reference import load_reference_checkpoint
from flownet.spiking.direct_flow import steflownet_spiking
from flownet.spiking.flow import quantised
from flownet.train import TrainConfig, build
from flownet.train.state import TrainState

PARAMETERS = Path(__file__).parent.parent / "golden" / "reference_parameters.json"


def drawn_weights() -> dict[str, Tensor]:
    """The authors' names and shapes, with numbers that tell them apart."""
    shapes = json.loads(PARAMETERS.read_text())
    return {name: torch.full(shape, zlib.crc32(name.encode()) / 2**32 - 0.5) for name, shape in shapes.items()}


def same(one: STEFlowNet, other: STEFlowNet) -> bool:
    theirs = other.state_dict()
    return one.config == other.config and all(torch.equal(value, theirs[name])
                                              for name, value in one.state_dict().items())  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, STEFlowNet]:
    """A checkpoint that training wrote, and its network."""
    model = build(TrainConfig(seed=3, slices=4))
    state = TrainState(TrainConfig(seed=3, slices=4), model)
    state.step = 12
    state.save(tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt", model


@pytest.mark.parametrize("kind", ["averaged", "quantised", "spiking"])
def test_any_run_s_checkpoint_is_what_the_run_is_worth(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: STEFlowNet = steflownet_tiny(width=4)
    model = {"averaged": lambda: model, "quantised": lambda: quantised(model), "spiking": steflownet_spiking}[kind]()
    state = TrainState(TrainConfig(ema=0.5), model)
    with torch.no_grad():
        for value in state.average.values():
            value += 0.25
    state.save(tmp_path / "checkpoint.pt")
    found, _ = load_checkpoint(tmp_path / "checkpoint.pt")
    assert type(found) is type(model)
    assert found.config == model.config
    assert all(torch.equal(value, state.average[name]) for name, value in found.state_dict().items())


def test_training_s_checkpoint_is_its_network(trained: tuple[Path, STEFlowNet]) -> None:
    path, model = trained
    found, origin = load_checkpoint(path)
    assert same(found, model)
    assert found.config["input_slices"] == 4
    assert not found.training
    assert origin == {"converted_from": "checkpoint.pt", "step": "12"}


def test_command_converts_the_authors_checkpoint(command, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": drawn_weights()}, tmp_path / "steflow_dt1.pth.tar")
    out = tmp_path / "steflow.safetensors"
    said = command("flownet", "convert", tmp_path / "steflow_dt1.pth.tar", out)
    assert said.returncode == 0, said.stderr
    found = load_pretrained(out)
    assert found.config["reference"]
    assert same(found, load_reference_checkpoint(drawn_weights()))
    with safe_open(out, framework="np") as file:
        assert file.metadata()["converted_from"] == "steflow_dt1.pth.tar"
    assert out.with_name(out.name + ".run.json").exists()


def test_command_converts_training_s_checkpoint_once(command, trained: tuple[Path, STEFlowNet]) -> None:
    path, model = trained
    out = path.with_name("net.safetensors")
    said = command("flownet", "convert", path, out)
    assert said.returncode == 0, said.stderr
    assert same(load_pretrained(out), model)
    written = out.read_bytes()
    again = command("flownet", "convert", path, out)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    assert out.read_bytes() == written


def test_command_refuses_before_work(command, tmp_path: Path) -> None:
    """The checkpoint does not exist, yet what is named is the output."""
    said = command("flownet", "convert", tmp_path / "missing.pt", tmp_path / "net.onnx")
    assert said.returncode == 1
    assert "ends in .safetensors" in said.stderr
    said = command("flownet", "convert", tmp_path / "missing.pt", tmp_path / "net.safetensors")
    assert said.returncode == 1
    assert "missing.pt" in said.stderr
    assert not list(tmp_path.iterdir())


def test_every_fault_is_named(tmp_path: Path) -> None:
    model = steflownet_tiny()
    weights = model.state_dict()
    del weights["encoder.stem.0.bias"]
    weights["extra.weight"] = torch.zeros(1)
    torch.save({"config": {"network": model.config}, "model": weights}, tmp_path / "keys.pt")
    with pytest.raises(InputError, match=r"keys\.pt.*encoder\.stem\.0\.bias.*extra\.weight"):
        load_checkpoint(tmp_path / "keys.pt")
    theirs = drawn_weights()
    del theirs["conv1.0.bias"]
    theirs["extra.weight"] = torch.zeros(1)
    torch.save(theirs, tmp_path / "theirs.pth.tar")
    with pytest.raises(InputError, match=r"theirs\.pth\.tar.*conv1\.0\.bias missing; extra\.weight unexpected"):
        load_checkpoint(tmp_path / "theirs.pth.tar")


@pytest.mark.parametrize("config", [None, {}, {"network": {"depth": 3}}, {"network": {"width": 0}}])
def test_unusable_configurations_are_refused(config: object, tmp_path: Path) -> None:
    torch.save({"config": config, "model": {}}, tmp_path / "wrong.pt")
    with pytest.raises(InputError, match=r"wrong\.pt: expected a training run's checkpoint"):
        load_checkpoint(tmp_path / "wrong.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", np.arange(9).tobytes()])
def test_other_files_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"other\.pt"):
        load_checkpoint(tmp_path / "other.pt")
