"""Drawn textures, for scenes without photographs: noise, discs, polygons, cells, stripes and marks.

Simulated training sets gain from many kinds of texture, and drawn ones are free of anybody's rights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Generator = np.random.Generator
_DARKEST = 0.02


class DrawnTextures(Sequence[Picture]):
    """Pictures drawn at random, each when it is asked for: float32 [side, side], linear luminance in 0.02..1.

    Args:
        number: how many.
        seed: texture n of a seed is the same whatever their number.
        side: pixels.
        kinds: names in `KINDS`; texture n is of kind n modulo their number.

    Raises:
        ValueError: a number or side below 1, or an unknown kind.
    """

    def __init__(self, number: int, *, seed: int = 0, side: int = 384, kinds: Sequence[str] = ()) -> None:
        if number < 1 or side < 1:
            raise ValueError(f"expected a number and a side of 1 or more, got {number} and {side}")
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"expected kinds among {', '.join(KINDS)}, got {unknown[0]!r}")
        self.number, self.seed, self.side, self.kinds = number, seed, side, list(kinds) or list(KINDS)

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, index: int) -> Picture: ...

    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...

    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self.number))]
        place = range(self.number)[index]
        rng = np.random.default_rng([self.seed, place])
        drawn = KINDS[self.kinds[place % len(self.kinds)]](rng, self.side)
        return _lit(drawn, rng)


def _lit(drawn: NDArray[np.floating], rng: Generator) -> Picture:
    """Stretched to a random contrast, a little grain on it, as luminance."""
    low, high = float(drawn.min()), float(drawn.max())
    even = (drawn - low) / max(high - low, 1e-9)
    grain = _noise(rng, len(drawn), 1.5) * rng.uniform(0.0, 0.12)
    # Surfaces reflect a few per cent to nearly all light: contrasts are ratios, so the range is in logarithms.
    exponent = np.clip(even + grain, 0, 1) * rng.uniform(1.5, 3.9)
    light = np.exp(exponent - exponent.max())
    return np.asarray(np.clip(light, _DARKEST, 1), np.float32)


def _blurred(picture: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT))


def _noise(rng: Generator, side: int, sigma: float) -> NDArray[np.float32]:
    """Blurred white noise of unit variance."""
    noise = _blurred(rng.normal(size=(side, side)), sigma)
    return np.asarray(noise / max(float(noise.std()), 1e-9), np.float32)


def _octaves(rng: Generator, side: int) -> NDArray[np.float32]:
    """Noise at several scales, as clouds or rock."""
    roughness, coarsest = rng.uniform(0.4, 1.0), rng.uniform(8, 40)
    scales = coarsest / 2.0 ** np.arange(5)
    layers = [_noise(rng, side, scale) * roughness**n for n, scale in enumerate(scales) if scale > 0.6]
    return np.asarray(np.sum(layers, axis=0), np.float32)


def _grid(side: int) -> NDArray[np.float64]:
    return np.mgrid[:side, :side].astype(np.float64)


def _discs(rng: Generator, side: int) -> NDArray[np.float64]:
    """Discs over discs, of sizes that follow a power law (dead leaves)."""
    import cv2

    picture = np.full((side, side), rng.random())
    smallest, largest = rng.uniform(3, 8), rng.uniform(0.1, 0.3) * side
    for share in rng.random(int(rng.integers(60, 400))):
        radius = smallest / max(1 - share * (1 - smallest / largest), 1e-3)
        centre = tuple(int(each) for each in rng.integers(0, side, 2))
        cv2.circle(picture, centre, int(radius), rng.random(), -1, cv2.LINE_AA)
    return picture


def _polygons(rng: Generator, side: int) -> NDArray[np.float64]:
    """Polygons over polygons."""
    import cv2

    picture = np.full((side, side), rng.random())
    for _ in range(int(rng.integers(25, 160))):
        radius = rng.uniform(0.02, 0.25) * side
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        corners = rng.integers(0, side, 2) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(picture, [np.round(corners).astype(np.int32)], rng.random())
    return picture


def _cells(rng: Generator, side: int) -> NDArray[np.float64]:
    """The cells nearest to random points, each of one brightness or rising from its point."""
    from scipy.spatial import cKDTree

    number = int(rng.integers(30, 600))
    points, values = rng.uniform(0, side, (number, 2)), rng.random(number)
    distance, nearest = cKDTree(points).query(_grid(side).reshape(2, -1).T, k=2)
    edge = np.minimum((distance[:, 1] - distance[:, 0]) / 2, 1)
    shown = values[nearest[:, 0]] if rng.random() < 0.5 else distance[:, 0] / distance[:, 0].max() * edge
    return np.asarray(shown, np.float64).reshape(side, side)


def _stripes(rng: Generator, side: int) -> NDArray[np.float64]:
    """Two gratings of bars, at an angle to each other: a chequered cloth."""
    y, x = _grid(side)
    bent = 0.15 * rng.uniform(0, side / 10) * _noise(rng, side, side / 10)
    total = np.zeros((side, side))
    for _ in range(2):
        angle, period, phase = rng.uniform(0, np.pi), rng.uniform(8, 60), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle) + bent) / period + phase)
        total += np.clip(wave * rng.uniform(1, 8), -1, 1) * rng.uniform(0.2, 1)
    return total


def _marks(rng: Generator, side: int) -> NDArray[np.float32]:
    """Lines and letters on a clouded ground."""
    import cv2

    # Of 8 bits: OpenCV writes letters on nothing finer.
    picture = np.clip(128 + 25 * _octaves(rng, side), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(20, 90))):
        at = tuple(int(each) for each in rng.integers(0, side, 2))
        value, thick = int(rng.integers(256)), int(rng.integers(1, 6))
        if rng.random() < 0.5:
            to = tuple(int(each) for each in rng.integers(0, side, 2))
            cv2.line(picture, at, to, value, thick, cv2.LINE_AA)
        else:
            letters = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVWXYZ0123456789"), int(rng.integers(1, 7))))
            cv2.putText(picture, letters, at, int(rng.integers(0, 5)), rng.uniform(0.5, 3), value, thick, cv2.LINE_AA)
    return picture.astype(np.float32)


#: Ways to draw a texture: a generator and a side to [side, side], of any range.
KINDS: dict[str, Callable[[Generator, int], NDArray[np.floating]]] = {
    "octaves": _octaves,
    "discs": _discs,
    "polygons": _polygons,
    "cells": _cells,
    "stripes": _stripes,
    "marks": _marks,
}
