"""The whole chain on pictures: digits, a spike camera, spiking networks."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from flownet.spiking.calibrate import Calibration, thresholds
from flownet.spiking.classifier import (
    Digits,
    Fitting,
    accuracy,
    classifier,
    fit,
    recorded_digits,
    spiking_classifier,
)
from flownet.spiking.convert import NeuronSettings, convert
from flownet.spiking.quantise import QCFS

pytest.importorskip("sklearn")


@cache
def digits() -> Digits:
    return recorded_digits()


@cache
def trained(levels: int = 0) -> nn.Sequential:
    torch.manual_seed(0)
    model = classifier(lambda: QCFS(levels, 4.0)) if levels else classifier()
    fit(model, digits().train.mean(dim=1), digits().train_labels, Fitting(epochs=8))
    return model


def spiking_accuracies(levels: int = 0, steps: tuple[int, ...] = (4, 8, 32), **neurons: object) -> list[float]:
    model, seen = trained(levels), digits().train.mean(dim=1)
    found = thresholds(model, [seen], Calibration(method="maximum")) if not levels else {}
    spiking = convert(model, steps=4, thresholds=found, neurons=NeuronSettings(**neurons))  # type: ignore[arg-type]
    with torch.no_grad():
        outputs = spiking.trace(digits().test.mean(dim=1), steps=steps)
    return [accuracy(each, digits().test_labels) for each in outputs]


def own_accuracy(levels: int = 0) -> float:
    model = trained(levels)
    with torch.no_grad():
        return accuracy(model(digits().test.mean(dim=1)), digits().test_labels)


def test_a_camera_records_every_digit() -> None:
    from sklearn.datasets import load_digits

    found = digits()
    assert found.train.shape == (1257, 4, 1, 8, 8)
    assert found.test.shape == (540, 4, 1, 8, 8)
    # Rates are the pictures' luminance, less what 64 planes, the lens' falloff and noise make of it.
    labels = torch.from_numpy(load_digits().target)
    pictures = torch.from_numpy(load_digits().images).float() / 16
    assert (torch.bincount(found.test_labels) - 0.3 * torch.bincount(labels)).abs().max() < 1
    for digit in range(10):
        parts = (found.train[found.train_labels == digit], found.test[found.test_labels == digit])
        rate = torch.cat(parts).mean(dim=(0, 1, 2))
        assert (rate - pictures[labels == digit].mean(dim=0)).abs().max() < 0.06
    assert torch.equal(digits().train, recorded_digits().train)
    assert not torch.equal(digits().train, recorded_digits(seed=1).train)
    with pytest.raises(ValueError, match="planes that divide into slices"):
        recorded_digits(slices=5)


def test_potentials_that_start_at_half_the_threshold_are_faster() -> None:
    zero, half = spiking_accuracies(initial=0), spiking_accuracies()
    assert half[1] >= zero[1] + 10
    assert half[2] >= own_accuracy() - 1.5


def test_soft_resets_keep_what_hard_ones_lose() -> None:
    assert spiking_accuracies()[2] > spiking_accuracies(reset="hard")[2]


def test_quantised_activations_need_few_steps() -> None:
    assert own_accuracy(4) > 95
    assert spiking_accuracies(4)[0] >= own_accuracy(4) - 1.5


def test_a_lossless_conversion_decides_alike() -> None:
    model, shown = trained(4), digits().test.mean(dim=1)
    with torch.no_grad():
        assert torch.equal(convert(model, mode="lossless")(shown).argmax(dim=1), model(shown).argmax(dim=1))


def test_a_network_trained_on_spikes_reads_digits() -> None:
    torch.manual_seed(0)
    model = spiking_classifier("srif_mpr")
    history = fit(model, digits().train[::2], digits().train_labels[::2], Fitting(epochs=6, learning_rate=0.2))
    assert history[-1] < 0.3 * history[0]
    with torch.no_grad():
        assert accuracy(model(digits().test), digits().test_labels) > 85
