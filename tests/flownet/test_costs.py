"""Multiply-accumulates and memory of the networks, against formulas, the paper's network and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flownet.cli import Models
from flownet.costs import Macs, _Counter, costs, unshared_step
from flownet.model import pretrained
from flownet.model.pretrained import save_pretrained
from flownet.model.steflownet import BUILDERS, STEFlowNet, steflownet, steflownet_small, steflownet_tiny


def on_meta(**config: object) -> STEFlowNet:
    with torch.device("meta"):
        return steflownet(**config)


@pytest.mark.parametrize("reference", [True, False])
def test_nothing_shared_is_the_published_count(reference: bool) -> None:
    """48.6 GMAC a slice and pass at 256x256, counted from the authors' code."""
    step = unshared_step(on_meta(reference=reference), height=256, width=256)
    assert step.total / 1e9 == pytest.approx(48.6, abs=0.05)


def test_sharing_saves_in_all() -> None:
    """The authors' 15 steps take 728 GMAC; ours computes once what every pass needs, and decodes what is wanted."""
    model, published = on_meta(reference=True), 728
    found = costs(model, height=256, width=256, slices=5)
    assert 0.75 * published < found.macs.total / 1e9 < 0.96 * published
    assert found.steps == 15
    assert found.macs_per_step * found.steps == pytest.approx(found.macs.total)


def by_hand(height: int, width: int, slices: int) -> Macs:
    """`steflownet_tiny`, layer by layer: two passes alike, features and states of 16, 32, 64 and 64 channels."""
    cells = [height * width // 4**level for level in range(1, 5)]
    channels, volume = [16, 32, 64, 64], 9
    conv = slices * 9 * 2 * channels[0] * cells[0]
    for level, (c, n) in enumerate(zip(channels, cells, strict=True)):
        conv += slices * 9 * (c + volume) * 3 * c * n + (slices - 1) * 9 * c * 3 * c * n
        if level:
            conv += 2 * slices * 9 * channels[level - 1] * c * n  # matching and recurrent
    conv += 5 * 9 * 64 * 64 * cells[3]
    inputs, extra = [16 + 4 + 2, 32 + 16 + 2, 64 + 32 + 2, 64 + 64], [4, 16, 32]
    transposed = sum(16 * c * 8 * n for c, n in zip(inputs, cells, strict=True))
    transposed += sum(16 * c * e * n for c, e, n in zip(inputs[1:], extra, cells[1:], strict=True))
    conv += sum(8 * 2 * 4 * n for n in cells)  # heads: 8 channels to 2, at twice the resolution
    correlation = slices * volume * sum(c * n for c, n in zip(channels, cells, strict=True))
    warp = 4 * slices * 2 * height * width  # before the second pass
    return Macs(convolution=2 * conv, transposed=2 * transposed, correlation=2 * correlation, warp=warp)


@pytest.mark.parametrize(("height", "width", "slices"), [(64, 48, 3), (256, 256, 5)])
def test_counts_are_those_by_hand(height: int, width: int, slices: int) -> None:
    found = costs(steflownet_tiny(), height=height, width=width, slices=slices)
    assert found.macs == by_hand(height, width, slices)
    assert found.parameters == 991_980


@pytest.mark.parametrize(
    ("name", "reference"), [("steflownet", True), ("steflownet_small", False), ("steflownet_tiny", False)]
)
def test_convolutions_are_those_of_torch_s_counter(name: str, reference: bool) -> None:
    """It counts two operations for each multiply-accumulate."""
    with torch.device("meta"):
        model = BUILDERS[name](reference=reference)
        x = torch.empty(2, 3, 2, 70, 90)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(x, [0, 2])
    found = costs(model, height=70, width=90, slices=3, batch=2, wanted=[0, 2]).macs
    assert 2 * (found.convolution + found.transposed) == flops.get_flop_counts()["Global"][torch.ops.aten.convolution]


def test_warps_are_counted_where_there_is_a_flow() -> None:
    model = steflownet_small()
    found = costs(model, height=64, width=64, slices=4).macs.warp
    values = 32 * 32**2 + 64 * 16**2 + 128 * 8**2  # features of the three finer scales
    assert found == 4 * 4 * values  # four multiply-accumulates, four slices, the second pass only
    reference = costs(steflownet_small(reference=True), height=64, width=64, slices=4).macs.warp
    assert reference == 2 * found


def test_costs_are_of_the_padded_size_and_grow_with_the_batch() -> None:
    model = steflownet_tiny()
    one = costs(model, height=37, width=50, slices=2)
    assert one.macs == costs(model, height=48, width=64, slices=2).macs
    three = costs(model, height=37, width=50, slices=2, batch=3)
    assert three.macs.total == 3 * one.macs.total
    assert three.inference_bytes == 3 * one.inference_bytes
    assert three.training_bytes == pytest.approx(3 * one.training_bytes, rel=0.01)
    assert 0 < one.inference_bytes < one.training_bytes


def test_peak_is_of_what_is_alive_at_once() -> None:
    with _Counter(set()) as counter:
        first = torch.empty(100, device="meta")
        second = first + 1
        view = second.view(10, 10)
        del first, second
        third = view * 2
        del view, third
        torch.empty(150, device="meta")
    assert counter.peak == 800


def test_training_keeps_what_autograd_saves() -> None:
    """With more slices, at least the inputs and states of every convolution more."""
    few, many = (costs(steflownet_tiny(), height=64, width=64, slices=number).training_bytes for number in (2, 4))
    inputs = 4 * (2 * 64**2 + 32**2 * (25 + 16) + 16**2 * (41 + 32) + 8**2 * (73 + 64) + 4**2 * (73 + 64))
    assert many - few >= 2 * 2 * inputs


def test_commands_list_costs(command) -> None:
    said = command("flownet", "models", "--size", "64", "48", "--slices", "3")
    assert said.returncode == 0, said.stderr
    macs = by_hand(64, 48, 3)
    row = next(line for line in said.stdout.splitlines() if line.startswith("steflownet_tiny ")).split()
    assert row[1] == "991,980"
    expected = [macs.total / 6, macs.total, macs.convolution, macs.transposed, macs.correlation, macs.warp]
    assert row[2:8] == [f"{count / 1e9:.3f}" for count in expected]
    small = command("flownet", "models", "--size", "8", "48")
    assert small.returncode == 1
    assert "H and W of 16 or more" in small.stderr


def test_trained_networks_are_listed(tmp_path, monkeypatch, capsys) -> None:
    save_pretrained(steflownet_tiny(), tmp_path / "learned.safetensors")
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    Models(size=(32, 32), slices=1).run()
    said = capsys.readouterr().out
    assert "\nlearned (trained)" in said
    assert "trained networks that ship: learned\n" in said
