"""The event camera's pixel: its parameters at every pixel, its equations, and the model as a plain loop, to read.

The photoreceptor turns luminance into a response (its logarithm, linear in the dark), which a low-pass filter of first
or second order smooths, slower in dim light. A pixel makes an event when the smoothed response has moved by a threshold
from its value at the last event, and counts afresh from there. Between two frames the response is linear in time, so
that the smoothed one is a line and a decaying exponential, and the time of a crossing is found exactly.

The law of the bandwidth and the noise is v2e's (Hu, Liu and Delbruck, CVPR Workshops 2021), which knows frames only;
the crossing times are ESIM's idea (Rebecq, Gehrig and Scaramuzza, CoRL 2018) carried through the filter. The kernel
`kernels.event` states the same equations for many pixels at once; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.pattern import as_pattern
from eventsim.cameras.random import Purpose, draw, mix64, pixel_keys, pixel_uniforms, stream_key, uniform

if TYPE_CHECKING:
    from eventsim.cameras.event import EventCamera

Picture = NDArray[np.float32]
LEAST_THRESHOLD = 0.01
#: Bandwidth goes with luminance + DIM; v2e: (grey + 20) / 275 for grey 0..255.
DIM = 20 / 255
#: A second-order filter's first stage is followed in so many steps per time constant.
_STEPS_PER_TAU = 8
_MOST_STEPS = 64
#: Precision of a crossing. What it leaves of a steep response takes a flat one long to make up for.
ENOUGH_US = 1e-6


@dataclass(frozen=True)
class EventMaps:
    """What a camera's parameters come to at each pixel: float32 [H, W].

    Args:
        on, off: thresholds, in log luminance; infinite for a dead pixel.
        leak: drift of the response against the reference, in log luminance per microsecond.
        shot: candidates for noise events per microsecond, those in darkness.
    """

    on: Picture
    off: Picture
    leak: Picture
    shot: Picture


def event_maps(camera: EventCamera, height: int, width: int) -> EventMaps:
    """The parameters at each pixel of one specimen of a camera.

    Raises:
        ValueError: a map of the camera is of another size.
    """
    size = (height, width)

    def values(name: str) -> Picture:
        pattern = camera.threshold_pattern(name) if "threshold" in name else as_pattern(getattr(camera, name))
        return pattern.values(camera.specimen, _PURPOSES[name], height, width)

    hot = pixel_uniforms(camera.specimen, Purpose.HOT_EVENTS, *size) < camera.hot_share
    dead = pixel_uniforms(camera.specimen, Purpose.DEAD_EVENTS, *size) < camera.dead_share
    shot = values("shot_noise_rate_hz")
    on, off = (np.maximum(values(name), np.float32(LEAST_THRESHOLD)) for name in ("threshold_on", "threshold_off"))
    return EventMaps(
        on=np.where(dead, np.float32(np.inf), on),
        off=np.where(dead, np.float32(np.inf), off),
        leak=np.where(dead, 0, values("leak_rate_hz") * on * np.float32(1e-6)).astype(np.float32),
        shot=np.where(dead, 0, np.where(hot, camera.hot_rate_hz, shot) * np.float32(1e-6)).astype(np.float32),
    )


_PURPOSES = {
    "threshold_on": Purpose.THRESHOLD_ON,
    "threshold_off": Purpose.THRESHOLD_OFF,
    "leak_rate_hz": Purpose.LEAK,
    "shot_noise_rate_hz": Purpose.SHOT_RATE,
}
#: The fields of an event camera that may be a number, a spread or a map.
PATTERNS = tuple(_PURPOSES)


def respond(camera: EventCamera, luminance: Picture) -> Picture:
    """The photoreceptor's response, float32 like `luminance`.

    log(L + dark_luminance), or, below `linear_below`, the line through the origin that meets the logarithm there
    (v2e's lin-log mapping, of luminance rather than of grey levels).
    """
    light = luminance + np.float32(camera.dark_luminance) if camera.dark_luminance else luminance
    if camera.linear_below == 0:
        return np.asarray(np.log(light), np.float32)
    knee = np.float32(camera.linear_below)
    response: Picture = np.maximum(light, knee)
    np.log(response, out=response)
    below = np.minimum(light, knee)
    below -= knee
    # In 255ths, as v2e's, so that the line through the origin has its slope.
    below *= np.float32(math.log(255 * knee) / knee)
    response += below
    return response


def time_constant(tau_us: float, luminance: float) -> float:
    """The filter's time constant (us) in some light, of that at luminance 1."""
    return tau_us * (1 + DIM) / (max(luminance, 0.0) + DIM)


def filter_steps(span_us: float, tau_us: float) -> int:
    """Steps in which a second-order filter's first stage is followed."""
    return int(min(max(math.ceil(_STEPS_PER_TAU * span_us / tau_us), 1), _MOST_STEPS))


def lag_after(lag: float, slope: float, tau: float, us: float) -> float:
    """How far a filter's output is behind its input after some time, while the input rises by `slope` a microsecond."""
    if tau == 0:
        return 0.0
    return slope * tau + (lag - slope * tau) * math.exp(-us / tau)


def contrast_after(contrast: float, lag: float, slope: float, leak: float, tau: float, us: float) -> float:
    """The smoothed response over its reference after some time: the input's rise, less what the lag has grown."""
    if tau == 0:
        return contrast + (slope + leak) * us
    return contrast + (slope + leak) * us - (slope * tau - lag) * (1.0 - math.exp(-us / tau))


def first_crossing(
    contrast: float, lag: float, slope: float, leak: float, tau: float, on: float, off: float, span: float
) -> tuple[float, bool]:
    """When the contrast first reaches a threshold: microseconds from now (infinite if not within `span`), and whether
    it is the ON threshold."""
    total = slope + leak
    if tau == 0:
        threshold = on if total > 0 else -off
        wait = max((threshold - contrast) / total, 0.0) if total != 0 else math.inf
        return (wait if wait <= span else math.inf), total > 0
    # A line and one exponential turn once at most: each piece before and after is monotone.
    drive = slope * tau - lag
    left = total * tau / drive if drive != 0 else 0.0
    turn = -tau * math.log(left) if 0 < left < 1 else span
    begin, value = 0.0, contrast
    for piece in range(2):
        end = min(turn, span) if piece == 0 else span
        if end > begin or piece == 0:
            reached = contrast_after(contrast, lag, slope, leak, tau, end)
            if max(value, reached) >= on:
                return solve(contrast, lag, slope, leak, tau, on, begin, end, value, reached), True
            if min(value, reached) <= -off:
                return solve(contrast, lag, slope, leak, tau, -off, begin, end, value, reached), False
            begin, value = end, reached
    return math.inf, False


def solve(
    contrast: float, lag: float, slope: float, leak: float, tau: float,
    threshold: float, low: float, high: float, at_low: float, at_high: float,
) -> float:  # fmt: skip
    """Where a monotone piece of the contrast meets a threshold: Newton's steps, halving where they leave the piece."""
    rising = at_high > at_low
    if (at_low >= threshold) == rising or at_low == at_high:
        return low
    total, drive = slope + leak, slope * tau - lag
    us = low + (high - low) * (threshold - at_low) / (at_high - at_low)
    for _ in range(40):
        left = math.exp(-us / tau)
        value = contrast + total * us - drive * (1.0 - left) - threshold
        if (value > 0) == rising:
            high = us
        else:
            low = us
        speed = total - drive / tau * left
        step = us - value / speed if speed != 0 else low
        if abs(step - us) < ENOUGH_US:
            return step
        us = step if low < step < high else 0.5 * (low + high)
    return us


def first_shots(keys: NDArray[np.uint64], rate_per_us: Picture) -> NDArray[np.float64]:
    """Time of each pixel's first candidate for a noise event (us after the first frame): float64 [H, W]."""
    rate = rate_per_us.astype(np.float64)
    waits = -np.log(1.0 - uniform(draw(keys, np.uint64(0))))
    first: NDArray[np.float64] = np.divide(waits, rate, out=np.full(keys.shape, np.inf), where=rate > 0)
    return first


def shot_keys(seed: int, height: int, width: int) -> NDArray[np.uint64]:
    """The pixels' streams of draws for noise events: uint64 [H, W]."""
    return pixel_keys(stream_key(seed, Purpose.SHOT_NOISE), height, width)


@dataclass
class _Pixel:
    """One pixel's state in the reference loop: contrast over the reference, lags of the filter's stages, and until
    when it is blind (us; -inf where it is awake)."""

    contrast: float = 0.0
    first_lag: float = 0.0
    lag: float = 0.0
    blind_until: float = -math.inf


def pixel_reference(
    camera: EventCamera, times_us: NDArray[np.int64], luminance: Picture, maps: EventMaps, key: np.uint64
) -> list[tuple[int, bool]]:
    """One pixel's events, (time in us, polarity), as a plain loop: the specification that the kernel agrees with.

    Args:
        camera: its filter and refractory period.
        times_us: int64 [F], times of the frames.
        luminance: float32 [F], what falls on the pixel at those times.
        maps: the pixel's parameters, as maps of one pixel.
        key: the pixel's stream of draws.
    """
    on, off, leak, rate = (float(value.reshape(())) for value in (maps.on, maps.off, maps.leak, maps.shot))
    response = respond(camera, luminance)
    start = int(times_us[0])
    shots = _Shots(key, rate)
    pixel = _Pixel()
    events: list[tuple[int, bool]] = []
    seen = zip((times_us - start).tolist(), response.tolist(), luminance.tolist(), strict=True)
    for (t0, before, light0), (t1, after, light1) in pairwise(seen):
        span = float(t1 - t0)
        tau = time_constant(camera.tau_us, (light0 + light1) / 2)

        def light_at(t: float, t0: int = t0, span: float = span, a: float = light0, b: float = light1) -> float:
            return a + (b - a) * (t - t0) / span

        for begin, end, slope in _input_of_last_stage(camera, pixel, t0, t1, (after - before) / span, tau):
            for t, polarity in _segment(camera, pixel, shots, light_at, begin, end, slope, tau, (on, off, leak)):
                events.append((int(t) + start, polarity))
    return events


def _input_of_last_stage(
    camera: EventCamera, pixel: _Pixel, t0: float, t1: float, slope: float, tau: float
) -> Iterator[tuple[float, float, float]]:
    """Begin, end and slope of the lines that the filter's last stage sees: the response itself, or the first stage."""
    if camera.cutoff_order < 2 or tau == 0:
        yield t0, t1, slope
        return
    steps = filter_steps(t1 - t0, tau)
    width = (t1 - t0) / steps
    for step in range(steps):
        lag = lag_after(pixel.first_lag, slope, tau, width)
        rise = slope * width - (lag - pixel.first_lag)
        pixel.first_lag = lag
        yield t0 + step * width, t0 + (step + 1) * width, rise / width


def _segment(
    camera: EventCamera, pixel: _Pixel, shots: _Shots, light_at: Callable[[float], float], begin: float, end: float,
    slope: float, tau: float, thresholds: tuple[float, float, float],
) -> Iterator[tuple[float, bool]]:  # fmt: skip
    """The events of a pixel, (time, polarity), while the last stage's input is one line; moves the pixel on."""
    on, off, leak = thresholds
    t = begin
    while True:
        if pixel.blind_until >= t:  # the pixel wakes up at blind_until and starts from the level it finds there
            if pixel.blind_until > end:
                break
            pixel.lag = lag_after(pixel.lag, slope, tau, pixel.blind_until - t)
            t, pixel.contrast, pixel.blind_until = pixel.blind_until, 0.0, -math.inf
        shots.skip_to(t)
        wait, polarity = first_crossing(pixel.contrast, pixel.lag, slope, leak, tau, on, off, end - t)
        event = min(t + wait, shots.time)
        if event > end:
            break
        accepted = True
        if shots.time < t + wait:
            accepted, polarity = shots.accept(light_at(shots.time))
        if accepted:
            yield event, polarity
            pixel.lag = lag_after(pixel.lag, slope, tau, event - t)
            t, pixel.contrast = event, 0.0
            if camera.refractory_us > 0:
                pixel.blind_until = event + camera.refractory_us
    if pixel.blind_until < 0:
        pixel.contrast = contrast_after(pixel.contrast, pixel.lag, slope, leak, tau, end - t)
    pixel.lag = lag_after(pixel.lag, slope, tau, end - t)


class _Shots:
    """A pixel's candidates for noise events, one after another at exponential intervals."""

    def __init__(self, key: np.uint64, rate_per_us: float) -> None:
        self.key, self.rate, self.index = key, rate_per_us, 0
        self.time = 0.0
        self._next()

    def _next(self) -> None:
        self.bits = draw(np.array([self.key], np.uint64), np.full(1, self.index, np.uint64))
        wait = -math.log(1.0 - float(uniform(self.bits)[0]))
        self.time = self.time + wait / self.rate if self.rate > 0 else math.inf
        self.index += 1

    def skip_to(self, t: float) -> None:
        """Passes by the candidates before a time."""
        while self.time < t:
            self._next()

    def accept(self, luminance: float) -> tuple[bool, bool]:
        """Whether the candidate becomes an event, rarer in bright light, and its polarity; goes on to the next."""
        again = mix64(self.bits)
        below, polarity = float(uniform(again)[0]), bool(again[0] & np.uint64(1))
        self._next()
        return below < 1.0 - 0.75 * min(max(luminance, 0.0), 1.0), polarity
