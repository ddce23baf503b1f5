"""The regression behind an event camera's thresholds: log luminance of frames against the events counted up to them.

A pixel's log luminance at frame k is a + theta_on N_on,k - theta_off N_off,k + error, over a block of frames, where a
is the pixel's own. Its error does not grow with time: what a frame's noise and quantisation, and the part of a
threshold at the frame, come to. Counts have errors too (noise events, that part of a threshold), which would pull a
least-squares slope towards 0; so the counts of the four neighbours, whose errors are others, serve as instruments
(two-stage least squares; Wooldridge, "Econometric Analysis of Cross Section and Panel Data", 2010, chapters 5 and 11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.calibrate_events.counts import FrameCounts

Array = NDArray[np.float32]
_HUBER = 2.5  # standard deviations from which on a row counts less
_SWEEPS = 4
_FEW_ROWS = 50
_TILE = 12  # pixels on a side that share an error: a cluster
LEVELS = 4  # groups of pixels by their grey, to see the black level


@dataclass(frozen=True, kw_only=True, eq=False)
class GreyScale:
    """How a grey value becomes log luminance, and how much it is trusted.

    Args:
        luminance: float64 [256], of each grey value.
        usable: bool [256], neither black nor saturated.
        dark_luminance: added before the logarithm.
        step: luminance of one grey value at each: float64 [256].
        count_variance: of a row's error that does not depend on grey (log luminance squared).
        grey_variance: of a frame's noise, in grey values squared.
    """

    luminance: NDArray[np.float64]
    usable: NDArray[np.bool_]
    step: NDArray[np.float64]
    dark_luminance: float
    count_variance: float = 0.06**2
    grey_variance: float = 1.0

    @property
    def logarithm(self) -> Array:
        """Of luminance and dark luminance, less what noise takes off a logarithm on average: float32 [256]."""
        light = np.log(np.maximum(self.luminance + self.dark_luminance, 1e-6))
        return np.asarray(light + self.grey_variance * self.grey_error.astype(np.float64) ** 2 / 2, np.float32)

    @property
    def grey_error(self) -> Array:
        """Log luminance of one grey value, at each: float32 [256]."""
        return (self.step / np.maximum(self.luminance + self.dark_luminance, 1e-6)).astype(np.float32)

    @property
    def weight(self) -> Array:
        """One over the variance of a row, at each grey value; 0 where unusable: float32 [256]."""
        variance = self.count_variance + self.grey_variance * self.grey_error.astype(np.float64) ** 2
        return np.where(self.usable, 1 / variance, 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Block:
    """Some consecutive frames: grey, counts, and the neighbours' counts.

    Args:
        grey: uint8 [B, H, W].
        counts: float32 [2, B, H, W]: ON, and OFF with a minus; 0 where unknown.
        around: float32 [2, B, H, W], the same, the mean over the neighbours.
        known: bool [B, H, W].
    """

    grey: NDArray[np.uint8]
    counts: Array
    around: Array
    known: NDArray[np.bool_]


@dataclass(eq=False)
class Sums:
    """Sums over rows, by cluster and level: what estimates and their errors are made of.

    Args:
        start: float64 [2], the thresholds (mean over the pixels) that the residuals are of.
        moments: float64 [C, LEVELS, 2, 2], instruments times counts.
        right: float64 [C, LEVELS, 2], instruments times residuals.
        rows: number of rows with weight.
        noise: float64 [2, 3]: the normal equations of squared residuals on 1 and squared grey error.
        agreement: float64 [3], squares of the contrast that events tell, its products with that seen, and its squares.
    """

    start: NDArray[np.float64]
    moments: NDArray[np.float64]
    right: NDArray[np.float64]
    rows: int = 0
    noise: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 3)))
    agreement: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @property
    def tells(self) -> bool:
        """Whether there are enough rows, whose counts tell ON from OFF."""
        return self.rows >= _FEW_ROWS and bool(np.linalg.cond(self.moments.sum(axis=(0, 1))) < 1e8)

    @property
    def correlation(self) -> float:
        """Of the contrast that frames show with that which the events tell."""
        told, both, seen = self.agreement
        return float(both / np.sqrt(told * seen)) if told > 0 and seen > 0 else 0.0

    def thresholds(self) -> NDArray[np.float64]:
        """theta_on and theta_off: float64 [2].

        Raises:
            ValueError: too few rows, or counts that do not tell the two apart.
        """
        matrix, right = self.moments.sum(axis=(0, 1)), self.right.sum(axis=(0, 1))
        if not self.tells:
            raise ValueError(
                f"expected events between frames that tell the thresholds, got {self.rows} usable rows: more frames, "
                "more motion or less saturation"
            )
        found: NDArray[np.float64] = self.start + np.linalg.solve(matrix, right)
        return found

    def covariance(self) -> NDArray[np.float64]:
        """Of the thresholds, with errors that may be shared within a cluster: float64 [2, 2]."""
        score = (self.right - self.moments @ (self.thresholds() - self.start)).sum(axis=1)
        clusters = max((self.moments[..., 0, 0].sum(axis=1) != 0).sum(), 2)
        inverse = np.linalg.inv(self.moments.sum(axis=(0, 1)))
        found: NDArray[np.float64] = inverse @ (score.T @ score) @ inverse.T * clusters / (clusters - 1)
        return found

    def scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Contrast at each level, as a factor of what the thresholds make of the counts, and its standard error."""
        thresholds = self.thresholds()
        told = self.moments @ thresholds @ thresholds
        seen = self.right @ thresholds + self.moments @ self.start @ thresholds
        total = np.where(np.abs(told.sum(axis=0)) > 1e-9, told.sum(axis=0), np.inf)
        scale = seen.sum(axis=0) / total
        error = np.sqrt(((seen - scale * told) ** 2).sum(axis=0)) / np.abs(total)
        return scale, np.where(np.isfinite(total), np.maximum(error, 1e-6), np.inf)


def blocks(counts: FrameCounts, length: int, excluded: NDArray[np.bool_], leak_rate_hz: float) -> Iterator[Block]:
    """The frames in blocks of `length` (the last may have more), without excluded pixels (bool [H, W]).

    The leak makes ON events without light: `leak_rate_hz` a second are taken off.
    """
    starts = list(range(0, len(counts.times_us) - length + 1, length)) or [0]
    for start in starts:
        stop = len(counts.times_us) if start == starts[-1] else start + length
        known = np.isfinite(counts.on[start:stop]) & ~excluded
        seconds = (counts.times_us[start:stop] - counts.times_us[start]) * 1e-6
        on = counts.on[start:stop] - np.float32(leak_rate_hz) * seconds.astype(np.float32)[:, None, None]
        told = np.where(known, np.stack([on, -counts.off[start:stop]]), np.float32(0))
        told = np.where(known, told - told.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=0), 1), 0)
        yield Block(counts.grey[start:stop], told.astype(np.float32), _around(told, known), known)


def _around(values: Array, known: NDArray[np.bool_]) -> Array:
    """Mean over the four neighbours that are known; 0 without."""
    total, number = np.zeros(values.shape, np.float32), np.zeros(known.shape, np.float32)
    for here, there in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:-1, :], np.s_[1:, :]),
                        (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :-1], np.s_[:, 1:])):  # fmt: skip
        total[(..., *here)] += values[(..., *there)]
        number[(..., *here)] += known[(..., *there)]
    return np.asarray(total / np.maximum(number, 1), np.float32)


@dataclass(frozen=True, eq=False)
class Rows:
    """A block's rows.

    Args:
        weight: float32 [B, H, W].
        residual: float32 [B, H, W], log luminance less what thresholds make of the counts, less what a pixel (and a
            frame, where its exposure is free) has to itself.
        counts: float32 [2, B, H, W], less the pixel's mean.
        around: float32 [2, B, H, W], less what a pixel and a frame have to themselves.
    """

    weight: Array
    residual: Array
    counts: Array
    around: Array


def rows_of(block: Block, grey: GreyScale, thresholds: Array, *, free: bool) -> Rows:
    """The rows of a block; those far off `thresholds` weigh less (Huber).

    Args:
        block: the frames.
        grey: luminance and noise of grey values.
        thresholds: float32 [2, H, W], as far as known.
        free: the frames' exposure may change.
    """
    weight: Array = grey.weight[block.grey] * block.known
    weight[:, (weight > 0).sum(axis=0) < 2] = 0
    told = grey.logarithm[block.grey] - (thresholds[:, None] * block.counts).sum(axis=0)
    residual = _freed(told, weight, free)
    weight = np.asarray(weight / np.maximum(np.abs(residual) * np.sqrt(weight) / np.float32(_HUBER), 1), np.float32)
    residual = _freed(told, weight, free)
    counts = np.stack([_freed(each, weight, False) for each in block.counts])
    return Rows(weight, residual, counts, np.stack([_freed(each, weight, free) for each in block.around]))


def _freed(values: Array, weight: Array, free: bool) -> Array:
    """Less the weighted mean of each pixel, and, by turns, of each frame."""
    share = weight / np.maximum(weight.sum(axis=0), 1e-9)
    of_frame = weight / np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-9)
    values = values - (values * share).sum(axis=0)
    for _ in range(_SWEEPS if free else 0):
        values = values - (values * of_frame).sum(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        values = values - (values * share).sum(axis=0)
    return values


def add_up(
    sums: Sums | None, block: Block, rows: Rows, grey: GreyScale, edges: NDArray[np.float64], start: NDArray[np.float64]
) -> Sums:
    """Adds a block's rows to the sums (made anew for None).

    Args:
        sums: to add to.
        block, rows, grey: as in `rows_of`.
        edges: float64 [LEVELS - 1], grey values between the levels.
        start: float64 [2], mean of the thresholds that the rows are of.
    """
    height, width = block.grey.shape[1:]
    across = -(-width // _TILE)
    tile = (np.arange(height)[:, None] // _TILE) * across + np.arange(width) // _TILE
    number = int(tile[-1, -1]) + 1
    mean = (block.grey * (rows.weight > 0)).sum(axis=0) / np.maximum((rows.weight > 0).sum(axis=0), 1)
    label = (tile * LEVELS + np.digitize(mean, edges)).ravel()
    sums = sums or Sums(start, np.zeros((number, LEVELS, 2, 2)), np.zeros((number, LEVELS, 2)))

    def by_label(values: Array) -> NDArray[np.float64]:
        found: NDArray[Any] = np.bincount(label, values.sum(axis=0).ravel(), number * LEVELS)
        return found.reshape(number, LEVELS)

    for i in range(2):
        pulled = rows.weight * rows.around[i]
        sums.right[..., i] += by_label(pulled * rows.residual)
        for j in range(2):
            sums.moments[..., i, j] += by_label(pulled * rows.counts[j])
    sums.rows += int((rows.weight > 0).sum())
    sums.noise += _noise_equations(block, rows, grey)
    told = np.tensordot(start.astype(np.float32), rows.counts, 1)
    seen = told + rows.residual
    products = (told * told, told * seen, seen * seen)
    sums.agreement += [float((rows.weight * each).sum(dtype=np.float64)) for each in products]
    return sums


def _noise_equations(block: Block, rows: Rows, grey: GreyScale) -> NDArray[np.float64]:
    """Squared residuals on 1 and the squared grey error, each row weighted by what its own noise lets it tell."""
    some = rows.weight > 0
    base = grey.weight[block.grey][some].astype(np.float64)
    number = np.broadcast_to(some.sum(axis=0), some.shape)[some]
    square = np.minimum(rows.residual[some] ** 2, _HUBER**2 / base) * number / (number - 1)
    error = grey.grey_error[block.grey][some].astype(np.float64) ** 2
    weight = base**2
    return np.array([
        [weight.sum(), (weight * error).sum(), (weight * square).sum()],
        [(weight * error).sum(), (weight * error**2).sum(), (weight * error * square).sum()],
    ])  # fmt: skip


def with_noise(grey: GreyScale, sums: Sums) -> GreyScale:
    """The frames with the noise that the residuals show."""
    from dataclasses import replace

    from scipy.optimize import nnls

    scale = np.sqrt(np.maximum(np.diag(sums.noise[:, :2]), 1e-300))
    solved, _ = nnls(sums.noise[:, :2] / scale[:, None], sums.noise[:, 2] / scale)
    return replace(grey, count_variance=max(float(solved[0]), 1e-4**2), grey_variance=max(float(solved[1]), 1 / 12))


def pixel_sums(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each pixel's own counts times counts, and times its residual: float64 [H, W, 2, 2] and [H, W, 2]."""
    weighted = rows.weight * rows.counts
    matrix: Any = np.einsum("ikyx,jkyx->yxij", weighted, rows.counts, dtype=np.float64)
    return matrix, np.einsum("ikyx,kyx->yxi", weighted, rows.residual, dtype=np.float64)
