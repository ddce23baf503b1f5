"""Everything that a run goes on from, in one file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from flownet.model.steflownet import STEFlowNet
from flownet.train.config import TrainConfig
from flownet.train.optimizers import optimizer_of
from flownet.train.processes import processes


class TrainState:
    """A run between two steps.

    Args:
        config: of the run.
        model: with its first weights.
    """

    def __init__(self, config: TrainConfig, model: STEFlowNet) -> None:
        self.config, self.model = config, model
        self.optimizer = optimizer_of(config, model)
        self.step, self.seconds = 0, 0.0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def average_in(self) -> None:
        """Takes the present weights into the moving average; early on, that of all steps so far."""
        if self.config.ema:
            kept = min(self.config.ema, (1 + self.step) / (10 + self.step))
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - kept)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What the run is worth so far: the moving average, where there is one."""
        return self.average if self.config.ema else self.model.state_dict()

    def save(self, path: Path) -> None:
        """Writes the state; never half."""
        state = {
            "network": type(self.model).__name__,
            "config": self._fixed(),
            "model": self.model.state_dict(),
            "average": self.average if self.config.ema else None,
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
        """Goes on from a file.

        Raises:
            InputError: it cannot be read, or is of a run with other settings.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(path, expected="a checkpoint of a run", found=" ".join(str(error).split())) from error
        ours = self._fixed()
        # What runs were before they could be otherwise.
        state["config"] = {"optimizer": "adam"} | state["config"]
        state["config"]["network"] = {"compensate": False} | state["config"]["network"]
        changed = [f"{name} {state['config'].get(name)!r}" for name in ours if state["config"].get(name) != ours[name]]
        if changed:
            expected = f"a run of the same settings ({', '.join(f'{name} {ours[name]!r}' for name in ours)})"
            raise InputError(path, expected=expected, found=", ".join(changed))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        if state["average"] is not None:
            self.average = {name: value.to(self.average[name].device) for name, value in state["average"].items()}

    def _fixed(self) -> dict[str, Any]:
        """Settings that may not change from one part of a run to the next."""
        return {
            "network": self.model.config,
            "seed": self.config.seed,
            "batch_size": self.config.batch_size * processes(),
            "patches": self.config.patches,
            "ema": self.config.ema,
            "optimizer": self.config.optimizer,
        }
