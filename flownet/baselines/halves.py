"""Flow between the images of the events in a window's two halves: DIS and Lucas-Kanade.

An image of signed events shows edges; its halves show them half a window apart.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events

Flow = NDArray[np.float32]
Picture = NDArray[np.uint8]

_FEWEST_EVENTS = 20
_GREY = 127.5
_LEAST_PIXELS = 24


def dis_flow(
    events: Events, window: tuple[int, int], *, blur_px: float = 0.7, spread_px: float = 24.0, check_px: float = 1.0
) -> Flow:  # fmt: skip
    """Dense inverse search between the images of the window's halves, forward and backward averaged.

    The flow is taken at pixels with events, where forward and backward agree to `check_px`, and spread to all others:
    between such pixels it is their mean with Gaussian weights, and far from all of them the mean of the picture.

    Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016 (OpenCV's, at its "medium" setting, down
    to full resolution).

    Args:
        events: of the window.
        window: [t0, t1), microseconds.
        blur_px: standard deviation of the images' smoothing.
        spread_px: standard deviation of the weights.
        check_px: how far off forward and backward together may end.

    Returns:
        float32 [2, H, W], (dx, dy) in pixels over the window; zeros from fewer than 20 events, or no good pixel.

    Raises:
        ValueError: an empty window.
    """
    halves = _halves(events, window, blur_px)
    if halves is None:
        return np.zeros((2, events.height, events.width), np.float32)
    first, second, scale = halves
    there, back = _dis(first, second), _dis(second, first)
    flow = (there - back) / 2
    points = _points(events, 1)
    columns, rows = points.T.astype(np.int64)
    good = np.hypot(*(there + back)[:, rows, columns]) < check_px
    if not good.any():
        return np.zeros((2, events.height, events.width), np.float32)
    return scale * _spread(points[good], flow[:, rows, columns].T[good], (events.height, events.width), spread_px)


def lucas_kanade(
    events: Events,
    window: tuple[int, int],
    *,
    blur_px: float = 1.0,
    patch: int = 41,
    every: int = 4,
    spread_px: float = 24.0,
) -> Flow:
    """Pyramidal Lucas-Kanade at pixels where there are events, spread to all others as in `dis_flow`.

    Points that do not come back to within a pixel are left out.

    Lucas and Kanade, IJCAI 1981; Bouguet, "Pyramidal Implementation of the Lucas Kanade Feature Tracker", 2000
    (OpenCV's).

    Args:
        events: of the window.
        window: [t0, t1), microseconds.
        blur_px: standard deviation of the images' smoothing.
        patch: pixels on a side that are matched.
        every: points are tried at every so-manieth row and column.
        spread_px: standard deviation of the weights between points.

    Returns:
        float32 [2, H, W], (dx, dy) in pixels over the window; zeros from fewer than 20 events, or no good point.

    Raises:
        ValueError: an empty window.
    """
    halves = _halves(events, window, blur_px)
    flow = np.zeros((2, events.height, events.width), np.float32)
    if halves is None:
        return flow
    first, second, scale = halves
    points = _points(events, every)
    there, good = _track(first, second, points, patch)
    back, returned = _track(second, first, there, patch)
    good &= returned & (np.hypot(*(back - points).T) < 1)
    if not good.any():
        return flow
    return scale * _spread(points[good], (there - points)[good], flow.shape[1:], spread_px)


def _halves(
    events: Events, window: tuple[int, int], blur_px: float
) -> tuple[Picture, Picture, np.float32] | None:  # fmt: skip
    """Images of both halves, and the factor from the flow between them to that over the window.

    The halves stand for their mean times, which are half a window apart where events come evenly.
    """
    start, stop = window
    if stop <= start:
        raise ValueError(f"expected a window that ends after it starts, got {start} to {stop} us")
    middle = (start + stop) // 2
    halves = events.window(start, middle), events.window(middle, stop)
    if min(len(half) for half in halves) < _FEWEST_EVENTS // 2:
        return None
    apart = max(halves[1].t.mean() - halves[0].t.mean(), (stop - start) / 8)
    images = [_signed_image(half, blur_px) for half in halves]
    # Both on one scale, with what few pixels reach cut off.
    bright = np.percentile(np.abs(np.stack(images)), 99.5) or 1.0
    first, second = (np.clip(_GREY + _GREY * image / bright, 0, 255).astype(np.uint8) for image in images)
    return first, second, np.float32((stop - start) / apart)


def _signed_image(events: Events, blur_px: float) -> NDArray[np.float32]:
    """ON minus OFF events of each pixel, smoothed."""
    import cv2

    index = events.y.astype(np.int64) * events.width + events.x
    signed = np.bincount(index, np.where(events.p, 1.0, -1.0), minlength=events.height * events.width)
    image = signed.reshape(events.height, events.width).astype(np.float32)
    below, right = (max(0, _LEAST_PIXELS - side) for side in image.shape)
    return np.asarray(cv2.GaussianBlur(np.pad(image, ((0, below), (0, right))), (0, 0), blur_px), np.float32)


def _dis(first: Picture, second: Picture) -> Flow:
    """DIS flow [2, H, W], pixels."""
    cv2: Any = import_module("cv2")  # its stubs know no DIS

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    return np.moveaxis(search.calc(first, second, None), -1, 0)


def _points(events: Events, every: int) -> NDArray[np.float32]:
    """One pixel with events in each cell of `every` x `every` pixels: float32 [N, 2], (x, y)."""
    cells = -(-events.width // every)
    _, first = np.unique(events.y.astype(np.int64) // every * cells + events.x // every, return_index=True)
    return np.stack([events.x[first], events.y[first]], axis=1).astype(np.float32)


def _track(
    first: Picture, second: Picture, points: NDArray[np.float32], patch: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    cv2: Any = import_module("cv2")  # its stubs want an array for no guess

    there, found, _ = cv2.calcOpticalFlowPyrLK(
        first, second, points[:, None], None, winSize=(patch, patch), maxLevel=3, minEigThreshold=1e-4
    )
    return there[:, 0], found[:, 0].astype(bool)


def _spread(points: NDArray[np.float32], moves: NDArray[np.float32], shape: Any, spread_px: float) -> Flow:
    """The moves of points, each counted at its pixel, as their Gaussian-weighted mean at every pixel."""
    import cv2

    height, width = shape
    rows, columns = (points[:, axis].astype(np.int64) for axis in (1, 0))
    sums = np.zeros((3, height, width), np.float32)
    for channel, values in zip(sums, (*moves.T, np.ones(len(moves), np.float32)), strict=True):
        np.add.at(channel, (rows, columns), values)
    smooth = np.stack([cv2.GaussianBlur(channel, (0, 0), spread_px) for channel in sums])
    # So little weight decides only where there is no other.
    faint = np.float32(1e-4 / (2 * np.pi * spread_px**2))
    mean = moves.mean(axis=0)[:, None, None]
    return np.asarray((smooth[:2] + faint * mean) / (smooth[2] + faint), np.float32)
