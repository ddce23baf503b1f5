"""The data set that a configuration names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from flownet.datasets.batch import Batch
from flownet.datasets.dsec import DsecSequences
from flownet.datasets.mixed import Mixed
from flownet.datasets.mvsec import MvsecPairs
from flownet.datasets.spike_flow import SpikeFlow
from flownet.train.config import TrainConfig


def dataset_of(config: TrainConfig) -> Dataset[Batch]:
    """What batches are drawn from: one data set, or a mixture in which every batch is wholly of one.

    Raises:
        InputError: no usable recordings, or recordings without flow for a supervised loss.
    """
    parts = config.parts
    memory_mb = max(1, config.memory_mb // len(parts))
    sets = [_single(replace(part, memory_mb=memory_mb)) for part in parts]
    if len(sets) == 1:
        return sets[0]
    draws = config.batch_size // config.patches
    return Mixed(sets, [part.share for part in parts], batch_draws=draws, seed=config.seed)


def _single(config: TrainConfig) -> Dataset[Batch]:
    sources = [Path(source) for source in config.data]
    shared: dict[str, Any] = {
        "dt": config.dt,
        "flow": config.supervised > 0,
        "crop": (config.crop, config.crop),
        "patches": config.patches,
        "augment": config.augment,
        "slices": config.slices,
        "weights": config.weights,
        "every": config.every,
        "cache": config.cache if config.cache in (None, "memory") else Path(config.cache),
        "memory_mb": config.memory_mb,
        "seed": config.seed,
    }
    if config.kind == "spikes":
        return SpikeFlow(sources, planes=config.planes, exposure=config.exposure, **shared)
    if config.kind == "dsec":
        if config.camera == "both":
            raise ValueError("expected camera left or right for DSEC, got 'both'")
        return DsecSequences(sources, split=config.split, camera=config.camera or "left", **shared)
    return MvsecPairs(sources, split=config.split, camera=config.camera, **shared)
