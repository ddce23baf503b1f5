"""exp(-x) in plain arithmetic, compiled: vector instructions for a row, and for one pixel no call into a library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_LN_2, _LOG2_E, _MOST = 0.6931471805599453, 1.4426950408889634, 700.0
_BIAS, _EXPONENT_STEP = np.int64(1023), np.int64(1 << 52)
# Chebyshev fit of exp(-f) for |f| <= ln(2) / 2, error 1e-14.
_EXP = (
    1.0000000000000144,
    -1.0000000000000062,
    0.499999999994372,
    -0.166666666665749,
    0.04166666704165915,
    -0.008333333376807589,
    0.0013888801551790373,
    -0.00019841182480732257,
    2.4884558901183622e-05,
    -2.7634939223285917e-06,
)


@njit(nogil=True)
def decay(x: float) -> Any:
    """exp(-x) of a number that is not negative, to 1e-14: the exponent of the float and a polynomial for the rest."""
    rate = x if x < _MOST else _MOST
    whole = np.int32(rate * _LOG2_E + 0.5)
    f = rate - np.float64(whole) * _LN_2
    # The bits of the float 2^-whole.
    power = np.int64((_BIAS - np.int64(whole)) * _EXPONENT_STEP).view(np.float64)
    low = _EXP[0] + f * (_EXP[1] + f * (_EXP[2] + f * (_EXP[3] + f * _EXP[4])))
    high = _EXP[5] + f * (_EXP[6] + f * (_EXP[7] + f * (_EXP[8] + f * _EXP[9])))
    return power * (low + f * f * f * f * f * high)
