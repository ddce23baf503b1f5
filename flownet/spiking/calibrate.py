"""Thresholds for networks that were trained without: from the activations that they show on some data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from flownet.spiking.quantise import Quantiser

Method = Literal["maximum", "percentile"]
#: Activations whose neurons need a threshold that training did not give.
UNBOUNDED = (nn.ReLU, nn.LeakyReLU)
# Neurons that never fire on the data still need a threshold.
_LEAST = 1e-6


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How thresholds come from activations.

    Args:
        method: the largest, or a percentile.
        share: of the values that lie below a percentile's threshold, above 0 and up to 1: 0.999 clips one in 1,000.
        per_channel: a threshold per channel (axis 1), not one per layer.
        most_values: values that are kept of each layer and batch, or of each channel; more are thinned out evenly.

    Raises:
        ValueError: an unknown method, another share, or no values.
    """

    method: Method = "percentile"
    share: float = 0.999
    per_channel: bool = False
    most_values: int = 1_000_000

    def __post_init__(self) -> None:
        if self.method not in get_args(Method) or not 0 < self.share <= 1 or self.most_values < 1:
            raise ValueError(f"expected a method of {', '.join(get_args(Method))}, a share above 0 and up to 1 and 1 "
                             f"or more values, got {self}")  # fmt: skip


def thresholds(
    model: nn.Module,
    batches: Iterable[Any],
    calibration: Calibration | None = None,
    *,
    only: Callable[[str], bool] = lambda name: True,
) -> dict[str, Tensor]:
    """A threshold for every ReLU and LeakyReLU of a network: of what it puts out, the largest size or nearly so.

    A threshold bounds both sides: of a channel that is mostly negative, the small positive values say nothing. Zeros
    count among a ReLU's values. The network is not changed: neither its mode nor its activations.

    Args:
        model: the network.
        batches: its inputs, one argument each (a tuple is several arguments); 100 or so samples do.
        calibration: by default the 99.9th percentile of each layer.
        only: which qualified names to look at.

    Returns:
        Qualified name -> [] or [C].

    Raises:
        ValueError: no batches, or a layer that is never reached.
    """
    settings = calibration or Calibration()
    kept: dict[str, list[Tensor]] = {name: [] for name in unbounded(model) if only(name)}

    def keep(name: str, output: Tensor) -> None:
        kept[name].append(_thinned(output.detach().abs(), settings))

    _watch(model, batches, list(kept), keep)
    if missing := [name for name, values in kept.items() if not values]:
        raise ValueError(f"expected batches that reach every activation, got none for {', '.join(missing)}")
    return {name: _threshold(torch.cat(values, dim=-1), settings) for name, values in kept.items()}


def unbounded(model: nn.Module) -> list[str]:
    """Qualified names of the activations that need a threshold."""
    return [name for name, module in model.named_modules() if isinstance(module, UNBOUNDED)]


def balanced_thresholds(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    rate: float = 0.1,
    per_channel: bool = True,
) -> dict[str, Tensor]:
    """Thresholds by local threshold balancing: what is clipped, weighed against how fine the spikes are.

    From 0 on, each batch moves theta += rate mean(2 (z - theta) [z > theta]) for the sizes z of what is put out, over
    samples and pixels of each channel: steps down the squared error that clipping leaves. Bu et al., "Inference-Scale
    Complexity in ANN-SNN Conversion for High-Performance and Low-Power Applications", 2024; there 1,000 to 5,000
    batches of 100.

    Args:
        model: the network.
        batches: its inputs; every one is a step, so repeat them as often as needed.
        rate: of the steps.
        per_channel: a threshold per channel, not one per layer.

    Raises:
        ValueError: no batches, a rate that is not positive, or a layer that is never reached.
    """
    if rate <= 0:
        raise ValueError(f"expected a positive rate, got {rate}")
    found: dict[str, Tensor] = {}

    def step(name: str, output: Tensor) -> None:
        z = output.detach().abs()
        values = z.transpose(0, 1).flatten(1) if per_channel and z.ndim > 1 else z.reshape(1, -1)
        theta = found.get(name, values.new_zeros(len(values)))
        excess = (values - theta[:, None]).clamp(min=0)
        found[name] = theta + rate * 2 * excess.mean(dim=1)

    names = unbounded(model)
    _watch(model, batches, names, step)
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"expected batches that reach every activation, got none for {', '.join(missing)}")
    return {name: (theta if per_channel else theta[0]).clamp(min=_LEAST) for name, theta in found.items()}


def readout_delay(found: Mapping[str, Tensor], means: Iterable[Tensor], *, initial: float = 0.5) -> float:
    """Micro-steps that a network's first spikes take to its output: sum over layers (theta - v0) / max mean drive.

    Bu et al., 2024 (see `balanced_thresholds`).

    Args:
        found: thresholds, layer by layer.
        means: the mean positive drive of each channel of each of these layers, in the same order.
        initial: potential to start from, as a share of the threshold.

    Raises:
        ValueError: numbers of layers differ.
    """
    drives = list(means)
    if len(drives) != len(found):
        raise ValueError(f"expected means of {len(found)} layers, got {len(drives)}")
    pairs = zip(found.values(), drives, strict=True)
    return sum(float(theta.mean() * (1 - initial) / drive.max().clamp(min=_LEAST)) for theta, drive in pairs)


def set_thresholds(model: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Starts the learned thresholds of a quantised network from calibrated ones, by qualified name.

    Raises:
        ValueError: a name that is not a quantiser with a learned threshold.
    """
    modules = dict(model.named_modules())
    for name, threshold in found.items():
        module = modules.get(name)
        if not isinstance(module, Quantiser) or not hasattr(module, "raw_threshold"):
            raise ValueError(f"expected names of quantisers with a learned threshold, got {name}")
        module.threshold = threshold


def _watch(model: nn.Module, batches: Iterable[Any], names: Iterable[str], seen: Callable[[str, Tensor], None]) -> None:
    """Runs a network in evaluation mode; calls with the name and output of each named module that runs."""
    modules = dict(model.named_modules())
    handles, modes = [], {module: module.training for module in model.modules()}
    for name in names:
        handles.append(modules[name].register_forward_hook(lambda _, args, out, name=name: seen(name, out)))
    ran = False
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                model(*batch) if isinstance(batch, tuple) else model(batch)
                ran = True
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    if not ran:
        raise ValueError("expected one or more batches, got none")


def _thinned(values: Tensor, settings: Calibration) -> Tensor:
    """[n], or [C, n] per channel; of a maximum, only that."""
    flat = values.transpose(0, 1).flatten(1) if settings.per_channel and values.ndim > 1 else values.flatten()
    if settings.method == "maximum":
        return flat.amax(dim=-1, keepdim=True)
    return flat[..., :: -(-flat.shape[-1] // settings.most_values)].clone()


def _threshold(values: Tensor, settings: Calibration) -> Tensor:
    if settings.method == "maximum" or settings.share == 1:
        return values.amax(dim=-1).clamp(min=_LEAST)
    # The k-th smallest: torch.quantile refuses more than 2^24 values.
    k = max(1, min(values.shape[-1], int(settings.share * values.shape[-1])))
    return values.kthvalue(k, dim=-1).values.clamp(min=_LEAST)
