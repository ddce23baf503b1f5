"""One pixel of an event camera between two frames, compiled. `cameras.event_model` is the same, to read.

`advance_pixel` is the whole model. The others are the same for a camera without some of its terms, and several times as
fast: most of the time of a recording goes into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras import event_model
from eventsim.cameras.kernels.draws import mix64, uniform
from eventsim.cameras.random import GAMMA

Array = NDArray[Any]
_ENOUGH_US = event_model.ENOUGH_US


def _compiled(function: Any, **callees: Any) -> Callable[..., Any]:
    """A scalar function of the model, compiled, that calls compiled ones."""
    compiled: Callable[..., Any] = njit(
        FunctionType(function.__code__, function.__globals__ | callees, function.__name__)
    )
    return compiled


time_constant = _compiled(event_model.time_constant)
filter_steps = _compiled(event_model.filter_steps)
lag_after = _compiled(event_model.lag_after)
contrast_after = _compiled(event_model.contrast_after)
_solve = _compiled(event_model.solve, contrast_after=contrast_after)
first_crossing = _compiled(event_model.first_crossing, contrast_after=contrast_after, solve=_solve)


@njit(nogil=True)
def _next_shot(after: float, key: np.uint64, shots: np.uint64, rate_per_us: float) -> float:
    """Time of the candidate for a noise event that follows the first `shots` ones (us): exponential intervals."""
    return after - math.log(1.0 - uniform(mix64(key + (shots + np.uint64(1)) * GAMMA))) / rate_per_us


@njit(nogil=True)
def _shot_accepted(key: np.uint64, shots: np.uint64, luminance: float) -> tuple[bool, bool]:
    """Whether the last of `shots` candidates becomes an event, rarer in bright light, and its polarity."""
    bits = mix64(mix64(key + shots * GAMMA))
    return uniform(bits) < 1.0 - 0.75 * min(max(luminance, 0.0), 1.0), (bits & np.uint64(1)) == np.uint64(1)


@njit(nogil=True)
def advance_pixel(
    span: tuple[float, float],  # us
    rise: float,  # of the response
    light: tuple[float, float],  # luminance of the frames at both ends
    state: tuple[float, float, float, float, float, np.uint64],  # contrast, lags, blind until, next shot, shots
    pixel: tuple[float, float, float, float, np.uint64],  # on, off, leak, shot rate, key
    settings: tuple[float, int, float],  # time constant at luminance 1 (us), order, refractory (us)
    t_out: Array,
    p_out: Array,
) -> tuple[int, tuple[float, float, float, float, float, np.uint64]]:
    """Events of one pixel between two frames: their number, or -1 where there is no room, and the new state."""
    contrast, first_lag, lag, blind, shot, shots = state
    on, off, leak, rate, key = pixel
    t0, t1 = span
    slope = rise / (t1 - t0)
    tau = time_constant(settings[0], (light[0] + light[1]) / 2)
    steps = filter_steps(t1 - t0, tau) if settings[1] == 2 and tau > 0 else 1
    width = (t1 - t0) / steps
    n = 0
    for step in range(steps):
        begin, end, line = t0 + step * width, t0 + (step + 1) * width, slope
        if steps == 1 and settings[1] < 2:
            begin, end = t0, t1
        if settings[1] == 2 and tau > 0:
            later = lag_after(first_lag, slope, tau, width)
            line = (slope * width - (later - first_lag)) / width
            first_lag = later
        t = begin
        while True:
            if blind >= t:
                if blind > end:
                    break
                lag = lag_after(lag, line, tau, blind - t)
                t, contrast, blind = blind, 0.0, -math.inf
            while shot < t:
                shot = _next_shot(shot, key, shots, rate)
                shots += np.uint64(1)
            wait, polarity = first_crossing(contrast, lag, line, leak, tau, on, off, end - t)
            event = min(t + wait, shot)
            if event > end:
                break
            if shot < t + wait:
                luminance = light[0] + (light[1] - light[0]) * (shot - t0) / (t1 - t0)
                accepted, polarity = _shot_accepted(key, shots, luminance)
                shot = _next_shot(shot, key, shots, rate)
                shots += np.uint64(1)
                if not accepted:
                    continue
            if n == len(t_out):
                return -1, state
            t_out[n], p_out[n] = np.int64(event), polarity
            n += 1
            lag = lag_after(lag, line, tau, event - t)
            t, contrast = event, 0.0
            if settings[2] > 0:
                blind = event + settings[2]
        if blind < 0:
            contrast = contrast_after(contrast, lag, line, leak, tau, end - t)
        lag = lag_after(lag, line, tau, end - t)
    return n, (contrast, first_lag, lag, blind, shot, shots)


@njit(nogil=True)
def ramp(
    span: tuple[float, float], rise: float, contrast: float, on: float, off: float, leak: float,
    t_out: Array, p_out: Array,
) -> tuple[int, float]:  # fmt: skip
    """`advance_pixel` without filter, noise and refractory period: crossings one threshold apart on a line."""
    t0, t1 = span
    slope = rise / (t1 - t0) + leak
    if slope == 0:
        return 0, contrast
    threshold = on if slope > 0 else -off
    t, wait, n = t0, max((threshold - contrast) / slope, 0.0), 0
    while t + wait <= t1:
        if n == len(t_out):
            return -1, contrast
        t += wait
        t_out[n], p_out[n] = np.int64(t), slope > 0
        n += 1
        contrast, wait = 0.0, threshold / slope
    return n, contrast + slope * (t1 - t)


@njit(nogil=True)
def noisy_ramp(
    span: tuple[float, float],
    rise: float,
    light: tuple[float, float],
    state: tuple[float, float, float, np.uint64],  # contrast, blind until, next shot, shots
    pixel: tuple[float, float, float, float, np.uint64],  # on, off, leak, shot rate, key
    refractory: float,
    t_out: Array,
    p_out: Array,
) -> tuple[int, tuple[float, float, float, np.uint64]]:
    """`advance_pixel` without filter."""
    contrast, blind, shot, shots = state
    on, off, leak, rate, key = pixel
    t0, t1 = span
    slope = rise / (t1 - t0) + leak
    threshold = on if slope > 0 else -off
    inverse = 1 / slope if slope != 0 else 0.0
    t, n = t0, 0
    while True:
        if blind >= t:
            if blind > t1:
                break
            t, contrast, blind = blind, 0.0, -math.inf
        while shot < t:
            shot = _next_shot(shot, key, shots, rate)
            shots += np.uint64(1)
        crossing = t + max((threshold - contrast) * inverse, 0.0) if slope != 0 else math.inf
        event, polarity = min(crossing, shot), slope > 0
        if event > t1:
            break
        if shot < crossing:
            luminance = light[0] + (light[1] - light[0]) * (shot - t0) / (t1 - t0)
            accepted, polarity = _shot_accepted(key, shots, luminance)
            shot = _next_shot(shot, key, shots, rate)
            shots += np.uint64(1)
            if not accepted:
                continue
        if n == len(t_out):
            return -1, state
        t_out[n], p_out[n] = np.int64(event), polarity
        n += 1
        t, contrast = event, 0.0
        if refractory > 0:
            blind = event + refractory
    if blind < 0:
        contrast += slope * (t1 - t)
    return n, (contrast, blind, shot, shots)


@njit(nogil=True, error_model="numpy")
def _newton(
    contrast: float, total: float, drive: float, tau: float, threshold: float,
    low: float, high: float, at_low: float, at_high: float,
) -> tuple[float, float]:  # fmt: skip
    """`event_model.solve`, with exp(-time / tau) beside the time: the same steps."""
    rising = at_high > at_low
    if (at_low >= threshold) == rising or at_low == at_high:
        return low, math.exp(-low / tau)
    us = low + (high - low) * (threshold - at_low) / (at_high - at_low)
    left = 1.0
    for _ in range(40):
        left = math.exp(-us / tau)
        value = contrast + total * us - drive * (1.0 - left) - threshold
        if (value > 0) == rising:
            high = us
        else:
            low = us
        speed = total - drive / tau * left
        step = us - value / speed if speed != 0 else low
        if abs(step - us) < _ENOUGH_US:
            return step, left * (1.0 - (step - us) / tau)
        us = step if low < step < high else 0.5 * (low + high)
    return us, left


@njit(nogil=True, error_model="numpy")
def _meet(
    contrast: float, total: float, drive: float, tau: float, on: float, off: float, rest: float, reached: float,
    ahead: float,
) -> tuple[float, float, bool]:  # fmt: skip
    """`event_model.first_crossing` behind a filter, of which the contrast at the end is known: time from now (us), exp
    (-time / tau), polarity."""
    begin, value = 0.0, contrast
    if (total - drive / tau) * (total - drive / tau * ahead) < 0:
        turn = -tau * math.log(total * tau / drive)
        peak = contrast + total * turn - drive * (1.0 - total * tau / drive)
        if max(value, peak) >= on:
            us, left = _newton(contrast, total, drive, tau, on, begin, turn, value, peak)
            return us, left, True
        if min(value, peak) <= -off:
            us, left = _newton(contrast, total, drive, tau, -off, begin, turn, value, peak)
            return us, left, False
        begin, value = turn, peak
    if max(value, reached) >= on:
        us, left = _newton(contrast, total, drive, tau, on, begin, rest, value, reached)
        return us, left, True
    if min(value, reached) <= -off:
        us, left = _newton(contrast, total, drive, tau, -off, begin, rest, value, reached)
        return us, left, False
    return math.inf, 0.0, False


@njit(nogil=True, error_model="numpy")
def noisy_wave(
    span: tuple[float, float],
    rise: float,
    light: tuple[float, float],
    filtered: tuple[float, float, float],  # time constant, exp(-(t1 - t0) / tau), lag
    state: tuple[float, float, float, np.uint64],  # contrast, blind until, next shot, shots
    pixel: tuple[float, float, float, float, np.uint64],  # on, off, leak, shot rate, key
    refractory: float,
    t_out: Array,
    p_out: Array,
) -> tuple[int, float, tuple[float, float, float, np.uint64]]:
    """`advance_pixel` behind a filter of first order, whose exponentials are carried along: the lag, then the state."""
    contrast, blind, shot, shots = state
    on, off, leak, rate, key = pixel
    tau, ahead, lag = filtered
    t0, t1 = span
    slope = rise / (t1 - t0)
    total, follows = slope + leak, slope * tau
    t, n = t0, 0
    while True:
        if blind >= t:
            if blind > t1:
                break
            lag = follows + (lag - follows) * math.exp(-(blind - t) / tau)
            ahead = math.exp(-(t1 - blind) / tau)
            t, contrast, blind = blind, 0.0, -math.inf
        while shot < t:
            shot = _next_shot(shot, key, shots, rate)
            shots += np.uint64(1)
        drive = follows - lag
        reached = contrast + total * (t1 - t) - drive * (1.0 - ahead)
        wait, left, polarity = _meet(contrast, total, drive, tau, on, off, t1 - t, reached, ahead)
        event = min(t + wait, shot)
        if event > t1:
            break
        if shot < t + wait:
            luminance = light[0] + (light[1] - light[0]) * (shot - t0) / (t1 - t0)
            accepted, polarity = _shot_accepted(key, shots, luminance)
            shot = _next_shot(shot, key, shots, rate)
            shots += np.uint64(1)
            if not accepted:
                continue
            left = math.exp(-(event - t) / tau)
        if n == len(t_out):
            return -1, lag, state
        t_out[n], p_out[n] = np.int64(event), polarity
        n += 1
        lag = follows - drive * left
        ahead = ahead / left if left > 1e-9 else math.exp(-(t1 - event) / tau)
        t, contrast = event, 0.0
        if refractory > 0:
            blind = event + refractory
    if blind < 0:
        contrast += total * (t1 - t) - (follows - lag) * (1.0 - ahead)
        lag = follows + (lag - follows) * ahead
    else:
        lag = follows + (lag - follows) * math.exp(-(t1 - t) / tau)
    return n, lag, (contrast, blind, shot, shots)
