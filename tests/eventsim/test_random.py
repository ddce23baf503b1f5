"""The counter-based draws: their distribution, and that their streams are independent."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim.cameras.random import (
    Purpose,
    draw,
    mix64,
    normals,
    pixel_keys,
    pixel_normals,
    pixel_uniforms,
    stream_key,
)


def test_mix_is_splitmix64():
    """The first outputs of splitmix64 from state 1234567, as published with the algorithm."""
    states = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_normals_are_normal():
    stats = pytest.importorskip("scipy.stats")
    values = pixel_normals(0, Purpose.READOUT, 500, 400).ravel()
    assert stats.kstest(values, "norm").pvalue > 1e-4
    assert abs(values.mean()) < 4.5 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 4.5 * np.sqrt(2 / values.size)


def test_uniforms_are_uniform():
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(pixel_uniforms(0, Purpose.PHASE, 500, 400).ravel(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("other", ["pixel", "index", "purpose", "seed", "second"])
def test_streams_are_uncorrelated(other):
    def drawn(seed: int = 0, purpose: Purpose = Purpose.READOUT, index: int = 0, second: bool = False):
        bits = draw(pixel_keys(stream_key(seed, purpose), 400, 500), np.full(1, index, np.uint64))
        return normals(bits)[int(second)].ravel()

    variants = {
        "pixel": np.roll(drawn(), 1),
        "index": drawn(index=1),
        "purpose": drawn(purpose=Purpose.PHASE),
        "seed": drawn(seed=1),
        "second": drawn(second=True),
    }
    first, second = drawn(), variants[other]
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / np.sqrt(first.size)
