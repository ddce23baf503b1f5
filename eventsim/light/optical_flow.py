"""Optical flow between two frames by OpenCV's DIS, and the light between the frames along that flow.

Flow: Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016. What only one frame
shows is told by comparing the flow forward and backward (Sundaram, Brox and Keutzer, ECCV 2010). The frame between
follows Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011, section 3.3.2: the flow is
carried to the time between, its holes are filled from what surrounds them, and both frames are sampled along it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventsim.light.frames import Picture, grey_picture
from eventsim.rows import over_rows

Array = NDArray[Any]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
Weights = tuple[np.float32, np.float32, np.float32, np.float32]
#: OpenCV's settings, from coarse and quick to fine and slow.
QUALITIES = ("ultrafast", "fast", "medium")
_LEAST_PIXELS = 16  # DIS matches patches of 8x8 on a pyramid
_LEAST_SEEN = 0.3
_REACH = 256
_ONE, _HALF = np.float32(1), np.float32(0.5)
_LEAST_WEIGHT = np.float32(1e-3)
_PREFER_SLOW = np.float32(1e-4)


@dataclass(frozen=True, eq=False, kw_only=True)
class Flow:
    """The flow from one frame to the other, and which pixels the other frame shows too.

    Args:
        pixels: float32 [2, H, W], (dx, dy) in pixels from this frame to the other.
        seen: bool [H, W], the way there and back by the two flows ends where it began, by and large.
        mismatch: float32 [H, W], grey difference along the flow, 0 .. 255.
    """

    pixels: Picture
    seen: NDArray[np.bool_]
    mismatch: Picture

    def largest_motion_px(self) -> float:
        """The 99.9th percentile of the motion of the pixels that both frames show.

        0 where these are less than 30 % of all: frames on the two sides of a cut have no motion between them.
        """
        speeds = np.hypot(*self.pixels)[self.seen]
        return float(np.percentile(speeds, 99.9)) if len(speeds) >= _LEAST_SEEN * self.seen.size else 0.0


def flow_pair(
    first: Picture, second: Picture, quality: str = "medium", threads: int | None = None
) -> tuple[Flow, Flow]:
    """DIS flow between two luminance frames (float32 [H, W]), forward and backward.

    The flow is found on sRGB-encoded 8-bit grey, whose steps are about equally visible in shadows and lights; white
    is the brighter frame's largest luminance, at most 1.

    Args:
        first, second: the frames.
        quality: OpenCV's setting, one of `QUALITIES`.
        threads: for what is not OpenCV's; the flow is the same for any number, OpenCV's own threads included.

    Raises:
        ValueError: frames of different sizes or an unknown quality.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"expected two frames [H, W] of one size, got {first.shape} and {second.shape}")
    if quality not in QUALITIES:
        raise ValueError(f"expected a quality among {', '.join(QUALITIES)}, got {quality!r}")
    white = min(1.0, max(float(first.max()), float(second.max()), 1e-6))
    greys = grey_picture(first, white), grey_picture(second, white)
    there, back = _dis(greys[0], greys[1], quality), _dis(greys[1], greys[0], quality)
    return _checked(there, back, *greys, threads), _checked(back, there, *greys[::-1], threads)


def along_flow(
    first: Picture, second: Picture, pair: tuple[Flow, Flow], shares: Sequence[float], threads: int | None = None
) -> list[Picture]:
    """The light at shares (0 .. 1) of the time between two frames: a list of float32 [H, W], the same for any threads.

    A pixel is a mean of the two frames at the ends of its motion, weighted by nearness in time and by how well each
    end's own flow agrees: where one frame hides what is there, the other alone is taken.

    Args:
        first, second: float32 [H, W], linear luminance.
        pair: their flow, see `flow_pair`.
        shares: of the time between them.
        threads: threads to use, by default the cores.
    """
    forward, backward = pair
    one, two = (np.pad(frame, ((1, 2), (1, 2)), mode="edge").astype(np.float32) for frame in (first, second))
    out = [np.empty(first.shape, np.float32) for _ in shares]
    seen = (forward.seen, backward.seen)

    def work(begin: int, end: int) -> None:
        carried, cost = np.empty_like(forward.pixels), np.empty(first.shape, np.float32)
        for index in range(begin, end):
            share = np.float32(shares[index])
            cost.fill(np.inf)
            _carry(forward.pixels, forward.seen, forward.mismatch, share, _ONE, carried, cost)
            _carry(backward.pixels, backward.seen, backward.mismatch, _ONE - share, -_ONE, carried, cost)
            _compose(one, two, forward.pixels, backward.pixels, *seen, carried, cost, share, out[index])

    if shares:
        over_rows(work, len(shares), threads)
    return out


def _checked(
    there: Picture, back: Picture, grey: NDArray[np.uint8], other: NDArray[np.uint8], threads: int | None
) -> Flow:
    seen, mismatch = np.empty(grey.shape, bool), np.empty(grey.shape, np.float32)
    over_rows(lambda top, end: _compare(there, back, grey, other, seen, mismatch, top, end), len(grey), threads)
    return Flow(pixels=there, seen=seen, mismatch=mismatch)


def _dis(first: NDArray[np.uint8], second: NDArray[np.uint8], quality: str) -> Picture:
    """DIS flow, float32 [2, H, W]. Pictures too small for its patches are continued at their borders."""
    from eventsim.light.frames import quiet_opencv

    height, width = first.shape
    below, right = max(0, _LEAST_PIXELS - height), max(0, _LEAST_PIXELS - width)
    greys = [
        np.pad(grey, ((0, below), (0, right)), mode="edge") if below or right else grey for grey in (first, second)
    ]
    with quiet_opencv() as cv2:
        search = cv2.DISOpticalFlow_create(QUALITIES.index(quality))
        flow = search.calc(*greys, None)
    return np.ascontiguousarray(np.moveaxis(flow[:height, :width], -1, 0), np.float32)


# --- kernels


def _compiled(kernel: Kernel) -> Kernel:
    """Numba's decorator, behind which a type checker still sees the kernel's own types."""
    decorator: Any = njit(nogil=True, cache=True, error_model="numpy")
    compiled: Kernel = decorator(kernel)
    return compiled


@_compiled
def _compare(
    flow: Array,  # float32 [2, H, W]
    back: Array,  # float32 [2, H, W], of the other frame
    grey: Array,  # uint8 [H, W]
    other: Array,  # uint8 [H, W]
    seen: Array,  # bool [H, W], written
    mismatch: Array,  # float32 [H, W], written
    row_start: int,
    row_stop: int,
) -> None:
    """Which pixels the other frame shows too: their way there and back is short (Sundaram et al., equation 5)."""
    height, width = grey.shape
    for y in range(row_start, row_stop):
        for x in range(width):
            u, v = flow[0, y, x], flow[1, y, x]
            px, py = x + u, y + v
            seen[y, x] = False
            mismatch[y, x] = np.float32(255)
            if not (0 <= px <= width - 1 and 0 <= py <= height - 1):
                continue
            bu, bv = _bilinear(back[0], px, py), _bilinear(back[1], px, py)
            error = (u + bu) ** 2 + (v + bv) ** 2
            seen[y, x] = error < _tolerance(u, v, bu, bv)
            mismatch[y, x] = abs(np.float32(grey[y, x]) - _bilinear(other, px, py))


@_compiled
def _carry(
    flow: Array,  # float32 [2, H, W], of one of the frames
    seen: Array,  # bool [H, W]
    mismatch: Array,  # float32 [H, W]
    share: np.float32,  # of the way to the other frame
    sign: np.float32,  # 1 for the first frame's flow, -1 for the second's
    carried: Array,  # float32 [2, H, W], written: flow from the first frame to the second
    cost: Array,  # float32 [H, W], written; infinite where nothing arrived
) -> None:
    """Carries flow to where its pixels are at a time between; of several on a pixel, the nearest and most alike stays.

    Every pixel arrives at the four that surround its place, so that a picture that grows has no gaps.
    """
    height, width = seen.shape
    for y in range(height):
        for x in range(width):
            if not seen[y, x]:
                continue
            px, py = x + share * flow[0, y, x], y + share * flow[1, y, x]
            left, top = int(np.floor(px)), int(np.floor(py))
            for row in range(max(top, 0), min(top + 2, height)):
                for column in range(max(left, 0), min(left + 2, width)):
                    away = (px - column) ** 2 + (py - row) ** 2
                    price = away + mismatch[y, x] * np.float32(1 / 16)
                    if price < cost[row, column]:
                        cost[row, column] = price
                        carried[0, row, column] = sign * flow[0, y, x]
                        carried[1, row, column] = sign * flow[1, y, x]


@_compiled
def _compose(
    first: Array,  # float32 [H + 3, W + 3], continued at the borders by 1 before and 2 after
    second: Array,  # float32 [H + 3, W + 3], likewise
    forward: Array,  # float32 [2, H, W]
    backward: Array,  # float32 [2, H, W]
    seen_forward: Array,  # bool [H, W]
    seen_backward: Array,  # bool [H, W]
    carried: Array,  # float32 [2, H, W]
    cost: Array,  # float32 [H, W]
    share: np.float32,
    out: Array,  # float32 [H, W], written
) -> None:
    """Both frames sampled along the carried flow; in its holes, along the neighbour's that fits the frames best."""
    height, width = out.shape
    rest = _ONE - share
    for row in range(height):
        for column in range(width):
            x, y = np.float32(column), np.float32(row)
            best = np.float32(-1e9)
            u = v = np.float32(0)
            before = after = _LEAST_WEIGHT
            here = cost[row, column] < np.inf
            for direction in range(1 if here else 4):
                i, j = (row, column) if here else _arrived(cost, row, column, direction)
                if i < 0:
                    continue
                cu, cv = carried[0, i, j], carried[1, i, j]
                one = _support(forward, seen_forward, x - share * cu, y - share * cv, cu, cv)
                two = _support(backward, seen_backward, x + rest * cu, y + rest * cv, -cu, -cv)
                # Of equals, the slower: what moves is more often in front of what rests.
                score = one + two - _PREFER_SLOW * (cu * cu + cv * cv)
                if score > best:
                    best, u, v, before, after = score, cu, cv, max(one, _LEAST_WEIGHT), max(two, _LEAST_WEIGHT)
            before, after = before * rest, after * share
            light = before * _cubic(first, x - share * u, y - share * v)
            light += after * _cubic(second, x + rest * u, y + rest * v)
            out[row, column] = light / (before + after)


@_compiled
def _support(flow: Array, seen: Array, x: np.float32, y: np.float32, u: np.float32, v: np.float32) -> np.float32:
    """How well a frame's flow at a place agrees with (u, v): 1 fully, 0 not at all or outside the picture.

    A place that the other frame hides has no flow worth much: it may belong to any motion.
    """
    height, width = seen.shape
    column, row = int(x + _HALF), int(y + _HALF)
    if x < -_HALF or y < -_HALF or column >= width or row >= height:
        return np.float32(0)
    there_u, there_v = flow[0, row, column], flow[1, row, column]
    near = _tolerance(u, v, there_u, there_v)
    du, dv = there_u - u, there_v - v
    agreement: np.float32 = near / (near + du * du + dv * dv)
    return agreement if seen[row, column] else _HALF + _HALF * agreement


@_compiled
def _tolerance(u: np.float32, v: np.float32, other_u: np.float32, other_v: np.float32) -> np.float32:
    """Squared difference in pixels up to which two flows count as one (Sundaram et al.)."""
    return np.float32(0.01) * (u * u + v * v + other_u * other_u + other_v * other_v) + _HALF


@_compiled
def _arrived(cost: Array, y: int, x: int, direction: int) -> tuple[int, int]:
    """The nearest pixel to the left, to the right, above or below that flow has arrived at; (-1, -1) for none."""
    height, width = cost.shape
    dx, dy = (-1, 1, 0, 0)[direction], (0, 0, -1, 1)[direction]
    for step in range(1, _REACH + 1):
        row, column = y + step * dy, x + step * dx
        if not (0 <= row < height and 0 <= column < width):
            break
        if cost[row, column] < np.inf:
            return row, column
    return -1, -1


@_compiled
def _bilinear(picture: Array, px: float, py: float) -> np.float32:
    """A picture between its pixels; the place must lie inside."""
    height, width = picture.shape
    left, top = min(int(px), max(width - 2, 0)), min(int(py), max(height - 2, 0))
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    du, dv = px - left, py - top
    above = (1 - du) * picture[top, left] + du * picture[top, right]
    under = (1 - du) * picture[below, left] + du * picture[below, right]
    return np.float32((1 - dv) * above + dv * under)


@_compiled
def _cubic(picture: Array, x: np.float32, y: np.float32) -> np.float32:
    """A picture between its pixels by Catmull-Rom splines, held to the range of the four that surround the place.

    The picture is [H + 3, W + 3], continued by one pixel before and two after; places outside count as its border.
    Bilinear sampling would blur every frame between, and so let texture flicker in the rhythm of the original frames.
    """
    x = min(max(x, np.float32(0)), np.float32(picture.shape[1] - 4))
    y = min(max(y, np.float32(0)), np.float32(picture.shape[0] - 4))
    column, row = int(x), int(y)
    across, down = _spline(x - np.float32(column)), _spline(y - np.float32(row))
    value = down[0] * _along(picture, row, column, across) + down[1] * _along(picture, row + 1, column, across)
    value += down[2] * _along(picture, row + 2, column, across) + down[3] * _along(picture, row + 3, column, across)
    a, b = picture[row + 1, column + 1], picture[row + 1, column + 2]
    c, d = picture[row + 2, column + 1], picture[row + 2, column + 2]
    return min(max(value, min(min(a, b), min(c, d))), max(max(a, b), max(c, d)))


@_compiled
def _along(picture: Array, row: int, column: int, weights: Weights) -> np.float32:
    total: np.float32 = weights[0] * picture[row, column] + weights[1] * picture[row, column + 1]
    total += weights[2] * picture[row, column + 2] + weights[3] * picture[row, column + 3]
    return total


@_compiled
def _spline(part: np.float32) -> Weights:
    """Weights of the four samples around a place between the middle two (Catmull and Rom, 1974)."""
    p2 = part * part
    p3 = p2 * part
    return (
        _HALF * (np.float32(2) * p2 - p3 - part),
        _HALF * (np.float32(3) * p3 - np.float32(5) * p2 + np.float32(2)),
        _HALF * (np.float32(4) * p2 - np.float32(3) * p3 + part),
        _HALF * (p3 - p2),
    )
