"""Pictures of flow and of its errors. Pictures are uint8 [H, W, 3], red, green, blue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownet.metrics import known

RGB = NDArray[np.uint8]
_INVALID_GREY = 128
_UNKNOWN = 1e9  # longer flows mean "unknown" in Middlebury's files
# The corners of the wheel and the number of hues from each to the next, which follow how well the eye tells them apart.
_CORNERS = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0)]
_HUES = [15, 6, 4, 11, 13, 6]


def flow_to_rgb(
    flow: NDArray[Any],  # [2, H, W], pixels
    max_magnitude: float | None = None,
) -> RGB:
    """Flow by colour: the hue is its direction (red right, yellow down), the saturation its length; white is still.

    The wheel of Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011.

    Args:
        flow: the flow; where it is not finite, it is unknown and black.
        max_magnitude: length in pixels of a full colour, longer flows are darker; by default the longest in the flow.

    Raises:
        ValueError: a flow of another shape, or a maximum that is not positive.
    """
    if flow.ndim != 3 or len(flow) != 2:
        raise ValueError(f"expected a flow [2, H, W], got {flow.shape}")
    if max_magnitude is not None and not max_magnitude > 0:
        raise ValueError(f"expected a positive max_magnitude, got {max_magnitude}")
    known = (np.isfinite(flow) & (np.abs(flow) < _UNKNOWN)).all(axis=0)
    dx, dy = np.where(known, flow, 0).astype(np.float64)
    magnitude = np.hypot(dx, dy)
    length = (magnitude / (max_magnitude or magnitude.max(initial=0) or 1.0))[..., None]
    hue = _hue(np.arctan2(dy, dx))
    # Small overshoots are rounding, not flows beyond the maximum.
    colour = np.where(length <= 1 + 1e-6, 1 - np.minimum(length, 1) * (1 - hue), 0.75 * hue)
    picture: RGB = np.round(255 * colour * known[..., None]).astype(np.uint8)
    return picture


def colour_wheel(size: int = 151) -> RGB:
    """The legend of `flow_to_rgb`: the colour of each flow, from its start in the middle, on white; [size, size, 3]."""
    if size < 3:
        raise ValueError(f"expected a size of at least 3 pixels, got {size}")
    radius = (size - 1) / 2
    rows, columns = np.mgrid[:size, :size] - radius
    flow = np.stack([columns, rows])
    picture = flow_to_rgb(flow, max_magnitude=radius)
    picture[np.hypot(columns, rows) > radius] = 255
    return picture


def error_map(
    prediction: NDArray[Any],  # [2, H, W], pixels
    ground_truth: NDArray[Any],  # [2, H, W]
    max_error: float = 3.0,
) -> RGB:
    """End-point errors from dark (none) over red to light yellow (`max_error` pixels or more), evenly to the eye.

    Where the ground truth is unknown (zero or not finite) the picture is grey.

    Raises:
        ValueError: the shapes differ, or the maximum is not positive.
    """
    import cv2

    if prediction.shape != ground_truth.shape or ground_truth.ndim != 3 or len(ground_truth) != 2:
        raise ValueError(f"expected two flows [2, H, W], got {prediction.shape} and {ground_truth.shape}")
    if not max_error > 0:
        raise ValueError(f"expected a positive max_error, got {max_error}")
    valid = known(ground_truth)
    error = np.hypot(*(prediction[:, valid].astype(np.float64) - ground_truth[:, valid]))
    levels = np.zeros(valid.shape, np.uint8)
    levels[valid] = np.round(255 * np.nan_to_num(np.minimum(error / max_error, 1), nan=1.0)).astype(np.uint8)
    picture: RGB = np.array(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)
    picture[~valid] = _INVALID_GREY
    return picture


def quiver(
    flow: NDArray[Any],  # [2, H, W], pixels
    background: RGB,  # [H, W, 3]
    mask: NDArray[np.bool_] | None = None,  # [H, W]
    max_magnitude: float | None = None,
    *,
    step_px: int = 16,
    zoom: int = 3,
) -> RGB:
    """Arrows of the mean flow in cells of `step_px` pixels over a picture, such as that of the events.

    Args:
        flow: the flow; where it is not finite, it is unknown and does not count.
        background: what the arrows lie over.
        mask: pixels that count, such as those with events; by default all. A cell without one has no arrow.
        max_magnitude: length in pixels that is drawn as long as a cell; by default the longest arrow's. Longer ones
            are drawn as long as they are.
        step_px: side of a cell.
        zoom: side of a pixel in the picture.

    Returns:
        uint8 [zoom H, zoom W, 3].

    Raises:
        ValueError: shapes that do not fit each other, or a maximum, step or zoom that is not positive.
    """
    import cv2

    if flow.ndim != 3 or len(flow) != 2 or background.shape != (*flow.shape[1:], 3):
        raise ValueError(f"expected a flow [2, H, W] and a picture [H, W, 3], got {flow.shape} and {background.shape}")
    if not min(step_px, zoom, 1 if max_magnitude is None else max_magnitude) > 0:
        raise ValueError(f"expected a positive step, zoom and maximum, got {step_px}, {zoom} and {max_magnitude}")
    picture = np.ascontiguousarray(background.repeat(zoom, axis=0).repeat(zoom, axis=1))
    starts, moves = _cell_means(flow, np.isfinite(flow).all(axis=0) & (True if mask is None else mask), step_px)
    longest = max_magnitude or np.hypot(*moves).max(initial=0) or 1.0
    pixels = zoom * (starts[::-1] + 0.5), zoom * step_px / longest * moves
    tails = np.rint(pixels[0] - pixels[1] / 2).astype(int).T.tolist()
    heads = np.rint(pixels[0] + pixels[1] / 2).astype(int).T.tolist()
    for colour, thickness in (((255, 255, 255), 3), ((0, 0, 0), 1)):  # a halo first: arrows cross events
        for tail, head in zip(tails, heads, strict=True):
            cv2.arrowedLine(picture, tail, head, colour, thickness, cv2.LINE_AA, tipLength=0.3)
    return picture


def _cell_means(
    flow: NDArray[Any], mask: NDArray[np.bool_], step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles (row, column) of the cells that hold pixels of the mask, and their mean flow there, both [2, N]."""
    rows, columns = np.nonzero(mask)
    across = -(-mask.shape[1] // step)
    cells, inverse, counts = np.unique(rows // step * across + columns // step, return_inverse=True, return_counts=True)
    moves = np.stack([np.bincount(inverse, channel[mask], minlength=len(cells)) / counts for channel in flow])
    return np.stack(np.divmod(cells, across)) * step + (step - 1) / 2, moves


def _hue(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The wheel's colour at angles (radians, clockwise from the right as rows go down): [..., 3] in 0..1."""
    position = np.mod(angle / (2 * np.pi), 1) * sum(_HUES)
    knots = np.concatenate([[0], np.cumsum(_HUES)])
    corners = np.array(_CORNERS) / 255
    return np.stack([np.interp(position, knots, corners[:, channel]) for channel in range(3)], axis=-1)
