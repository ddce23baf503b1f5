"""What a conversion costs and keeps: the study, its page, and the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording, open_recording
from eventsim.report import HtmlReport
from flownet import STEFlowNet, flow_error, load_pretrained, save_pretrained
from flownet.cli import main
from flownet.evaluate import Sample
from flownet.protocols import Protocol, load_protocol
from flownet.spiking.conversion import Conversion, calibrated
from flownet.spiking.direct_flow import steflownet_spiking
from flownet.spiking.energy import FLOAT_45NM, INT8_45NM
from flownet.spiking.flow import quantised
from flownet.spiking.page import add_study
from flownet.spiking.study import Study, spread_samples, spread_slices, study


def network() -> STEFlowNet:
    torch.manual_seed(0)
    return STEFlowNet(width=4, radius=1, iterations=1, hidden="width", normalise_input=True).eval()


def rules(recording: MvsecRecording) -> Protocol:
    return load_protocol("full", "scene")


@pytest.fixture(scope="module")
def first(recordings: Path) -> Path:
    return sorted(recordings.glob("*_data.hdf5"))[0]


@pytest.fixture(scope="module")
def intervals(first: Path) -> list[Sample]:
    return list(spread_samples([open_recording(first)], rules, network(), most=3))


@pytest.fixture(scope="module")
def found(intervals: list[Sample]) -> Study:
    model = network()
    conversion = calibrated(model, [each.slices[None] for each in intervals])
    return study(model, conversion, intervals, [2, 16], counted=2)


def test_intervals_are_spread_over_a_recording(first: Path, intervals: list[Sample]) -> None:
    recording = open_recording(first)
    frames = [each.frame for each in intervals]
    assert len(frames) == 3
    assert frames[0] < len(recording.image_ts) // 4
    assert frames[2] > len(recording.image_ts) // 2
    slices = list(spread_slices([recording], network(), most=4))
    assert [tuple(each.shape) for each in slices] == [(1, 5, 2, 80, 96)] * 4


def test_errors_are_those_of_the_flows(found: Study, intervals: list[Sample]) -> None:
    model = network()
    conversion = calibrated(model, [each.slices[None] for each in intervals], steps=16)
    with torch.no_grad():
        ours = [model(each.slices[None]).final[0].numpy() for each in intervals]
        spiking = [conversion.of(model)(each.slices[None]).final[0].numpy() for each in intervals]

    def mean(flows: list[np.ndarray]) -> float:
        pairs = zip(flows, intervals, strict=True)
        return float(np.mean([flow_error(flow, each.ground_truth, each.event_count).aee for flow, each in pairs]))

    assert found.aee == pytest.approx(mean(ours), rel=1e-6)
    assert found.zero == pytest.approx(mean([np.zeros_like(each) for each in ours]), rel=1e-6)
    assert found.lengths[1].aee == pytest.approx(mean(spiking), rel=1e-6)
    assert found.lengths[1].difference < found.lengths[0].difference
    assert [each.longest for each in found.lengths] == [2, 16]


def test_longer_windows_cost_more_and_the_text_says_where(found: Study) -> None:
    short, long = (each.comparison for each in found.lengths)
    assert long.spikes_per_neuron > short.spikes_per_neuron > 0
    for technology in (FLOAT_45NM, INT8_45NM):
        assert long.energy_uj(technology)[1] > short.energy_uj(technology)[1]
    assert long.energy_uj(FLOAT_45NM)[0] == short.energy_uj(FLOAT_45NM)[0]
    # Behind a linear layer nothing spikes: every micro-step multiplies anew.
    assert "decoder.heads.0.1" in found.dearer(found.lengths[1])
    text = str(found)
    for words in (
        "hybrid conversion, 3 intervals",
        "ordinary network",
        "5.1 spikes per neuron",
        "layers cost more than what they replace: ",
    ):
        assert words in text, words
    assert len(found.rows()) == 3
    assert all(len(row) == len(found.columns()) for row in found.rows())


def test_lossless_is_the_quantised_network_once_settled(intervals: list[Sample]) -> None:
    model = network()
    start = calibrated(model, [each.slices[None] for each in intervals]).thresholds
    small = quantised(
        model, levels=4, gates=8, thresholds={name: 4 * each.max() for name, each in start.items()}
    ).double()
    found = study(small, Conversion(mode="lossless"), intervals[:1], [1, None])
    assert found.lengths[0].difference > 1e-3
    assert found.lengths[1].difference < 1e-6  # flows are compared in float32
    assert found.lengths[1].name == f"settled ({found.lengths[1].longest})"
    assert found.lengths[1].longest > 4


def test_a_page_shows_it_all(found: Study, tmp_path: Path) -> None:
    page = HtmlReport("on spikes")
    add_study(page, found)
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("<svg") == 3
    assert text.count("<img") == 5 + 3
    for words in ("spiking, 16", "encoder.stem.0", "break-even, 5.1", "Costs more on spikes"):
        assert words in text, words


def test_what_cannot_be_studied(intervals: list[Sample]) -> None:
    model, conversion = network(), Conversion(mode="lossless")
    with pytest.raises(ValueError, match="expected intervals"):
        study(model, conversion, [], [4])
    with pytest.raises(ValueError, match="1 to 3 to count"):
        study(model, conversion, intervals, [4], counted=4)


# --- commands


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    return int(end.value.code or 0)


def test_a_command_converts_and_reports(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pretrained(network(), tmp_path / "net.safetensors")
    out, page = tmp_path / "snn.safetensors", tmp_path / "snn.html"
    given = ("convert-snn", tmp_path / "net.safetensors", out, "--data", first, "--steps", 2, 4, "--intervals", 2)
    assert run(*given, "--report", page) == 0
    assert "hybrid conversion, 2 intervals" in capsys.readouterr().out
    model = load_pretrained(out)
    assert model.windows.steps == 4  # type: ignore[attr-defined]
    assert "<svg" in page.read_text()
    kept = json.loads((tmp_path / "snn.safetensors.run.json").read_text())
    assert set(kept["spiking_aee"]) == {"2", "4"}
    assert run(*given) == 1
    assert "exists" in capsys.readouterr().err
    for method in ("maximum", "balanced"):
        assert run(*given, "--overwrite", "--method", method, "--burst", 1) == 0
    assert run(*given, "--overwrite", "--mode", "naive") == 0
    assert run(*given, "--overwrite", "--mode", "lossless") == 1
    assert "flow.quantised" in capsys.readouterr().err


def test_a_command_keeps_lossless_networks_until_they_settle(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(quantised(network(), levels=2, gates=4), tmp_path / "net.safetensors")
    out = tmp_path / "snn.safetensors"
    assert run("convert-snn", tmp_path / "net.safetensors", out, "--data", first, "--mode", "lossless", "--steps", 2,
               "--intervals", 1, "--float64") == 0  # fmt: skip
    assert "settled (" in capsys.readouterr().out
    assert load_pretrained(out).windows.steps is None  # type: ignore[attr-defined]


def test_a_command_writes_the_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nir")
    save_pretrained(steflownet_spiking().eval(), tmp_path / "direct.safetensors")
    save_pretrained(network(), tmp_path / "net.safetensors")
    assert run("export-nir", tmp_path / "direct.safetensors", tmp_path / "encoder.nir", "--size", 32, 32) == 0
    assert (tmp_path / "encoder.nir").exists()
    assert run("export-nir", tmp_path / "net.safetensors", tmp_path / "other.nir") == 1
    assert "LeakyReLU" in capsys.readouterr().err


def test_a_recording_without_ground_truth_is_named(first: Path, tmp_path: Path) -> None:
    shutil.copy(first, tmp_path / "lone_data.hdf5")
    with pytest.raises(InputError, match="lone_gt"):
        list(spread_samples([open_recording(tmp_path / "lone_data.hdf5")], rules, network(), most=1))
