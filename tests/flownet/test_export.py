"""Networks as ONNX and torch.export: the same flow, everything inside, and nothing written that differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from eventsim.errors import InputError, OutputExistsError
from flownet import export
from flownet.export import ExportShape, export_network, onnx_runner, relative_error, require_onnx
from flownet.model.pretrained import save_pretrained
from flownet.model.steflownet import STEFlowNet, steflownet_tiny

#: Of the sources, which no exported file may name.
FOLDER = str(Path(export.__file__).parent).encode()


def network(**config: object) -> STEFlowNet:
    """With biases: those of a fresh network are zero."""
    torch.manual_seed(0)
    model = STEFlowNet(**{"width": 4, "radius": 1, "iterations": 2} | config)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def other_input(*shape: int) -> Tensor:
    return 3 * torch.rand(shape, generator=torch.Generator().manual_seed(9))


def final(model: STEFlowNet, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).final


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: steflownet_tiny().eval(), (37, 50)),
        (lambda: network(reference=True), (33, 20)),
        (lambda: network(reference=False, hidden="width", normalise_input=True, radius=0), (16, 45)),
    ],
    ids=["tiny", "reference", "aligned"],
)
def test_onnx_gives_the_flow_of_the_network(
    build: Callable[[], STEFlowNet], size: tuple[int, int], tmp_path: Path
) -> None:
    model, path = build(), tmp_path / "flow.onnx"
    error = export_network(model, path, ExportShape(height=size[0], width=size[1], slices=2))
    assert error < 1e-4
    x = other_input(1, 2, 2, *size)
    expected = final(model, x)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(onnx_runner(path)(x), expected, rtol=0, atol=1e-4)
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(metadata["config"]) == model.config
    assert metadata["network"] == "STEFlowNet"
    assert list(tmp_path.iterdir()) == [path]
    assert FOLDER not in path.read_bytes()


def test_torch_export_gives_the_flow_of_the_network(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "flow.pt2"
    assert export_network(model, path, ExportShape(height=30, width=41, slices=2, batch=2)) < 1e-4
    files = {"config.json": ""}
    exported = torch.export.load(path, extra_files=files).module()
    assert json.loads(files["config.json"]) == model.config
    assert FOLDER not in path.read_bytes()
    assert b".partial" not in path.read_bytes()
    x = other_input(2, 2, 2, 30, 41)
    torch.testing.assert_close(exported(x), final(model, x), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "form"),
    [(".pt2", {"iterations": 1, "reference": True}), (".onnx", {"iterations": 2, "compensate": True})],
)
def test_dynamic_takes_any_size(suffix: str, form: dict[str, Any], tmp_path: Path) -> None:
    """Its two inputs to check with differ in batch and size; here are more, the smallest among them."""
    model, path = network(normalise_input=True, radius=0, **form), tmp_path / f"flow{suffix}"
    assert export_network(model, path, ExportShape(height=20, width=40, slices=2, dynamic=True)) < 1e-4
    run = onnx_runner(path) if suffix == ".onnx" else torch.export.load(path).module()
    for size in [(1, 16, 16), (3, 64, 35)]:
        x = other_input(size[0], 2, 2, *size[1:])
        torch.testing.assert_close(run(x), final(model, x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
@pytest.mark.parametrize("dynamic", [False, True])
def test_what_differs_is_not_written(
    wrong: float, dynamic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only the second of a dynamic shape's inputs shows it."""

    def write(program: object, model: STEFlowNet, path: Path) -> Callable[[Tensor], Tensor]:
        path.write_bytes(b"a graph")
        return lambda x: final(model, x) * (1 if dynamic and len(x) == 1 else wrong)

    monkeypatch.setattr(export, "_write_pt2", write)
    monkeypatch.setattr(export, "trace", lambda model, shape: None)
    with pytest.raises(InputError, match=r"within 0\.001 of the network's, found a relative error of (0\.01|nan)"):
        export_network(network(), tmp_path / "flow.pt2", ExportShape(height=16, width=16, slices=1, dynamic=dynamic))
    assert not list(tmp_path.iterdir())


def test_error_is_relative_to_the_largest_flow() -> None:
    model, x = network(iterations=1), other_input(1, 1, 2, 16, 16)
    assert relative_error(lambda x: 1.5 * final(model, x), model, x) == pytest.approx(0.5)
    assert relative_error(lambda x: final(model, x), model, x) == 0


def test_missing_packages_are_named_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx()
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"onnxscript, which `pip install retinaflow\[export\]` installs"):
        export_network(network(), tmp_path / "flow.onnx", ExportShape(height=16, width=16, slices=1))


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    for size in ({"height": 15}, {"width": 8}, {"slices": 0}, {"batch": 0}):
        with pytest.raises(ValueError, match="or more"):
            ExportShape(**{"height": 16, "width": 16, "slices": 1} | size)
    shape = ExportShape(height=16, width=16, slices=1)
    with pytest.raises(InputError, match=r"\.onnx or \.pt2"):
        export_network(network(), tmp_path / "flow.pt", shape)
    (tmp_path / "flow.pt2").touch()
    with pytest.raises(OutputExistsError):
        export_network(network(), tmp_path / "flow.pt2", shape)


def test_command_exports_and_refuses(command, tmp_path: Path) -> None:
    model = network(iterations=1, input_slices=2)
    save_pretrained(model, tmp_path / "net.safetensors")
    arguments = ("export", tmp_path / "net.safetensors", tmp_path / "net.onnx", "--size", 20, 33)
    said = command("flownet", *arguments)
    assert said.returncode == 0, said.stderr
    assert "of the largest flow" in said.stdout
    assert said.stderr == ""
    x = other_input(1, 2, 2, 20, 33)
    torch.testing.assert_close(onnx_runner(tmp_path / "net.onnx")(x), final(model, x), rtol=0, atol=1e-4)
    kept = json.loads((tmp_path / "net.onnx.run.json").read_text())
    assert kept["settings"]["size"] == [20, 33]
    assert kept["relative_error"] < 1e-4
    again = command("flownet", *arguments)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    small = command("flownet", "export", tmp_path / "net.safetensors", tmp_path / "small.onnx", "--size", 15, 33)
    assert small.returncode == 1
    assert "16 pixels or more" in small.stderr
    assert not (tmp_path / "small.onnx").exists()
