"""What a flow is worth where little of the truth is known: its direction, its length up to a scale, its sharpness.

For recordings whose truth is partial (a measured rotation, a known translation) or wanting altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events
from flownet.metrics import known

#: The angular error of a flow without a direction, degrees: that of knowing nothing.
UNDIRECTED_DEGREES = 90.0


@dataclass(frozen=True)
class Comparison:
    """How a flow differs from the true one over a set of pixels; the comparisons of two sets add up to that of both.

    Args:
        angle_sum: sum of the angles between the two directions in the image plane, degrees.
        end_point_sum: sum of the end-point errors, pixels.
        predicted, true: the flows themselves, float32 [2, N] each, which the error after a fitted scale takes.
        pixels: number of pixels compared.
    """

    angle_sum: float = 0.0
    end_point_sum: float = 0.0
    predicted: tuple[NDArray[np.float32], ...] = ()
    true: tuple[NDArray[np.float32], ...] = ()
    pixels: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.angle_sum + other.angle_sum,
            self.end_point_sum + other.end_point_sum,
            self.predicted + other.predicted,
            self.true + other.true,
            self.pixels + other.pixels,
        )

    @property
    def angular_error(self) -> float:
        """Mean angle between predicted and true direction, degrees; nan over no pixels."""
        return self.angle_sum / self.pixels if self.pixels else float("nan")

    @property
    def aee(self) -> float:
        """Average end-point error, pixels; nan over no pixels."""
        return self.end_point_sum / self.pixels if self.pixels else float("nan")

    @property
    def scale(self) -> float:
        """The factor of the prediction that fits the truth best in least squares; not below 0, and 0 of no flow.

        Where it is above 1, the prediction is too short.
        """
        square = sum(float(np.square(each, dtype=np.float64).sum()) for each in self.predicted)
        pairs = zip(self.predicted, self.true, strict=True)
        cross = sum(float((first.astype(np.float64) * second).sum()) for first, second in pairs)
        return max(cross / square, 0.0) if square > 0 else 0.0

    @property
    def scaled_aee(self) -> float:
        """Average end-point error after the prediction is multiplied by `scale`, pixels; nan over no pixels."""
        scale = self.scale
        pairs = zip(self.predicted, self.true, strict=True)
        total = sum(float(np.hypot(*(scale * first - second)).sum()) for first, second in pairs)
        return total / self.pixels if self.pixels else float("nan")


def compare_flow(
    prediction: NDArray[Any],  # [2, H, W], pixels
    ground_truth: NDArray[Any],  # [2, H, W], pixels over the same interval
    event_count: NDArray[Any] | None = None,  # [H, W]
) -> Comparison:
    """Angular and end-point errors where the truth is known (finite and not zero).

    The angle is that between the two flows in the image plane, 0 to 180 degrees. (Barron, Fleet and Beauchemin,
    IJCV 1994, take the angle between (dx, dy, 1), which shrinks with the flow and is another measure.) A flow of
    length 0 has no direction and counts as 90 degrees.

    Args:
        prediction: the flow to judge.
        ground_truth: the true flow.
        event_count: compare only pixels with more than 0; by default all.

    Raises:
        ValueError: the shapes differ, or a prediction is not finite.
    """
    predicted, true = np.asarray(prediction, np.float64), np.asarray(ground_truth, np.float64)
    if predicted.shape != true.shape or true.ndim != 3 or len(true) != 2:
        raise ValueError(f"expected two flows [2, H, W], got {predicted.shape} and {true.shape}")
    mask = known(true)
    if event_count is not None:
        if event_count.shape != mask.shape:
            raise ValueError(f"expected event counts {mask.shape}, got {event_count.shape}")
        mask &= np.asarray(event_count) > 0
    p, g = predicted[:, mask], true[:, mask]
    if not np.isfinite(p).all():
        raise ValueError("expected a finite prediction, got nan or infinity")
    angles = np.degrees(np.abs(np.arctan2(p[0] * g[1] - p[1] * g[0], (p * g).sum(axis=0))))
    angles[~p.any(axis=0)] = UNDIRECTED_DEGREES
    end_points = np.hypot(*(p - g))
    kept = (p.astype(np.float32),), (g.astype(np.float32),)
    return Comparison(float(angles.sum()), float(end_points.sum()), *kept, p.shape[1])


def flow_warp_loss(
    flow: NDArray[np.float32],  # [2, H, W], pixels over the window
    events: Events,
    window: tuple[int, int],  # [t0, t1), microseconds
) -> float:
    """FWL: variance of the image of events moved along the flow over that of the events where they are.

    Above 1 the flow makes the events sharper; 1 for no flow, and nan without events. Bilinear shares blur moved events
    slightly, unmoved ones not, so that a flow of nothing in particular comes out below 1. The mean of moving to the
    window's start and to its end (see `contrast_loss`), which a flow that heaps up all events in one place does not
    please as much.

    Stoffregen et al., "Reducing the Sim-to-Real Gap for Event Cameras", ECCV 2020, section 4.1.
    """
    import torch

    from flownet.losses import contrast_loss

    if not len(events):
        return float("nan")
    start, stop = window
    return -float(contrast_loss(torch.from_numpy(np.ascontiguousarray(flow))[None], events, window=(start, stop)))


def event_count(events: Events) -> NDArray[np.int64]:
    """Number of events at each pixel, int64 [H, W]."""
    index = events.y.astype(np.int64) * events.width + events.x
    return np.bincount(index, minlength=events.height * events.width).reshape(events.height, events.width)
