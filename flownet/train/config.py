"""What a training run is made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eventsim.errors import InputError
from eventsim.settings import read_settings, require
from flownet.model.steflownet import BUILDERS

#: Where the settings that ship with the package lie.
CONFIGS = Path(__file__).parent.parent / "configs"
# The coarsest flow is an eighth of the crop, and its second differences need three pixels.
_SMALLEST_CROP = 24
_WORDS = {
    "weights": ("float", "ceil"),
    "kind": ("events", "spikes", "dsec"),
    "camera": (None, "left", "right", "both"),
    "augment": ("flips", "paper"),
    "photometric_kind": ("charbonnier", "census", "ssim"),
    "optimizer": ("adam", "muon"),
    "schedule": ("cosine", "steps"),
    "precision": ("float32", "bfloat16"),
    "faults": ("stop", "skip"),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run; the defaults are for `steflownet_tiny` on two CPU cores.

    Args:
        data: recordings or folders of them.
        kind: what they are: "events" (MVSEC's layout), "spikes" (a spike camera's view beside MVSEC's files), "dsec".
        mixture: more data that batches are drawn from: mappings of any of this class's settings of data (data, kind,
            camera, split, dt, crop, augment, share), the rest as here.
        share: how often batches come from `data`, beside the mixture's shares.
        camera: "left", "right" or "both"; by default the split's, else the left one.
        split: name of a split of the data set (`flownet/datasets/splits`); by default everything.
        planes, exposure: of spike streams: planes in an interval, and those that a frame is averaged from.
        dt: grey frames that a sample spans: 1, or more with the flow to each of them trained.
        every: of so many equal slices, the network sees the first of each such group (MVSEC outdoors: 3).
        model, model_options: builder of the network, and keyword arguments for it.
        quantised: settings of `flownet.spiking.flow.quantised` (levels, gates, activation): train the form of the
            network that a spiking one reproduces; its thresholds come from the first batch, and are learned.
        start_from: .safetensors whose weights a run begins with (dt = 4 after dt = 1).
        steps: optimiser steps.
        minutes: stop earlier when this much time is spent. The learning rate then falls with time, so that the
            result depends on the machine's speed.
        batch_size: patches a step, in each process.
        crop: rows and columns of a patch, pixels.
        patches: patches taken from each interval that is read; must divide `batch_size`.
        augment: "flips" (and transposition), or "paper" (flips, rotation, resized crop).
        slices, weights: of the representation of an interval.
        cache: keep representations: "memory" (up to `memory_mb` in each worker), a folder, or None.
        photometric, photometric_kind: weight and form of the photometric loss.
        smoothness, edge_aware: weight of the smoothness loss, and whether edges of the frame may break it.
        contrast: weight of the contrast loss of the slices, which needs no frames.
        supervised, elsewhere, relative: weight of the end-point error, for data whose flow is known; in it, the weight
            of pixels without events, and whether it is relative to the motion of each sample.
        occlusion: leave out of the photometric loss what flows back and forth disagree on, from `occlusion_from` of
            the run on; costs a second network pass.
        reference_loss: the published losses: sums, out-of-view pixels included.
        optimizer: "adam", as in the paper, or "muon" (`flownet.train.optimizers.MuonAndAdam`).
        learning_rate, final_learning_rate: at the end of the warm-up and of the run (cosine between).
        schedule: "cosine", or "steps": times `decay` at each of `milestones` (in steps).
        warmup_steps: steps of linear warm-up.
        weight_decay: added to the gradient of weights, not of biases (Adam's L2, as in the paper); Muon's is decoupled.
        clip_norm: largest gradient norm.
        ema: decay of the moving average of the weights, which then is what a run ends with; 0: none.
        precision: "bfloat16" trains under autocast.
        shards: parts of a batch that are worked on side by side.
        accumulate: parts that each shard is worked on in one after another: less memory, the same step.
        recompute: compute activations again for the gradients: a fraction of the memory for a third more work.
        workers: data-loader processes; 0 loads between steps.
        log_every, pictures_every: steps between rows of the log, and between pictures of the flow (0: none).
        validation, validation_every: recordings to evaluate on (protocol `full`), every so many steps (0: never).
        checkpoint_seconds: time between checkpoints.
        faults: what to do about a corrupt sample, a loss that is not finite or a lost worker: "stop", or "skip" (take
            another sample, leave the step out, start workers anew); each is told in `faults.log`.
        seed: of the initial weights, the order of samples and their patches.

    Raises:
        ValueError: a value outside its range.
    """

    data: Sequence[str] = ()
    kind: str = "events"
    mixture: Sequence[Mapping[str, Any]] = ()
    share: float = 1.0
    camera: Literal["left", "right", "both"] | None = None
    split: str | None = None
    planes: int = 400
    exposure: int = 64
    dt: int = 1
    every: int = 1
    model: str = "steflownet_tiny"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    quantised: Mapping[str, Any] | None = None
    start_from: str | None = None
    steps: int = 3000
    minutes: float | None = None
    batch_size: int = 16
    crop: int = 64
    patches: int = 4
    augment: str = "flips"
    slices: int = 5
    weights: Literal["float", "ceil"] = "float"
    cache: str | None = None
    memory_mb: int = 1024
    photometric: float = 1.0
    photometric_kind: Literal["charbonnier", "census", "ssim"] = "charbonnier"
    smoothness: float = 0.003
    edge_aware: bool = False
    contrast: float = 0.0
    supervised: float = 0.0
    elsewhere: float = 0.3
    relative: bool = False
    occlusion: bool = False
    occlusion_from: float = 0.3
    reference_loss: bool = False
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 4e-3
    final_learning_rate: float = 2e-4
    schedule: str = "cosine"
    milestones: Sequence[int] = ()
    decay: float = 0.7
    warmup_steps: int = 30
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema: float = 0.0
    precision: str = "float32"
    shards: int = 2
    accumulate: int = 1
    recompute: bool = False
    workers: int = 1
    log_every: int = 20
    pictures_every: int = 0
    validation: Sequence[str] = ()
    validation_every: int = 0
    checkpoint_seconds: float = 60.0
    faults: str = "stop"
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("steps batch_size crop patches shards accumulate slices dt every learning_rate "
                    "final_learning_rate clip_norm log_every decay share planes exposure memory_mb")  # fmt: skip
        timed = " minutes" if self.minutes is not None else ""
        least = ("warmup_steps workers checkpoint_seconds photometric smoothness contrast supervised elsewhere "
                 "weight_decay pictures_every validation_every occlusion_from ema")  # fmt: skip
        require(self, above=positive + timed, at_least=least)
        for name in ("patches", "shards", "accumulate"):
            if self.batch_size % getattr(self, name):
                raise ValueError(f"expected {name} to divide batch_size {self.batch_size}, got {getattr(self, name)}")
        if self.batch_size % (self.shards * self.accumulate):
            raise ValueError(f"expected shards times accumulate to divide batch_size {self.batch_size}, got "
                             f"{self.shards} and {self.accumulate}")  # fmt: skip
        if self.crop < _SMALLEST_CROP:
            raise ValueError(f"expected a crop of at least {_SMALLEST_CROP} pixels, got {self.crop}")
        if self.model not in BUILDERS:
            raise ValueError(f"expected a model among {', '.join(BUILDERS)}, got {self.model}")
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"expected {name} among {', '.join(map(str, words))}, got {getattr(self, name)!r}")
        if self.ema >= 1:
            raise ValueError(f"expected ema below 1, got {self.ema}")
        if not (self.photometric or self.contrast or self.supervised):
            raise ValueError("expected a photometric, contrast or supervised loss, got weights of 0")

    @property
    def parts(self) -> list[TrainConfig]:
        """The data that batches come from, one configuration for each: this one's own, then the mixture's."""
        own = dataclasses.replace(self, mixture=())
        return [own, *(dataclasses.replace(own, **dict(part)) for part in self.mixture)]

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Learning rate of a step, of a run that is `progress` (0 to 1) done."""
        if self.schedule == "steps":
            decayed = self.learning_rate * self.decay ** sum(step >= milestone for milestone in self.milestones)
        else:
            cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
            decayed = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine
        return decayed * min(1.0, (step + 1) / max(self.warmup_steps, 1))


def config_file(name: str) -> Path:
    """A YAML file by its path, or one that ships with the package by its name.

    Raises:
        InputError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {each.stem: each for each in sorted(CONFIGS.glob("*.yaml"))}
    if name not in shipped:
        raise InputError(name, expected=f"a file of settings, or one of {', '.join(shipped)}", found="neither")
    return shipped[name]


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """The configuration of a YAML file, with some fields replaced.

    Raises:
        InputError: the file is not a mapping of `TrainConfig`'s fields, or holds a value out of range.
    """
    return read_settings(TrainConfig, path, overrides)
