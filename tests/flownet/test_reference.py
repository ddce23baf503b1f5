"""The authors' network and checkpoints."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eventsim.errors import InputError
from flownet.model.steflownet import STEFlowNet
from flownet.reference import load_reference_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden"
UNUSED = ("conv1_2.", "flow_deconv")


def drawn_weights() -> dict[str, Tensor]:
    """A state dict by the authors' names, drawn as the golden README says."""
    state = {}
    for name, shape in json.loads((GOLDEN / "reference_parameters.json").read_text()).items():
        rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
        scale = 0.05 if name.endswith("bias") else np.sqrt(1 / np.prod(shape[1:]))
        state[name] = torch.from_numpy((scale * rng.standard_normal(shape)).astype(np.float32))
    return state


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return drawn_weights()


@pytest.fixture(scope="module")
def model(weights: dict[str, Tensor]) -> STEFlowNet:
    return load_reference_checkpoint(weights)


@pytest.mark.parametrize(("name", "slices"), [("dt1", [4]), ("dt4", [4, 9, 14, 19])])
def test_flows_are_the_authors(model: STEFlowNet, name: str, slices: list[int]) -> None:
    golden = np.load(GOLDEN / f"steflownet_net_{name}.npz")
    x = torch.from_numpy(golden["events"].astype(np.float32)).permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        flows = model(x, slices=slices)
    for scale, flow in enumerate(flows.pyramid):
        expected = golden[f"flow{scale + 1}"].reshape(flow.shape)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(flow.numpy(), expected, rtol=0, atol=1e-4)
    assert torch.equal(flows.final, flows.pyramid[0][:, -1])


def test_the_file_of_a_data_parallel_run_is_the_same(
    model: STEFlowNet, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    used = {f"module.{name}": value for name, value in weights.items() if not name.startswith(UNUSED)}
    torch.save({"epoch": 3, "state_dict": used}, tmp_path / "steflow.pth.tar")
    loaded = load_reference_checkpoint(tmp_path / "steflow.pth.tar")
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_every_fault_is_named_at_once(weights: dict[str, Tensor]) -> None:
    faulty = dict(weights)
    del faulty["conv1.0.bias"]
    faulty["gru_update2.gru.convq.weight"] = torch.zeros(1, 2)
    faulty["extra.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"70 weights") as error:
        load_reference_checkpoint(faulty)
    for expected in (
        "conv1.0.bias missing",
        "gru_update2.gru.convq.weight (1, 2) instead of (209, 418, 3, 3)",
        "extra.weight unexpected",
    ):
        assert expected in str(error.value)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not a checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text.pth", "empty.pth", "list.pth", "missing.pth"):
        with pytest.raises(InputError, match=name):
            load_reference_checkpoint(tmp_path / name)
