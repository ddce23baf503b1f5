"""An evaluation as sections of an HTML page: its table, flow pictures beside the truth, and the training's curve."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.io.mvsec import MvsecRecording
from eventsim.report import HtmlReport
from eventsim.streams.events import Events
from eventsim.view import events_picture
from flownet.evaluate import Report, Sample, centre
from flownet.protocols import Protocol
from flownet.protocols.intervals import step_events, step_times
from flownet.published import HEADS, caveats
from flownet.view import colour_wheel, error_map, flow_to_rgb

Flow = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """What is drawn of one interval: where it starts, how many frames it spans, predicted and true flow."""

    frame: int
    dt: int
    flow: Flow
    ground_truth: Flow


@dataclass
class Watched:
    """Examples kept while an evaluation runs: pass `add` as its `watch`. A long sequence gives no more than a short."""

    most: int = 6
    kept: list[Example] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def add(self, sample: Sample, flow: Flow) -> None:
        """Keeps one sample in so many; when there are too many, every other one goes and half as many come."""
        if self._seen % self._every == 0:
            self.kept.append(Example(sample.frame, sample.dt, flow, sample.ground_truth))
        self._seen += 1
        if len(self.kept) > self.most:
            self.kept = self.kept[::2]
            self._every *= 2


def add_scores(page: HtmlReport, report: Report) -> None:
    """The table of errors, the network's beside zero flow's."""
    page.text(
        f"{report.covers()}. AEE is the average end-point error over the interval. Sparse: at the pixels of the "
        "protocol's mask; dense: wherever the true flow is known. Zero flow predicts no motion at all."
    )
    rows = []
    for row in report.rows():
        figures = [f"{row.aee:.3f}", f"{row.outlier_percent:.2f}", f"{row.kitti_outlier_percent:.2f}"]
        flow = f"* {row.flow}" if row.own else row.flow
        rows.append([flow, row.kind, row.average, *figures, f"{row.pixels:,}"])
    page.table(report.columns(), rows)
    page.text(f"{report.mark()}. Network over zero flow ({report.protocol.figure}, mean over frames): "
              f"{report.relative:.3f}.")  # fmt: skip
    if report.protocol.doubts:
        page.text(f"Of the protocol: {report.protocol.doubts}")
    if report.seconds_network:
        page.text(f"{report.timing()}.")


def add_comparison(page: HtmlReport, report: Report) -> None:
    """Published results on the same sequence and interval, those under the same rules first."""
    rows, name = report.published(), report.protocol.name
    if not rows:
        page.text(report.compared())
        return
    same = [row for row in rows if row.protocol == name]
    other = [row for row in rows if row.protocol != name]
    ours = ["this network", "", f"{report.aee:.2f}", f"{report.outlier_percent:.2f}", name, "this report"]
    starred = [[f"* {first}", *rest] for first, *rest in (row.cells() for row in same)]
    page.table(HEADS, [ours, *starred, *(list(row.cells()) for row in other)], words=True)
    for line in caveats(name, same=len(same), other=len(other)):
        page.text(f"{line}.")


def add_flows(page: HtmlReport, recording: MvsecRecording, rules: Protocol, examples: Sequence[Example]) -> None:
    """For each example a row: frame, events, predicted and true flow, error; then the wheel that the colours mean."""
    times = step_times(recording, rules)
    longest = max((float(np.nanmax(np.hypot(*each.ground_truth))) for each in examples), default=0.0) or 1.0
    crop = centre(rules, recording)
    for each in examples:
        # Where steps are maps of the ground truth: the last frame before, as far as there is one.
        number = max(int(np.searchsorted(recording.image_ts, times[each.frame], side="right")) - 1, 0)
        frame = np.repeat(recording.image(number)[..., None], 3, axis=2)
        events = Events.concatenate([step_events(recording, rules, each.frame + k) for k in range(each.dt)])
        pictures = {
            f"grey frame {number}": frame[crop],
            f"events: {len(events):,}": events_picture(events)[crop],
            "predicted flow": flow_to_rgb(each.flow, longest),
            "true flow": flow_to_rgb(each.ground_truth, longest),
            "end-point error, black 0 to yellow 3 px": error_map(each.flow, each.ground_truth, 3.0),
        }
        page.pictures(pictures, height_px=155)
    page.pictures({f"the colour of a flow: rim = {longest:.1f} px": colour_wheel(121)}, height_px=121)


def add_training(page: HtmlReport, run: Path) -> None:
    """The photometric loss over time, from a run's `log.csv`."""
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if rows:
        seconds = [float(row["seconds"]) for row in rows]
        losses = [float(row["photometric"]) for row in rows]
        page.curves({"photometric loss": (seconds, losses)}, x_label="seconds of training", y_label="loss")
        last = rows[-1]
        page.text(f"{last['step']} steps in {float(last['seconds']):.0f} s; flow was never shown to the network.")
