"""The published checkpoints of STE-FlowNet's authors (steflow_dt1.pth.tar, steflow_dt4.pth.tar)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from eventsim.errors import InputError
from flownet.model.steflownet import STEFlowNet, steflownet

#: Our modules of one convolution each, and the authors' names of them.
_CONVOLUTIONS = {
    "encoder.stem.0": "conv1.0",
    **{f"encoder.matching.{level}.0": f"conv{level + 2}_2.0" for level in range(3)},
    **{f"encoder.strides.{level}.0": f"conv{level + 2}.0" for level in range(3)},
    "bottleneck.entry.0": "conv_r00.0",
    **{f"bottleneck.blocks.{i}.{j}.0": f"conv_r{i + 1}{j + 1}.0" for i in range(2) for j in range(2)},
    **{f"decoder.heads.{level}.0": f"upsampled_flow{level + 1}_to_{level}" for level in range(4)},
    **{f"decoder.heads.{level}.1": f"predict_flow{level + 1}.0" for level in range(4)},
    **{f"decoder.deconvs.{level}.0": f"deconv{level + 1}.0" for level in range(3)},
}
#: In their files, but used by nothing in their network.
_UNUSED = ("conv1_2.", "flow_deconv")
_LEVELS, _GATES = range(4), "zrq"


def load_reference_checkpoint(path_or_state_dict: str | PathLike[str] | Mapping[str, Any]) -> STEFlowNet:
    """The authors' network with their weights (`reference=True`), in evaluation mode on the CPU.

    Args:
        path_or_state_dict: their file, or what is in it: a dict with "state_dict", or the state dict itself. A
            "module." before the names, as torch.nn.DataParallel leaves it, is ignored.

    Raises:
        InputError: the file cannot be read, or keys are missing, unexpected or of another shape; it names them all.
    """
    source, state = _read(path_or_state_dict)
    model = steflownet(reference=True, input_weights="ceil")
    _check(source, state, model)
    model.load_state_dict(_translate(state))
    return model.eval()


def _read(path_or_state_dict: str | PathLike[str] | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What to call the source, and its state dict without "module."."""
    source, state = "the state dict", path_or_state_dict
    if not isinstance(state, Mapping):
        source = str(state)
        try:
            state = torch.load(state, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(source, expected="a checkpoint of tensors", found=reason) from error
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping):
        raise InputError(source, expected="a dict of weights", found=type(state).__name__)
    return source, {str(name).removeprefix("module."): value for name, value in state.items()}


def _check(source: str, state: Mapping[str, Any], model: STEFlowNet) -> None:
    expected = _expected_shapes(model)
    known = {name: value for name, value in state.items() if not name.startswith(_UNUSED)}
    faults = [f"{name} missing" for name in expected.keys() - known.keys()]
    faults += [f"{name} unexpected" for name in known.keys() - expected.keys()]
    for name in expected.keys() & known.keys():
        shape = tuple(known[name].shape) if isinstance(known[name], Tensor) else type(known[name]).__name__
        if shape != expected[name]:
            faults.append(f"{name} {shape} instead of {expected[name]}")
    if faults:
        raise InputError(
            source, expected=f"the {len(expected)} weights of STE-FlowNet", found="; ".join(sorted(faults))
        )


def _expected_shapes(model: STEFlowNet) -> dict[str, tuple[int, ...]]:
    """The authors' names, and the shapes under them."""
    ours = model.state_dict()
    shapes = {f"{theirs}.{kind}": tuple(ours[f"{name}.{kind}"].shape)
              for name, theirs in _CONVOLUTIONS.items() for kind in ("weight", "bias")}  # fmt: skip
    for level in _LEVELS:
        gates, inputs, *kernel = ours[f"encoder.grus.{level}.input.weight"].shape
        hidden = gates // 3
        for gate in _GATES:
            shapes[f"{_gate(level, gate)}.weight"] = (hidden, hidden + inputs, *kernel)
            shapes[f"{_gate(level, gate)}.bias"] = (hidden,)
    return shapes


def _translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights under our names."""
    ours = {f"{name}.{kind}": state[f"{theirs}.{kind}"]
            for name, theirs in _CONVOLUTIONS.items() for kind in ("weight", "bias")}  # fmt: skip
    for level in _LEVELS:
        # They convolve [hidden, input] for one gate at a time, we the halves apart and the gates together.
        weights = [state[f"{_gate(level, gate)}.weight"] for gate in _GATES]
        hidden = len(weights[0])
        name = f"encoder.grus.{level}"
        ours[f"{name}.input.weight"] = torch.cat([weight[:, hidden:] for weight in weights])
        ours[f"{name}.input.bias"] = torch.cat([state[f"{_gate(level, gate)}.bias"] for gate in _GATES])
        ours[f"{name}.recurrent_zr.weight"] = torch.cat([weight[:, :hidden] for weight in weights[:2]])
        ours[f"{name}.recurrent_q.weight"] = weights[2][:, :hidden]
    return ours


def _gate(level: int, gate: str) -> str:
    return f"gru_update{level + 1}.gru.conv{gate}"
