"""What a network costs: its multiply-accumulates and its memory, counted from shapes alone.

The network runs once on the meta device, where tensors have shapes but no numbers: nothing is computed, and networks
and pictures of any size are counted at once. What is counted are the operations of torch as they run on a GPU; on a
CPU, a kernel of ours correlates without their intermediate results.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from flownet.model.steflownet import STEFlowNet

#: A bilinear sample weighs four pixels.
MACS_PER_SAMPLE = 4


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Multiply-accumulates by kind; activations, sums of flows and the input's scaling are not among them.

    Args:
        convolution: outputs times the weights that each has; the padding's zeros count like any other input.
        transposed: of transposed convolutions: inputs times the weights that each meets, what is cropped included.
        correlation: one for each displacement, position and channel, those outside of the picture included.
        warp: four for each value that is read between pixels.
    """

    convolution: int = 0
    transposed: int = 0
    correlation: int = 0
    warp: int = 0

    @property
    def total(self) -> int:
        """All kinds together."""
        return sum(asdict(self).values())

    def __sub__(self, other: Macs) -> Macs:
        theirs = asdict(other)
        return Macs(**{name: count - theirs[name] for name, count in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One forward pass of a network.

    Args:
        parameters: numbers that are trained.
        macs: multiply-accumulates.
        inference_bytes: the most that intermediate results take at any one time without gradients, weights and input
            left out.
        training_bytes: what is kept for the gradients, weights and input left out.
        steps: slices times passes.
    """

    parameters: int
    macs: Macs
    inference_bytes: int
    training_bytes: int
    steps: int

    @property
    def macs_per_step(self) -> float:
        """Multiply-accumulates per slice and pass."""
        return self.macs.total / self.steps


def costs(
    model: STEFlowNet,
    *,
    height: int,
    width: int,
    slices: int,
    batch: int = 1,
    wanted: Sequence[int] | None = None,
) -> Costs:
    """What the network costs in float32 for an input [batch, slices, C, height, width].

    Args:
        model: the network; only its configuration is looked at.
        height, width: of the picture, pixels, 16 or more.
        slices: of the input.
        batch: samples.
        wanted: up to which slices the flow is returned, as the network takes it; by default the last.

    Raises:
        ValueError: a size that the network does not take.
    """
    shapes, x, given = _on_meta(model, (batch, slices, model.config["in_channels"], height, width))
    counter = _run(shapes, x, given, wanted)
    return Costs(
        parameters=sum(parameter.numel() for parameter in shapes.parameters()),
        macs=Macs(**counter.macs),
        inference_bytes=counter.peak,
        training_bytes=_kept_for_gradients(shapes, x, wanted, given),
        steps=slices * shapes.iterations,
    )


def unshared_step(model: STEFlowNet, *, height: int, width: int) -> Macs:
    """Multiply-accumulates of one slice in one pass when nothing is shared between passes, as in the authors' code.

    There every pass computes the features anew, runs a GRU's recurrent half also on a hidden state of zeros, and
    decodes all slices. So does the second slice of a single pass here, whatever it adds to the first alone.
    """

    def macs(iterations: int, slices: int) -> Macs:
        size = (1, slices, model.config["in_channels"], height, width)
        return Macs(**_run(*_on_meta(model, size, iterations=iterations), wanted=range(slices)).macs)

    # The first pass of ours has no flow to warp by.
    warp = 0 if model.iterations == 1 else macs(2, 1).warp - macs(1, 1).warp
    return replace(macs(1, 2) - macs(1, 1), warp=warp)


def table(networks: Mapping[str, STEFlowNet], *, height: int, width: int, slices: int) -> str:
    """What networks cost for one input of a size, in lines: a network per row, by its name."""
    kinds = ("convolution", "transposed", "correlation", "warp")
    heads = ("parameters", "GMAC/step", "GMAC", *kinds, "MiB", "MiB training")
    lines = [f"one sample of {slices} slices, {height}x{width}, the flow at the last; a step is one slice in one pass"]
    lines.append(f"{'':<28}" + "".join(f"{head:>13}" for head in heads))
    for name, model in networks.items():
        cost = costs(model, height=height, width=width, slices=slices)
        counts = [cost.macs_per_step, cost.macs.total, *(getattr(cost.macs, kind) for kind in kinds)]
        sizes = [cost.inference_bytes, cost.training_bytes]
        cells = [f"{cost.parameters:,}", *(f"{count / 1e9:.3f}" for count in counts)]
        cells += [f"{size / 2**20:.1f}" for size in sizes]
        lines.append(f"{name:<28}" + "".join(f"{cell:>13}" for cell in cells))
    lines.append("GMAC: 10^9 multiply-accumulates, in all and by kind. MiB: the most that intermediate float32 results")
    lines.append("take at once; with training, what is kept for the gradients.")
    return "\n".join(lines)


def _on_meta(model: STEFlowNet, size: tuple[int, ...], **changed: Any) -> tuple[STEFlowNet, Tensor, set[int]]:
    """A network like the model and an input, both without numbers, and the identities of their storages."""
    with torch.device("meta"):
        shapes, x = type(model)(**model.config | changed), torch.empty(size)
    return shapes, x, {id(tensor.untyped_storage()) for tensor in (x, *shapes.parameters())}


def _run(shapes: STEFlowNet, x: Tensor, given: set[int], wanted: Sequence[int] | None) -> _Counter:
    """A forward pass without gradients, counted."""
    counter = _Counter(given)
    handle = shapes.encoder.register_forward_pre_hook(counter.count_correlation)
    with torch.no_grad(), counter:
        shapes(x, wanted)
    handle.remove()
    return counter


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that run under it, and the bytes of their results that are alive.

    Args:
        given: identities of storages that were there before: weights and input.
    """

    def __init__(self, given: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = dict.fromkeys(asdict(Macs()), 0)
        self.peak = 0
        self._alive = 0
        self._known = set(given)

    def count_correlation(self, encoder: Any, arguments: tuple[Any, ...]) -> None:
        """Hook before a pass of the encoder: counted from what is matched, however the correlation computes it."""
        displacements = (2 * encoder.radius + 1) ** 2
        self.macs["correlation"] += displacements * sum(level.numel() for level in arguments[0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            x, weight, transposed = args[0], args[1], args[6]
            # [C_out, C_in / groups, k, k], and for a transposed one [C_in, C_out / groups, k, k].
            positions = x if transposed else result
            self.macs["transposed" if transposed else "convolution"] += positions.numel() * math.prod(weight.shape[1:])
        elif func is torch.ops.aten.grid_sampler_2d.default:
            self.macs["warp"] += MACS_PER_SAMPLE * result.numel()
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor):
                self._watch(each)
        return result

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._known:
            return
        self._known.add(id(storage))
        self._alive += storage.nbytes()
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self._alive -= size


def _kept_for_gradients(model: STEFlowNet, x: Tensor, wanted: Sequence[int] | None, given: set[int]) -> int:
    """Bytes of what autograd saves in a forward pass, each storage once."""
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no identity is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in given:
            kept[id(storage)] = storage
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        flows = model(x, wanted)
    size = sum(storage.nbytes() for storage in kept.values())
    del flows
    return size
