"""What differs from pixel to pixel and stays: dark rates, and the fixed pattern by pixel, row and column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventsim.streams.intervals import Mask, Picture

#: Share of the pixels that stands for the dark where there is no recording of it.
DARKEST = 0.01
_SIDE = 9
_NORMAL = 1.4826


@dataclass(frozen=True)
class PatternSpread:
    """Spread of the fixed pattern, as a share of the light.

    Args:
        pixel: from pixel to pixel.
        row, column: from row to row and column to column. A pattern of independent pixels alone gives about
            1.25 pixel / sqrt(pixels in a row or column).
    """

    pixel: float
    row: float
    column: float


@dataclass(frozen=True)
class DarkRates:
    """Spikes per readout of the pixels in the dark: their mean, standard deviation and 99th percentile."""

    mean: float
    spread: float
    high: float


def fixed_pattern(light: Picture, mask: Mask, *, flat: bool = False) -> PatternSpread:
    """The spread of the pixels' relative residuals, and of the medians of rows and columns.

    Spreads are 1.4826 times the median distance from the median: the standard deviation of a normal law, which a few
    broken pixels or edges do not move. (After EMVA 1288, release 4.0, section 4, which takes variances.)

    Args:
        light: float64 [H, W], spikes per readout.
        mask: bool [H, W], the pixels to look at.
        flat: the recording is of an evenly lit surface; then `residual` is to the mean of all pixels, otherwise to
            the local mean, and the scene's own texture is part of what is called pattern.
    """
    residual = pattern_residual(light, mask, flat=flat)
    if not np.isfinite(residual).any():
        return PatternSpread(np.nan, np.nan, np.nan)
    return PatternSpread(_spread(residual), _spread(_medians(residual)), _spread(_medians(residual.T)))


def pattern_residual(light: Picture, mask: Mask, *, flat: bool = False) -> Picture:
    """light / mean - 1, float64 [H, W]; NaN outside the mask and where the mean is 0.

    The mean is that of all pixels of the mask, or (of a scene) of those in the 9x9 pixels around each.
    """
    from scipy.ndimage import uniform_filter

    inside = np.where(mask, light, 0.0)
    if flat:
        mean = np.full(light.shape, inside.sum() / max(mask.sum(), 1))
    else:
        share = uniform_filter(mask.astype(np.float64), _SIDE, mode="constant")
        mean = np.divide(
            uniform_filter(inside, _SIDE, mode="constant"), share, out=np.zeros(light.shape), where=share > 1e-9
        )
    known = mask & (mean > 1e-12)
    residual: Picture = np.divide(light, mean, out=np.full(light.shape, np.nan), where=known) - 1
    return residual


def dark_rates(rates: Picture) -> DarkRates:
    """Mean, spread and 99th percentile over all pixels of a recording in the dark (any shape)."""
    return DarkRates(float(rates.mean()), float(rates.std()), float(np.percentile(rates, 99)))


def darkest(light: Picture, mask: Mask) -> Picture:
    """The rates of the darkest 1 % of a lit scene's pixels, at least one: an upper bound of what the dark gives."""
    inside = np.sort(light[mask])
    return inside[: max(1, round(DARKEST * inside.size))]


def _medians(rows: Picture) -> Picture:
    """The median of each row's finite values; rows without any are left out."""
    finite = (row[np.isfinite(row)] for row in rows)
    return np.array([np.median(row) for row in finite if row.size])


def _spread(values: Picture) -> float:
    finite = values[np.isfinite(values)]
    return float(_NORMAL * np.median(np.abs(finite - np.median(finite))))
