"""The event camera (DVS): each pixel signals when its log luminance has moved by a threshold since its last event.

Between two frames the log luminance is linear in time, so the time of every crossing is a formula, not a layer of a
time grid. Any event re-references its pixel: after it, contrast is counted from the level at the event (or from the
level at the end of the refractory period). Noise: thresholds that differ from pixel to pixel, a leak of the reference
that makes ON events in constant light, and shot noise events at random times, rarer in bright light (the intensity law
of v2e, Hu, Liu and Delbruck, CVPRW 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.preset import load_preset
from eventsim.cameras.random import Purpose, draw, mix64, pixel_keys, pixel_normals, stream_key, uniform
from eventsim.light.frames import Frames, as_frames, checked
from eventsim.rows import over_rows
from eventsim.settings import require
from eventsim.streams.events import Events

Picture = NDArray[np.float32]
_LEAST_THRESHOLD = 0.01
_MOST_BUCKETS = 1 << 22  # microseconds that a counting sort spends 8 bytes each on


@dataclass(frozen=True, kw_only=True)
class EventCamera:
    """Parameters of an event camera; `EventCamera.preset("davis346")` gives a named one.

    Args:
        height, width: the sensor's size. Commands scale pictures to it; `simulate` takes frames of any size.
        threshold_on, threshold_off: contrast in log luminance that makes an event, mean over pixels.
        threshold_mismatch: standard deviation of the thresholds from pixel to pixel (same unit).
        dark_luminance: added to luminance before the logarithm, as the photodiode's dark current is.
        leak_rate_hz: ON events a second that the drift of the reference makes in constant light.
        shot_noise_rate_hz: noise events a second and pixel in darkness, ON and OFF together.
        refractory_us: time after an event in which its pixel is blind.

    Raises:
        ValueError: a parameter outside its range.
    """

    height: int = 260
    width: int = 346
    threshold_on: float = 0.2
    threshold_off: float = 0.2
    threshold_mismatch: float = 0.0
    dark_luminance: float = 0.02
    leak_rate_hz: float = 0.0
    shot_noise_rate_hz: float = 0.0
    refractory_us: float = 0.0

    def __post_init__(self) -> None:
        above = "height width threshold_on threshold_off dark_luminance"
        require(self, above=above, at_least="threshold_mismatch leak_rate_hz shot_noise_rate_hz refractory_us")

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> EventCamera:
        """A named camera, or one from a YAML file, with some fields replaced."""
        return load_preset("event", cls, name, overrides)

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
        chunk_events: int = 1 << 18,
        threads: int | None = None,
    ) -> Iterator[Events]:
        """The events in consecutive chunks of at least `chunk_events` (the last may have fewer), in bounded memory."""
        light = as_frames(frames)
        pixels = _Pixels(self, light.height, light.width, seed, threads)
        waiting: list[Events] = []
        frames_seen = 0
        for (t0, first), (t1, second) in pairwise((t, self.log_luminance(frame)) for t, frame in checked(light)):
            waiting.append(pixels.advance(t0, t1, first, second))
            frames_seen += 1
            if sum(map(len, waiting)) >= chunk_events:
                yield Events.concatenate(waiting)
                waiting = []
        if frames_seen == 0:
            raise ValueError("expected at least two frames to see a change between, got fewer")
        if waiting:
            yield Events.concatenate(waiting)

    def log_luminance(self, luminance: Picture) -> Picture:
        """What the pixel responds to: log(luminance + dark_luminance), float32 [H, W]."""
        response: Picture = np.log(luminance + np.float32(self.dark_luminance))
        return response


class _Pixels:
    """The state of a sensor's pixels from one frame to the next."""

    def __init__(self, camera: EventCamera, height: int, width: int, seed: int, threads: int | None) -> None:
        size = (height, width)
        self.camera, self.threads = camera, threads
        self.on = thresholds(camera.threshold_on, camera, Purpose.THRESHOLD_ON, seed, size)
        self.off = thresholds(camera.threshold_off, camera, Purpose.THRESHOLD_OFF, seed, size)
        self.keys = pixel_keys(stream_key(seed, Purpose.SHOT_NOISE), height, width)
        self.contrast = np.zeros(size)
        self.blind_until = np.full(size, -1.0)
        self.next_shot = first_shots(self.keys, camera.shot_noise_rate_hz * 1e-6)
        self.shots = np.zeros(size, np.uint64)
        self.start: int | None = None

    def advance(self, t0: int, t1: int, first: Picture, second: Picture) -> Events:
        """The events between two frames (us, log luminance), in order of time."""
        from eventsim.cameras.kernels import event as kernel

        # Times count from the first frame, so that epoch times lose no precision.
        self.start = t0 if self.start is None else self.start
        camera, (height, width) = self.camera, first.shape
        span = (float(t0 - self.start), float(t1 - self.start))
        state = (
            self.contrast,
            self.blind_until,
            self.next_shot,
            self.shots,
            first,
            second,
            self.on,
            self.off,
            self.keys,
        )
        hz = (camera.leak_rate_hz * 1e-6, camera.shot_noise_rate_hz * 1e-6)
        rates = (*hz, float(camera.refractory_us), float(camera.dark_luminance))
        counts = np.zeros(height, np.int64)
        over_rows(lambda top, end: kernel.count(*span, *state, rates, counts, top, end), height, self.threads)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        total = int(offsets[-1])
        t, x, y = np.empty(total, np.int64), np.empty(total, np.uint16), np.empty(total, np.uint16)
        out = (t, x, y, np.empty(total, bool))
        over_rows(lambda top, end: kernel.fill(*span, *state, rates, offsets, *out, top, end), height, self.threads)
        order = _order_by_time(t, t0 - self.start, t1 - self.start)
        # In a loop, because Python looks for an interrupt between steps: with millions of events, each takes its time.
        columns: list[NDArray[Any]] = [column[order] for column in out]
        t, x, y, p = columns
        return Events(t + self.start, x, y, p, width, height)


def _order_by_time(t: NDArray[np.int64], t0: int, t1: int) -> NDArray[np.int64]:
    from eventsim.cameras.kernels.event import order_by_time

    order: NDArray[np.int64] = order_by_time(t, t0, t1) if t1 - t0 <= _MOST_BUCKETS else np.argsort(t, kind="stable")
    return order


def thresholds(
    mean: float, camera: EventCamera, purpose: Purpose, seed: int, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Each pixel's threshold: normal around the mean, at least 0.01, float64 [H, W]."""
    spread = camera.threshold_mismatch * pixel_normals(seed, purpose, *size).astype(np.float64)
    return np.maximum(mean + spread, _LEAST_THRESHOLD)


def first_shots(keys: NDArray[np.uint64], rate_per_us: float) -> NDArray[np.float64]:
    """Time of each pixel's first candidate for a noise event (us after the first frame): float64 [H, W]."""
    if rate_per_us <= 0:
        return np.full(keys.shape, np.inf)
    waits: NDArray[np.float64] = -np.log(1.0 - uniform(draw(keys, np.uint64(0)))) / rate_per_us
    return waits


def pixel_reference(
    camera: EventCamera, times_us: NDArray[np.int64], log_luminance: Picture, on: float, off: float, key: np.uint64
) -> list[tuple[int, bool]]:
    """One pixel's events, (time in us, polarity), as a plain loop: the specification that the kernel agrees with.

    Args:
        camera: its rates and refractory period.
        times_us: int64 [F], times of the frames.
        log_luminance: float32 [F], the pixel's response at those times.
        on, off: the pixel's thresholds.
        key: the pixel's stream of draws.
    """
    rate, leak = camera.shot_noise_rate_hz * 1e-6, camera.leak_rate_hz * 1e-6
    start = int(times_us[0])
    events: list[tuple[int, bool]] = []
    contrast, blind_until = 0.0, -math.inf
    shots = _shot_candidates(key, rate)
    shot, accept_below, shot_polarity = next(shots)
    for (t0, first), (t1, second) in pairwise(zip((times_us - start).tolist(), log_luminance.tolist(), strict=True)):
        rise = (second - first) / (t1 - t0)
        slope = rise + leak * on
        t = float(t0)
        while True:
            if blind_until >= t:  # the pixel wakes up at blind_until and starts from the level it finds there
                if blind_until > t1:
                    break
                t, contrast, blind_until = blind_until, 0.0, -math.inf
            while shot < t:
                shot, accept_below, shot_polarity = next(shots)
            threshold = on if slope > 0 else -off
            crossing = max(t, t + (threshold - contrast) / slope) if slope else math.inf
            if min(crossing, shot) > t1:
                break
            event, polarity, accepted = crossing, slope > 0, True
            if shot < crossing:
                luminance = math.exp(first + rise * (shot - t0)) - camera.dark_luminance
                event, polarity, accepted = shot, shot_polarity, accept_below < 1 - 0.75 * min(max(luminance, 0), 1)
                shot, accept_below, shot_polarity = next(shots)
            if accepted:
                events.append((int(event) + start, polarity))
                t, contrast = event, 0.0
                blind_until = event + camera.refractory_us if camera.refractory_us > 0 else -math.inf
        if blind_until < 0:
            contrast += slope * (t1 - t)
    return events


def _shot_candidates(key: np.uint64, rate_per_us: float) -> Iterator[tuple[float, float, bool]]:
    """A pixel's candidates for noise events: time (us), a uniform number to accept it by, its polarity."""
    t, index = 0.0, 0
    while rate_per_us > 0:
        bits = draw(np.array([key], np.uint64), np.full(1, index, np.uint64))
        t -= math.log(1.0 - float(uniform(bits)[0])) / rate_per_us
        again = mix64(bits)
        index += 1
        yield t, float(uniform(again)[0]), bool(again[0] & np.uint64(1))
    while True:
        yield math.inf, 1.0, False
