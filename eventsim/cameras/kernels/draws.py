"""The counter-based draws of `cameras.random`, compiled."""

from __future__ import annotations

from numba import njit

from eventsim.cameras import random

mix64 = njit(random.mix64)
uniform = njit(random.uniform)
gaussian = njit(random.gaussian)
upper_bits = njit(random.upper_bits)
