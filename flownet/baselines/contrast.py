"""Contrast maximisation: the flow that makes the events sharpest when it is taken out of them.

Gallego, Rebecq and Scaramuzza, "A Unifying Contrast Maximization Framework for Event Cameras", CVPR 2018, with the
patches of Shiba, Aoki and Gallego, "Secrets of Event-Based Optical Flow", ECCV 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.streams.events import Events

Flow = NDArray[np.float32]
Pair = NDArray[np.float64]
Array = Any  # within kernels
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_FEWEST_EVENTS = 20
_ROUNDS = 3
_MOST_EVENTS = 20_000
#: Patches from coarse to fine: width in those of the last, how far each looks around and the pixels of its images,
#: pixels. Large pixels find the way in sparse events, small ones the end of it.
_LEVELS = ((4, 12.0, 2.0), (2, 6.0, 2.0), (1, 3.0, 1.0))
_CLIMB_PX = 8.0
#: Sums in any order, but infinities and nan as they are.
_FAST = {"reassoc", "contract", "nsz"}


def contrast_maximisation(
    events: Events,
    window: tuple[int, int],
    *,
    patch: int = 32,
    largest_px: float = 40.0,
    smoothness: float = 50.0,
    slowness: float = 5.0,
) -> Flow:
    """Flow on a grid of patches, each a translation that maximises the sharpness of its events' image.

    An event at time s of the window (0..1) at x moves to x - (s - 1/2) v; ON and OFF events make an image each, spread
    by cubic B-splines. The sharpness is the sum of the images' squares over that of the events where they are, times
    the number of events. One translation for all events comes first, from a grid of all within `largest_px`; then
    patches of four times, twice and once the width `patch`: each begins with the flow of those before, looks around,
    and climbs three times with a pull to the median of its neighbours. Images have half the resolution up to the last
    level. Between patches the flow is interpolated bilinearly; a patch takes the events within a width of its middle,
    and with fewer than 20 it follows its neighbours.

    Args:
        events: of the window.
        window: [t0, t1), microseconds.
        patch: distance of the patches' middles, pixels.
        largest_px: how far the common translation may reach in x and in y, pixels over the window.
        smoothness: what a square pixel away from the neighbours costs in sharpness, so that many events overrule it.
        slowness: what a square pixel of common motion costs: without it, noise prefers large ones.

    Returns:
        float32 [2, H, W], (dx, dy) in pixels over the window; zeros from fewer than 20 events.

    Raises:
        ValueError: an empty window, a patch below 4 pixels, or a largest translation that is not positive.
    """
    if window[1] <= window[0]:
        raise ValueError(f"expected a window that ends after it starts, got {window[0]} to {window[1]} us")
    if patch < 4 or not largest_px > 0:
        raise ValueError(f"expected patches of 4 pixels or more and a largest translation above 0, got {patch} and "
                         f"{largest_px}")  # fmt: skip
    if len(events) < _FEWEST_EVENTS:
        return np.zeros((2, events.height, events.width), np.float32)
    everything = _cut(events, window, None)
    common = _common(everything.thinned(_MOST_EVENTS), largest_px, slowness / len(everything))
    shape = events.height, events.width
    flow = np.broadcast_to(common[:, None, None], (2, *shape))
    for factor, reach_px, scale in _LEVELS:
        flow = _refined(flow, events, window, (factor * patch, reach_px, scale), smoothness)
    return np.ascontiguousarray(flow, np.float32)


@dataclass(frozen=True)
class _Cloud:
    """Events of a patch: columns and rows from its corner, float32, the time from the window's middle, polarity."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    s: NDArray[np.float32]
    p: NDArray[np.int64]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.x)

    def thinned(self, most: int) -> _Cloud:
        """No more than `most` events, evenly from all."""
        kept = slice(None, None, -(-len(self) // most) or 1)
        return _Cloud(self.x[kept], self.y[kept], self.s[kept], self.p[kept], self.width, self.height)

    def searched(self, middle: Pair, reach_px: float, scale: float, pulled: Pair, pull: float) -> Pair:
        """The best translation of a grid around the middle, in steps of a pixel of `scale`."""
        found: Pair = _search(self.columns, self._room(middle, reach_px, scale), scale, middle, reach_px, pulled, pull)
        return found

    def climbed(self, start: Pair, scale: float, pulled: Pair, pull: float) -> Pair:
        """The best translation uphill of the start."""
        found: Pair = _climb(self.columns, self._room(start, _CLIMB_PX, scale), scale, start, pulled, pull)
        return found

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """The events, as kernels take them."""
        return self.x, self.y, self.s, self.p

    def _room(self, middle: Pair, reach_px: float, scale: float) -> NDArray[np.float32]:
        """Room for the images of events that are moved."""
        most_px = float(np.abs(middle).max()) + reach_px
        return np.empty((2, *(int((side + most_px) / scale) + 9 for side in (self.height, self.width))), np.float32)


def _cut(events: Events, window: tuple[int, int], place: tuple[float, float, int] | None) -> _Cloud:
    """The events within a patch's width of its middle (row, column), or all."""
    start, stop = window
    chosen, left, top, width, height = slice(None), 0.0, 0.0, events.width, events.height
    if place is not None:
        row, column, patch = place
        # Whole pixels, so that events without motion lie on pixels in every patch.
        left, top, width, height = np.rint(column) - patch, np.rint(row) - patch, 2 * patch, 2 * patch
        x, y = events.x.astype(np.float32) - left, events.y.astype(np.float32) - top
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        chosen = np.flatnonzero(inside)  # type: ignore[assignment]
    x, y = (
        axis[chosen].astype(np.float32) - np.float32(corner) for axis, corner in ((events.x, left), (events.y, top))
    )
    s = ((events.t[chosen] - start) / (stop - start) - 0.5).astype(np.float32)
    return _Cloud(x, y, s, events.p[chosen].astype(np.int64), width, height)


def _centres(side: int, patch: int) -> NDArray[np.float64]:
    """Middles of patches along a side: evenly spread, about `patch` apart."""
    number = max(1, round(side / patch))
    return (np.arange(number) + 0.5) * side / number - 0.5


def _common(cloud: _Cloud, largest_px: float, pull: float) -> NDArray[np.float64]:
    """One translation for all events: from a coarse grid to a finer one, then uphill."""
    best = still = np.zeros(2)
    for scale, reach_px in ((4.0, largest_px), (2.0, 4.0)):
        best = cloud.searched(best, reach_px, scale, still, pull)
    return cloud.climbed(best, 2.0, still, pull)


def _refined(
    flow: NDArray[Any], events: Events, window: tuple[int, int], level: tuple[int, float, float], smoothness: float
) -> NDArray[np.float64]:  # fmt: skip
    """Flow [2, H, W] in patches: each looks around for the sharpest, then climbs with its neighbours in mind."""
    patch, reach_px, scale = level
    centres = [_centres(side, patch) for side in flow.shape[1:]]
    clouds = [
        [_cut(events, window, (row, column, patch)).thinned(_MOST_EVENTS) for column in centres[1]]
        for row in centres[0]
    ]
    field = np.array([[flow[:, round(row), round(column)] for column in centres[1]] for row in centres[0]])
    rich = [(i, j) for i, row in enumerate(clouds) for j, cloud in enumerate(row) if len(cloud) >= _FEWEST_EVENTS]
    pulls = {place: smoothness / len(clouds[place[0]][place[1]]) for place in rich}
    for i, j in rich:
        field[i, j] = clouds[i][j].searched(field[i, j], reach_px, scale, field[i, j], pulls[i, j])
    for _ in range(_ROUNDS):
        for i, j in np.ndindex(field.shape[:2]):
            field[i, j] = _median_around(field, i, j)
            if (i, j) in pulls:
                field[i, j] = clouds[i][j].climbed(field[i, j], scale, field[i, j], pulls[i, j])
    return _interpolated(field, centres, flow.shape[1:])


def _median_around(field: NDArray[np.float64], i: int, j: int) -> NDArray[np.float64]:
    block = field[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].reshape(-1, 2)
    return np.asarray(np.median(block, axis=0))


def _interpolated(field: NDArray[np.float64], centres: list[NDArray[np.float64]], shape: Any) -> NDArray[np.float64]:
    """The field at every pixel, bilinearly, and beyond the outer middles as there: float64 [2, H, W]."""
    rows, columns = (_weights(each, side) for each, side in zip(centres, shape, strict=True))
    flow: NDArray[np.float64] = np.einsum("hi,ijc,wj->chw", rows, field, columns)
    return flow


def _weights(centres: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Weights of each middle at each pixel, [side, middles]."""
    return np.stack([np.interp(np.arange(side), centres, one) for one in np.eye(len(centres))], axis=1)


# --- kernels


def _compiled(kernel: Kernel) -> Kernel:
    """Numba's decorator, behind which a type checker still sees the kernel's own types."""
    decorator: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
    compiled: Kernel = decorator(kernel)
    return compiled


@_compiled
def _search(
    events: Array, image: Array, scale: float, middle: Array, reach: float, pulled: Array, pull: float
) -> Array:  # fmt: skip
    """The translation of most worth in a grid around the middle, in steps of a pixel of `scale`."""
    still = _sharpness(events, image, scale, 0.0, 0.0)
    best, most = middle.copy(), -np.inf
    number = int(reach / scale)
    for i in range(-number, number + 1):
        for j in range(-number, number + 1):
            dx, dy = middle[0] + j * scale, middle[1] + i * scale
            distance = (dx - pulled[0]) ** 2 + (dy - pulled[1]) ** 2
            worth = _sharpness(events, image, scale, dx, dy) / still - pull * distance
            if worth > most:
                most = worth
                best[0], best[1] = dx, dy
    return best


@_compiled
def _climb(events: Array, image: Array, scale: float, start: Array, pulled: Array, pull: float) -> Array:
    """Uphill in steps of 1 pixel, halved down to 1/32 where none leads up."""
    still = _sharpness(events, image, scale, 0.0, 0.0)
    at = start.copy()
    distance = (at[0] - pulled[0]) ** 2 + (at[1] - pulled[1]) ** 2
    most = _sharpness(events, image, scale, at[0], at[1]) / still - pull * distance
    step = 1.0
    while step > 1 / 33:
        moved = False
        for k in range(4):
            dx = at[0] + step * ((k == 0) - (k == 1))
            dy = at[1] + step * ((k == 2) - (k == 3))
            if max(abs(dx - start[0]), abs(dy - start[1])) > _CLIMB_PX:
                continue
            distance = (dx - pulled[0]) ** 2 + (dy - pulled[1]) ** 2
            worth = _sharpness(events, image, scale, dx, dy) / still - pull * distance
            if worth > most:
                most, moved = worth, True
                at[0], at[1] = dx, dy
        if not moved:
            step *= 0.5
    return at


@_compiled
def _sharpness(events: Array, image: Array, scale: float, dx: float, dy: float) -> float:
    """Sum of the squares of the images of the events after a translation is taken out of them.

    Events move by at most half the translation either way; the images have room for that. They begin at a whole number
    of pixels before: in the middle of the window events lie on pixels, whatever the translation.
    """
    x, y, s, p = events
    image[:] = 0
    _, rows, columns = image.shape
    left, top = math.ceil(abs(dx) / 2 / scale) + 2, math.ceil(abs(dy) / 2 / scale) + 2
    for k in range(len(x)):
        u, v = (x[k] - s[k] * dx) / scale + left, (y[k] - s[k] * dy) / scale + top
        i, j = int(v), int(u)
        if i < 1 or j < 1 or i + 2 >= rows or j + 2 >= columns:
            continue
        b0, b1, b2, b3 = _spline(u - j)
        channel = image[p[k]]
        for m, weight in enumerate(_spline(v - i)):
            row = channel[i + m - 1]
            row[j - 1] += weight * b0
            row[j] += weight * b1
            row[j + 1] += weight * b2
            row[j + 2] += weight * b3
    total = 0.0
    for value in image.flat:
        total += value * value
    return total


@_compiled
def _spline(a: float) -> tuple[float, float, float, float]:
    """What four pixels get of an event that lies 0 <= a < 1 beyond the second: the cubic B-spline."""
    b = 1 - a
    return b * b * b / 6, 2 / 3 - a * a * (1 - a / 2), 2 / 3 - b * b * (1 - b / 2), a * a * a / 6
