"""The event camera (DVS): each pixel signals when its response to light has moved by a threshold since its last event.

Between two frames the response is linear in time, so the time of every crossing is a formula, not a layer of a time
grid, also behind the pixel's low-pass filter. Any event re-references its pixel: after it, contrast is counted from the
level at the event (or from the level at the end of the refractory period). `cameras.event_model` has the equations and
where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.event_model import PATTERNS, event_maps, first_shots, respond, shot_keys
from eventsim.cameras.pattern import Pattern, Value, as_pattern
from eventsim.cameras.preset import load_preset
from eventsim.cameras.readout import Readout
from eventsim.light.frames import Frames, as_frames, checked
from eventsim.rows import over_rows
from eventsim.settings import require
from eventsim.streams.events import Events

Picture = NDArray[np.float32]
_MOST_BUCKETS = 1 << 22  # microseconds that a counting sort spends 8 bytes each on
_STRIPS = 6  # that a thread takes at a time
_INTERVALS = 8  # between frames, gone over at a time: fewer calls for the same memory traffic


@dataclass(frozen=True, kw_only=True)
class EventCamera:
    """Parameters of an event camera; `EventCamera.preset("davis346")` gives a named one.

    What is called a `Value` may be one number for all pixels, a `Pattern` (drawn for each pixel of a specimen, with a
    spread) or a map float32 [H, W].

    Args:
        height, width: the sensor's size. Commands scale pictures to it; `simulate` takes frames of any size.
        threshold_on, threshold_off: Value; contrast in log luminance that makes an event.
        threshold_mismatch: standard deviation of numbers given as thresholds, from pixel to pixel (same unit).
        dark_luminance: added to luminance before the logarithm, as the photodiode's dark current is.
        linear_below: luminance below which the response is linear, not logarithmic (v2e: 20 / 255); 0: nowhere.
        cutoff_hz: corner frequency of the pixel's low-pass filter at luminance 1, falling with luminance; 0: no filter.
        cutoff_order: 1 or 2 stages.
        leak_rate_hz: Value; ON events a second that the drift of the reference makes in constant light.
        shot_noise_rate_hz: Value; noise events a second in darkness, ON and OFF together; a quarter at luminance 1.
        refractory_us: time after an event in which its pixel is blind.
        hot_share, hot_rate_hz: share of pixels that are noisy, and their noise events a second in darkness.
        dead_share: share of pixels that make no events.
        latency_us, latency_jitter_us: of the readout: mean, and standard deviation (cut off at no latency).
        bus_rate_hz: events a second that the readout can carry; 0: any number.
        bus_queue: events that wait for the bus at most; further ones are lost.
        scan_hz: scans of all rows a second, by which a row's events are read out together, at most one a pixel and
            scan; 0: events are read out as they come.
        specimen: number of the camera among those of its kind: another one has other fixed patterns.

    Raises:
        ValueError: a parameter outside its range.
    """

    height: int = 260
    width: int = 346
    threshold_on: Value = 0.2
    threshold_off: Value = 0.2
    threshold_mismatch: float = 0.0
    dark_luminance: float = 0.02
    linear_below: float = 0.0
    cutoff_hz: float = 0.0
    cutoff_order: int = 1
    leak_rate_hz: Value = 0.0
    shot_noise_rate_hz: Value = 0.0
    refractory_us: float = 0.0
    hot_share: float = 0.0
    hot_rate_hz: float = 0.0
    dead_share: float = 0.0
    latency_us: float = 0.0
    latency_jitter_us: float = 0.0
    bus_rate_hz: float = 0.0
    bus_queue: int = 4096
    scan_hz: float = 0.0
    specimen: int = 0

    #: The fields that are a Value.
    PATTERNS: ClassVar[tuple[str, ...]] = PATTERNS

    def __post_init__(self) -> None:
        require(
            self,
            above="height width bus_queue",
            at_least="threshold_mismatch dark_luminance linear_below cutoff_hz refractory_us hot_share hot_rate_hz "
            "dead_share latency_us latency_jitter_us bus_rate_hz scan_hz",
        )
        for name in PATTERNS:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, as_pattern(value))
            elif isinstance(value, (int, float)):
                require(self, **{"above" if "threshold" in name else "at_least": name})
        for name in ("hot_share", "dead_share", "linear_below"):
            if getattr(self, name) > 1:
                raise ValueError(f"expected {name} of at most 1, got {getattr(self, name)}")
        if self.dark_luminance == 0 and self.linear_below == 0:
            raise ValueError("expected dark_luminance or linear_below above 0, got neither: darkness has no logarithm")
        if self.cutoff_order not in (1, 2):
            raise ValueError(f"expected a cutoff_order of 1 or 2, got {self.cutoff_order}")

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> EventCamera:
        """A named camera, or one from a YAML file, with some fields replaced."""
        return load_preset("event", cls, name, overrides)

    @property
    def tau_us(self) -> float:
        """Time constant of the filter at luminance 1, in microseconds; 0 without a filter."""
        return 1e6 / (2 * math.pi * self.cutoff_hz) if self.cutoff_hz else 0.0

    def threshold_pattern(self, name: str) -> Pattern:
        """A threshold as a pattern; a plain number is spread by `threshold_mismatch`."""
        value = getattr(self, name)
        if isinstance(value, Pattern):
            return value
        return Pattern(mean=float(value), spread=self.threshold_mismatch / float(value))

    def simulate(self, frames: Frames | NDArray[Any], *, seed: int = 0, threads: int | None = None) -> Events:
        """All events that the camera sees in the frames' time.

        Args:
            frames: timed luminance frames; times of events count from the same zero.
            seed: the same seed gives the same events, whatever `threads` is.
            threads: threads to use, by default the cores.

        Raises:
            ValueError: fewer than two frames, or frames that change size.
        """
        return Events.concatenate(list(self.stream(frames, seed=seed, threads=threads)))

    def stream(
        self,
        frames: Frames | NDArray[Any],
        *,
        seed: int = 0,
        chunk_events: int = 1 << 16,
        threads: int | None = None,
    ) -> Iterator[Events]:
        """The events in consecutive chunks of at least `chunk_events` (the last may have fewer), in bounded memory."""
        light = as_frames(frames)
        readout = Readout(self, light.height, light.width, seed)
        waiting: list[Events] = []
        for events in self._seen(light, seed, threads):
            waiting.append(readout.read(events))
            if sum(map(len, waiting)) >= chunk_events:
                yield Events.concatenate(waiting)
                waiting = []
        waiting.append(readout.rest())
        yield Events.concatenate(waiting)

    def _seen(self, light: Frames, seed: int, threads: int | None) -> Iterator[Events]:
        """The events of some intervals between frames at a time, before they are read out."""
        pixels = _Pixels(self, light.height, light.width, seed, threads)
        frames = checked(light)
        first = next(frames, None)
        batch = list(islice(frames, _INTERVALS))
        if first is None or not batch:
            raise ValueError("expected at least two frames to see a change between, got fewer")
        while batch:
            yield pixels.advance([first, *batch])
            first, batch = batch[-1], list(islice(frames, _INTERVALS))

    def response(self, luminance: Picture) -> Picture:
        """What the pixel responds to, before its filter: float32 [H, W], see `event_model.respond`."""
        return respond(self, luminance)


@dataclass
class _Band:
    """The events of some strips over some intervals, t, x, y and p, and where each interval's begin."""

    marks: NDArray[np.int64]
    columns: tuple[NDArray[Any], ...]


def _columns(length: int) -> tuple[NDArray[Any], ...]:
    """t, x, y, p."""
    return tuple(np.empty(length, kind) for kind in (np.int64, np.uint16, np.uint16, np.bool_))


class _Pixels:
    """The state of a sensor's pixels from one frame to the next."""

    def __init__(self, camera: EventCamera, height: int, width: int, seed: int, threads: int | None) -> None:
        size = (height, width)
        self.camera, self.threads = camera, threads
        self.maps = event_maps(camera, height, width)
        self.keys = shot_keys(seed, height, width)
        self.levels = tuple(np.zeros(size) for _ in range(3))
        self.blind = np.full(size, -np.inf)
        self.shot = first_shots(self.keys, self.maps.shot)
        self.shots = np.ones(size, np.uint64)
        self.timed = bool(np.isfinite(self.shot).any()) or camera.refractory_us > 0
        #: Whether filter or noise need the luminance itself beside the response.
        self.in_light = self.timed or camera.tau_us > 0
        response = np.empty((_INTERVALS + 1, *size), np.float32)
        self.rooms = np.empty_like(response) if self.in_light else response, response
        self.start: int | None = None
        self.bands: dict[int, _Band] = {}

    def advance(self, frames: list[tuple[int, Picture]]) -> Events:
        """The events between consecutive frames (us, luminance), in order of time."""
        from eventsim.cameras.kernels import event as kernels

        # Times count from the first frame, so that epoch times lose no precision.
        self.start = frames[0][0] if self.start is None else self.start
        times = np.array([t_us - self.start for t_us, _ in frames])
        light, response = (room[: len(frames)] for room in self.rooms)

        def respond_rows(top: int, end: int) -> None:
            for seen, answer, (_, luminance) in zip(light, response, frames, strict=True):
                answer[top:end] = self.camera.response(luminance[top:end])
                if self.in_light:
                    seen[top:end] = luminance[top:end]

        over_rows(respond_rows, light.shape[1], self.threads)
        bands: dict[int, _Band] = {}

        def advance_strips(first: int, last: int) -> None:
            bands[first] = self._advance_strips(times.astype(np.float64), response, light, first, last)

        # Strips do not depend on the number of threads, nor does the order of events at the same microsecond.
        strips = -(-light[0].size // kernels.STRIP)
        over_rows(advance_strips, strips, self.threads, most_rows=_STRIPS)
        self.bands = bands
        return self._in_order(times, [band for _, band in sorted(bands.items())], light.shape[1:])

    def _advance_strips(
        self, times: NDArray[np.float64], response: Picture, light: Picture, first: int, last: int
    ) -> _Band:
        from eventsim.cameras.kernels import event as kernels

        advance: Any = kernels.advance

        camera, maps = self.camera, self.maps
        # Its buffers from the last time are long enough for most of what follows.
        columns = self.bands[first].columns if first in self.bands else _columns(0)
        marks = np.zeros((last - first, len(times)), np.int64)
        pixels = (*self.levels, self.blind, self.shot, self.shots, maps.on, maps.off, maps.leak, maps.shot, self.keys)
        settings = (camera.tau_us, camera.cutoff_order, float(camera.refractory_us))
        seen = (times, response.reshape(len(times), -1), light.reshape(len(times), -1))
        flat = (values.reshape(-1) for values in pixels)
        columns = advance(*seen, *flat, settings, self.timed, *columns, marks, light.shape[2], first)
        return _Band(marks, columns)

    def _in_order(self, times: NDArray[np.int64], bands: list[_Band], size: tuple[int, ...]) -> Events:
        """The bands' events as one stream: interval after interval, by time."""
        each = sum(np.diff(band.marks, axis=1).sum(axis=0) for band in bands)
        starts = np.concatenate([[0], np.cumsum(each)])
        out = _columns(int(starts[-1]))

        def order(first: int, last: int) -> None:
            for interval in range(first, last):
                _order_interval(bands, interval, times, int(starts[interval]), int(self.start or 0), out)

        over_rows(order, len(times) - 1, self.threads)
        t, x, y, p = out
        return Events.of_camera(t, x, y, p, size[1], size[0])


def _order_interval(
    bands: list[_Band], interval: int, times: NDArray[np.int64], at: int, origin: int, out: tuple[NDArray[Any], ...]
) -> None:
    from eventsim.cameras.kernels import event as kernels

    put_in_order: Any = kernels.put_in_order

    t0, t1 = int(times[interval]), int(times[interval + 1])
    if t1 - t0 > _MOST_BUCKETS:
        _sort_interval(bands, interval, at, origin, out)
        return
    counts = np.zeros(t1 - t0 + 2, np.int64)
    for band in bands:
        kernels.count_times(band.columns[0], band.marks, interval, t0, counts[1:])
    places = at + np.cumsum(counts)
    for band in bands:
        put_in_order(*band.columns, band.marks, interval, t0, origin, places, *out)


def _sort_interval(bands: list[_Band], interval: int, at: int, origin: int, out: tuple[NDArray[Any], ...]) -> None:
    """For intervals of many seconds, for which there is no room to count microseconds."""
    stretches = [(band, slice(*row[interval : interval + 2])) for band in bands for row in band.marks]
    joined = [np.concatenate([band.columns[k][stretch] for band, stretch in stretches]) for k in range(4)]
    order = np.argsort(joined[0], kind="stable")
    joined[0] = joined[0] + origin
    for column, values in zip(out, joined, strict=True):
        column[at : at + len(order)] = values[order]
