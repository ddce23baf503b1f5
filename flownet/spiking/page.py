"""A study of a conversion as sections of an HTML page."""

from __future__ import annotations

import numpy as np

from eventsim.report import HtmlReport
from eventsim.view import events_picture
from flownet.spiking.energy import TECHNOLOGIES, Comparison
from flownet.spiking.study import Length, Study
from flownet.view import error_map, flow_to_rgb

_KINDS = ("macs", "additions", "graded_macs", "analog_macs", "products", "updates", "spikes_per_neuron")
_HEADS = ("layer", "MACs, ANN", "additions", "graded", "analog", "products", "updates", "spikes/neuron")
_MILLION = 1e6


def add_study(page: HtmlReport, study: Study) -> None:
    """Table and curves by the number of micro-steps, flow pictures, and the layers of the longest windows."""
    page.text(
        f"{study.intervals} intervals, {study.mode} conversion. AEE is the average end-point error where there are "
        "events and the true flow is known; `off ANN` is the same against the flow of the ordinary network. "
        f"Predicting no motion: {study.zero:.4f} px."
    )
    page.table(study.columns(), study.rows())
    _add_curves(page, study)
    _add_flows(page, study)
    longest = study.lengths[-1]
    page.heading(f"Operations by layer, {longest.name} micro-steps")
    page.text(
        f"Millions, in all of {study.counted} interval(s). MACs: multiply-accumulates. Additions are of spikes that "
        "arrive, each at every synapse that it reaches; graded: events that carry a value and are multiplied; analog: "
        "what stayed as it was; updates: of potentials, one addition per neuron and micro-step."
    )
    _add_layers(page, longest.comparison)
    if dearer := study.dearer(longest):
        page.text("Costs more on spikes than the multiplications that it takes the place of (float32): "
                  + ", ".join(f"`{layer}`" for layer in dearer) + ".")  # fmt: skip


def _add_curves(page: HtmlReport, study: Study) -> None:
    timed = [each for each in study.lengths if each.steps is not None]
    if len(timed) < 2:
        return
    steps = [float(each.steps or 0) for each in timed]

    def level(value: float) -> tuple[list[float], list[float]]:
        return [steps[0], steps[-1]], [value, value]

    page.heading("By the number of micro-steps")
    errors = {"spiking": (steps, [each.aee for each in timed]),
              "spiking, against the ordinary network's flow": (steps, [each.difference for each in timed]),
              "ordinary network": level(study.aee), "no motion": level(study.zero)}  # fmt: skip
    page.curves(errors, x_label="micro-steps", y_label="AEE, px", log_x=True,
                yardsticks=("ordinary network", "no motion"))  # fmt: skip
    shares = {
        technology.name: (steps, [_share(each, number) for each in timed])
        for number, technology in enumerate(TECHNOLOGIES)
    }
    page.curves(shares | {"ordinary network": level(1.0)}, x_label="micro-steps", y_label="energy, of the ANN's",
                log_x=True, yardsticks=("ordinary network",))  # fmt: skip
    spikes = {"spikes per neuron": (steps, [each.comparison.spikes_per_neuron for each in timed])}
    even = TECHNOLOGIES[0].break_even
    page.curves(spikes | {f"break-even, {even:.1f}": level(even)}, x_label="micro-steps", y_label="spikes per neuron",
                log_x=True, yardsticks=(f"break-even, {even:.1f}",))  # fmt: skip


def _share(length: Length, technology: int) -> float:
    ordinary, spiking = length.comparison.energy_uj(TECHNOLOGIES[technology])
    return spiking / ordinary


def _add_flows(page: HtmlReport, study: Study) -> None:
    truth = study.first.ground_truth
    reach = float(np.nanmax(np.hypot(*np.nan_to_num(truth)))) or 1.0
    pictures = {} if study.first.events is None else {"events": events_picture(study.first.events)}
    pictures |= {"true flow": flow_to_rgb(truth, reach), "ordinary network": flow_to_rgb(study.flow, reach)}
    pictures |= {f"spiking, {each.name}": flow_to_rgb(each.flow, reach) for each in study.lengths}
    page.heading("The first interval")
    page.pictures(pictures, height_px=155)
    page.text("Their end-point errors, black 0 to yellow 3 px:")
    errors = {name: error_map(flow, truth, 3.0)
              for name, flow in [("ordinary network", study.flow),
                                 *((f"spiking, {each.name}", each.flow) for each in study.lengths)]}  # fmt: skip
    page.pictures(errors, height_px=155)


def _add_layers(page: HtmlReport, comparison: Comparison) -> None:
    energies = [f"{which}_uj ({each.name})" for each in TECHNOLOGIES for which in ("ordinary", "spiking")]
    heads = [f"uJ, {which}, {each.name.split()[-1]}" for each in TECHNOLOGIES for which in ("ANN", "spiking")]
    rows = []
    for row in comparison.rows():
        counts = [f"{float(row[kind]) / _MILLION:,.2f}" for kind in _KINDS[:-1]] + [
            f"{float(row['spikes_per_neuron']):.2f}"
        ]
        rows.append([str(row["layer"]), *counts, *(f"{float(row[name]):,.2f}" for name in energies)])
    page.table([*_HEADS, *heads], rows)
