"""Batches for a run, the same ones whatever step it goes on from and however many workers make them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from flownet.datasets.batch import Batch, join
from flownet.train.config import TrainConfig
from flownet.train.processes import processes, rank

_MOST_RESTARTS = 5
_MOST_REPLACED = 100
Report = Callable[[str], None]


def batches(config: TrainConfig, samples: Dataset[Batch], step: int, report: Report) -> Iterator[Batch]:
    """Batches from a step on, of this process's share.

    Args:
        config: of the run.
        samples: what they are drawn from.
        step: the first batch's.
        report: is told of lost workers, where the configuration skips faults.

    Raises:
        InputError, ValueError, OSError: data that cannot be read.
        RuntimeError: a worker was lost, or too many.
    """
    lost = 0
    while True:
        try:
            for batch in _loader(config, samples, step):
                yield batch
                step += 1
            return
        except (ValueError, OSError) as error:
            # A worker's error comes with its whole traceback as the message; the last line is what it said.
            said = str(error).strip().splitlines()[-1]
            raise ValueError(said.partition("Error: ")[2] or said) from error
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            lost += 1
            said = f"step {step}: {str(error).strip().splitlines()[0]}"
            if config.faults == "stop" or lost > _MOST_RESTARTS:
                raise RuntimeError(
                    f"{said}; `faults: skip` starts workers anew, up to {_MOST_RESTARTS} times"
                ) from error
            report(f"{said}; started anew ({lost} of {_MOST_RESTARTS})")


def draws_of(config: TrainConfig, step: int) -> range:
    """Draws of this process's batch at a step: those of all processes follow each other."""
    number = config.batch_size // config.patches
    first = (step * processes() + rank()) * number
    return range(first, first + number)


def _loader(config: TrainConfig, samples: Dataset[Batch], step: int) -> DataLoader[Batch]:
    return DataLoader(
        samples,
        batch_sampler=_Steps(config, step),
        num_workers=config.workers,
        collate_fn=join,
        worker_init_fn=_one_thread,
    )


@dataclass(frozen=True)
class _Steps:
    """The draws of one batch after another, from a step on: a run of any length in no memory."""

    config: TrainConfig
    step: int

    def __iter__(self) -> Iterator[list[int]]:
        return (list(draws_of(self.config, step)) for step in range(self.step, self.config.steps + 1))

    def __len__(self) -> int:
        return self.config.steps + 1 - self.step


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Tolerant(Dataset[Batch]):
    """A data set that gives another sample in the place of one that cannot be read, and notes it.

    Args:
        samples: the data set.
        log: text file that gets a line for each.
    """

    samples: Dataset[Batch]
    log: Path

    def __getitem__(self, draw: int) -> Batch:
        for again in range(_MOST_REPLACED):
            # Far beyond any draw that the run comes to.
            instead = draw + again * 10**9
            try:
                return self.samples[instead]
            except (ValueError, OSError) as error:
                note(self.log, f"draw {instead}: {error}")
        raise ValueError(f"{self.log}: expected samples that can be read, got {_MOST_REPLACED} that cannot in a row")


def note(log: Path, text: str) -> None:
    """Adds a line to a log that several processes write to."""
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {' '.join(text.split())}\n"
    with log.open("ab", buffering=0) as file:  # one write: lines of several processes do not mix
        file.write(line.encode())
        os.fsync(file.fileno())
