"""All that makes a spiking network out of an ordinary one, in one record: to apply, to keep in a file, to compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flownet.model.steflownet import STEFlowNet
from flownet.spiking.calibrate import Calibration, balanced_thresholds, thresholds, unbounded
from flownet.spiking.convert import Mode, NeuronSettings, convert
from flownet.spiking.flow import SpikingSTEFlowNet
from flownet.spiking.search import Found, maximise, share_of

#: Of flow networks in hybrid mode: bursts of four carry in one micro-step what single spikes take four for, and a
#: spike is worth a quarter. What else was tried is in docs/spiking.md.
FLOW_NEURONS = NeuronSettings(burst=4)
#: Flow is a regression, in which what is clipped is lost: one value in 10,000 of each channel is.
FLOW_CALIBRATION = Calibration(share=0.9999, per_channel=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """How a network is converted: the arguments of `convert.convert`.

    Args:
        mode, steps, thresholds, neurons, delay: as there.
    """

    mode: Mode = "hybrid"
    steps: int | None = None
    thresholds: Mapping[str, Tensor] = field(default_factory=dict)
    neurons: NeuronSettings | None = None
    delay: int = 0

    def of(self, model: STEFlowNet) -> SpikingSTEFlowNet:
        """The spiking copy of a flow network.

        Raises:
            ValueError: as `convert.convert`.
        """
        return convert(model, mode=self.mode, steps=self.steps, thresholds=self.thresholds, neurons=self.neurons,
                       delay=self.delay)  # fmt: skip


def calibrated(
    model: STEFlowNet,
    batches: Iterable[Any],
    *,
    mode: Mode = "hybrid",
    steps: int | None = 16,
    calibration: Calibration | None = None,
    neurons: NeuronSettings | None = None,
    delay: int = 0,
) -> Conversion:
    """The conversion of a flow network, with thresholds from what its activations show on some inputs.

    Neurons that burst get a part of the threshold, such that the largest burst at every micro-step comes to it.

    Args:
        model: the network. One of `flow.quantised` has learned its thresholds, and needs no inputs.
        batches: its inputs.
        mode, steps, delay: as of `convert.convert`.
        calibration, neurons: by default `FLOW_CALIBRATION` and `FLOW_NEURONS` where there is something to calibrate;
            networks with learned thresholds keep to single spikes.

    Raises:
        ValueError: as `calibrate.thresholds`.
    """
    if not unbounded(model):
        return Conversion(mode=mode, steps=steps, neurons=neurons, delay=delay)
    found = thresholds(model, batches, calibration or FLOW_CALIBRATION)
    return _with(found, neurons, mode=mode, steps=steps, delay=delay)


def balanced(
    model: STEFlowNet,
    batches: Sequence[Any],
    *,
    mode: Mode = "hybrid",
    steps: int | None = 16,
    neurons: NeuronSettings | None = None,
    delay: int = 0,
    per_channel: bool = True,
    rounds: int = 20,
) -> Conversion:
    """`calibrated`, by local threshold balancing (`calibrate.balanced_thresholds`).

    Args:
        model, batches, mode, steps, neurons, delay: as of `calibrated`.
        per_channel: a threshold per channel, not one per layer.
        rounds: how often the inputs are gone through.

    Raises:
        ValueError: as `calibrate.balanced_thresholds`.
    """
    repeated = (batch for _ in range(rounds) for batch in batches)
    # Half of the excess at every step: flow networks' batches are few, and large.
    found = balanced_thresholds(model, repeated, rate=0.5, per_channel=per_channel)
    return _with(found, neurons, mode=mode, steps=steps, delay=delay)


def _with(found: Mapping[str, Tensor], neurons: NeuronSettings | None, **given: Any) -> Conversion:
    settings = neurons or FLOW_NEURONS
    shared = {name: threshold / settings.burst for name, threshold in found.items()}
    return Conversion(thresholds=shared, neurons=settings, **given)


def searched(
    model: STEFlowNet,
    batches: Sequence[Tensor],
    *,
    steps: int = 16,
    calibration: Calibration | None = None,
    neurons: NeuronSettings | None = None,
    delay: int = 0,
    iterations: int = 8,
    seed: int = 0,
) -> tuple[Conversion, Found]:
    """`calibrated`, with the percentile whose spiking network's flow is nearest to the ordinary one's.

    The Bayesian optimisation of Li et al., 2022 (see `search.maximise`), with the mean end-point difference between
    the two networks for an objective, which needs no true flow. From 1 in 100 values to 1 in 100,000 are clipped.

    Args:
        model, steps, calibration, neurons, delay: as of `calibrated`, in hybrid mode.
        batches: inputs [B, T, C, H, W], for thresholds and objective alike.
        iterations: after four points at random.
        seed: of the search.

    Returns:
        The conversion, and what was tried: log10 of the clipped share, and minus the mean difference in pixels.

    Raises:
        ValueError: as `calibrated`; or a network whose thresholds are learned, so that there is nothing to search.
        ImportError: scikit-learn is not installed.
    """
    if not unbounded(model):
        raise ValueError("expected activations without learned thresholds to search some for, got none")
    settings = calibration or FLOW_CALIBRATION

    def at(log_clipped: float) -> Conversion:
        chosen = replace(settings, method="percentile", share=share_of(log_clipped))
        return calibrated(model, batches, steps=steps, calibration=chosen, neurons=neurons, delay=delay)

    with torch.inference_mode():
        aims = [model(x).final for x in batches]

        def closeness(point: tuple[float, ...]) -> float:
            spiking = at(point[0]).of(model)
            off = [(spiking(x).final - aim).norm(dim=1).mean() for x, aim in zip(batches, aims, strict=True)]
            return -float(torch.stack(off).mean())

        found = maximise(closeness, [(-5.0, -2.0)], initial=4, iterations=iterations, seed=seed)
    return at(found.best[0]), found
