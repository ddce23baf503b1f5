"""Counts what a network computes while it runs: additions for spikes, multiplications for everything else.

A spike into a layer is an addition at every synapse that it reaches: strides, borders and cropping are taken exactly,
so that a spike in a corner counts fewer than one in the middle. Where a tensor's origin is unknown (see `arrivals`),
all of its values meet all of their weights, zeros and padding included, as `flownet.costs` counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from flownet.costs import MACS_PER_SAMPLE
from flownet.model.encoder import Encoder
from flownet.model.gru import ConvGRU
from flownet.spiking.arrivals import Arrivals, arrivals, mark, unmark
from flownet.spiking.direct import OverTime
from flownet.spiking.neurons import Neuron
from flownet.spiking.pooling import LIPool2d
from flownet.spiking.window import Timed

#: Functions that move values and leave them as they are.
_MOVES = frozenset({"flatten", "reshape", "view", "__getitem__", "contiguous", "chunk", "split", "dropout", "dropout2d",
                    "to", "pixel_shuffle", "pixel_unshuffle", "clone", "permute", "transpose", "unflatten",
                    "pad"})  # fmt: skip


@dataclass(kw_only=True)
class Row:
    """What one layer does in all.

    Args:
        additions: synaptic operations of spikes.
        graded_macs: multiply-accumulates of graded values that arrive as events: input, products, pooled values.
        analog_macs: multiply-accumulates of everything else, zeros included.
        products: products of two activations (a GRU's).
        updates: of potentials, one per neuron and micro-step.
        spikes: of either sign.
        neurons: values that an ordinary network would hold in their place: neurons times windows.
    """

    additions: float = 0
    graded_macs: float = 0
    analog_macs: float = 0
    products: float = 0
    updates: float = 0
    spikes: float = 0
    neurons: float = 0


class Ledger(TorchFunctionMode):
    """Counts by layer while it is entered.

    Args:
        model: whose layers' names rows are under; functions on no weight of it are under their own.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}
        self._names = {_place(value): layer_name(name) for name, value in model.named_parameters()}
        self._model = model
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Ledger:
        for name, module in self._model.named_modules():
            self._handles += self._hooks(layer_name(name), module)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs a function, counts it, and marks what it only moved."""
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        # Marks are worked out from values, which writing in place changes.
        before = _summed(func, args, given)[0] if name == "add_" else None
        result = func(*args, **given)
        if name in _FAN_OUT:
            self._synapses(name, result, *args, **given)
        elif name == "grid_sample":
            self._row("warp").analog_macs += MACS_PER_SAMPLE * result.numel()
        elif name.endswith("_") and not name.endswith("__") and isinstance(result, Tensor):
            unmark(result)
            if before is not None:
                mark(result, before)
        elif name in _MOVES or name in _RULES:
            _follow(name, func, args, given, result)
        return result

    def _synapses(self, name: str, result: Tensor, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> None:
        row = self._row(self._names.get(_place(weight), name))
        found = arrivals(x)
        if found is None:
            row.analog_macs += (x if name == "conv_transpose2d" else result).numel() * math.prod(weight.shape[1:])
            return
        reached = _FAN_OUT[name](x, weight, result, *args, **kwargs)
        row.additions += float((found.spikes.flatten(0, -reached.ndim - 1).sum(0) * reached).sum())
        row.graded_macs += float((found.graded.flatten(0, -reached.ndim - 1).sum(0) * reached).sum())

    def _stepped(self, name: str, micro_steps: bool, neuron: Neuron, _: Any, out: Tensor) -> None:
        """Neurons of a network that was trained on spikes: [T, B, ...]."""
        row = self._row(name)
        row.updates += out.numel()
        row.spikes += float(neuron.mark().of(out.flatten(0, 1)).spikes.sum())
        row.neurons += out.numel() // (len(out) if micro_steps else 1)

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row())

    def _hooks(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        def spiked(timed: Timed, _: Any, out: Tensor) -> None:
            row = self._row(name)
            row.updates += out.numel()
            if isinstance(timed.neuron, LIPool2d):
                return  # puts out graded values, which are no spikes of neurons
            found = arrivals(out)
            row.spikes += 0 if found is None else float(found.spikes.sum())
            row.neurons += out.numel() // timed.clock.steps if timed.clock.first else 0

        def correlated(encoder: Encoder, args: tuple[Any, ...]) -> None:
            displacements = (2 * encoder.radius + 1) ** 2
            self._row("correlation").analog_macs += displacements * sum(level.numel() for level in args[0])

        def blended(_: ConvGRU, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
            hidden = args[1] if len(args) > 1 else kwargs.get("hidden")
            # z q, and with a state before it also r h and (1 - z) h.
            self._row(name).products += 3 * out.numel() - (2 * out[0].numel() if hidden is None else 0)

        if isinstance(module, Timed):
            return [module.register_forward_hook(spiked)]
        if isinstance(module, OverTime):
            return [each.register_forward_hook(partial(self._stepped, layer_name(f"{name}.{key}"), module.micro_steps))
                    for key, each in module.named_children() if isinstance(each, Neuron)]  # fmt: skip
        if isinstance(module, Encoder):
            return [module.register_forward_pre_hook(correlated)]
        return [module.register_forward_hook(blended, with_kwargs=True)] if isinstance(module, ConvGRU) else []


def count(model: nn.Module, *inputs: Tensor) -> dict[str, Row]:
    """What a network, ordinary or spiking, computes on some inputs: layer -> its row, in the order of computing.

    Args:
        model: the network; it is run in its present mode.
        inputs: of its forward pass.
    """
    from copy import deepcopy

    if any(parameter.requires_grad for parameter in model.parameters()):
        model = deepcopy(model).requires_grad_(False)
    ledger = Ledger(model)
    # Where gradients could be asked for, no convolution takes Winograd's way, which cannot be told apart here.
    with torch.enable_grad(), ledger:
        model(*(x.detach() for x in inputs))
    return ledger.rows


def totals(counts: Iterable[Mapping[str, Row]]) -> dict[str, Row]:
    """Rows of several counts, added up layer by layer."""
    found: dict[str, Row] = {}
    for rows in counts:
        for layer, row in rows.items():
            total = found.setdefault(layer, Row())
            for name in Row.__dataclass_fields__:
                setattr(total, name, getattr(total, name) + getattr(row, name))
    return found


def layer_name(name: str) -> str:
    """A parameter's or module's qualified name as the layer's in the network that was converted."""
    parts = [part for part in name.split(".") if part not in ("body", "layer", "neuron")]
    return ".".join(parts[:-1] if parts and parts[-1] in ("weight", "bias") else parts)


def _place(weight: Tensor) -> int:
    """Which memory a weight lies in: parts of a weight lie in the same."""
    return weight.untyped_storage().data_ptr()


def _conv2d_reach(
    x: Tensor,
    weight: Tensor,
    result: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """How many synapses a value of each pixel reaches: [H, W]."""
    ones = result.new_ones(1, 1, *result.shape[-2:])
    kernel = result.new_ones(1, 1, *weight.shape[-2:])
    stride, dilation = _pair(stride), _pair(dilation)
    spans = [step * (side - 1) for step, side in zip(dilation, weight.shape[-2:], strict=True)]
    before = [span // 2 for span in spans] if padding == "same" else _pair(0 if padding == "valid" else padding)
    full = functional.conv_transpose2d(ones, kernel, stride=stride, dilation=dilation)[0, 0]
    height, width = x.shape[-2:]
    # Rows that no output reads lie beyond the last one.
    full = functional.pad(full, (0, max(0, before[1] + width - full.shape[1]), 0,
                                 max(0, before[0] + height - full.shape[0])))  # fmt: skip
    reached = full[before[0] : before[0] + height, before[1] : before[1] + width]
    return reached * (weight.shape[0] // groups)


def _conv_transpose2d_reach(
    x: Tensor,
    weight: Tensor,
    result: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The same of a transposed convolution, whose cropped outputs nothing reaches: [H, W]."""
    ones = result.new_ones(1, 1, *result.shape[-2:])
    kernel = result.new_ones(1, 1, *weight.shape[-2:])
    reached = functional.conv2d(ones, kernel, stride=stride, padding=padding, dilation=dilation)[0, 0]
    height, width = x.shape[-2:]
    return reached[:height, :width] * weight.shape[1]


def _linear_reach(x: Tensor, weight: Tensor, result: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same of a linear layer: [features]."""
    return weight.new_full((weight.shape[1],), weight.shape[0])


_FAN_OUT: dict[str, Callable[..., Tensor]] = {
    "conv2d": _conv2d_reach, "conv_transpose2d": _conv_transpose2d_reach, "linear": _linear_reach,
}  # fmt: skip


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _follow(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Marks the results of a function that moves, joins or adds values, if their origin is known."""
    x = args[0] if args else None
    known = (
        any(arrivals(each) is not None for each in x if isinstance(each, Tensor))
        if isinstance(x, tuple | list)
        else isinstance(x, Tensor) and arrivals(x) is not None
    )
    if not known:
        return
    rule: Callable[..., list[Arrivals | None]] = _RULES.get(name, _moved)
    marks = rule(func, args, kwargs)
    results: Iterable[Any] = result if isinstance(result, tuple | list) else [result]
    for each, how in zip(results, marks, strict=True):
        if how is not None:
            mark(each, how)


def _moved(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Arrivals | None]:
    found = arrivals(args[0])
    assert found is not None
    both = [func(part, *args[1:], **kwargs) for part in (found.spikes, found.graded)]
    pairs = zip(*both, strict=True) if isinstance(both[0], tuple | list) else [(both[0], both[1])]
    return [Arrivals(spikes=spikes, graded=graded) for spikes, graded in pairs]


def _joined(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Arrivals | None]:
    """Of a concatenation, in which parts of unknown origin are graded, zeros included."""
    parts = [arrivals(x) or Arrivals(spikes=torch.zeros_like(x), graded=torch.ones_like(x)) for x in args[0]]
    spikes = func([part.spikes for part in parts], *args[1:], **kwargs)
    return [Arrivals(spikes=spikes, graded=func([part.graded for part in parts], *args[1:], **kwargs))]


def _summed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Arrivals | None]:
    """Of a sum: both sides' spikes go on, each by itself."""
    first, second = (arrivals(x) if isinstance(x, Tensor) else None for x in args[:2])
    if first is None or second is None or first.spikes.shape != second.spikes.shape:
        return [None]
    return [Arrivals(spikes=first.spikes + second.spikes, graded=torch.maximum(first.graded, second.graded))]


def _averaged(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Arrivals | None]:
    """Of average pooling: every spike of a window goes on by itself, with a share of its weight."""
    found = arrivals(args[0])
    assert found is not None
    spikes, graded = func(found.spikes, *args[1:], **kwargs), func(found.graded, *args[1:], **kwargs)
    sides = zip(args[0].shape[-2:], spikes.shape[-2:], strict=True)
    if func.__name__ == "avg_pool2d":
        kernel = _pair(args[1] if len(args) > 1 else kwargs["kernel_size"])
        scale = kernel[0] * kernel[1]
    elif all(side % out == 0 for side, out in sides):
        scale = math.prod(args[0].shape[-2:]) // math.prod(spikes.shape[-2:])
    else:
        return [None]
    return [Arrivals(spikes=(spikes * scale).round(), graded=(graded > 0).to(graded.dtype))]


def _enlarged(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Arrivals | None]:
    """Of upsampling: only repeated values stay spikes."""
    mode = args[3] if len(args) > 3 else kwargs.get("mode", "nearest")
    return _moved(func, args, kwargs) if str(mode).startswith("nearest") else [None]


_RULES: dict[str, Callable[..., list[Arrivals | None]]] = {
    "cat": _joined, "add": _summed, "__add__": _summed, "avg_pool2d": _averaged, "adaptive_avg_pool2d": _averaged,
    "interpolate": _enlarged,
}  # fmt: skip
