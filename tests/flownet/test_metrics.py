"""End-point errors and outliers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from flownet.metrics import FlowError, OutlierRule, flow_error, known

GOLDEN = Path(__file__).parent.parent / "golden"


def field(*values: tuple[float, float]) -> np.ndarray:
    """Flows of one row of pixels: [2, 1, W]."""
    return np.array(values, float).T[:, None]


@pytest.mark.parametrize(("suffix", "rows"), [("", None), ("_car", 190)])
def test_errors_are_the_authors(suffix: str, rows: int | None) -> None:
    golden = np.load(GOLDEN / "steflownet_metric.npz")
    prediction, truth = (golden[name].transpose(2, 0, 1) for name in ("pred", "gt"))
    error = flow_error(prediction, truth, golden["event_count"], rows)
    assert error.pixels == golden[f"n{suffix}"]
    assert error.aee == pytest.approx(float(golden[f"aee{suffix}"]), rel=1e-5)
    assert 1 - error.outlier_percent / 100 == pytest.approx(float(golden[f"under3{suffix}"]), rel=1e-7)


def test_errors_by_hand() -> None:
    truth = field((100, 0), (1, 1), (0, 0), (np.nan, 1), (np.inf, 1), (0, 10))
    prediction = field((104, 0), (1, 1), (9, 9), (1, 1), (np.inf, 1), (3, 10))
    assert flow_error(prediction, truth) == FlowError(end_point_sum=7, outliers=2, kitti_outliers=1, pixels=3)
    counted = flow_error(prediction, truth, np.array([[1, 0, 1, 1, 1, 1]], np.uint8))
    assert (counted.aee, counted.outlier_percent, counted.kitti_outlier_percent) == (3.5, 100, 50)


def test_sums_of_parts_are_those_of_the_whole() -> None:
    prediction, truth = np.random.default_rng(0).normal(0, 4, (2, 2, 20, 30))
    parts = [flow_error(prediction[:, rows], truth[:, rows]) for rows in (slice(0, 3), slice(3, 20))]
    whole, total = flow_error(prediction, truth), sum(parts, FlowError())
    assert total.aee == pytest.approx(whole.aee)
    assert (total.outliers, total.pixels) == (whole.outliers, whole.pixels)


def test_no_pixels_have_no_error() -> None:
    error = flow_error(np.ones((2, 4, 4)), np.ones((2, 4, 4)), np.zeros((4, 4)))
    assert error.pixels == 0
    assert math.isnan(error.aee)
    assert math.isnan(error.outlier_percent)
    assert (error + flow_error(np.ones((2, 4, 4)), np.ones((2, 4, 4)))).aee == 0


def test_a_prediction_that_is_not_finite_does_not_hide() -> None:
    error = flow_error(field((np.nan, 0), (1, 0)), field((1, 0), (1, 0)))
    assert math.isnan(error.aee)
    assert (error.outliers, error.kitti_outliers) == (1, 1)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="two flows"):
        flow_error(np.ones((2, 4, 4)), np.ones((2, 4, 5)))
    with pytest.raises(ValueError, match="event counts"):
        flow_error(np.ones((2, 4, 4)), np.ones((2, 4, 4)), np.ones((4, 5)))


@pytest.mark.parametrize(
    ("validity", "expected"),
    [("norm", [1, 1, 0, 0, 0, 1]), ("components", [0, 1, 0, 0, 0, 1]), ("bounded", [1, 1, 0, 0, 0, 0])],
)
def test_what_a_known_truth_is(validity: str, expected: list[int]) -> None:
    truth = field((2, 0), (1, -1), (0, 0), (np.nan, 1), (1, -np.inf), (-1000, 1))
    assert known(truth, validity).tolist() == [[bool(each) for each in expected]]
    assert flow_error(truth, truth, validity=validity).pixels == sum(expected)


@pytest.mark.parametrize(
    ("words", "outliers", "kitti"),
    [(">= 3 px", 3, 2), ("> 3 px", 2, 0), (">= 3 px and >= 4 %", 3, 3), ("> 3 px and > 5 %", 2, 0), (">= 4 px", 2, 1)],
)
def test_outliers_by_rule(words: str, outliers: int, kitti: int) -> None:
    """Errors of 3, 3 - a bit, 4 and 5 px, where the truth is 60, 60, 80 and 105 px long: 5 %, less, 5 % and 4.8 %."""
    truth = field((60, 0), (60, 0), (80, 0), (105, 0))
    prediction = truth + field((3, 0), (2.99, 0), (4, 0), (5, 0))
    rule = OutlierRule.parse(words)
    error = flow_error(prediction, truth, outlier=rule)
    assert (error.outliers, error.kitti_outliers) == (outliers, kitti)
    assert str(rule) == words
    assert rule.kitti == ("%" in words)


@pytest.mark.parametrize("words", ["3", ">= 3", "< 3 px", "> 3 px and >= 5 %", "> 3 px and > 5"])
def test_an_outlier_rule_in_other_words(words: str) -> None:
    with pytest.raises(ValueError, match="outlier rule"):
        OutlierRule.parse(words)
