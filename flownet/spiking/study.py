"""What a conversion costs and keeps, by the length of its windows: error, spikes and energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording
from flownet.evaluate import Sample, samples
from flownet.metrics import known, lengths
from flownet.model.steflownet import STEFlowNet
from flownet.protocols import Protocol
from flownet.protocols.intervals import select
from flownet.spiking.conversion import Conversion
from flownet.spiking.energy import FLOAT_45NM, TECHNOLOGIES, Comparison, Technology, energy_uj
from flownet.spiking.flow import SpikingSTEFlowNet
from flownet.spiking.ledger import Row, count, totals

Flow = NDArray[np.float32]
_HEADS = ("micro-steps", "AEE px", "against ANN", "off ANN px", "spikes/neuron")


@dataclass(frozen=True, kw_only=True)
class Length:
    """A spiking network whose windows are of one length.

    Args:
        steps: micro-steps of a window; None where each ran until it had settled.
        longest: micro-steps that the longest window took.
        aee: mean over intervals of the average end-point error against the ground truth, pixels.
        difference: the same against the ordinary network's flow, at the same pixels.
        comparison: operations of both networks on the counted intervals.
        flow: of the first interval.
    """

    steps: int | None
    longest: int
    aee: float
    difference: float
    comparison: Comparison
    flow: Flow

    @property
    def name(self) -> str:
        """The number of micro-steps, as it is printed."""
        return str(self.steps) if self.steps is not None else f"settled ({self.longest})"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A conversion at several lengths; `print` it for a table.

    Args:
        mode: of the conversion.
        intervals: how many were judged.
        counted: of how many of these operations were counted.
        aee, zero: errors of the ordinary network and of no motion, as `Length.aee`.
        lengths: in the order that they were asked for.
        first: the first interval.
        flow: of the ordinary network there.
    """

    mode: str
    intervals: int
    counted: int
    aee: float
    zero: float
    lengths: tuple[Length, ...]
    first: Sample
    flow: Flow

    def columns(self) -> list[str]:
        """Heads of the table."""
        return [*_HEADS, *(f"uJ, {each.name}" for each in TECHNOLOGIES)]

    def rows(self) -> list[list[str]]:
        """The ordinary network, then a row for each length; energies are means over the counted intervals."""
        ordinary = [self._energy(self.lengths[0].comparison, each)[0] for each in TECHNOLOGIES]
        rows = [["ordinary network", f"{self.aee:.4f}", "", "", "", *(f"{each:,.0f}" for each in ordinary)]]
        for each in self.lengths:
            prices = [self._energy(each.comparison, technology) for technology in TECHNOLOGIES]
            rows.append([each.name, f"{each.aee:.4f}", f"{100 * (each.aee / self.aee - 1):+.2f} %",
                         f"{each.difference:.4g}", f"{each.comparison.spikes_per_neuron:.2f}",
                         *(f"{own:,.0f} ({own / other:.2f} x)" for other, own in prices)])  # fmt: skip
        return rows

    def dearer(self, length: Length, technology: Technology = FLOAT_45NM) -> list[str]:
        """Layers whose arithmetic costs more on spikes than the multiplications that it takes the place of."""
        compared = length.comparison
        return [layer for layer, row in compared.ordinary.items()
                if energy_uj(compared.spiking.get(layer, Row()), technology) > energy_uj(row, technology)]  # fmt: skip

    def _energy(self, comparison: Comparison, technology: Technology) -> tuple[float, float]:
        ordinary, spiking = comparison.energy_uj(technology)
        return ordinary / self.counted, spiking / self.counted

    def __str__(self) -> str:
        table = [self.columns(), *self.rows()]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [f"{self.mode} conversion, {self.intervals} intervals; zero flow {self.zero:.4f} px"]
        lines += ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]
        lines.append(f"Energy: arithmetic of one interval, mean of {self.counted}. Break-even with multiplication is "
                     f"{FLOAT_45NM.break_even:.1f} spikes per neuron (float32).")  # fmt: skip
        for each in self.lengths:
            dearer, number = self.dearer(each), len(each.comparison.ordinary)
            lines.append(f"{each.name} micro-steps: {len(dearer)} of {number} layers cost more than what they replace")
        if dearer := self.dearer(self.lengths[-1]):
            lines[-1] += f": {', '.join(dearer)}"
        return "\n".join(lines)


def spread_samples(
    recordings: Iterable[MvsecRecording], rules: Callable[[MvsecRecording], Protocol], model: STEFlowNet, *, most: int
) -> Iterator[Sample]:
    """Up to so many intervals of each recording, spread evenly over what a protocol evaluates.

    Args:
        recordings: with ground truth.
        rules: the protocol's, for a recording.
        model: says how events are represented.
        most: intervals of each recording.

    Raises:
        InputError: no ground truth, or a crop larger than the recording.
    """
    for recording in recordings:
        steps = select(recording, rules(recording), 1).steps
        chosen = sorted({steps[round(each)] for each in np.linspace(0, len(steps) - 1, most)}) if steps else []
        yield from samples(recording, rules(recording), chosen, 1, model.represent)


def spread_slices(recordings: Iterable[MvsecRecording], model: STEFlowNet, *, most: int) -> Iterator[Tensor]:
    """A network's inputs [1, T, C, H, W] for up to so many intervals of each recording, spread evenly over it.

    Raises:
        InputError: a recording holds no interval between two grey frames.
    """
    for recording in recordings:
        number = len(recording.image_ts) - 1
        if number < 1:
            raise InputError(recording.data_path, expected="two or more grey frames", found=str(number + 1))
        for each in sorted({round(each) for each in np.linspace(0, number - 1, most)}):
            yield model.represent(recording.events_between_images(each, each + 1))[None]


def study(
    model: STEFlowNet,
    conversion: Conversion,
    intervals: Sequence[Sample],
    steps: Sequence[int | None],
    *,
    counted: int = 1,
) -> Study:
    """Runs a network and its conversion at several lengths on the same intervals.

    Args:
        model: the ordinary network.
        conversion: how it is converted; its own steps are not looked at.
        intervals: to judge on, where there are events and the true flow is known.
        steps: lengths of the windows; None, in lossless mode, until they have settled.
        counted: operations are counted on the first so many intervals, which takes longer.

    Raises:
        ValueError: no intervals, no lengths, or none to count; or as `convert.convert`.
    """
    if not intervals or not steps or not 1 <= counted <= len(intervals):
        raise ValueError(f"expected intervals, lengths and 1 to {len(intervals)} to count, got {len(intervals)}, "
                         f"{list(steps)} and {counted}")  # fmt: skip
    spiking = conversion.of(model)
    truths = [each.ground_truth for each in intervals]
    with torch.inference_mode():
        flows = [_flow(model, each) for each in intervals]
    ordinary = [count(model, _input(model, each)) for each in intervals[:counted]]
    found = tuple(_length(spiking, each, intervals, flows, ordinary) for each in steps)
    zero = _mean_error([np.zeros_like(each) for each in truths], truths, intervals)
    return Study(mode=conversion.mode, intervals=len(intervals), counted=counted, lengths=found, zero=zero,
                 aee=_mean_error(flows, truths, intervals), first=intervals[0], flow=flows[0])  # fmt: skip


def _length(
    spiking: SpikingSTEFlowNet,
    steps: int | None,
    intervals: Sequence[Sample],
    aims: Sequence[Flow],
    ordinary: Sequence[dict[str, Row]],
) -> Length:
    spiking.windows.steps, spiking.windows.longest = steps, 0
    with torch.inference_mode():
        flows = [_flow(spiking, each) for each in intervals]
    counts = [count(spiking, _input(spiking, each)) for each in intervals[: len(ordinary)]]
    comparison = Comparison(ordinary=totals(ordinary), spiking=totals(counts))
    truths = [each.ground_truth for each in intervals]
    return Length(steps=steps, longest=spiking.windows.longest, aee=_mean_error(flows, truths, intervals),
                  difference=_mean_error(flows, aims, intervals), comparison=comparison, flow=flows[0])  # fmt: skip


def _input(model: STEFlowNet, sample: Sample) -> Tensor:
    return sample.slices[None].to(next(model.parameters()))


def _flow(model: STEFlowNet, sample: Sample) -> Flow:
    found: Flow = model(_input(model, sample)).final[0].float().cpu().numpy()
    return found


def _mean_error(flows: Sequence[Flow], aims: Sequence[Flow], intervals: Sequence[Sample]) -> float:
    """Mean over intervals, at pixels that have events and whose true flow is known."""
    errors = []
    for flow, aim, sample in zip(flows, aims, intervals, strict=True):
        off = lengths(flow, known(sample.ground_truth) & (sample.event_count > 0), less=aim)
        if off.size:
            errors.append(off.mean())
    return float(np.mean(errors)) if errors else float("nan")
