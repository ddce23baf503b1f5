"""Self-supervised training: the flow that warps the second grey frame onto the first is learned from events alone."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.atomic import atomic_path
from eventsim.provenance import write_provenance
from flownet.datasets.mvsec import Batch, Draws, MvsecPairs, join
from flownet.losses import photometric_loss, smoothness_loss
from flownet.model.pretrained import save_pretrained
from flownet.model.steflownet import BUILDERS, STEFlowNet

_COLUMNS = ("step", "seconds", "loss", "photometric", "smoothness", "learning_rate", "samples_per_s", "data_share")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run; the defaults are the measured recipe for `steflownet_tiny` on two CPU cores.

    Args:
        data: recordings (`*_data.hdf5`) or folders of them.
        model: builder of the network.
        model_options: keyword arguments for it.
        steps: optimiser steps.
        minutes: stop earlier when this much time is spent; the learning rate then falls with time.
        batch_size: patches a step.
        crop: rows and columns of a patch, pixels.
        patches: patches taken from each pair of frames that is read; must divide `batch_size`.
        slices, weights: of the representation.
        learning_rate, final_learning_rate: at the end of the warm-up and of the run (cosine between).
        warmup_steps: steps of linear warm-up.
        clip_norm: largest gradient norm.
        shards: parts of a batch that are worked on side by side; must divide `batch_size`.
        smoothness: weight of the smoothness loss beside the mean photometric one.
        workers: data-loader processes; 0 loads between steps.
        log_every: steps between rows of the log.
        checkpoint_seconds: time between checkpoints.
        seed: of the initial weights, the order of samples and their patches.

    Raises:
        ValueError: a value outside its range.
    """

    data: tuple[str, ...] = ()
    model: str = "steflownet_tiny"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 3000
    minutes: float | None = None
    batch_size: int = 16
    crop: int = 64
    patches: int = 4
    slices: int = 5
    weights: Literal["float", "ceil"] = "float"
    learning_rate: float = 4e-3
    final_learning_rate: float = 2e-4
    warmup_steps: int = 30
    clip_norm: float = 1.0
    shards: int = 2
    smoothness: float = 0.003
    workers: int = 1
    log_every: int = 20
    checkpoint_seconds: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "crop",
            "patches",
            "shards",
            "slices",
            "learning_rate",
            "clip_norm",
            "log_every",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0, got {getattr(self, name)}")
        for name in ("patches", "shards"):
            if self.batch_size % getattr(self, name):
                raise ValueError(f"expected {name} to divide batch_size {self.batch_size}, got {getattr(self, name)}")
        if self.model not in BUILDERS:
            raise ValueError(f"expected a model among {', '.join(BUILDERS)}, got {self.model}")

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Learning rate of a step, of a run that is `progress` (0 to 1) done."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        decayed = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine
        return decayed * min(1.0, (step + 1) / max(self.warmup_steps, 1))


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """The configuration of a YAML file, with some fields replaced.

    Raises:
        InputError: the file is not a mapping of `TrainConfig`'s fields, or holds a value out of range.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(path, expected="YAML", found=" ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise InputError(path, expected="a mapping of settings", found=type(values).__name__)
    known = {each.name for each in dataclasses.fields(TrainConfig)}
    unknown = set(values) - known
    if unknown:
        raise InputError(path, expected=f"settings among {', '.join(sorted(known))}", found=", ".join(sorted(unknown)))
    settings = values | overrides
    settings["data"] = tuple(settings.get("data", ()))
    try:
        return TrainConfig(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(path, expected="settings within their ranges", found=str(error)) from error


@dataclass
class _State:
    """Everything that a run goes on from."""

    model: STEFlowNet
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(path, overwrite=True) as partial:
            torch.save(state, partial)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]


def train(
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "cpu",
    quiet: bool = False,
) -> STEFlowNet:
    """Trains a network and keeps the run in a folder.

    The folder gets `run.json` (settings, versions, seed, commit), `log.csv` and TensorBoard's files as it goes,
    `checkpoint.pt` now and then, and `model.safetensors` at the end.

    Args:
        config: what to train, on what and how.
        out: the run's folder.
        overwrite: start over in a folder that holds a run.
        resume: go on from the folder's checkpoint, where there is one.
        device: where to train.
        quiet: print nothing.

    Returns:
        The trained network.

    Raises:
        InputError: no usable recordings, or a loss that is not finite (with the draws of its batch).
        OutputExistsError: the folder holds a run, and neither `overwrite` nor `resume` is set.
    """
    if (out / "run.json").exists() and not (overwrite or resume):
        raise OutputExistsError(out)
    samples = MvsecPairs(
        [Path(source) for source in config.data],
        crop=(config.crop, config.crop),
        patches=config.patches,
        slices=config.slices,
        weights=config.weights,
        seed=config.seed,
    )
    model = build(config).to(device)
    state = _State(model, torch.optim.Adam(model.parameters(), lr=config.learning_rate))
    if resume and (out / "checkpoint.pt").exists():
        state.load(out / "checkpoint.pt")
    out.mkdir(parents=True, exist_ok=True)
    write_provenance(out, config)
    _fit(config, state, samples, out, device, quiet)
    model.eval()
    save_pretrained(model, out / "model.safetensors", overwrite=True)
    return model


def build(config: TrainConfig) -> STEFlowNet:
    """The configured network, its weights drawn from the seed without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return BUILDERS[config.model](**config.model_options)


def _fit(config: TrainConfig, state: _State, samples: MvsecPairs, out: Path, device: str, quiet: bool) -> None:
    from torch.utils.tensorboard import SummaryWriter

    before, start, saved = state.seconds, time.monotonic(), time.monotonic()
    fresh = state.step == 0
    with (out / "log.csv").open("w" if fresh else "a", newline="") as file, SummaryWriter(str(out)) as board:
        log = _Log(config, csv.writer(file), board, quiet, fresh)
        for batch, waited in _timed(_batches(config, samples, state.step)):
            progress = max(state.step / config.steps, state.seconds / (60 * config.minutes) if config.minutes else 0.0)
            if progress >= 1:
                break
            rate = config.learning_rate_at(state.step, progress)
            losses = training_step(config, state.model, state.optimizer, _to(batch, device), rate)
            if not math.isfinite(losses["loss"]):
                raise InputError(
                    out, expected="a finite loss", found=str(losses["loss"]), at=_draws(config, state.step)
                )
            state.step += 1
            state.seconds = before + time.monotonic() - start
            log.add(state.step, state.seconds, losses | {"learning_rate": rate}, waited)
            if time.monotonic() - saved > config.checkpoint_seconds:
                file.flush()
                state.save(out / "checkpoint.pt")
                saved = time.monotonic()
    state.save(out / "checkpoint.pt")


def training_step(
    config: TrainConfig, model: STEFlowNet, optimizer: torch.optim.Optimizer, batch: Batch, learning_rate: float
) -> dict[str, float]:
    """One step of the optimiser on one batch; returns the losses before it.

    The batch is worked on in `config.shards` parts, side by side on the CPU with one thread each. Two cores then do
    more than by sharing every operation, and a busy machine slows them down no more than it must.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    model.train()
    parts = list(
        _shard_pool(config.shards).map(lambda part: _gradients(config, model, part), batch.split(config.shards))
    )
    for each, *gradients in zip(model.parameters(), *(gradients for _, gradients in parts), strict=True):
        each.grad = torch.stack(gradients).mean(dim=0)
    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()
    return {name: sum(losses[name] for losses, _ in parts) / len(parts) for name in parts[0][0]}


def _gradients(config: TrainConfig, model: STEFlowNet, batch: Batch) -> tuple[dict[str, float], tuple[Tensor, ...]]:
    """Losses of a batch, and the gradient of their sum for every parameter."""
    flows = [scale[:, -1] for scale in model(batch.slices).pyramid]
    photometric = photometric_loss(flows, batch.first, batch.second)
    smoothness = smoothness_loss(flows)
    loss = photometric + config.smoothness * smoothness
    losses = {"loss": loss, "photometric": photometric, "smoothness": smoothness}
    return {name: float(value.detach()) for name, value in losses.items()}, torch.autograd.grad(
        loss, list(model.parameters())
    )


@cache
def _shard_pool(shards: int) -> ThreadPoolExecutor:
    # A single shard keeps all of torch's own threads.
    alone = (lambda: None) if shards == 1 else (lambda: torch.set_num_threads(1))
    return ThreadPoolExecutor(max_workers=shards, thread_name_prefix="shard", initializer=alone)


class _Log:
    """Rows of `log.csv` and TensorBoard, each the mean over the steps since the last."""

    def __init__(self, config: TrainConfig, writer: Any, board: Any, quiet: bool, fresh: bool) -> None:
        self.config, self.writer, self.board, self.quiet = config, writer, board, quiet
        self.sums: dict[str, float] = {}
        self.waited, self.last = 0.0, time.monotonic()
        self.said = -math.inf
        if fresh:
            writer.writerow(_COLUMNS)

    def add(self, step: int, seconds: float, values: dict[str, float], waited: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value / self.config.log_every
        self.waited += waited
        if step % self.config.log_every:
            return
        now = time.monotonic()
        span = now - self.last
        rate, data = self.config.log_every * self.config.batch_size / span, self.waited / span
        row = {"step": step, "seconds": seconds, **self.sums, "samples_per_s": rate, "data_share": data}
        self.writer.writerow([f"{row[name]:.6g}" for name in _COLUMNS])
        for name in _COLUMNS[2:]:
            self.board.add_scalar(name, row[name], step)
        self.sums, self.waited, self.last = {}, 0.0, now
        if not self.quiet and now - self.said > 10:
            left = self._seconds_left(step, seconds)
            print(f"[{step}/{self.config.steps}] loss {row['loss']:.5f}  photometric {row['photometric']:.5f}  "
                  f"{rate:.0f} samples/s  data {data:.0%}  {seconds:.0f} s, {left:.0f} s left", flush=True)  # fmt: skip
            self.said = now

    def _seconds_left(self, step: int, seconds: float) -> float:
        by_steps = seconds / step * (self.config.steps - step)
        return min(by_steps, 60 * self.config.minutes - seconds) if self.config.minutes else by_steps


def _batches(config: TrainConfig, samples: MvsecPairs, step: int) -> Iterator[Batch]:
    """Batches from a step on; the same ones whatever step training started from."""
    draws = config.batch_size // config.patches
    loader: DataLoader[Batch] = DataLoader(
        samples,
        batch_size=draws,
        sampler=Draws(step * draws, (config.steps + 1) * draws),
        num_workers=config.workers,
        collate_fn=join,
    )
    yield from loader


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """The batches, each with the seconds that were spent waiting for it."""
    while True:
        start = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.monotonic() - start


def _to(batch: Batch, device: str) -> Batch:
    return Batch(batch.slices.to(device), batch.first.to(device), batch.second.to(device))


def _draws(config: TrainConfig, step: int) -> str:
    draws = config.batch_size // config.patches
    return f"step {step}, draws {step * draws} to {(step + 1) * draws - 1} of the data set"
