"""Evaluation on recordings in MVSEC's layout, by the rules of a named protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording, open_recording
from eventsim.progress import track
from eventsim.streams.events import Events
from flownet.ground_truth import flow_between
from flownet.metrics import FlowError, flow_error
from flownet.protocols import Protocol, load_protocol
from flownet.representation import temporal_distribution

Flow = NDArray[np.float32]
Represent = Callable[[Events, int | None], Tensor]


@dataclass(frozen=True)
class Sample:
    """One interval of an evaluation, cropped as its protocol says.

    Args:
        frame, dt: the grey frame that it starts at, and how many it spans.
        slices: float32 [T, 2, h, w], what the network sees.
        ground_truth: float32 [2, h, w], pixels over the interval.
        event_count: float32 [h, w], what the network sees summed over slices and polarities.
    """

    frame: int
    dt: int
    slices: Tensor
    ground_truth: Flow
    event_count: NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """End-point errors of one prediction, summed over frames in two ways.

    Args:
        pixels: over all pixels together.
        frames: one error per frame; the published averages are means of these.
    """

    pixels: FlowError
    frames: tuple[FlowError, ...]

    @property
    def aee(self) -> float:
        """Mean over frames of the frame's average end-point error, in pixels. Frames without pixels do not count."""
        return float(np.mean([frame.aee for frame in self.frames if frame.pixels]))

    @property
    def outlier_percent(self) -> float:
        """Mean over frames of the share of pixels that are off by 3 px or more, in per cent."""
        return float(np.mean([frame.outlier_percent for frame in self.frames if frame.pixels]))


@dataclass(frozen=True)
class Report:
    """What an evaluation found; `print` it for a table.

    Args:
        protocol: its rules.
        sequence: name of the recording.
        dt: grey frames per interval.
        left_out: frames of the protocol that the ground truth does not cover.
        sparse, dense: scores of the network at pixels with events, and at all pixels with ground truth.
        zero_sparse, zero_dense: the same of a flow of zero, without which no error means anything.
    """

    protocol: Protocol
    sequence: str
    dt: int
    left_out: int
    sparse: Score
    dense: Score
    zero_sparse: Score
    zero_dense: Score

    @property
    def aee(self) -> float:
        """The protocol's figure: sparse, mean over frames, in pixels."""
        return self.sparse.aee

    @property
    def relative(self) -> float:
        """Our AEE over zero flow's."""
        return self.sparse.aee / self.zero_sparse.aee

    def rows(self) -> Iterator[tuple[str, str, float, float, float, int]]:
        """(flow, pixels, AEE by frames, AEE by pixels, outliers in per cent, number of pixels) of each score."""
        scores = {
            ("network", "sparse"): self.sparse,
            ("zero flow", "sparse"): self.zero_sparse,
            ("network", "dense"): self.dense,
            ("zero flow", "dense"): self.zero_dense,
        }
        for (flow, pixels), score in scores.items():
            yield flow, pixels, score.aee, score.pixels.aee, score.outlier_percent, score.pixels.pixels

    def __str__(self) -> str:
        left_out = f", {self.left_out} left out (no ground truth)" if self.left_out else ""
        lines = [
            f"{self.sequence}, dt={self.dt}, protocol {self.protocol.name} ({self.protocol.description}), "
            f"{len(self.sparse.frames)} frames{left_out}",
            f"{'flow':<12}{'pixels':<9}{'AEE frames':>12}{'AEE pixels':>12}{'outliers %':>12}{'pixels':>12}",
        ]
        for flow, kind, by_frames, by_pixels, outliers, count in self.rows():
            lines.append(f"{flow:<12}{kind:<9}{by_frames:>12.3f}{by_pixels:>12.3f}{outliers:>12.2f}{count:>12}")
        return "\n".join([*lines, f"network / zero flow (sparse, by frames): {self.relative:.3f}"])


def evaluate(
    model: nn.Module,
    sequence: MvsecRecording | str | PathLike[str],
    protocol: str = "steflow",
    dt: int = 1,
    *,
    watch: Callable[[Sample, Flow], None] | None = None,
    warm_start: bool = False,
    quiet: bool = True,
) -> Report:
    """Scores a flow network on a recording.

    Args:
        model: takes [B, T, C, H, W] and returns `Flows`. Events are represented as its method `represent` says; by
            the default temporal distribution where it has none.
        sequence: a recording with ground truth, or the path of its `*_data.hdf5` (or what stands before
            `_data.hdf5`).
        protocol: name of the rules.
        dt: grey frames per interval, 1 or 4 in the literature.
        watch: is shown each sample and the flow predicted for it, to draw pictures from.
        warm_start: an interval that begins where the last one ended goes on from its hidden states and flow. No
            published protocol does.
        quiet: show no progress.

    Raises:
        InputError: no ground truth, no such protocol, a crop larger than the recording, or no frame that both cover.
    """
    recording = sequence if isinstance(sequence, MvsecRecording) else open_recording(sequence)
    name = recording_name(recording)
    rules = load_protocol(protocol, name)
    wanted = rules.frames(len(recording.image_ts), dt)
    errors: list[tuple[FlowError, ...]] = []
    found = samples(recording, rules, wanted, dt, getattr(model, "represent", _represent))
    predict, last = Predictor(model), None
    for sample in track(found, name, total=len(wanted), unit="frames", quiet=quiet):
        flow = predict(sample.slices, goes_on=warm_start and last is not None and sample.frame == last + dt)
        last = sample.frame
        errors.append(_errors(flow, sample, rules.rows))
        if watch is not None:
            watch(sample, flow)
    if not errors:
        raise InputError(recording.data_path, expected=f"frames of protocol {protocol} with ground truth", found="none")
    scores = [Score(sum(column, FlowError()), column) for column in zip(*errors, strict=True)]
    return Report(rules, name, dt, len(wanted) - len(errors), *scores)


class Predictor:
    """A network that sees one window after another.

    Args:
        model: as `evaluate` takes it; with warm starts, it takes and returns a `State`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.state: Any = None

    def __call__(self, slices: Tensor, *, goes_on: bool = False) -> Flow:
        """The finest flow for one window's slices [T, C, H, W]: float32 [2, H, W].

        Args:
            slices: of the window.
            goes_on: start from what the network knew after the window before, instead of from nothing.
        """
        with torch.inference_mode():
            known = {"state": self.state} if goes_on and self.state is not None else {}
            flows = self.model(slices[None].to(self.device), **known)
            self.state = getattr(flows, "state", None)
            flow: Flow = flows.final[0].float().cpu().numpy()
        return flow


def samples(
    recording: MvsecRecording, rules: Protocol, frames: list[int], dt: int, represent: Represent
) -> Iterator[Sample]:
    """The intervals of a protocol that the ground truth covers."""
    times, flow_ts = recording.image_ts, recording.flow_ts
    crop = centre(rules, recording)
    for frame in frames:
        start, end = float(times[frame]), float(times[frame + dt])
        if start < flow_ts[0] or end > flow_ts[-1]:
            continue
        ground_truth = flow_between(recording.flow_maps, flow_ts, start, end)[:, *crop]
        slices = torch.cat([_slices(recording, i, rules, represent) for i in range(frame, frame + dt)])[..., *crop]
        yield Sample(frame, dt, slices, ground_truth, slices.sum(dim=(0, 1)).numpy())


def recording_name(recording: MvsecRecording) -> str:
    """The sequence's name: the file's, without `_data.hdf5`."""
    return Path(recording.data_path).name.removesuffix("_data.hdf5")


def _slices(recording: MvsecRecording, frame: int, rules: Protocol, represent: Represent) -> Tensor:
    """The slices between a grey frame and the next that the network sees."""
    slices = represent(recording.events_between_images(frame, frame + 1), rules.slices)
    return slices[list(rules.keep)] if rules.keep else slices


def _represent(events: Events, slices: int | None) -> Tensor:
    return temporal_distribution(events, slices or 5)


def centre(rules: Protocol, recording: MvsecRecording) -> tuple[slice, slice]:
    """The rows and columns of a protocol's centred crop.

    Raises:
        InputError: the recording is smaller than the crop.
    """
    height, width = recording.height, recording.width
    rows, columns = rules.crop or (height, width)
    if rows > height or columns > width:
        expected = f"at least {rows}x{columns} pixels for protocol {rules.name}"
        raise InputError(recording.data_path, expected=expected, found=f"{height}x{width}")
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def _errors(flow: Flow, sample: Sample, rows: int | None) -> tuple[FlowError, FlowError, FlowError, FlowError]:
    """Sparse and dense errors of the prediction, then of zero flow."""
    truth, count = sample.ground_truth, sample.event_count
    zero = np.zeros_like(flow)
    return (
        flow_error(flow, truth, count, rows),
        flow_error(flow, truth, None, rows),
        flow_error(zero, truth, count, rows),
        flow_error(zero, truth, None, rows),
    )
