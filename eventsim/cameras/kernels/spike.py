"""The spike camera's integrate-and-fire model, compiled. `cameras.spike.integrate_reference` is the same, to read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.cameras.kernels.draws import gaussian, mix64, uniform, upper_bits
from eventsim.cameras.random import GAMMA

Array = NDArray[Any]


@njit(nogil=True, cache=True)
def integrate_ideal(
    charge: Array,  # float32 [H, W], in thresholds; changed in place
    first: Array,  # float32 [H, W], luminance at the start of the interval
    second: Array,  # float32 [H, W], luminance at its end
    fraction: Array,  # float32 [n], where in the interval each plane's exposure is centred, 0..1
    gain: np.float32,  # thresholds per readout at luminance 1
    dark: np.float32,  # thresholds per readout without light
    packed: Array,  # uint8 [n, H, ceil(W / 8)], the result
    row_start: int,
    row_stop: int,
) -> None:
    """Planes of a camera without noise, for rows row_start .. row_stop - 1."""
    width = charge.shape[1]
    whole = width // 8
    one = np.float32(1)
    fired = np.zeros(8 * packed.shape[2], np.uint8)
    for y in range(row_start, row_stop):
        for n in range(len(fraction)):
            m = fraction[n]
            for x in range(width):
                light = first[y, x] + m * (second[y, x] - first[y, x])
                level = charge[y, x] + (gain * light + dark)
                spike = level >= one
                fired[x] = spike
                charge[y, x] = min(level - one if spike else level, one)
            for b in range(packed.shape[2] if whole * 8 < width else whole):
                byte = np.uint8(0)
                for k in range(8):
                    byte |= fired[8 * b + k] << np.uint8(k)
                packed[n, y, b] = byte


@njit(nogil=True, cache=True)
def integrate_noisy(
    charge: Array,  # as above
    first: Array,
    second: Array,
    fraction: Array,
    gain: np.float32,
    dark: np.float32,
    electrons: np.float32,  # photo-electrons per threshold; 0 switches photon noise off
    threshold_noise: np.float32,  # standard deviation of the threshold per readout, in thresholds
    keys: Array,  # uint64 [H, W], the pixels' streams of draws
    plane: int,  # index of the first plane
    table: Array,  # normal quantiles
    packed: Array,
    row_start: int,
    row_stop: int,
) -> None:
    """Planes of a camera with photon shot noise and threshold noise, for rows row_start .. row_stop - 1."""
    width = charge.shape[1]
    one = np.float32(1)
    for y in range(row_start, row_stop):
        for n in range(len(fraction)):
            m = fraction[n]
            index = np.uint64(plane + n + 1)
            byte = np.uint8(0)
            for x in range(width):
                bits = mix64(keys[y, x] + index * GAMMA)
                light = first[y, x] + m * (second[y, x] - first[y, x])
                gained = gain * light + dark
                if electrons > 0:
                    gained = shot_noise(gained * electrons, bits, table) / electrons
                level = charge[y, x] + gained
                spike = level >= one + threshold_noise * gaussian(upper_bits(bits), table)
                charge[y, x] = min(level - one if spike else level, one)
                byte |= np.uint8(spike) << np.uint8(x & 7)
                if x & 7 == 7 or x == width - 1:
                    packed[n, y, x >> 3] = byte
                    byte = np.uint8(0)


@njit(nogil=True)
def shot_noise(mean: np.float32, bits: np.uint64, table: Array) -> np.float32:
    """A Poisson number of mean `mean`, as float32; normal from 64 on, where its skewness is under 1/8."""
    if mean >= 64:
        return np.float32(mean + np.float32(math.sqrt(mean)) * gaussian(bits, table))
    if mean <= 0:
        return np.float32(0)
    u = uniform(mix64(bits))
    probability = math.exp(-np.float64(mean))
    cumulative = probability
    count = 0
    while u > cumulative and count < 200:
        count += 1
        probability *= np.float64(mean) / count
        cumulative += probability
    return np.float32(count)
