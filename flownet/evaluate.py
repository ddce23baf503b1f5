"""Evaluation on recordings in MVSEC's layout, by the rules of a named protocol."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording, open_recording
from eventsim.progress import track
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream
from flownet.ground_truth import RecentMaps, flow_between, known
from flownet.metrics import FlowError, lengths, summed
from flownet.protocols import Protocol as Rules
from flownet.protocols import load_protocol
from flownet.protocols.intervals import select, step_events, step_times
from flownet.protocols.masks import event_picture
from flownet.read_ahead import read_ahead
from flownet.representation import temporal_distribution
from flownet.scores import Report as Report
from flownet.scores import Score as Score
from flownet.spike_steps import SpikeSteps
from flownet.truth_cache import TruthCache, identity

Flow = NDArray[np.float32]
Represent = Callable[[Events | SpikeStream, int | None], Tensor]
Errors = tuple[FlowError, FlowError, FlowError, FlowError]
_NO_EVENTS = "without events that the protocol sees"


class FromEvents(Protocol):
    """A method that takes flow from events rather than from slices of them, as the baselines do."""

    def from_events(self, events: Events, window: tuple[int, int]) -> Flow:
        """The flow [2, H, W] in pixels over a window [t0, t1), microseconds."""


@dataclass(frozen=True)
class Sample:
    """One interval of an evaluation, cropped as its protocol says.

    Args:
        frame, dt: the grey frame (or map of the ground truth) that it starts at, and how many it spans.
        slices: float32 [T, 2, h, w], what the network sees.
        ground_truth: float32 [2, h, w], pixels over the interval.
        event_count: float32 [h, w], above zero at the pixels of the protocol's mask.
        events: all events of the interval, not cropped.
        window: its start and end, microseconds.
    """

    frame: int
    dt: int
    slices: Tensor
    ground_truth: Flow
    event_count: NDArray[np.float32]
    events: Events | None = None
    window: tuple[int, int] = (0, 0)


@dataclass
class Gathered:
    """What is noted while samples are made: intervals left out, for each reason, and seconds spent."""

    left_out: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def evaluate(
    model: nn.Module | FromEvents,
    sequence: MvsecRecording | str | PathLike[str],
    protocol: str = "steflow",
    dt: int = 1,
    *,
    watch: Callable[[Sample, Flow], None] | None = None,
    warm_start: bool = False,
    quiet: bool = True,
    camera: str = "left",
    cache: str | PathLike[str] | None = None,
) -> Report:
    """Scores a flow network on a recording.

    Files are read as far as an interval needs them, the next one while the network runs: memory does not grow with
    the recording.

    Args:
        model: takes [B, T, C, H, W] and returns `Flows`. Events are represented as its method `represent` says; by
            the default temporal distribution where it has none. One of a single input channel sees spikes instead,
            of the `*_spikes.h5` beside the recording. Or has `from_events`, as the baselines do.
        sequence: a recording with ground truth, or the path of its `*_data.hdf5` (or what stands before
            `_data.hdf5`).
        protocol: name of the rules, or path of a `.toml` file of one's own.
        dt: grey frames per interval, 1 or 4 in the literature (for some protocols: maps of the ground truth).
        watch: is shown each sample and the flow predicted for it, to draw pictures from.
        warm_start: an interval that begins where the last one ended goes on from its `State`, at dt of 1. No published
            protocol does.
        quiet: show no progress.
        camera: "left" or "right", where `sequence` is a path. MVSEC gives flow for the left one.
        cache: folder to keep the intervals' true flow in, and to take it from when it is there.

    Raises:
        InputError: no ground truth, no such protocol, none for this sequence or dt, a crop larger than the recording,
            or no frame that both cover.
        ValueError: a warm start of intervals that overlap.
    """
    if warm_start and dt > 1:
        raise ValueError(f"expected dt of 1 for a warm start, as longer intervals overlap, got {dt}")
    started = time.perf_counter()
    recording = sequence if isinstance(sequence, MvsecRecording) else open_recording(sequence, camera)
    name = recording_name(recording)
    rules = load_protocol(protocol, name)
    chosen = select(recording, rules, dt)
    kept = None if cache is None else TruthCache(Path(cache), *_key(recording, rules, dt, name))
    represent = None if hasattr(model, "from_events") else getattr(model, "represent", _represent)
    gathered = Gathered(chosen.left_out)
    spikes = SpikeSteps(recording, rules) if getattr(model, "config", {}).get("in_channels") == 1 else None
    found = samples(recording, rules, chosen.steps, dt, represent, kept=kept, gathered=gathered, spikes=spikes)
    shown = track(read_ahead(found), name, total=len(chosen.steps), unit="frames", quiet=quiet)
    errors, network = _scored(model, shown, rules, centre(rules, recording), warm_start, watch)
    if not errors:
        reasons = ", ".join(f"{count} left out ({reason})" for reason, count in gathered.left_out.items())
        expected = f"frames of protocol {rules.name} with ground truth"
        raise InputError(recording.data_path, expected=expected, found=reasons or "none")
    columns = zip(*errors, strict=True)
    sparse, dense, zero_sparse, zero_dense = (Score(sum(each, FlowError()), each, rules.empty) for each in columns)
    outside = time.perf_counter() - started - network
    return Report(rules, name, dt, gathered.left_out, sparse, dense, zero_sparse, zero_dense,
                  network, outside, gathered.seconds)  # fmt: skip


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
            before = {"state": self.state} if goes_on and self.state is not None else {}
            flows = self.model(slices[None].to(self.device), **before)
            self.state = getattr(flows, "state", None)
            flow: Flow = flows.final[0].float().cpu().numpy()
        return flow


def samples(
    recording: MvsecRecording,
    rules: Rules,
    frames: list[int],
    dt: int,
    represent: Represent | None,
    *,
    kept: TruthCache | None = None,
    gathered: Gathered | None = None,
    spikes: SpikeSteps | None = None,
) -> Generator[Sample, None, None]:
    """The samples of intervals, which the ground truth must cover, as `flownet.protocols.intervals.select` sees to.

    Args:
        recording, rules, dt: as of `evaluate`.
        frames: where the intervals begin.
        represent: events as slices; None for no slices.
        kept: where true flows are taken from and put.
        gathered: notes which intervals are left out, and the time spent.
        spikes: what is represented instead of the events, which still say which pixels are compared.
    """
    times, noted, crop = step_times(recording, rules), gathered or Gathered(), centre(rules, recording)
    maps, flow_ts = RecentMaps(recording.flow_maps), recording.flow_ts

    @lru_cache(maxsize=dt)  # the next interval has all but one of this one's steps
    def step(number: int) -> tuple[Events, Tensor]:
        events = step_events(recording, rules, number)
        if represent is None:
            return events, torch.zeros(0)
        seen = events if spikes is None else spikes(number)
        return events, _slices(seen, rules, represent)[..., *crop]

    with kept or nullcontext():
        for frame in frames:
            before = time.perf_counter()
            start, end = float(times[frame]), float(times[frame + dt])
            steps, slices = zip(*map(step, range(frame, frame + dt)), strict=True)
            picture = event_picture(steps, rules, crop)
            if rules.skip_empty and not (picture > 0).any():
                noted.left_out[_NO_EVENTS] += 1
                continue

            def compute(start: float = start, end: float = end) -> Flow:
                return np.ascontiguousarray(flow_between(maps, flow_ts, start, end)[:, *crop])

            truth = compute() if kept is None else kept.flow(frame, compute)
            window = (round(start * 1e6), round(end * 1e6))
            sample = Sample(frame, dt, torch.cat(slices), truth, picture, Events.concatenate(steps), window)
            noted.seconds += time.perf_counter() - before
            yield sample


def recording_name(recording: MvsecRecording) -> str:
    """The sequence's name: the file's, without `_data.hdf5`."""
    return Path(recording.data_path).name.removesuffix("_data.hdf5")


def centre(rules: Rules, recording: MvsecRecording) -> tuple[slice, slice]:
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


def _scored(
    model: nn.Module | FromEvents,
    found: Iterable[Sample],
    rules: Rules,
    crop: tuple[slice, slice],
    warm_start: bool,
    watch: Callable[[Sample, Flow], None] | None,
) -> tuple[list[Errors], float]:
    """The errors of each sample, and the seconds spent in the network."""
    predict, errors, network, last = _estimator(model), list[Errors](), 0.0, None
    for sample in found:
        before = time.perf_counter()
        flow = predict(sample, warm_start and last is not None and sample.frame == last + sample.dt, crop)
        network += time.perf_counter() - before
        last = sample.frame
        errors.append(_errors(flow, sample, rules, crop[0].start))
        if watch is not None:
            watch(sample, flow)
    return errors, network


def _estimator(model: nn.Module | FromEvents) -> Callable[[Sample, bool, tuple[slice, slice]], Flow]:
    """What takes the flow of a sample from it, whether it goes on from the last one, and the crop."""
    if isinstance(model, nn.Module) and not hasattr(model, "from_events"):
        predict = Predictor(model)
        return lambda sample, goes_on, crop: predict(sample.slices, goes_on=goes_on)
    method: Any = model

    def cropped(sample: Sample, goes_on: bool, crop: tuple[slice, slice]) -> Flow:
        flow: Flow = method.from_events(sample.events, sample.window)[:, *crop]
        return flow

    return cropped


def _slices(events: Events | SpikeStream, rules: Rules, represent: Represent) -> Tensor:
    """The slices of a step that the network sees.

    Raises:
        ValueError: the network made neither all slices of the step nor those that are kept.
    """
    slices = represent(events, rules.slices)
    # A network that was trained on some of its slices makes only those.
    if not rules.keep or len(slices) == len(rules.keep):
        return slices
    if len(slices) != rules.slices:
        raise ValueError(f"expected {rules.slices} slices of a step, or the {len(rules.keep)} of them that "
                         f"protocol {rules.name} keeps, got {len(slices)}")  # fmt: skip
    return slices[list(rules.keep)]


def _represent(events: Events | SpikeStream, slices: int | None) -> Tensor:
    return temporal_distribution(events, slices or 5)


def _key(recording: MvsecRecording, rules: Rules, dt: int, name: str) -> tuple[str, dict[str, Any]]:
    """How a file of true flows is named, and all that defines them."""
    if not recording.gt_path.is_file():
        raise InputError(recording.data_path, expected=f"ground truth in {recording.gt_path}", found="nothing there")
    files = [identity(path) for path in (recording.data_path, recording.gt_path)]
    crop = [[each.start, each.stop] for each in centre(rules, recording)]
    source = str(recording.flow_maps.name)
    defined = {"files": files, "source": source, "interval": rules.interval, "dt": dt, "crop": crop}
    return f"{name}-{rules.name}-dt{dt}", {**defined, "protocol": rules.name}


def _errors(flow: Flow, sample: Sample, rules: Rules, top: int) -> Errors:
    """Sparse and dense errors of the prediction, then of zero flow, whose errors are the true flow's lengths."""
    truth = sample.ground_truth
    if flow.shape != truth.shape:
        raise ValueError(f"expected a flow {truth.shape} from the model, got {flow.shape}")
    dense = known(truth, rules.validity)
    limit = rules.row_limit(top)
    if limit is not None:
        dense[limit:] = False
    sparse = sample.event_count[dense] > 0
    error, length = lengths(flow, dense, less=truth), lengths(truth, dense)
    return (
        summed(error[sparse], length[sparse], rules.outlier),
        summed(error, length, rules.outlier),
        summed(length[sparse], length[sparse], rules.outlier),
        summed(length, length, rules.outlier),
    )
