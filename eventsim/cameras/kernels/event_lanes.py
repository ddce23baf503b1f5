"""Busy pixels of an event camera side by side in lanes, compiled. `cameras.event_model` is the same, a pixel at a time.

In each round all lanes look ahead at once, in vector instructions: when is the next crossing? Then they go one by one:
a noise event may come first, the event is noted, and the lane goes on from there or is done. Crossings of a filtered
response are found by fewer exponentials than the plain loop takes; both find them to a millionth of a microsecond.
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
LANES = 64
# What a lane holds. They lie in one array at fixed distances, which the compiler can tell from one another.
(
    _TIME,  # us
    _END,  # of the line that the filter's last stage sees
    _SLOPE,  # of that line, per us
    _TAU,  # time constant; 0: no filter
    _PER_TAU,  # 1 / that; 0: no filter
    _CONTRAST,  # over the reference
    _LAG,  # of the last stage
    _BLIND,  # until when; -inf where awake
    _ON,
    _OFF,
    _LEAK,  # per us
    _WAIT,  # us to the next crossing; infinite: none to the end
    _LEFT,  # exp(-that / time constant)
    _UP,  # whether it is the ON threshold
    _REACHED,  # contrast at the end, if there is no event
    _AHEAD,  # exp(-time to the end / time constant)
    _UNSURE,  # the crossing must be looked for with care
) = (LANES * field for field in range(17))
FIELDS = 17
_ENOUGH_US = event_model.ENOUGH_US
_filter_steps: Any = njit(event_model.filter_steps)


@njit(nogil=True, error_model="numpy")
def fill_lanes(
    lanes: Array, places: Array, steps: Array, count: int,
    span: tuple[float, float], before: Array, after: Array, per_tau: Array,
    contrast: Array, first_lag: Array, lag: Array, blind: Array, on: Array, off: Array, leak: Array, order: int,
) -> None:  # fmt: skip
    """Puts the pixels at these places of a strip into lanes. Args: as `event.advance`; of the arrays, the strip."""
    for k in range(count):
        x = places[k]
        slope = (np.float64(after[x]) - np.float64(before[x])) / (span[1] - span[0])
        lanes[_TIME + k], lanes[_END + k], lanes[_SLOPE + k] = span[0], span[1], slope
        lanes[_PER_TAU + k] = per_tau[x]
        lanes[_TAU + k] = 1 / per_tau[x] if order > 0 else 0.0
        lanes[_CONTRAST + k], lanes[_LAG + k], lanes[_BLIND + k] = contrast[x], lag[x], blind[x]
        lanes[_ON + k], lanes[_OFF + k], lanes[_LEAK + k] = on[x], off[x], leak[x]
        steps[k] = 0
    if order == 2:
        for k in range(count):
            first_lag[places[k]] = _next_line(lanes, k, steps, span, lanes[_SLOPE + k], first_lag[places[k]])


@njit(nogil=True, error_model="numpy")
def _next_line(lanes: Array, k: int, steps: Array, span: tuple[float, float], slope: float, first_lag: float) -> Any:
    """Puts a lane onto the next line that the last of two stages sees; returns the first stage's lag after it."""
    count = _filter_steps(span[1] - span[0], lanes[_TAU + k])
    width = (span[1] - span[0]) / count
    grown = (slope * lanes[_TAU + k] - first_lag) * (1 - decay(width * lanes[_PER_TAU + k]))
    lanes[_SLOPE + k] = (slope * width - grown) / width
    lanes[_TIME + k] = span[0] + steps[k] * width
    steps[k] += 1
    lanes[_END + k] = span[1] if steps[k] == count else span[0] + steps[k] * width
    return first_lag + grown


@njit(nogil=True, error_model="numpy")
def _look_ahead(lanes: Array, count: int) -> None:
    """Wakes the lanes that are blind no longer, and finds when each meets a threshold next.

    The time as a cubic of the contrast through both ends (Hermite) is so good a start that two steps of Newton's do.
    """
    for k in range(count):
        tau, per_tau = lanes[_TAU + k], lanes[_PER_TAU + k]
        now, end, blind = lanes[_TIME + k], lanes[_END + k], lanes[_BLIND + k]
        asleep = blind >= now
        start = (blind if blind < end else end) if asleep else now
        contrast = 0.0 if asleep else lanes[_CONTRAST + k]
        follows = lanes[_SLOPE + k] * tau
        lag = follows + (lanes[_LAG + k] - follows) * decay((start - now) * per_tau)
        rest = end - start
        ahead = decay(rest * per_tau)
        total, drive = lanes[_SLOPE + k] + lanes[_LEAK + k], follows - lag
        reached = contrast + total * rest - drive * (1 - ahead)
        pull = drive * per_tau
        speed, at_end = total - pull, total - pull * ahead
        on, off = lanes[_ON + k], -lanes[_OFF + k]
        # Rounding may leave a contrast at its threshold; a line leads away from there, or stays.
        turns = per_tau > 0
        up = (reached >= on) & (turns | (total > 0)) | (contrast >= on) & turns
        meets = up | (reached <= off) & (turns | (total < 0)) | (contrast <= off) & turns
        threshold = on if up else off
        height = reached - contrast
        share = (threshold - contrast) / height
        share = share if share > 0 else 0.0  # also of 0 / 0
        share = share if share < 1 else 1.0
        back = share - 1
        us = rest * share * share * (3 - 2 * share) + height * share * back * (back / speed + share / at_end)
        us = us if (us > 0) & (us < rest) else rest * share
        left = decay(us * per_tau)
        us -= (contrast + total * us - drive * (1 - left) - threshold) / (total - pull * left)
        us = us if us > 0 else 0.0
        us = us if us < rest else rest
        left = decay(us * per_tau)
        slowness = 1 / (total - pull * left)
        step = (contrast + total * us - drive * (1 - left) - threshold) * slowness
        turned = step * per_tau
        wait = us - step
        # What is left over after Newton's step, and where the contrast turns round before the end.
        error = 0.5 * step * turned * pull * left * slowness
        fine = (abs(error) < _ENOUGH_US) & (abs(turned) < 0.01) & (wait > -_ENOUGH_US) & (wait < rest + _ENOUGH_US)
        wait = wait if wait > 0 else 0.0
        wait = wait if wait < rest else rest
        lanes[_TIME + k], lanes[_CONTRAST + k], lanes[_LAG + k] = start, contrast, lag
        lanes[_BLIND + k] = blind if blind > end else -math.inf
        lanes[_WAIT + k] = wait if meets else math.inf
        lanes[_LEFT + k] = left * (1 + turned)
        lanes[_UP + k] = 1.0 if up else 0.0
        lanes[_REACHED + k], lanes[_AHEAD + k] = reached, ahead
        lanes[_UNSURE + k] = 1.0 if (speed * at_end < 0) | (meets & (not fine)) else 0.0


@njit(nogil=True, error_model="numpy")
def _meet(lanes: Array, k: int) -> None:
    """`event_model.first_crossing`, for a lane whose contrast turns round, or whose crossing is not found yet."""
    contrast, rest = lanes[_CONTRAST + k], lanes[_END + k] - lanes[_TIME + k]
    total, per_tau = lanes[_SLOPE + k] + lanes[_LEAK + k], lanes[_PER_TAU + k]
    drive = lanes[_SLOPE + k] * lanes[_TAU + k] - lanes[_LAG + k]
    on, off, ahead, reached = lanes[_ON + k], -lanes[_OFF + k], lanes[_AHEAD + k], lanes[_REACHED + k]
    pull = drive * per_tau
    begin, value = 0.0, contrast
    turn, peak = rest, reached
    if (total - pull) * (total - pull * ahead) < 0:
        turn = math.log(pull / total) * lanes[_TAU + k]
        peak = contrast + total * turn - drive * (1 - total / pull)
    for piece in range(2):
        end, at_end = (turn, peak) if piece == 0 else (rest, reached)
        if max(value, at_end) >= on or min(value, at_end) <= off:
            up = max(value, at_end) >= on
            us = _solve(contrast, total, drive, per_tau, on if up else off, begin, end, value, at_end)
            lanes[_WAIT + k], lanes[_LEFT + k], lanes[_UP + k] = us, decay(us * per_tau), 1.0 if up else 0.0
            return
        begin, value = end, at_end
    lanes[_WAIT + k] = math.inf


@njit(nogil=True, error_model="numpy")
def _solve(
    contrast: float, total: float, drive: float, per_tau: float, threshold: float,
    low: float, high: float, at_low: float, at_high: float,
) -> Any:  # fmt: skip
    """`event_model.solve`."""
    rising = at_high > at_low
    if (at_low >= threshold) == rising or at_low == at_high:
        return low
    us = low + (high - low) * (threshold - at_low) / (at_high - at_low)
    for _ in range(40):
        left = decay(us * per_tau)
        value = contrast + total * us - drive * (1 - left) - threshold
        if (value > 0) == rising:
            high = us
        else:
            low = us
        step = us - value / (total - drive * left * per_tau)
        if abs(step - us) < _ENOUGH_US:
            return step
        us = step if low < step < high else 0.5 * (low + high)
    return us


@njit(nogil=True, error_model="numpy")
def go_on(
    lanes: Array, places: Array, steps: Array, count: int,
    start: int, width: int, span: tuple[float, float], before: Array, after: Array, light0: Array, light1: Array,
    contrast: Array, first_lag: Array, lag: Array, blind: Array, shot: Array, shots: Array, rate: Array, keys: Array,
    order: int, refractory: float, timed: bool,
    t_out: Array, x_out: Array, y_out: Array, p_out: Array, n: int,
) -> tuple[int, int]:  # fmt: skip
    """One round: every lane goes on to its next event, or to the end, where the pixel's state is put back.

    Args: as `event.advance`; of the arrays of pixels, the strip, which begins at pixel `start`. At most `count` events
    are noted.

    Returns:
        Lanes that are left, which move up, and events so far.
    """
    _look_ahead(lanes, count)
    kept = 0
    for k in range(count):
        x = places[k]
        if lanes[_UNSURE + k] > 0:
            _meet(lanes, k)
        now, end = lanes[_TIME + k], lanes[_END + k]
        event, left, polarity = now + lanes[_WAIT + k], lanes[_LEFT + k], lanes[_UP + k] > 0
        if timed and shot[x] <= end:
            while shot[x] < now:
                shot[x] = _next_shot(shot[x], keys[x], shots[x], rate[x])
                shots[x] += np.uint64(1)
            while shot[x] < event and shot[x] <= end and end > now:
                taken = shot[x]
                luminance = light0[x] + (light1[x] - light0[x]) * (taken - span[0]) / (span[1] - span[0])
                accepted, sign = _shot_accepted(keys[x], shots[x], luminance)
                shot[x] = _next_shot(taken, keys[x], shots[x], rate[x])
                shots[x] += np.uint64(1)
                if accepted:
                    event, left, polarity = taken, decay((taken - now) * lanes[_PER_TAU + k]), sign
        follows = lanes[_SLOPE + k] * lanes[_TAU + k]
        behind = lanes[_LAG + k] - follows
        if event <= end:
            pixel = np.uint32(start + x)
            row = pixel // np.uint32(width)
            t_out[n], x_out[n], y_out[n], p_out[n] = np.int64(event), pixel - row * np.uint32(width), row, polarity
            n += 1
            lanes[_TIME + k], lanes[_CONTRAST + k], lanes[_LAG + k] = event, 0.0, follows + behind * left
            if refractory > 0:
                lanes[_BLIND + k] = event + refractory
        else:
            lanes[_CONTRAST + k], lanes[_LAG + k] = lanes[_REACHED + k], follows + behind * lanes[_AHEAD + k]
            if end == span[1]:
                contrast[x] = lanes[_CONTRAST + k]
                if order > 0:
                    lag[x] = lanes[_LAG + k]
                if timed:
                    blind[x] = lanes[_BLIND + k]
                continue
            slope = (np.float64(after[x]) - np.float64(before[x])) / (span[1] - span[0])
            first_lag[x] = _next_line(lanes, k, steps, span, slope, first_lag[x])
        if kept < k:
            for field in range(_WAIT // LANES):
                lanes[field * LANES + kept] = lanes[field * LANES + k]
            places[kept], steps[kept] = x, steps[k]
        kept += 1
    return kept, n


@njit(nogil=True)
def _next_shot(after: float, key: np.uint64, shots: np.uint64, rate_per_us: float) -> float:
    """Time of the candidate for a noise event that follows the first `shots` ones (us): exponential intervals."""
    return after - math.log(1.0 - uniform(mix64(key + (shots + np.uint64(1)) * GAMMA))) / rate_per_us


@njit(nogil=True)
def _shot_accepted(key: np.uint64, shots: np.uint64, luminance: float) -> tuple[bool, bool]:
    """Whether the last of `shots` candidates becomes an event, rarer in bright light, and its polarity."""
    bits = mix64(mix64(key + shots * GAMMA))
    return uniform(bits) < 1.0 - 0.75 * min(max(luminance, 0.0), 1.0), (bits & np.uint64(1)) == np.uint64(1)
