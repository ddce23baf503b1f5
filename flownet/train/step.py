"""One step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor, nn

from flownet.datasets.batch import Batch
from flownet.model.steflownet import STEFlowNet
from flownet.train.config import TrainConfig
from flownet.train.objective import objective, terms
from flownet.train.optimizers import MuonAndAdam
from flownet.train.processes import mean_over_processes

Gradients = Sequence[Tensor]


def training_step(
    config: TrainConfig,
    model: STEFlowNet,
    optimizer: torch.optim.Optimizer | MuonAndAdam,
    batch: Batch,
    learning_rate: float,
    progress: float = 1.0,
) -> dict[str, float]:
    """One step of the optimiser on one batch; returns the losses before it.

    The batch is worked on in `config.shards` parts, side by side on the CPU with one thread each. Two cores then do
    more than by sharing every operation, and a busy machine slows them down no more than it must. Of several
    processes each has a batch of its own, and gradients and losses are means over all. If these are not finite, the
    step is not made.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    model.train()
    losses, gradients = _mean_gradients(config, model, batch, progress)
    losses, gradients = mean_over_processes(losses, gradients)
    if all(math.isfinite(value) for value in losses.values()):
        for each, gradient in zip(model.parameters(), gradients, strict=True):
            each.grad = gradient
        if not nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm).isfinite():
            return dict.fromkeys(losses, math.nan)
        # There, too: many small matrices keep several threads waiting for each other.
        _shard_pool(config.shards).submit(optimizer.step).result()
    return losses


def _mean_gradients(
    config: TrainConfig, model: STEFlowNet, batch: Batch, progress: float
) -> tuple[dict[str, float], list[Tensor]]:
    """Losses of a batch, and their gradient for every parameter: means over the parts that it is worked on in."""
    number = config.shards * config.accumulate
    losses = dict.fromkeys(terms(config), 0.0)
    sums: list[Tensor] = []
    found = _shard_pool(config.shards).map(lambda part: _gradients(config, model, part, progress), batch.split(number))
    for values, gradients in found:
        losses = {name: total + values[name] for name, total in losses.items()}
        sums = list(gradients) if not sums else [one + other for one, other in zip(sums, gradients, strict=True)]
    return {name: total / number for name, total in losses.items()}, [total / number for total in sums]


def _gradients(
    config: TrainConfig, model: STEFlowNet, batch: Batch, progress: float
) -> tuple[dict[str, float], Gradients]:
    """Losses of a batch, and the gradient of their sum for every parameter."""
    with torch.autocast(batch.slices.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        losses = objective(config, model, batch, progress)
    values = {name: float(value.detach()) for name, value in losses.items()}
    parameters = list(model.parameters())
    if not math.isfinite(values["loss"]):
        # The gradient of a warp to nowhere writes to nowhere: torch's crashes.
        return values, [torch.zeros_like(each) for each in parameters]
    return values, torch.autograd.grad(losses["loss"], parameters)


@cache
def _shard_pool(shards: int) -> ThreadPoolExecutor:
    # A single shard keeps all of torch's own threads.
    alone = (lambda: None) if shards == 1 else (lambda: torch.set_num_threads(1))
    return ThreadPoolExecutor(max_workers=shards, thread_name_prefix="shard", initializer=alone)


def culprits(config: TrainConfig, model: STEFlowNet, batch: Batch, progress: float = 1.0) -> list[int]:
    """Draws of the samples in a batch whose own loss, or its gradient, is not finite."""
    draws = []
    for draw, sample in zip(batch.index, batch.split(len(batch)), strict=True):
        losses, gradients = _gradients(config, model, sample, progress)
        finite = math.isfinite(losses["loss"]) and all(bool(each.isfinite().all()) for each in gradients)
        draws += [] if finite else [int(draw)]
    return draws
