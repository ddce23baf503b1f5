"""Drawn textures: the same for a seed, of luminance, and all different."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim.light.procedural import KINDS, DrawnTextures


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_picture(kind):
    first, second = DrawnTextures(2, seed=3, side=96, kinds=[kind])
    assert first.shape == (96, 96)
    assert first.dtype == np.float32
    assert 0.02 <= first.min() < 0.5 * first.max() <= 0.5
    assert not np.array_equal(first, second)


def test_a_texture_depends_on_its_seed_and_number_alone():
    few, many, other = DrawnTextures(3, side=64), DrawnTextures(30, side=64), DrawnTextures(3, side=64, seed=1)
    assert all(np.array_equal(few[n], many[n]) for n in range(3))
    assert not np.array_equal(few[0], other[0])
    assert np.array_equal(few[-1], few[2])
    assert len(few[1:]) == 2


@pytest.mark.parametrize(("arguments", "words"), [({"number": 0}, "1 or more"), ({"number": 1, "kinds": ["x"]}, "'x'")])
def test_what_cannot_be_drawn(arguments, words):
    with pytest.raises(ValueError, match=words):
        DrawnTextures(**arguments)


def test_beyond_the_last():
    with pytest.raises(IndexError):
        DrawnTextures(2)[2]
