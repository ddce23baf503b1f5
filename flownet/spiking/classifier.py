"""The whole chain on small pictures: handwritten digits, a spike camera, and spiking networks that read them.

The digits are those of scikit-learn (1,797 of 8x8 pixels), which are installed with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eventsim import SpikeCamera
from flownet.spiking.direct import DirectNetwork, Kind, OverTime, neuron
from flownet.spiking.norm import ThresholdBatchNorm2d

CLASSES = 10
_SIDE = 8
_BRIGHTEST = 16
_COLUMNS = 43


@dataclass(frozen=True)
class Digits:
    """Digits as a spike camera records them, in two parts.

    Args:
        train, test: float32 [N, S, 1, 8, 8], spikes per plane within each of S slices, 0 to 1.
        train_labels, test_labels: int64 [N].
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def recorded_digits(*, slices: int = 4, planes: int = 64, camera: str = "vidar", seed: int = 0) -> Digits:
    """Digits in front of a spike camera, each for a few milliseconds, split 70 to 30 with equal shares of each class.

    All are recorded at once, side by side: each by pixels of its own, with their fixed pattern and noise.

    Args:
        slices: that a recording is cut into.
        planes: of a recording, a multiple of slices.
        camera: the camera's preset.
        seed: of the camera; the split is always the same.

    Raises:
        ValueError: planes that do not divide into slices.
        ImportError: scikit-learn is not installed.
    """
    if slices < 1 or planes < slices or planes % slices:
        raise ValueError(f"expected planes that divide into slices, got {planes} and {slices}")
    try:
        bunch = import_module("sklearn.datasets").load_digits()
        split = import_module("sklearn.model_selection").train_test_split
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install scikit-learn") from error
    spikes = _recorded(bunch.images.astype(np.float32) / _BRIGHTEST, planes, camera, seed)
    rates = torch.from_numpy(spikes.reshape(len(spikes), slices, -1, 1, _SIDE, _SIDE).mean(axis=2, dtype=np.float32))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = split(np.arange(len(labels)), test_size=0.3, stratify=bunch.target, random_state=0)
    return Digits(rates[train], labels[train], rates[test], labels[test])


def _recorded(pictures: np.ndarray, planes: int, camera: str, seed: int) -> np.ndarray:
    """Spikes uint8 [N, planes, 8, 8] of luminances [N, 8, 8]."""
    number, rows = len(pictures), -(-len(pictures) // _COLUMNS)
    board = np.zeros((rows * _COLUMNS, _SIDE, _SIDE), np.float32)
    board[:number] = pictures
    still = board.reshape(rows, _COLUMNS, _SIDE, _SIDE).swapaxes(1, 2).reshape(rows * _SIDE, _COLUMNS * _SIDE)
    sensor = SpikeCamera.preset(camera)
    # Half a plane more, so that rounding to microseconds loses none.
    stream = sensor.simulate(still, duration_us=math.ceil((planes + 0.5) * 1e6 / sensor.readout_hz), seed=seed)
    seen = stream.planes(0, planes).reshape(planes, rows, _SIDE, _COLUMNS, _SIDE).transpose(1, 3, 0, 2, 4)
    return seen.reshape(rows * _COLUMNS, planes, _SIDE, _SIDE)[:number]


def classifier(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """An ordinary network for [B, 1, 8, 8]: three convolutions, two linear layers, average pooling, batch norm."""
    return nn.Sequential(*_layers(activation, nn.BatchNorm2d))


def spiking_classifier(kind: Kind, *, steps: int = 4) -> DirectNetwork:
    """The same layers with neurons, to train on slices [B, S, 1, 8, 8] as it is."""
    return DirectNetwork(OverTime(*_layers(lambda: neuron(kind), ThresholdBatchNorm2d)), steps=steps)


def _layers(activation: Callable[[], nn.Module], norm: Callable[[int], nn.Module]) -> list[nn.Module]:
    def conv(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), norm(outputs), activation()]

    return [*conv(1, 16), *conv(16, 16), nn.AvgPool2d(2), *conv(16, 32), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(128, 64), activation(), nn.Linear(64, CLASSES)]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How a classifier is trained: stochastic gradient descent, its rate falling to 0 as a cosine.

    Args:
        epochs, batch_size, learning_rate, momentum, weight_decay: as usual.
        seed: of the order of samples.
    """

    epochs: int = 25
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0


def fit(model: nn.Module, x: Tensor, labels: Tensor, fitting: Fitting | None = None) -> list[float]:
    """Trains a classifier in place, and leaves it in evaluation mode; returns the mean loss of each epoch."""
    settings = fitting or Fitting()
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum,
                                weight_decay=settings.weight_decay)  # fmt: skip
    steps = settings.epochs * -(-len(x) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = []
    for _ in range(settings.epochs):
        losses = []
        model.train()
        for chosen in torch.split(torch.randperm(len(x), generator=generator), settings.batch_size):
            loss = functional.cross_entropy(model(x[chosen]), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        history.append(sum(losses) / len(losses))
    model.eval()
    return history


def accuracy(output: Tensor, labels: Tensor) -> float:
    """Percent of the samples whose largest output is their class's."""
    return 100 * float((output.argmax(dim=1) == labels).float().mean())
