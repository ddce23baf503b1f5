"""Feed-forward spiking networks as graphs of the Neuromorphic Intermediate Representation (NIR), and back.

Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for interoperable brain-inspired
computing", Nature Communications 2024. Its neurons fire where v exceeds the threshold and start again from a reset
potential; there is no reset by subtraction, no potential to start from, no burst and no spike that is taken back, and
of layers no transposed convolution, upsampling, max-pooling or concatenation. All of these are refused.

A micro-step is one unit of time: dv/dt = R I is v += I with R = 1, and tau dv/dt = -v + R I is v = leak v + I with
tau = R = 1 / (1 - leak). Spikes of NIR are worth 1, so amplitudes go into the weights behind them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from flownet.model.steflownet import STEFlowNet
from flownet.spiking.convert import SpikingModel
from flownet.spiking.direct import DirectNetwork, OverTime
from flownet.spiking.fold import fold_batch_norm
from flownet.spiking.neurons import IF
from flownet.spiking.signed import CalibratedIF
from flownet.spiking.window import Timed

_SILENT = (nn.Identity, nn.Dropout, nn.Dropout2d)


def encoder_of(model: STEFlowNet) -> tuple[OverTime, int]:
    """The feed-forward part of a flow network's encoder, stem and matching pyramid in one chain, and its channels."""
    chain = [module for part in [model.encoder.stem, *model.encoder.matching] for module in _unpacked(part)]
    return OverTime(*chain), int(model.config["in_channels"])


def write_nir(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    input_shape: tuple[int, ...],
    allow_reset_mismatch: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes a chain of layers and neurons as a NIR graph.

    Args:
        model: a `SpikingModel` in mean form, a `DirectNetwork`, or an `nn.Sequential` of layers and neurons.
        path: of the file (HDF5).
        input_shape: of one sample at one step, [C, H, W] or [features].
        allow_reset_mismatch: write neurons with a soft reset, or with a potential to start from, as the nearest there
            are: with a hard reset, from 0. Such a graph is another network! What its neurons should do is then written
            as JSON to <path>.json.
        overwrite: replace existing files.

    Raises:
        ValueError: a module that NIR cannot express, by its place in the chain and its class.
        OutputExistsError: a file exists, and `overwrite` is false.
        InputError: the package `nir` is not installed.
    """
    target = Path(path)
    nir = _nir(target)
    builder = _Builder(nir, allow_reset_mismatch)
    builder.add(_chain(model), torch.zeros(1, *input_shape, dtype=next(model.parameters()).dtype))
    graph = nir.NIRGraph.from_list(*builder.nodes)
    if builder.mismatched:
        with atomic_path(target.with_name(target.name + ".json"), overwrite=overwrite) as partial:
            told = {"output_amplitude": builder.amplitude.tolist(), "step": 1, "neurons": builder.mismatched}
            partial.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    with atomic_path(target, overwrite=overwrite) as partial:
        nir.write(str(partial), graph)


def read_nir(path: str | PathLike[str]) -> OverTime:
    """A chain of layers and neurons from a NIR graph, as NIR defines it: hard reset, from 0.

    Raises:
        InputError: the file is none, not a chain, or holds other nodes than `write_nir` writes; or the package `nir`
            is not installed.
    """
    source = Path(path)
    nir = _nir(source)
    try:
        graph = nir.read(source)
    except (OSError, KeyError, ValueError, AssertionError) as error:
        raise InputError(source, expected="a NIR graph", found=f"{type(error).__name__}: {error}") from error
    after = dict(graph.edges)
    if len(after) != len(graph.edges) or len(graph.edges) != len(graph.nodes) - 1:
        raise InputError(source, expected="a chain of nodes", found=f"{len(graph.edges)} edges")
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    modules, name = [], starts[0] if starts else next(iter(graph.nodes))
    while name in after:
        name = after[name]
        node = graph.nodes[name]
        if not isinstance(node, nir.Output):
            modules.append(_module(source, name, node))
    return OverTime(*modules)


def _nir(path: Path) -> Any:
    try:
        return import_module("nir")
    except ImportError:
        expected = "the package nir, which reads and writes it: pip install retinaflow[nir]"
        raise InputError(path, expected=expected, found="none") from None


def _chain(model: nn.Module) -> nn.Module:
    if isinstance(model, SpikingModel):
        if model.windows.form != "mean":
            raise ValueError("expected a spiking model in mean form (hybrid), got one in sum form (lossless)")
        return model.body
    return fold_batch_norm(model.layers if isinstance(model, DirectNetwork) else model)


def _unpacked(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for each in module:
            yield from _unpacked(each)
    else:
        yield module


class _Builder:
    """Nodes of a chain, in order.

    Args:
        nir: the package.
        allowed: soft resets may be written as hard ones.
    """

    def __init__(self, nir: Any, allowed: bool) -> None:
        self.nir, self.allowed = nir, allowed
        self.nodes: list[Any] = []
        #: What the neurons that NIR cannot express should do, in order of the chain.
        self.mismatched: list[dict[str, Any]] = []
        #: What a spike on the present line is worth: [], or one for each channel or feature.
        self.amplitude = torch.ones(())

    def add(self, chain: nn.Module, x: Tensor) -> None:
        """All modules of a chain, whose first one gets values like x."""
        with torch.no_grad():
            for index, module in enumerate(_unpacked(chain)):
                if isinstance(module, _SILENT):
                    continue
                neuron = module.neuron if isinstance(module, Timed) else module
                if isinstance(neuron, IF):
                    self._neurons(index, neuron, x[0])
                else:
                    self.nodes.append(self._layer(index, neuron, x))
                    x = module(x)

    def _neurons(self, index: int, neuron: IF, like: Tensor) -> None:
        if type(neuron) is CalibratedIF or neuron.burst > 1:
            raise _unknown(index, neuron, "which bursts or takes spikes back")
        if neuron.reset != "hard" or bool((neuron.initial != 0).any()):
            if not self.allowed:
                raise _unknown(index, neuron, "whose reset is soft or whose potential does not start at 0; "
                                              "allow_reset_mismatch writes it as the nearest there is")  # fmt: skip
            self.mismatched.append({
                "node": len(self.nodes), "reset": neuron.reset, "reset_by": neuron.reset_by.tolist(),
                "threshold": neuron.threshold.tolist(), "initial": neuron.initial.tolist(),
                "amplitude": neuron.amplitude.tolist(), "leak": neuron.leak,
            })  # fmt: skip
        threshold = _array(_full(neuron.threshold, like))
        if neuron.leak == 1:
            self.nodes.append(self.nir.IF(r=threshold * 0 + 1, v_threshold=threshold))
        else:
            tau = threshold * 0 + 1 / (1 - neuron.leak)
            self.nodes.append(self.nir.LIF(tau=tau, r=tau, v_leak=threshold * 0, v_threshold=threshold))
        self.amplitude = neuron.amplitude

    def _layer(self, index: int, module: nn.Module, x: Tensor) -> Any:
        if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
            weight, bias = self._weights(module.weight, module.bias, module.groups)
            return self.nir.Conv2d(input_shape=tuple(x.shape[-2:]), weight=weight, stride=module.stride,
                                   padding=module.padding, dilation=module.dilation, groups=1, bias=bias)  # fmt: skip
        if isinstance(module, nn.Linear):
            weight, bias = self._weights(module.weight, module.bias, 1)
            return self.nir.Affine(weight=weight, bias=bias)
        if isinstance(module, nn.AvgPool2d) and not module.ceil_mode and module.divisor_override is None:
            sides = [_pair(each) for each in (module.kernel_size, module.stride, module.padding)]
            return self.nir.AvgPool2d(kernel_size=sides[0], stride=sides[1], padding=sides[2])
        if isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
            if self.amplitude.ndim:
                self.amplitude = self.amplitude.repeat_interleave(x[0, 0].numel())
            shape = {"input": torch.tensor(x.shape[1:]).numpy()}
            return self.nir.Flatten(input_type=shape, start_dim=0, end_dim=-1)
        raise _unknown(index, module, "which has no node there")

    def _weights(self, weight: Tensor, bias: Tensor | None, groups: int) -> tuple[Any, Any]:
        """Weights for spikes of value 1, and biases."""
        # NIR infers a convolution's channels as if it had one group, so that more are written as one with zeros.
        parts = weight.chunk(groups)
        dense = weight if groups == 1 else torch.stack([
            torch.cat([part if group == column else torch.zeros_like(part) for column in range(groups)], dim=1)
            for group, part in enumerate(parts)
        ]).flatten(0, 1)  # fmt: skip
        scale = self.amplitude.reshape(1, -1, *[1] * (weight.ndim - 2)) if self.amplitude.ndim else self.amplitude
        self.amplitude = torch.ones(())
        return _array(dense * scale), _array(weight.new_zeros(len(weight)) if bias is None else bias)


def _unknown(index: int, module: nn.Module, why: str) -> ValueError:
    return ValueError(f"expected a chain that NIR can express (convolutions, linear layers, average pooling, "
                      f"flattening, integrate-and-fire neurons with a hard reset), got {type(module).__name__} at "
                      f"place {index}, {why}")  # fmt: skip


def _module(source: Path, name: str, node: Any) -> nn.Module:
    """The module of a node."""
    kind = type(node).__name__
    if kind == "Conv2d":
        weight = torch.as_tensor(node.weight)
        out, inner, *kernel = weight.shape
        conv = nn.Conv2d(inner * node.groups, out, (kernel[0], kernel[1]), stride=node.stride, padding=node.padding,
                         dilation=node.dilation, groups=node.groups)  # fmt: skip
        return _filled(conv, weight, node.bias)
    if kind == "Affine":
        weight = torch.as_tensor(node.weight)
        return _filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, node.bias)
    if kind == "AvgPool2d":
        sides = [(int(side[0]), int(side[1])) for side in (node.kernel_size, node.stride, node.padding)]
        return nn.AvgPool2d(sides[0], sides[1], sides[2])
    if kind == "Flatten":
        return nn.Flatten()
    if kind in ("IF", "LIF") and not (node.v_reset != 0).any():
        return _Elementwise(torch.as_tensor(node.v_threshold), _leak(source, name, node))
    known = "Conv2d, Affine, AvgPool2d, Flatten, IF and LIF that reset to 0"
    raise InputError(source, expected=f"nodes of {known}", found=f"{name} ({kind})")


def _leak(source: Path, name: str, node: Any) -> float:
    if type(node).__name__ == "IF":
        leak, gain = 1.0, node.r
    else:
        leak, gain = float(1 - 1 / node.tau.flat[0]), node.r / node.tau
        if (node.tau != node.tau.flat[0]).any() or (node.v_leak != 0).any():
            raise InputError(source, expected="one time constant and a leak to 0", found=f"others in {name}")
    if (abs(gain - 1) > 1e-6).any():
        raise InputError(source, expected="a resistance that makes a step's gain 1", found=f"another in {name}")
    return leak


class _Elementwise(IF):
    """IF or LIF with a threshold for each value; spikes are worth 1."""

    def __init__(self, threshold: Tensor, leak: float) -> None:
        super().__init__(1.0, reset="hard", leak=leak, amplitude=1.0)
        self.each: Tensor
        self.register_buffer("each", threshold.clone())

    def _fired(self, membrane: Tensor, threshold: Tensor) -> Tensor:
        return (membrane > self.each).to(membrane.dtype)


def _filled(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Any) -> nn.Module:
    layer.weight = nn.Parameter(weight.clone())
    layer.bias = nn.Parameter(torch.as_tensor(bias).clone())
    return layer


def _full(value: Tensor, like: Tensor) -> Tensor:
    """One value for each of a sample's: [C, H, W] or [features]."""
    shaped = value if value.ndim == 0 else value.reshape(-1, *[1] * (like.ndim - 1))
    return shaped.to(like.dtype).expand(like.shape)


def _array(x: Tensor) -> Any:
    return x.detach().cpu().contiguous().numpy()


def _pair(value: Any) -> Any:
    return torch.tensor([value, value] if isinstance(value, int) else list(value)).numpy()
