"""The error of a flow, as sums and counts: averages over any set of frames come out exact, however ragged the masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OUTLIER_PX = 3.0
_OUTLIER_SHARE = 0.05


@dataclass(frozen=True)
class FlowError:
    """Errors over a set of pixels; errors of two sets add up to that of both.

    Args:
        end_point_sum: sum of the end-point errors, pixels.
        outliers: number of pixels whose end-point error is not below 3 px.
        kitti_outliers: those among them whose error is also at least 5 % of the true flow's length.
        pixels: number of pixels compared.
    """

    end_point_sum: float = 0.0
    outliers: int = 0
    kitti_outliers: int = 0
    pixels: int = 0

    def __add__(self, other: FlowError) -> FlowError:
        return FlowError(
            self.end_point_sum + other.end_point_sum,
            self.outliers + other.outliers,
            self.kitti_outliers + other.kitti_outliers,
            self.pixels + other.pixels,
        )

    @property
    def aee(self) -> float:
        """Average end-point error, pixels; nan over no pixels."""
        return self.end_point_sum / self.pixels if self.pixels else float("nan")

    @property
    def outlier_percent(self) -> float:
        """Per cent of the pixels that are 3 px or more off; nan over no pixels."""
        return 100 * self.outliers / self.pixels if self.pixels else float("nan")

    @property
    def kitti_outlier_percent(self) -> float:
        """Per cent of the pixels that are 3 px or more, and 5 % or more, off; nan over no pixels."""
        return 100 * self.kitti_outliers / self.pixels if self.pixels else float("nan")


def flow_error(
    prediction: NDArray[Any],  # [2, H, W], pixels
    ground_truth: NDArray[Any],  # [2, H, W], pixels over the same interval
    event_count: NDArray[Any] | None = None,  # [H, W]
    rows: int | None = None,
) -> FlowError:
    """End-point errors where the ground truth is known: finite and not zero.

    The error of predicting no motion is that of zeros. A prediction that is not finite where the ground truth is
    known makes the sum nan and counts as an outlier.

    Args:
        prediction: the flow to judge.
        ground_truth: the true flow.
        event_count: compare only pixels with more than 0; by default all.
        rows: compare only this many rows from the top (MVSEC's car fills the rest); by default all.

    Raises:
        ValueError: the shapes differ.
    """
    predicted, true = np.asarray(prediction, np.float64), np.asarray(ground_truth, np.float64)
    if predicted.shape != true.shape or true.ndim != 3 or len(true) != 2:
        raise ValueError(f"expected two flows [2, H, W], got {predicted.shape} and {true.shape}")
    mask = known(true)
    if event_count is not None:
        if event_count.shape != mask.shape:
            raise ValueError(f"expected event counts {mask.shape}, got {event_count.shape}")
        mask &= np.asarray(event_count) > 0
    if rows is not None:
        mask[rows:] = False
    error = np.hypot(*(predicted[:, mask] - true[:, mask]))
    off = ~(error < _OUTLIER_PX)
    kitti = off & ~(error < _OUTLIER_SHARE * np.hypot(*true[:, mask]))
    return FlowError(float(error.sum()), int(off.sum()), int(kitti.sum()), len(error))


def known(ground_truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a ground truth [2, H, W] says anything: finite and not zero in both components; bool [H, W]."""
    mask: NDArray[np.bool_] = np.isfinite(ground_truth).all(axis=0) & (ground_truth != 0).any(axis=0)
    return mask
