"""A run from its first step to its last, kept in a folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.atomic import atomic_path
from eventsim.provenance import changes, write_provenance
from flownet.datasets.batch import Batch, join
from flownet.model.pretrained import load_pretrained, save_pretrained
from flownet.model.steflownet import BUILDERS, STEFlowNet
from flownet.train.config import TrainConfig
from flownet.train.data import dataset_of
from flownet.train.loader import Tolerant, batches, draws_of, note
from flownet.train.log import RunLog, columns, open_log
from flownet.train.objective import terms
from flownet.train.processes import process_group, processes, rank, wait
from flownet.train.state import TrainState
from flownet.train.step import culprits, training_step
from flownet.train.watch import show_flow, validate

#: Steps in a row without a finite loss after which even a run that skips them ends.
_MOST_SKIPPED = 20
_FILES = ("model.safetensors", "checkpoint.pt", "log.csv", "faults.log", "validation.csv", "events.out.tfevents.*",
          "pictures/step_*.png")  # fmt: skip


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

    The folder gets `run.json` (settings, versions, seed, commit) and what differed from the commit (`changes.diff`),
    `log.csv` and TensorBoard's files as it goes, `checkpoint.pt` now and then, and `model.safetensors` at the end;
    `pictures/`, `validation.csv` and `faults.log` where the configuration asks for them or faults occurred.

    Started by `torchrun`, every process takes a batch of its own and the first one writes.

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
        InputError: no usable recordings, or a loss that is not finite (with the draws of the samples that made it).
        OutputExistsError: the folder holds a run, and neither `overwrite` nor `resume` is set.
    """
    with process_group(device) as own_device:
        return _train(config, Path(out), overwrite, resume, own_device, quiet or rank() > 0)


def _train(config: TrainConfig, out: Path, overwrite: bool, resume: bool, device: str, quiet: bool) -> STEFlowNet:
    if (out / "run.json").exists() and not (overwrite or resume):
        raise OutputExistsError(out)
    check_device(device)
    samples = dataset_of(config)
    state = TrainState(config, _network(config, samples).to(device))
    wait()  # nobody clears the folder before everybody has looked
    if resume and (out / "checkpoint.pt").exists():
        state.load(out / "checkpoint.pt")
    elif rank() == 0 and out.exists():
        _clear(out)
    if rank() == 0:
        out.mkdir(parents=True, exist_ok=True)
        write_provenance(out, config, device=device, processes=processes())
        with atomic_path(out / "changes.diff", overwrite=True) as partial_path:
            partial_path.write_text(changes(), encoding="utf-8")
    wait()
    _fit(state, samples, out, device, quiet)
    state.model.load_state_dict(state.weights)
    state.model.eval()
    if rank() == 0:
        save_pretrained(state.model, out / "model.safetensors", overwrite=True)
    wait()
    return state.model


def check_device(device: str) -> None:
    """Tries a device before work begins.

    Raises:
        ValueError: torch cannot use it.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"expected a device that torch can use here, got {device!r}: {error}") from error


def build(config: TrainConfig) -> STEFlowNet:
    """The configured network, its weights drawn from the seed without touching the global generator, or given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        shown = {"input_slices": config.slices, "input_weights": config.weights}
        shown |= {"input_every": config.every} if config.every > 1 else {}
        shown |= {"in_channels": 1} if config.kind == "spikes" else {}
        try:
            model = BUILDERS[config.model](**shown | dict(config.model_options))
        except TypeError as error:
            raise ValueError(f"expected model_options that {config.model} takes: {error}") from error
    if config.start_from:
        _take_weights(model, config.start_from)
    model.recompute = config.recompute
    return model


def _network(config: TrainConfig, samples: Dataset[Batch]) -> STEFlowNet:
    """The network that is trained: as `build` makes it, or quantised, with thresholds from the first batch."""
    model = build(config)
    if config.quantised is None:
        return model
    from flownet.spiking.calibrate import thresholds
    from flownet.spiking.flow import quantised

    seen = join([samples[draw] for draw in draws_of(config, 0)]).slices
    try:
        return quantised(model, **dict(config.quantised), thresholds=thresholds(model, [seen]))
    except TypeError as error:
        raise ValueError(f"expected settings that flownet.spiking.flow.quantised takes: {error}") from error


def _take_weights(model: STEFlowNet, source: str) -> None:
    given = load_pretrained(source).state_dict()
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if {name: tuple(value.shape) for name, value in given.items()} != ours:
        raise InputError(source, expected=f"weights of the configured network ({len(ours)} tensors)", found="others")
    model.load_state_dict(given)


def _clear(out: Path) -> None:
    """Removes an earlier run's files, so that nothing of it is taken for this one's."""
    for pattern in _FILES:
        for path in out.glob(pattern):
            path.unlink()


def _fit(state: TrainState, samples: Dataset[Batch], out: Path, device: str, quiet: bool) -> None:
    from torch.utils.tensorboard import SummaryWriter

    if rank() > 0:
        _steps(state, samples, out, device, None, None)
        return
    config, names = state.config, terms(state.config)
    with (
        open_log(out / "log.csv", state.step, columns(names)) as file,
        SummaryWriter(str(out), purge_step=state.step) as board,
    ):
        log = RunLog(file, board, terms=names, steps=config.steps, every=config.log_every, minutes=config.minutes,
                     quiet=quiet)  # fmt: skip
        _steps(state, samples, out, device, log, board)
    state.save(out / "checkpoint.pt")


def _steps(state: TrainState, samples: Dataset[Batch], out: Path, device: str, log: RunLog | None, board: Any) -> None:
    config, report = state.config, partial(note, out / "faults.log")
    tolerant = Tolerant(samples, out / "faults.log") if config.faults == "skip" else samples
    before, start, saved, skipped = state.seconds, time.monotonic(), time.monotonic(), 0
    progress = _progress(state)
    for batch, waited in _timed(batches(config, tolerant, state.step, report)):
        if progress >= 1:
            break
        here, rate = batch.to(device), config.learning_rate_at(state.step, progress)
        losses = training_step(config, state.model, state.optimizer, here, rate, progress)
        if math.isfinite(losses["loss"]):
            skipped = 0
            state.average_in()
        else:
            skipped += 1
            _refuse(state, here, losses, out, skipped, progress)
        state.step += 1
        state.seconds = before + time.monotonic() - start
        progress = _agreed(_progress(state))
        if log is None:
            continue
        if not skipped:
            log.add(state.step, state.seconds, losses | {"learning_rate": rate}, config.batch_size, waited)
        _watch(state, here, out, board)
        if time.monotonic() - saved > config.checkpoint_seconds:
            state.save(out / "checkpoint.pt")
            saved = time.monotonic()


def _progress(state: TrainState) -> float:
    config = state.config
    return max(state.step / config.steps, state.seconds / (60 * config.minutes) if config.minutes else 0.0)


def _agreed(progress: float) -> float:
    """The progress of the first process, whose clock all others go by."""
    if processes() == 1:
        return progress
    shared = [progress]
    torch.distributed.broadcast_object_list(shared, src=0)
    return float(shared[0])


def _watch(state: TrainState, batch: Batch, out: Path, board: Any) -> None:
    """Pictures and errors, where they are due."""
    config = state.config
    if config.pictures_every and state.step % config.pictures_every == 0:
        show_flow(state.model, batch, out, board, state.step)
    if config.validation and config.validation_every and state.step % config.validation_every == 0:
        present = {name: value.clone() for name, value in state.model.state_dict().items()}
        state.model.load_state_dict(state.weights)
        validate(config, state.model, out, board, state.step)
        state.model.load_state_dict(present)


def _refuse(
    state: TrainState, batch: Batch, losses: dict[str, float], out: Path, skipped: int, progress: float
) -> None:
    """Tells which samples made a loss that is not finite; ends the run unless such steps are to be left out."""
    config, draws = state.config, draws_of(state.config, state.step)
    bad = culprits(config, state.model, batch, progress)
    where = f"step {state.step}, draws {draws.start} to {draws.stop - 1} of the data set"
    where += f", of them {', '.join(map(str, bad))}" if bad else ""
    found = ", ".join(f"{name} {value}" for name, value in losses.items())
    if config.faults == "stop" or skipped > _MOST_SKIPPED:
        raise InputError(out, expected="a finite loss", found=found, at=where)
    note(out / "faults.log", f"{where}: {found}; the step was left out")


def _timed(found: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """The batches, each with the seconds that were spent waiting for it."""
    while True:
        start = time.monotonic()
        batch = next(found, None)
        if batch is None:
            return
        yield batch, time.monotonic() - start
