"""The pixels' own thresholds: their spread, as what two halves of a recording agree on, and their map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.calibrate import Estimate

Picture = NDArray[np.float64]
_MOST_ERROR = 0.4  # of a pixel's threshold, as a share of it, for the pixel to count in a spread
_FEW_PIXELS = 200
_COVERED = 0.9


@dataclass(frozen=True)
class Number:
    """A value and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} +- {self.error:.2g}"


def pixel_thresholds(
    start: NDArray[np.float32], mean: NDArray[np.float64], pixels: Sequence[tuple[Picture, Picture]]
) -> tuple[list[Number | None], list[Estimate]]:
    """Spreads and maps of the ON and the OFF threshold, from the pixels' own sums over two halves.

    Args:
        start: float32 [2, H, W], the thresholds that the sums' residuals are of.
        mean: float64 [2], over the pixels.
        pixels: of `pixel_sums`, two.
    """
    halves = [_departures(*half) for half in pixels]
    whole = _departures(pixels[0][0] + pixels[1][0], pixels[0][1] + pixels[1][1])
    spreads, maps = [], []
    for which in range(2):
        (first, first_error), (second, second_error) = (
            (d[..., which] + start[which], e[..., which]) for d, e in halves
        )
        most = _MOST_ERROR * mean[which]
        some = (first_error < most) & (second_error < most)
        spreads.append(shared_spread(first[some], second[some], first_error[some], second_error[some]))
        value, error = whole[0][..., which] + start[which], whole[1][..., which]
        known = error < most
        # What all pixels have in common is told by the rows of all together: a free exposure leaves it open here.
        centred = value - (np.median(value[known]) - mean[which] if known.any() else 0.0)
        maps.append(Estimate(np.where(known, centred, np.nan), np.where(known, error, np.nan)))
    return spreads, maps


def _departures(matrix: Picture, right: Picture) -> tuple[Picture, Picture]:
    """Each pixel's departures from the common thresholds and their errors: float64 [H, W, 2], errors infinite where
    the pixel tells nothing."""
    a, b, c = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
    determinant = a * c - b * b
    good = determinant > 1e-6 * a * c
    divisor = np.where(good, determinant, 1.0)
    on = (c * right[..., 0] - b * right[..., 1]) / divisor
    off = (a * right[..., 1] - b * right[..., 0]) / divisor
    errors = [np.where(good, np.sqrt(np.maximum(each / divisor, 0)), np.inf) for each in (c, a)]
    return np.where(good[..., None], np.stack([on, off], -1), 0.0), np.stack(errors, -1)


def shared_spread(first: Any, second: Any, first_error: Any = 0.0, second_error: Any = 0.0) -> Number | None:
    """Standard deviation over the pixels of what two independent measurements of each have in common.

    Their covariance holds no noise of either, whatever its law; its own error comes from the spread of the products.

    Args:
        first, second: float64 [N].
        first_error, second_error: their standard errors, for the weights alone.

    Returns:
        None for fewer than some hundred pixels. A negative covariance gives 0 with an error.
    """
    if len(first) < _FEW_PIXELS:
        return None
    scale = max(float(np.median(np.abs(first - np.median(first)))), 1e-12)
    errors = np.stack(np.broadcast_arrays(first_error, second_error, first)[:2])
    weight = 1 / np.prod(errors**2 + scale**2, axis=0)
    ends = []
    for values in (first, second):
        middle = np.median(values)
        reach = max(5 * 1.4826 * float(np.median(np.abs(values - middle))), 4 * float(values.std()))
        bounded = np.clip(values, middle - reach, middle + reach)
        ends.append(bounded - np.average(bounded, weights=weight))
    product = ends[0] * ends[1]
    covariance = float(np.average(product, weights=weight))
    error = float(np.sqrt((weight**2 * (product - covariance) ** 2).sum()) / weight.sum())
    spread = float(np.sqrt(max(covariance, 0.0)))
    return Number(spread, error / (2 * spread) if covariance > error else float(np.sqrt(error)))


def drawn_to_mean(pixels: Estimate, mean: float, spread: float) -> Picture:
    """What a pixel's threshold is expected to be, given its estimate: drawn towards the mean by what is noise in it
    (a normal quantity measured with a normal error), and no more than four spreads from it; unknown ones are the mean.
    """
    share = spread**2 / (spread**2 + np.nan_to_num(pixels.error, nan=np.inf) ** 2) if spread else 0.0
    away = np.clip(np.nan_to_num(pixels.value, nan=mean) - mean, -4 * spread, 4 * spread)
    found: Picture = mean + share * away
    return found


def reliable_map(pixels: Estimate | None, mean: float, spread: Number | None) -> NDArray[np.float32] | None:
    """A map of the thresholds, where they are known well enough to be more than noise.

    Returns:
        float32 [H, W], see `drawn_to_mean`; None where fewer than 90 % of the pixels are known to half the spread.
    """
    if pixels is None or spread is None or spread.value <= 2 * spread.error:
        return None
    if (pixels.error < spread.value / 2).mean() < _COVERED:
        return None
    return np.maximum(drawn_to_mean(pixels, mean, spread.value), 0.01).astype(np.float32)
