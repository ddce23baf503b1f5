"""The error of a flow, as sums and counts: averages over any set of frames come out exact, however ragged the masks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownet.ground_truth import Validity as Validity
from flownet.ground_truth import known as known

_RULE = re.compile(r"(>=|>)\s*([\d.]+)\s*px(?:\s+and\s+(>=|>)\s*([\d.]+)\s*%)?")


@dataclass(frozen=True, kw_only=True)
class OutlierRule:
    """Which end-point errors are outliers.

    Args:
        px: errors from this length on, in pixels ...
        percent: ... and for the KITTI-style count (Menze and Geiger, "Object Scene Flow for Autonomous Vehicles",
            CVPR 2015) also from this share of the true flow's length on.
        strict: errors of exactly these sizes are none.
        kitti: the KITTI-style count is the one that the rule's owners report.
    """

    px: float = 3.0
    percent: float = 5.0
    strict: bool = False
    kitti: bool = False

    @classmethod
    def parse(cls, text: str) -> OutlierRule:
        """A rule from words: ">= 3 px", "> 3 px", "> 3 px and > 5 %".

        Raises:
            ValueError: other words, or ">" beside ">=".
        """
        found = _RULE.fullmatch(str(text).strip())
        if found is None or found[3] not in (None, found[1]):
            raise ValueError(f"expected an outlier rule like '>= 3 px' or '> 3 px and > 5 %', got {text!r}")
        percent = cls.percent if found[4] is None else float(found[4])
        return cls(px=float(found[2]), percent=percent, strict=found[1] == ">", kitti=found[4] is not None)

    def __str__(self) -> str:
        return self.words(kitti=self.kitti)

    def words(self, *, kitti: bool) -> str:
        """The rule's plain or KITTI-style form, as `parse` reads it."""
        over = ">" if self.strict else ">="
        return f"{over} {self.px:g} px" + (f" and {over} {self.percent:g} %" if kitti else "")

    def over(self, error: NDArray[np.float64], limit: float | NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where errors are over the limit, which errors that are no number always are."""
        within: NDArray[np.bool_] = error <= limit if self.strict else error < limit
        return ~within


@dataclass(frozen=True)
class FlowError:
    """Errors over a set of pixels; errors of two sets add up to that of both.

    Args:
        end_point_sum: sum of the end-point errors, pixels.
        outliers: number of pixels whose end-point error is not below 3 px (or what the rule says).
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
    *,
    validity: Validity = "norm",
    outlier: OutlierRule | None = None,
) -> FlowError:
    """End-point errors where the ground truth is known: finite and not zero.

    The error of predicting no motion is that of zeros. A prediction that is not finite where the ground truth is
    known makes the sum nan and counts as an outlier.

    Args:
        prediction: the flow to judge.
        ground_truth: the true flow.
        event_count: compare only pixels with more than 0; by default all.
        rows: compare only this many rows from the top (MVSEC's car fills the rest); by default all.
        validity: what a known ground truth is, as in `known`.
        outlier: which errors are outliers; by default those of 3 px or more.

    Raises:
        ValueError: the shapes differ.
    """
    predicted, true = np.asarray(prediction, np.float64), np.asarray(ground_truth, np.float64)
    if predicted.shape != true.shape or true.ndim != 3 or len(true) != 2:
        raise ValueError(f"expected two flows [2, H, W], got {predicted.shape} and {true.shape}")
    mask = known(true, validity)
    if event_count is not None:
        if event_count.shape != mask.shape:
            raise ValueError(f"expected event counts {mask.shape}, got {event_count.shape}")
        mask &= np.asarray(event_count) > 0
    if rows is not None:
        mask[rows:] = False
    return summed(lengths(predicted, mask, less=true), lengths(true, mask), outlier or OutlierRule())


def lengths(
    flow: NDArray[Any],  # [2, H, W]
    mask: NDArray[np.bool_],  # [H, W]
    *,
    less: NDArray[Any] | None = None,  # [2, H, W]
) -> NDArray[np.float64]:
    """Length of a flow, or of its difference from another, at the pixels of a mask: float64 [N]."""
    x, y = (flow[axis][mask].astype(np.float64) for axis in (0, 1))
    if less is not None:
        x, y = x - less[0][mask], y - less[1][mask]
    found: NDArray[np.float64] = np.sqrt(x * x + y * y)
    return found


def summed(error: NDArray[np.float64], length: NDArray[np.float64], rule: OutlierRule) -> FlowError:
    """End-point errors [N] at pixels whose true flow has these lengths [N], as sums and counts."""
    off = rule.over(error, rule.px)
    kitti = off & rule.over(error, rule.percent / 100 * length)
    return FlowError(float(error.sum()), int(off.sum()), int(kitti.sum()), len(error))
