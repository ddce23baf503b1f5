"""From pictures over a spike camera to spiking networks: a table of methods and numbers of micro-steps.

python tools/digits.py

Handwritten digits (scikit-learn's, of 8x8 pixels) are recorded by a simulated spike camera. One network is trained as
usual, converted in several ways, and held against one trained with quantised activations and against networks that
are trained as spiking ones. Everything but the recording is repeated with several seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from flownet.spiking.calibrate import Calibration, balanced_thresholds, thresholds
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
from flownet.spiking.direct import KINDS
from flownet.spiking.energy import Comparison, compare
from flownet.spiking.quantise import QCFS

STEPS = (2, 4, 8, 16, 32)
Results = dict[str, dict[int, list[float]]]


def main(seeds: int = 5, epochs: int = 25, direct_epochs: int = 12, slices: int = 4) -> None:
    """Prints the tables as Markdown.

    Args:
        seeds: runs with weights and orders of their own.
        epochs: of networks that are trained to be converted.
        direct_epochs: of networks that are trained as spiking ones.
        slices: that they see a recording in, one for each time step.
    """
    start, digits, results = time.monotonic(), recorded_digits(slices=slices), Results()
    example: dict[str, nn.Module] = {}
    for seed in range(seeds):
        example = one_seed(digits, results, seed, epochs, direct_epochs)
    print_table(results, slices)
    print_costs(example, digits)
    print(f"{seeds} seeds, {time.monotonic() - start:.0f} s.")


def one_seed(digits: Digits, results: Results, seed: int, epochs: int, direct_epochs: int) -> dict[str, nn.Module]:
    """All methods once; returns some of the networks."""
    fitting = Fitting(epochs=epochs, seed=seed)
    direct = Fitting(epochs=direct_epochs, learning_rate=0.1, seed=seed)
    seen, shown, labels = digits.train.mean(dim=1), digits.test.mean(dim=1), digits.test_labels

    def trained(make: Callable[[], nn.Module], x: Tensor, how: Fitting) -> nn.Module:
        torch.manual_seed(seed)
        model = make()
        fit(model, x, digits.train_labels, how)
        return model

    def note(method: str, found: dict[int, Tensor]) -> None:
        for steps, output in found.items():
            results.setdefault(method, {}).setdefault(steps, []).append(accuracy(output, labels))

    ordinary = trained(classifier, seen, fitting)
    quantised = trained(lambda: classifier(lambda: QCFS(4, 4.0)), seen, fitting)
    with torch.no_grad():
        note("ordinary network (ReLU)", {0: ordinary(shown)})
        for method, spiking in conversions(ordinary, seen).items():
            note(method, dict(zip(STEPS, spiking.trace(shown, steps=STEPS), strict=True)))
        note("network with QCFS, L = 4", {0: quantised(shown)})
        spikes = convert(quantised, steps=4)
        note("- converted (QCFS, OPI)", dict(zip(STEPS, spikes.trace(shown, steps=STEPS), strict=True)))
        exact = convert(quantised, mode="lossless")
        note("- converted, lossless (signed neurons)", {0: exact(shown)})
    for kind in KINDS:
        spiking = trained(lambda kind=kind: spiking_classifier(kind), digits.train, direct)
        with torch.no_grad():
            note(f"trained directly, {kind}", {digits.test.shape[1]: spiking(digits.test)})
    return {"ordinary": ordinary, "quantised": quantised, "converted": spikes, "exact": exact, "direct": spiking}


def conversions(model: nn.Module, seen: Tensor) -> dict[str, nn.Module]:
    """Ways to convert a network that was trained without conversion in mind."""
    most = thresholds(model, [seen], Calibration(method="maximum"))
    nearly = thresholds(model, [seen], Calibration(share=0.999))
    balanced = balanced_thresholds(model, list(seen.split(100)) * 40)
    ways = {
        "- plain: maximum, v0 = 0": (most, NeuronSettings(initial=0)),
        "- maximum, v0 = 1/2 (OPI)": (most, NeuronSettings()),
        "- maximum, v0 = 1/2, hard reset": (most, NeuronSettings(reset="hard")),
        "- 99.9 %, OPI": (nearly, NeuronSettings()),
        "- local threshold balancing, OPI": (balanced, NeuronSettings()),
        "- 99.9 %, signed neurons": (nearly, NeuronSettings(signed=True)),
        "- 99.9 %, spike calibration": (nearly, NeuronSettings(allowance=4)),
    }
    return {name: convert(model, steps=STEPS[-1], thresholds=found, neurons=how) for name, (found, how) in ways.items()}


def print_table(results: Results, slices: int) -> None:
    """Mean accuracy and its range over the seeds."""
    columns = ["method", "no time steps", *(f"T = {steps}" for steps in STEPS)]
    print("| " + " | ".join(columns) + " |", "|---|" + "--:|" * (len(columns) - 1), sep="\n")
    for method, found in results.items():
        cells = [found.get(steps) for steps in (0, *STEPS)]
        print("| " + " | ".join([method, *("" if each is None else spread(each) for each in cells)]) + " |")
    print(f"\nPercent of 540 digits: mean, lowest and highest. Directly trained ones see {slices} slices.\n")


def spread(values: list[float]) -> str:
    """Mean, lowest and highest."""
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def print_costs(networks: dict[str, nn.Module], digits: Digits) -> None:
    """What the last seed's networks cost."""
    shown = digits.test.mean(dim=1)
    quantised, spikes = networks["quantised"], networks["converted"]
    print("| network | spikes per neuron | energy float32 | energy int8 |", "|---|--:|--:|--:|", sep="\n")
    for steps in STEPS:
        spikes.windows.steps = steps
        print_cost(f"QCFS, T = {steps}", compare(quantised, spikes, shown), len(shown))
    print_cost("QCFS, lossless", compare(quantised, networks["exact"], shown), len(shown))
    direct = compare(networks["ordinary"], networks["direct"], shown)
    own = compare(networks["direct"], networks["direct"], digits.test)
    print_cost("trained directly, srif_mpr", Comparison(ordinary=direct.ordinary, spiking=own.spiking), len(shown))
    print("\nEnergy of arithmetic for one digit, and as a share of the ordinary network's.\n")


def print_cost(name: str, comparison: Comparison, samples: int) -> None:
    """A row."""
    prices = [comparison.energy_uj(each) for each in comparison.technologies]
    cells = [f"{1000 * own / samples:.1f} nJ ({own / other:.2f} x)" for other, own in prices]
    print(f"| {name} | {comparison.spikes_per_neuron:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    tyro.cli(main)
