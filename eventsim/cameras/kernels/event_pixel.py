"""One pixel of an event camera between two frames, compiled. `cameras.event_model` is the same, to read.

Crossings of a filtered response are found by fewer exponentials than the plain loop takes; the times agree to far less
than a microsecond. What is inlined takes no arrays: counting their references would cost more than an event.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras import event_model
from eventsim.cameras.kernels.draws import mix64, uniform
from eventsim.cameras.kernels.exponential import decay
from eventsim.cameras.random import GAMMA

Array = NDArray[Any]
#: Contrast over the reference, when the pixel wakes up, the next candidate for a noise event, candidates so far.
State = tuple[float, float, float, np.uint64]
#: Thresholds on and off, leak per us, candidates per us, key of the draws.
Pixel = tuple[float, float, float, float, np.uint64]

_ENOUGH_US = event_model.ENOUGH_US
filter_steps: Any = njit(event_model.filter_steps)


@njit(nogil=True, inline="always", error_model="numpy")
def input_line(
    slope: float, first_lag: float, tau: float, order: int, width: float, ahead: float
) -> tuple[float, float]:
    """Slope of what the last stage sees for a step, and the new lag of the first of two stages."""
    if order < 2:
        return slope, first_lag
    grown = (slope * tau - first_lag) * (1 - ahead)
    return (slope * width - grown) / width, first_lag + grown


@njit(nogil=True, inline="always", error_model="numpy")
def next_event(
    span: tuple[float, float],  # from now to the end of the line
    slope: float,
    glow: tuple[float, float, float],  # luminance, its rise per us, and the time at which it is that
    filtered: tuple[float, float, float],  # time constant, 1 / that (both 0: no filter), exp(-span / time constant)
    lag: float,
    state: State,
    pixel: Pixel,
    refractory: float,
) -> tuple[float, bool, float, float, State]:
    """A pixel's next event while the last stage's input is one line.

    Returns:
        Its time (us; infinite: none to the end) and polarity; and, then or at the end, exp(-time left / time constant),
        the lag and the state.
    """
    contrast, blind, shot, shots = state
    on, off, leak, rate, key = pixel
    t, end = span
    tau, inverse, ahead = filtered
    total, follows = slope + leak, slope * tau
    if blind >= t:
        if blind > end:
            return math.inf, False, 1.0, follows + (lag - follows) * _left(end - t, inverse), state
        lag = follows + (lag - follows) * _left(blind - t, inverse)
        ahead = _left(end - blind, inverse)
        t, contrast, blind = blind, 0.0, -math.inf
    while shot < t:
        shot = _next_shot(shot, key, shots, rate)
        shots += np.uint64(1)
    drive = follows - lag
    reached = contrast + total * (end - t) - drive * (1.0 - ahead)
    if inverse > 0:
        wait, left, polarity = _meet(contrast, total, drive, inverse, on, off, end - t, reached, ahead)
    else:
        wait, left, polarity = _meet_line(contrast, total, on, off, reached)
    event = t + wait
    while shot < event and shot <= end:
        accepted, sign = _shot_accepted(key, shots, glow[0] + glow[1] * (shot - glow[2]))
        taken = shot
        shot = _next_shot(shot, key, shots, rate)
        shots += np.uint64(1)
        if accepted:
            event, left, polarity = taken, _left(taken - t, inverse), sign
            break
    if event > end:
        return math.inf, False, 1.0, follows - drive * ahead, (reached, blind, shot, shots)
    lag = follows - drive * left
    ahead = ahead / left if left > 1e-9 else _left(end - event, inverse)
    blind = event + refractory if refractory > 0 else blind
    return event, polarity, ahead, lag, (0.0, blind, shot, shots)


@njit(nogil=True)
def _left(us: float, inverse: float) -> Any:
    """What is left of a lag after some time."""
    return decay(us * inverse) if inverse > 0 else 1.0


@njit(nogil=True)
def _next_shot(after: float, key: np.uint64, shots: np.uint64, rate_per_us: float) -> float:
    """Time of the candidate for a noise event that follows the first `shots` ones (us): exponential intervals."""
    return after - math.log(1.0 - uniform(mix64(key + (shots + np.uint64(1)) * GAMMA))) / rate_per_us


@njit(nogil=True)
def _shot_accepted(key: np.uint64, shots: np.uint64, luminance: float) -> tuple[bool, bool]:
    """Whether the last of `shots` candidates becomes an event, rarer in bright light, and its polarity."""
    bits = mix64(mix64(key + shots * GAMMA))
    return uniform(bits) < 1.0 - 0.75 * min(max(luminance, 0.0), 1.0), (bits & np.uint64(1)) == np.uint64(1)


@njit(nogil=True, error_model="numpy")
def _meet_line(contrast: float, total: float, on: float, off: float, reached: float) -> tuple[float, float, bool]:
    """`_meet` without a filter."""
    if reached >= on:
        return max((on - contrast) / total, 0.0), 1.0, True
    if reached <= -off:
        return max((-off - contrast) / total, 0.0), 1.0, False
    return math.inf, 1.0, False


@njit(nogil=True, error_model="numpy")
def _meet(
    contrast: float, total: float, drive: float, inverse: float, on: float, off: float, rest: float, reached: float,
    ahead: float,
) -> tuple[float, float, bool]:  # fmt: skip
    """`event_model.first_crossing` behind a filter, of which the contrast at the end is known.

    Returns:
        Time from now (us; infinite: no crossing), exp(-time / tau), polarity.
    """
    begin, value = 0.0, contrast
    pull = drive * inverse
    speed, at_end = total - pull, total - pull * ahead
    if speed * at_end < 0:
        stays = total / pull
        turn = -math.log(stays) / inverse
        peak = contrast + total * turn - drive * (1.0 - stays)
        if max(value, peak) >= on or min(value, peak) <= -off:
            up = max(value, peak) >= on
            us, left = _solve(contrast, total, drive, inverse, on if up else -off, (begin, turn), (value, peak),
                              (speed, 0.0))  # fmt: skip
            return us, left, up
        begin, value, speed = turn, peak, 0.0
    if max(value, reached) >= on or min(value, reached) <= -off:
        up = max(value, reached) >= on
        us, left = _solve(contrast, total, drive, inverse, on if up else -off, (begin, rest), (value, reached),
                          (speed, at_end))  # fmt: skip
        return us, left, up
    return math.inf, 0.0, False


@njit(nogil=True, error_model="numpy")
def _solve(
    contrast: float, total: float, drive: float, inverse: float, threshold: float,
    times: tuple[float, float], values: tuple[float, float], speeds: tuple[float, float],
) -> tuple[float, float]:  # fmt: skip
    """`event_model.solve`, with exp(-time / tau) beside the time.

    A cubic through both ends' values and speeds is a start so good that one step of Newton's is mostly enough.
    """
    low, high = times
    height = values[1] - values[0]
    rising = height > 0
    if (values[0] >= threshold) == rising or height == 0:
        return low, decay(low * inverse)
    share = (threshold - values[0]) / height
    back = share - 1
    # The time as a cubic of the value (Hermite).
    us = low + (high - low) * share * share * (3 - 2 * share)
    us += height * share * back * (back / speeds[0] + share / speeds[1])
    if not low < us < high:
        us = low + (high - low) * share
    left = 1.0
    for _ in range(40):
        left = decay(us * inverse)
        value = contrast + total * us - drive * (1.0 - left) - threshold
        if (value > 0) == rising:
            high = us
        else:
            low = us
        pull = drive * left * inverse
        slowness = 1 / (total - pull)
        step = value * slowness
        turned = step * inverse
        # What Newton's step leaves over.
        error = 0.5 * step * turned * pull * slowness
        if abs(error) < _ENOUGH_US and abs(turned) < 0.01 and low <= us - step <= high:
            return us - step, left * (1.0 + turned)
        us = us - step if low < us - step < high else 0.5 * (low + high)
    return us, left
