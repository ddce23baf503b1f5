"""What is between the convolutions of a GRU on a CPU, compiled: each number is read and written once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_HALF = np.float32(0.5)
# A ratio of polynomials, odd over even, as in Eigen (Eigen/src/Core/MathFunctionsImpl.h): off by few units in the last
# place; beyond the limit, tanh is 1 in float32.
_LIMIT = np.float32(7.90531110763549805)
_1, _3, _5, _7 = (np.float32(a) for a in (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05,
                                          5.12229709037114e-08))  # fmt: skip
_9, _11, _13 = (np.float32(a) for a in (-8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16))
_0, _2, _4, _6 = (np.float32(b) for b in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04,
                                          1.19825839466702e-06))  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def tanh(x: np.float32) -> np.float32:
    """tanh of a float32."""
    x = x if x < _LIMIT else _LIMIT
    x = x if x > -_LIMIT else -_LIMIT
    s = x * x
    odd = x * (_1 + s * (_3 + s * (_5 + s * (_7 + s * (_9 + s * (_11 + s * _13))))))
    return odd / (_0 + s * (_2 + s * (_4 + s * _6)))


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def open_gates(
    gates: Array,  # float32 [rows, W, 2 h], sums for z and r; z = sigmoid(sum) takes the place of its sum
    hidden: Array,  # float32 [rows, W, h]
    remembered: Array,  # float32 [rows, W, h], the result: sigmoid(r) h
) -> None:
    """The gates z and r of some rows, and what r leaves of the hidden state."""
    rows, columns, channels = hidden.shape
    for row in range(rows):
        for column in range(columns):
            z, r = gates[row, column, :channels], gates[row, column, channels:]
            h, out = hidden[row, column], remembered[row, column]
            for c in range(channels):
                z[c] = _HALF + _HALF * tanh(_HALF * z[c])
            for c in range(channels):
                out[c] = (_HALF + _HALF * tanh(_HALF * r[c])) * h[c]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def go_on(
    gates: Array,  # float32 [rows, W, 2 h], z, and the sum for q
    hidden: Array,  # float32 [rows, W, h]
    out: Array,  # float32 [rows, W, h], the result
) -> None:
    """The next hidden state of some rows: h + z (tanh(q) - h)."""
    rows, columns, channels = hidden.shape
    for row in range(rows):
        for column in range(columns):
            z, q = gates[row, column, :channels], gates[row, column, channels:]
            h, new = hidden[row, column], out[row, column]
            for c in range(channels):
                new[c] = h[c] + z[c] * (tanh(q[c]) - h[c])
