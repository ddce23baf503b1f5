"""Which intervals of a recording a protocol evaluates, which of them it has to leave out, and the events of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording
from eventsim.streams.events import Events
from flownet.protocols import Protocol

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The intervals of an evaluation.

    Args:
        steps: where each begins: number of a grey frame, or of a map of the ground truth.
        left_out: how many of the protocol's intervals are left out, for each reason.
    """

    steps: list[int]
    left_out: Counter[str] = field(default_factory=Counter)


def step_times(recording: MvsecRecording, rules: Protocol) -> Times:
    """The times that intervals begin and end at, float64 [N] absolute seconds: of grey frames, or of flow maps."""
    return recording.image_ts if rules.interval == "frames" else recording.flow_ts


def select(recording: MvsecRecording, rules: Protocol, dt: int) -> Selection:
    """The intervals of a protocol that the recording and its ground truth cover.

    The ground truth of an interval needs maps at or before its start and at or after its end: an index before the
    first map would, taken naively, be that of the last one.

    Raises:
        InputError: the protocol knows no such dt, or the ground truth holds no maps.
    """
    if dt < 1 or (rules.dt and dt not in rules.dt):
        among = ", ".join(map(str, rules.dt)) or "1 or more"
        raise InputError(f"dt of protocol {rules.name}", expected=among, found=str(dt))
    times, flow_ts = step_times(recording, rules), recording.flow_ts
    if not len(flow_ts):
        raise InputError(recording.gt_path, expected="maps of the true flow", found="none")
    inside = _window(recording, rules)
    steps = [i for i in rules.frames(len(times), dt) if inside[0] <= times[i] and times[i + dt] <= inside[1]]
    left_out: Counter[str] = Counter()
    end = 1 if dt in rules.inclusive else 0
    asked = sum(stop + end - start for start, stop in rules.ranges)
    if rules.ranges and asked > len(steps):
        left_out["not in the recording"] = asked - len(steps)
    covered = []
    for i in steps:
        if times[i] < flow_ts[0]:
            left_out["before the first ground truth"] += 1
        elif times[i + dt] > flow_ts[-1]:
            left_out["after the last ground truth"] += 1
        else:
            covered.append(i)
    return Selection(covered, left_out)


def step_events(recording: MvsecRecording, rules: Protocol, step: int) -> Events:
    """The events of one step: between a grey frame and the next, or a map and the next."""
    if rules.interval == "frames":
        return recording.events_between_images(step, step + 1)
    start, stop = (round(float(recording.flow_ts[k]) * 1e6) for k in (step, step + 1))
    return recording.window(start, stop)


def bag_start(recording: MvsecRecording) -> float:
    """Absolute seconds that stand in for the start of the recording's bag, which its HDF5 files do not hold: the time
    of the first event or grey frame."""
    first = [float(recording.image_ts[0])] if len(recording.image_ts) else []
    if len(recording):
        first.append(float(recording.events(0, 1).t[0]) / 1e6)
    return min(first)


def _window(recording: MvsecRecording, rules: Protocol) -> tuple[float, float]:
    """Absolute seconds within which intervals have both their ends."""
    start, stop = -np.inf, np.inf
    if rules.seconds is not None:
        zero = bag_start(recording)
        start, stop = zero + rules.seconds[0], zero + rules.seconds[1]
    if rules.maps is not None:
        flow_ts = recording.flow_ts
        first, last = (min(each, len(flow_ts) - 1) for each in rules.maps)
        # Strictly between: the next float64 above and below.
        start = max(start, float(np.nextafter(flow_ts[first], np.inf)))
        stop = min(stop, float(np.nextafter(flow_ts[last], -np.inf)))
    return start, stop
