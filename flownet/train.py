"""Self-supervised training: the flow that warps the second grey frame onto the first is learned from events alone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
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
from eventsim.settings import read_settings, require
from flownet.datasets.mvsec import Batch, Draws, MvsecPairs, join
from flownet.losses import photometric_loss, smoothness_loss
from flownet.model.pretrained import save_pretrained
from flownet.model.steflownet import BUILDERS, STEFlowNet
from flownet.run_log import RunLog, open_log

# The coarsest flow is an eighth of the crop, and its second differences need three pixels.
_SMALLEST_CROP = 24


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run; the defaults let `steflownet_tiny` learn within minutes on two CPU cores.

    Args:
        data: recordings (`*_data.hdf5`) or folders of them.
        model: builder of the network.
        model_options: keyword arguments for it.
        steps: optimiser steps.
        minutes: stop earlier when this much time is spent. The learning rate then falls with time, so that the
            result depends on the machine's speed.
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
        recompute: compute activations again for the gradients: a fraction of the memory for a third more work.
        seed: of the initial weights, the order of samples and their patches.

    Raises:
        ValueError: a value outside its range.
    """

    data: Sequence[str] = ()
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
    recompute: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        positive = "steps batch_size crop patches shards slices learning_rate final_learning_rate clip_norm log_every"
        timed = " minutes" if self.minutes is not None else ""
        require(self, above=positive + timed, at_least="warmup_steps smoothness workers checkpoint_seconds")
        for name in ("patches", "shards"):
            if self.batch_size % getattr(self, name):
                raise ValueError(f"expected {name} to divide batch_size {self.batch_size}, got {getattr(self, name)}")
        if self.crop < _SMALLEST_CROP:
            raise ValueError(f"expected a crop of at least {_SMALLEST_CROP} pixels, got {self.crop}")
        if self.model not in BUILDERS:
            raise ValueError(f"expected a model among {', '.join(BUILDERS)}, got {self.model}")
        if self.weights not in ("float", "ceil"):
            raise ValueError(f"expected weights 'float' or 'ceil', got {self.weights!r}")

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
    return read_settings(TrainConfig, path, overrides)


@dataclass
class _State:
    """Everything that a run goes on from."""

    config: TrainConfig
    model: STEFlowNet
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        state = {
            "config": self._fixed(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(path, overwrite=True) as partial:
            try:
                torch.save(state, partial)
            except RuntimeError as error:  # what torch makes of a full disk
                raise OSError(f"{path}: could not be written: {' '.join(str(error).split())}") from error

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        ours = self._fixed()
        changed = [f"{name} {state['config'].get(name)!r}" for name in ours if state["config"].get(name) != ours[name]]
        if changed:
            expected = f"a run of the same settings ({', '.join(f'{name} {ours[name]!r}' for name in ours)})"
            raise InputError(path, expected=expected, found=", ".join(changed))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def _fixed(self) -> dict[str, Any]:
        """Settings that may not change from one part of a run to the next."""
        return {"network": self.model.config, "seed": self.config.seed, "batch_size": self.config.batch_size,
                "patches": self.config.patches}  # fmt: skip


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
    check_device(device)
    samples = MvsecPairs(
        [Path(source) for source in config.data],
        crop=(config.crop, config.crop),
        patches=config.patches,
        slices=config.slices,
        weights=config.weights,
        seed=config.seed,
    )
    model = build(config).to(device)
    state = _State(config, model, torch.optim.Adam(model.parameters(), lr=config.learning_rate))
    if resume and (out / "checkpoint.pt").exists():
        state.load(out / "checkpoint.pt")
    elif out.exists():
        _clear(out)
    out.mkdir(parents=True, exist_ok=True)
    write_provenance(out, config, device=device)
    _fit(state, samples, out, device, quiet)
    model.eval()
    save_pretrained(model, out / "model.safetensors", overwrite=True)
    return model


def check_device(device: str) -> None:
    """Tries a device before work begins.

    Raises:
        ValueError: torch cannot use it.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"expected a device that torch can use here, got {device!r}: {error}") from error


def _clear(out: Path) -> None:
    """Removes an earlier run's files, so that nothing of it is taken for this one's."""
    for pattern in ("model.safetensors", "checkpoint.pt", "log.csv", "events.out.tfevents.*"):
        for path in out.glob(pattern):
            path.unlink()


def build(config: TrainConfig) -> STEFlowNet:
    """The configured network, its weights drawn from the seed without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        shown = {"input_slices": config.slices, "input_weights": config.weights}
        model = BUILDERS[config.model](**shown | dict(config.model_options))
    model.recompute = config.recompute
    return model


def _fit(state: _State, samples: MvsecPairs, out: Path, device: str, quiet: bool) -> None:
    from torch.utils.tensorboard import SummaryWriter

    config = state.config
    before, start, saved = state.seconds, time.monotonic(), time.monotonic()
    with open_log(out / "log.csv", state.step) as file, SummaryWriter(str(out), purge_step=state.step) as board:
        log = RunLog(file, board, steps=config.steps, every=config.log_every, minutes=config.minutes, quiet=quiet)
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
            log.add(state.step, state.seconds, losses | {"learning_rate": rate}, config.batch_size, waited)
            if time.monotonic() - saved > config.checkpoint_seconds:
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
    flows = model(batch.slices).at(-1)
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
    try:
        yield from loader
    except (ValueError, OSError) as error:
        # A worker's error comes with its whole traceback as the message; the last line is what it said.
        said = str(error).strip().splitlines()[-1]
        raise ValueError(said.partition("Error: ")[2] or said) from error


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
