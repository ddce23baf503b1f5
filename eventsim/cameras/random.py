"""Counter-based random numbers: a draw depends on (seed, purpose, pixel, index) alone, never on threads or chunks.

Draw n of a pixel is the n-th output of a splitmix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014) that starts at the pixel's own key. The functions are plain arithmetic, so that NumPy
arrays (in the reference loops) and compiled kernels run the very same lines and agree bit for bit.
"""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31_WIDE = (np.uint64(shift) for shift in (11, 27, 30, 31))
_UNIT = 2.0**-53
_S9, _S23, _S31 = (np.uint32(shift) for shift in (9, 23, 31))
_MANTISSA, _ROOT_HALF = np.uint32(0x7FFFFF), np.uint32(0x3F3504F3)
_TO_ROOT = np.uint32(0x3F800000) - _ROOT_HALF
_ONE, _TWO, _MINUS_TWO, _HALF, _BIAS = (np.float32(value) for value in (1, 2, -2, 0.5, 127))
_STEP, _LN_2 = np.float32(2.0**-23), np.float32(0.693147181)
# Chebyshev fits: ln(1 + f) / f for sqrt(1/2) <= 1 + f < sqrt(2); sin(pi t) / t and cos(pi t) in t^2, for |t| <= 1/2.
_LN = tuple(
    np.float32(value)
    for value in (
        1.00000096,
        -0.50001145,
        0.333146738,
        -0.249082892,
        0.204917596,
        -0.186807514,
        0.119310544,
    )
)
_SIN = tuple(np.float32(value) for value in (3.14159027, -5.16740673, 2.54401052, -0.559462455))
_COS = tuple(np.float32(value) for value in (0.999999953, -4.93479283, 4.05841135, -1.33187657, 0.219689611))
_WORD = (1 << 64) - 1


class Purpose(IntEnum):
    """What a stream of draws is for; streams of different purpose are independent."""

    PHASE = 1
    READOUT = 2
    THRESHOLD_ON = 3
    THRESHOLD_OFF = 4
    SHOT_NOISE = 5
    RESPONSE = 6
    DARK = 7
    THRESHOLD = 8
    CAPACITANCE = 9
    THRESHOLD_NOISE = 10
    READ_NOISE = 11
    HOT = 12
    DEAD = 13
    FALSE_SPIKES = 14
    LEAK = 15
    SHOT_RATE = 16
    HOT_EVENTS = 17
    DEAD_EVENTS = 18
    LATENCY = 19


def mix64(state: Any) -> Any:
    """The output function of splitmix64: uint64 -> uint64, elementwise."""
    state = (state ^ (state >> _S30)) * _MIX_1
    state = (state ^ (state >> _S27)) * _MIX_2
    return state ^ (state >> _S31_WIDE)


def draw(key: Any, index: Any) -> Any:
    """Draw number `index` (uint64) of the stream that starts at `key`: 64 uniform bits."""
    return mix64(key + (index + np.uint64(1)) * GAMMA)


def uniform(bits: Any) -> Any:
    """A float64 in [0, 1) from the upper 53 of 64 bits."""
    return (bits >> _S11) * _UNIT


def normal_pair(upper: Any, lower: Any) -> tuple[Any, Any]:
    """Two independent float32 standard normals from the upper and the lower 32 of 64 bits (uint32).

    Box and Muller, "A note on the generation of random normal deviates", 1958: a radius sqrt(-2 ln u) and a direction.
    The logarithm and the circle are polynomials with errors under 2e-6, so that every machine computes the same, and
    compiled loops become vector instructions. Values reach 5.8 standard deviations.
    """
    share = (np.float32(np.int32(np.uint32(upper >> _S9))) + _HALF) * _STEP
    # The exponent and the mantissa (from sqrt(1/2) to sqrt(2)) of the float's own bits.
    bits = np.uint32(np.float32(share).view(np.uint32) + _TO_ROOT)
    exponent = np.float32(np.int32(np.uint32(bits >> _S23))) - _BIAS
    f = np.uint32(np.uint32(bits & _MANTISSA) + _ROOT_HALF).view(np.float32) - _ONE
    series = _LN[0] + f * (_LN[1] + f * (_LN[2] + f * (_LN[3] + f * (_LN[4] + f * (_LN[5] + f * _LN[6])))))
    radius = np.sqrt(_MINUS_TWO * (exponent * _LN_2 + f * series))
    turn = (np.float32(np.int32(np.uint32(lower & _MANTISSA))) + _HALF) * _STEP - _HALF
    z = turn * turn
    sine = turn * (_SIN[0] + z * (_SIN[1] + z * (_SIN[2] + z * _SIN[3])))
    cosine = _COS[0] + z * (_COS[1] + z * (_COS[2] + z * (_COS[3] + z * _COS[4])))
    # Half a turn has cosines above 0 only: the highest bit chooses the other half.
    side = _ONE - _TWO * np.float32(np.int32(np.uint32(lower >> _S31)))
    return radius * sine, radius * cosine * side


def normals(bits: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two independent standard normals from each of an array's 64 bits: float32."""
    first, second = normal_pair((bits >> np.uint64(32)).astype(np.uint32), bits.astype(np.uint32))
    return first, second


def stream_key(seed: int, purpose: Purpose, part: int = 0) -> np.uint64:
    """The key of one purpose's draws (or of one part of them) under a seed, from which `pixel_keys` starts.

    Raises:
        TypeError: the seed is no whole number (NumPy's are).
    """
    state = (operator.index(seed) * int(GAMMA) + purpose + (part << 8)) & _WORD
    return np.uint64(mix64(np.array([state], np.uint64))[0])


def pixel_keys(key: np.uint64, height: int, width: int) -> NDArray[np.uint64]:
    """The key of each pixel's stream: uint64 [H, W]."""
    pixels = np.arange(height * width, dtype=np.uint64).reshape(height, width)
    keys: NDArray[np.uint64] = mix64(key + pixels * GAMMA)
    return keys


def pixel_normals(seed: int, purpose: Purpose, height: int, width: int, *, part: int = 0) -> NDArray[np.float32]:
    """One standard normal for each pixel, as for a fixed pattern: float32 [H, W]."""
    bits = draw(pixel_keys(stream_key(seed, purpose, part), height, width), np.uint64(0))
    return normals(bits)[0]


def pixel_uniforms(seed: int, purpose: Purpose, height: int, width: int) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each pixel: float64 [H, W]."""
    bits = draw(pixel_keys(stream_key(seed, purpose), height, width), np.uint64(0))
    uniforms: NDArray[np.float64] = uniform(bits)
    return uniforms
