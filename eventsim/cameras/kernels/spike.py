"""The spike camera's model, compiled. `cameras.spike_model.integrate_reference` is the same, to read.

Most of a noisy readout is its two normal numbers; they are drawn for a whole row at a time, in vector instructions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras.kernels.draws import draw_row, mix64, normal, normals_row, uniform
from eventsim.cameras.random import GAMMA
from eventsim.cameras.spike_model import FEW_ELECTRONS

Array = NDArray[Any]
_FEW = np.float32(FEW_ELECTRONS)
_GATHER = np.uint64(0x0102040810204080)
_TOP_BYTE = np.uint64(56)


@njit(nogil=True, cache=True)
def integrate_ideal(
    charge: Array,  # float32 [H, W], in thresholds; changed in place
    first: Array,  # float32 [H, W], luminance at the start of the interval
    second: Array,  # float32 [H, W], luminance at its end
    fraction: Array,  # float32 [n], where in the interval each plane's exposure is centred, 0..1
    gain: Array,  # float32 [H, W], thresholds per readout at luminance 1
    dark: Array,  # float32 [H, W], thresholds per readout without light
    full: Array,  # float32 [H, W], threshold
    packed: Array,  # uint8 [n, H, ceil(W / 8)], the result
    row_start: int,
    row_stop: int,
) -> None:
    """Planes of a camera with soft reset, without noise or dead time, for rows row_start .. row_stop - 1."""
    words = np.zeros(packed.shape[2], np.uint64)
    fired = words.view(np.uint8)
    for y in range(row_start, row_stop):
        row = charge[y], first[y], second[y], gain[y], dark[y], full[y]
        for n in range(len(fraction)):
            _integrate_row(*row, fraction[n], fired)
            _pack(words, packed[n, y])


@njit(nogil=True)
def _integrate_row(
    charge: Array, first: Array, second: Array, gain: Array, dark: Array, full: Array, m: np.float32, fired: Array
) -> None:
    for x in range(len(charge)):
        level = charge[x] + (gain[x] * (first[x] + m * (second[x] - first[x])) + dark[x])
        spike = level >= full[x]
        left = min(level - full[x], full[x])
        charge[x] = left if spike else level
        fired[x] = spike


@njit(nogil=True, cache=True)
def integrate_noisy(
    charge: Array,  # as above, to `full`
    first: Array,
    second: Array,
    fraction: Array,
    gain: Array,
    dark: Array,
    full: Array,
    jitter: Array,  # float32 [H, W], standard deviation of the threshold per readout, in thresholds
    read: Array,  # float32 [H, W], standard deviation of the charge per readout
    fired: Array,  # uint8 [H, W], the pixels that spiked in the last readout; changed in place
    electrons: np.float32,  # photo-electrons per threshold; infinite without photon noise
    dead_time: np.float32,  # share of a readout that is lost after a spike
    noise_stays: bool,  # a soft reset takes off the threshold with its noise
    steps: np.float32,  # steps a readout for a hard reset; 0 for a soft one
    keys: Array,  # uint64 [H, W], the pixels' streams of draws
    plane: int,  # index of the first plane
    packed: Array,
    row_start: int,
    row_stop: int,
) -> None:
    """Planes of a camera with any of the model's terms but false spikes, for rows row_start .. row_stop - 1."""
    width = charge.shape[1]
    bits = np.zeros((2, width), np.uint32)
    normal = np.zeros((2, width), np.float32)
    gained = np.zeros(width, np.float32)
    words = np.zeros(packed.shape[2], np.uint64)
    spikes = words.view(np.uint8)
    for y in range(row_start, row_stop):
        many = _many_electrons(first[y], second[y], gain[y], dark[y], electrons, dead_time)
        spikes[:width] = fired[y]
        for n in range(len(fraction)):
            draw_row(keys[y], np.uint64(plane + n + 1) * GAMMA, bits[0], bits[1])
            normals_row(bits[0], bits[1], normal[0], normal[1])
            _gain(first[y], second[y], fraction[n], gain[y], dark[y], gained)
            if dead_time > 0:
                _recover(spikes, dead_time, gained)
            if many:
                _add_noise(electrons, read[y], normal[0], gained)
            else:
                _add_any_noise(electrons, read[y], normal[0], keys[y], np.uint64(plane + n + 1) * GAMMA, gained)
            _jitter(full[y], jitter[y], normal[1])
            if steps > 0:
                _reset_hard(charge[y], gained, normal[1], steps, spikes)
            else:
                _reset_softly(charge[y], gained, normal[1], normal[1] if noise_stays else full[y], full[y], spikes)
            _pack(words, packed[n, y])
        fired[y] = spikes[:width]


# Each of the steps is a loop over a row with few arrays, because compilers only make vector instructions of a loop
# after proving that its arrays do not overlap, and give up on many.


@njit(nogil=True)
def _many_electrons(
    first: Array, second: Array, gain: Array, dark: Array, electrons: np.float32, dead_time: np.float32
) -> bool:
    """Whether every pixel of a row gains so many electrons in each readout that their number is normal."""
    if np.isinf(electrons):
        return True
    least = np.float32(np.inf)
    for x in range(len(first)):
        least = min(least, gain[x] * min(first[x], second[x]) + dark[x])
    # A hundredth to spare: the same product is rounded differently where a readout is integrated.
    return bool((np.float32(1) - dead_time) * least * electrons > np.float32(1.01) * _FEW)


@njit(nogil=True)
def _gain(first: Array, second: Array, m: np.float32, gain: Array, dark: Array, gained: Array) -> None:
    for x in range(len(gained)):
        gained[x] = gain[x] * (first[x] + m * (second[x] - first[x])) + dark[x]


@njit(nogil=True)
def _recover(fired: Array, dead_time: np.float32, gained: Array) -> None:
    for x in range(len(gained)):
        gained[x] = gained[x] - dead_time * np.float32(fired[x]) * gained[x]


@njit(nogil=True)
def _add_noise(electrons: np.float32, read: Array, normal: Array, gained: Array) -> None:
    for x in range(len(gained)):
        mean = gained[x]
        gained[x] = mean + np.sqrt(mean / electrons + read[x] * read[x]) * normal[x]


@njit(nogil=True)
def _add_any_noise(
    electrons: np.float32, read: Array, normal: Array, keys: Array, index: np.uint64, gained: Array
) -> None:
    for x in range(len(gained)):
        mean = gained[x]
        if mean * electrons < _FEW:
            count = _poisson(mean * electrons, uniform(mix64(mix64(keys[x] + index))))
            gained[x] = count / electrons + read[x] * normal[x]
        else:
            gained[x] = mean + np.sqrt(mean / electrons + read[x] * read[x]) * normal[x]


@njit(nogil=True)
def _jitter(full: Array, jitter: Array, normal: Array) -> None:
    """Thresholds in place of standard normals."""
    for x in range(len(normal)):
        normal[x] = full[x] + jitter[x] * normal[x]


@njit(nogil=True)
def _reset_softly(charge: Array, gained: Array, threshold: Array, taken: Array, full: Array, fired: Array) -> None:
    for x in range(len(gained)):
        level = charge[x] + gained[x]
        spike = level >= threshold[x]
        left = min(level - taken[x], full[x])
        charge[x] = left if spike else level
        fired[x] = spike


@njit(nogil=True)
def _reset_hard(charge: Array, gained: Array, threshold: Array, steps: np.float32, fired: Array) -> None:
    for x in range(len(gained)):
        step = gained[x] / steps
        first = max(np.ceil((threshold[x] - charge[x]) / step), np.float32(1)) if step > 0 else steps + np.float32(1)
        fired[x] = first <= steps
        if first <= steps:
            period = max(np.ceil(threshold[x] / step), np.float32(1))
            charge[x] = ((steps - first) - period * np.floor((steps - first) / period)) * step
        else:
            charge[x] += gained[x]


@njit(nogil=True)
def _poisson(mean: np.float32, rest: np.float64) -> np.float32:
    """A Poisson number by inversion of a uniform one."""
    probability = math.exp(-np.float64(mean))
    cumulative = probability
    count = 0
    while rest > cumulative and count < 200:
        count += 1
        probability *= np.float64(mean) / count
        cumulative += probability
    return np.float32(count)


@njit(nogil=True)
def _pack(spikes: Array, packed: Array) -> None:
    """Eight bytes of 0 or 1 (a uint64) to one byte, the first to its lowest bit."""
    for b in range(len(packed)):
        # The product moves the lowest bit of byte k to bit 56 + k.
        packed[b] = (spikes[b] * _GATHER) >> _TOP_BYTE


@njit(nogil=True, cache=True)
def add_false_spikes(
    due: Array,  # int64 [H, W], the plane of each pixel's next false spike; changed in place
    full: Array,  # float32 [H, W], threshold; infinite where a pixel is dead
    interval: np.float32,  # readouts
    spread: np.float32,
    keys: Array,  # uint64 [H, W]
    plane: int,  # index of the first plane
    packed: Array,  # uint8 [n, H, ceil(W / 8)]; changed in place
    row_start: int,
    row_stop: int,
) -> None:
    """Sets the bits of false spikes: costs as much as there are, not as there are readouts."""
    stop = plane + packed.shape[0]
    for y in range(row_start, row_stop):
        for x in range(due.shape[1]):
            alive = np.isfinite(full[y, x])
            while due[y, x] < stop:
                now = due[y, x]
                if alive:
                    packed[now - plane, y, x >> 3] |= np.uint8(1) << np.uint8(x & 7)
                gap = interval + spread * normal(mix64(keys[y, x] + np.uint64(now + 1) * GAMMA))
                due[y, x] = now + np.int64(max(gap, np.float32(1)))
