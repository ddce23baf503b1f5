"""`flownet train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from eventsim.command import Options


@dataclass(kw_only=True)
class Train(Options):
    """A network on recordings in MVSEC's or DSEC's layout, self-supervised or by the flow that is known.

    On several GPUs or machines: torchrun --nproc-per-node N --no-python flownet train ...
    """

    seed: int | None = None  # type: ignore[assignment]
    """Seed of weights, order and patches, instead of the configuration's."""

    data: Positional[tuple[Path, ...]]
    """Recordings (*_data.hdf5) or folders of them."""
    out: Path
    """Folder of the run."""
    config: str | None = None
    """YAML file of settings, or the name of one that ships (tiny, paper_dt1, ...); by default tiny, with which a
    narrow network of one pass learns in minutes."""
    steps: int | None = None
    """Optimiser steps, instead of the configuration's."""
    minutes: float | None = None
    """Stop when this much time is spent."""
    device: str = "cpu"
    """Where to train."""
    resume: Literal["no", "auto"] = "no"
    """With auto, go on from the run's checkpoint, where there is one."""

    def run(self) -> None:
        from flownet.train import config_file, load_config, train

        path = config_file(self.config or "tiny")
        given = {"steps": self.steps, "minutes": self.minutes, "seed": self.seed}
        overrides = {name: value for name, value in given.items() if value is not None}
        config = load_config(path, data=[str(source) for source in self.data], **overrides)
        train(
            config,
            self.out,
            overwrite=self.overwrite,
            resume=self.resume == "auto",
            device=self.device,
            quiet=self.quiet,
        )
