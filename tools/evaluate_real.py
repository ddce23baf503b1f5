"""Tables of how good flow is on real recordings whose truth is known in part. This is not MVSEC, nor a benchmark.

python tools/evaluate_real.py [MODEL ...] --data FOLDER [--window-ms 31.25 100] [--pictures FOLDER]

Four recordings of DAVIS240 cameras (240x180): two of a rotating camera, one on a slider, and boxes that pass before a
still one; and a drawn square. Beside each network stand flow of zero, contrast maximisation and flow between the images
of both halves of a window (DIS, Lucas-Kanade), all of which see the same events.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from real_windows import Recording, recordings
from tyro.conf import Positional

from eventsim.view import events_picture, write_picture
from flownet.baselines import BASELINES
from flownet.comparison import Comparison, compare_flow, event_count, flow_warp_loss
from flownet.infer import estimator
from flownet.model.pretrained import load_pretrained
from flownet.view import flow_to_rgb

HEADER = ("flow", "angle, degrees", "EPE, px", "EPE scaled, px", "scale", "FWL", "ms a window")
LEGEND = """\
Angle: between predicted and true direction in the image plane, mean over the pixels with events (0 to 180 degrees; a
flow of zero has no direction and counts as 90). EPE: mean end-point error over them. EPE scaled: the same after the
prediction is multiplied by the one scale, for all windows of the recording, that fits best in least squares (not below
0). FWL: variance of the image of events moved along the flow over that of unmoved ones, mean over windows; above 1 is
sharper (the truth's own FWL is below 1 where a motion of a pixel meets noise: moving events also blurs them a little).
Blur and smoothing of the three methods without learning were tuned on these recordings, which favours them; no network
of ours saw any. Truth is that of raw pixels: of a calibrated lens it is bent as the lens bends, and corners that the
undistorted picture does not reach do not count."""


@dataclass(frozen=True)
class Row:
    """A method's scores on a recording: errors over all windows, and means of sharpness and time."""

    errors: Comparison
    sharpness: float
    window_ms: float

    def cells(self, direction_only: bool) -> tuple[str, ...]:
        """As the table shows them; without lengths where only the direction is known."""
        lengths = (f"{each:.2f}" for each in (self.errors.aee, self.errors.scaled_aee, self.errors.scale))
        middle = ("", "", "") if direction_only else tuple(lengths)
        return f"{self.errors.angular_error:.1f}", *middle, f"{self.sharpness:.2f}", f"{self.window_ms:.0f}"


def score(model: Any, recording: Recording) -> tuple[Row, NDArray[np.float32]]:
    """A model's row on a recording, and its flow of the first window.

    Args:
        model: a network with `represent`, or a baseline with `from_events`.
        recording: what it sees.
    """
    flow_of = estimator(model)
    errors, sharpness, seconds, flows = Comparison(), [], [], []
    flow_of(recording.windows[0].events, (recording.windows[0].start_us, recording.windows[0].stop_us))  # compiles
    for window in recording.windows:
        span = window.start_us, window.stop_us
        start = time.perf_counter()
        flow = flow_of(window.events, span)
        seconds.append(time.perf_counter() - start)
        errors += compare_flow(flow, window.truth, event_count(window.events))
        sharpness.append(flow_warp_loss(flow, window.events, span))
        flows = flows or [flow]
    return Row(errors, float(np.nanmean(sharpness)), 1000 * float(np.mean(seconds))), flows[0]


def true_sharpness(recording: Recording) -> float:
    """FWL of the true flow, mean over windows; no flow where it is unknown."""
    found = [
        flow_warp_loss(np.nan_to_num(window.truth).astype(np.float32), window.events, (window.start_us, window.stop_us))
        for window in recording.windows
    ]
    return float(np.mean(found))


def table(models: Mapping[str, Any], recording: Recording) -> tuple[str, dict[str, NDArray[np.float32]]]:
    """The recording's table as Markdown, and each model's flow of the first window."""
    lines, flows = [], {}
    rows: dict[str, Row] = {}
    for name, model in models.items():
        rows[name], flows[name] = score(model, recording)
        lines.append(f"| {name} | {' | '.join(rows[name].cells(recording.direction_only))} |")
    lines.insert(0, f"| truth | 0.0 | | | | {true_sharpness(recording):.2f} | |")
    pixels = next(iter(rows.values())).errors.pixels
    events = np.mean([len(window.events) for window in recording.windows])
    lengths = [np.nanmean(np.hypot(*window.truth)) for window in recording.windows]
    head = [
        f"### {recording.name}, windows of {recording.window_ms:.4g} ms",
        "",
        f"{len(recording.windows)} windows, on average {events:.0f} events; {pixels} pixels; true flow "
        f"{np.mean(lengths):.2f} px over a window ({recording.truth}).",
        "",
        f"| {' | '.join(HEADER)} |",
        "|---" * len(HEADER) + "|",
    ]
    return "\n".join(head + lines), flows


def write_pictures(folder: Path, recording: Recording, flows: Mapping[str, NDArray[np.float32]]) -> None:
    """Events, truth and each flow of the first window side by side, in one picture; one scale for all."""
    window = recording.windows[0]
    largest = 1.25 * float(np.nanmax(np.hypot(*window.truth)))
    panels = [flow_to_rgb(each, largest) for each in (window.truth, *flows.values())]
    strip = np.concatenate([events_picture(window.events), *panels], axis=1)
    name = f"{recording.name.split()[0]}_{recording.window_ms:.4g}ms.png"
    write_picture(folder / name, strip, overwrite=True)


def main(
    models: Positional[tuple[str, ...]] = (),
    *,
    data: Path,
    window_ms: tuple[float, ...] = (31.25, 100.0),
    pictures: Path | None = None,
) -> None:
    """Prints a Markdown table for each recording and window length.

    Args:
        models: .safetensors files, or names of networks that ship with the package.
        data: folder of the recordings.
        window_ms: lengths of windows that the longer recordings are cut into.
        pictures: folder for a strip of pictures of each recording's first window.
    """
    judged: dict[str, Any] = {name: load_pretrained(name) for name in models} | dict(BASELINES)
    print("Real recordings with partly known flow. Not MVSEC: numbers of other tables do not compare with these.\n")
    print(LEGEND)
    for recording in recordings(data, window_ms):
        text, flows = table(judged, recording)
        print(f"\n{text}", flush=True)
        if pictures:
            write_pictures(pictures, recording, flows)


if __name__ == "__main__":
    tyro.cli(main)
