"""Bayesian optimisation of a few calibration parameters, by an objective of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
_CANDIDATES = 2048
_JITTER = 1e-6


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Args:
        best: the parameters of the largest objective.
        value: that objective.
        tried: all parameters, in the order in which they were tried.
        values: their objectives.
    """

    best: tuple[float, ...]
    value: float
    tried: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]


def maximise(
    objective: Callable[[tuple[float, ...]], float],
    bounds: Sequence[tuple[float, float]],
    *,
    initial: int = 5,
    iterations: int = 30,
    seed: int = 0,
) -> Found:
    """The parameters within bounds that an expensive, noisy objective likes best.

    A Gaussian process (Matern 5/2) is fitted to what was tried, and the next point is the one of the largest expected
    improvement. Li et al., 2022 (arXiv 2207.02702) so choose the percentile p in (0.99, 0.9999) for all layers, with
    -KL(softmax of the network || softmax of the spiking one) for an objective; for flow, take -EPE, and a p per layer
    where that pays. Percentiles are best searched as log10(1 - p): see `share_of`.

    Args:
        objective: of the parameters; larger is better. It is called initial + iterations times.
        bounds: lowest and highest of each parameter.
        initial: points drawn at random before the process is fitted.
        iterations: points that it chooses.
        seed: of all draws.

    Raises:
        ValueError: no parameters, a bound that is empty, or no initial point.
        ImportError: scikit-learn is not installed.
    """
    if not bounds or any(not low < high for low, high in bounds) or initial < 1 or iterations < 0:
        raise ValueError(f"expected bounds low < high and 1 or more initial points, got {list(bounds)}, {initial}")
    rng = np.random.default_rng(seed)
    low, high = np.array(bounds, dtype=np.float64).T
    units = list(rng.random((initial, len(bounds))))
    values = [float(objective(_scaled(unit, low, high))) for unit in units]
    for _ in range(iterations):
        units.append(_next(np.array(units), np.array(values), rng))
        values.append(float(objective(_scaled(units[-1], low, high))))
    tried = tuple(_scaled(unit, low, high) for unit in units)
    best = int(np.argmax(values))
    return Found(best=tried[best], value=values[best], tried=tried, values=tuple(values))


def share_of(log_clipped: float) -> float:
    """The percentile's share p that clips 10^log_clipped of the values: -3 is 0.999."""
    return float(1 - 10.0**log_clipped)


def _scaled(unit: Point, low: Point, high: Point) -> tuple[float, ...]:
    return tuple(float(each) for each in low + unit * (high - low))


def _next(units: Point, values: Point, rng: np.random.Generator) -> Point:
    """Of random candidates, half of them near the best so far, that of the largest expected improvement."""
    best = units[np.argmax(values)]
    candidates = rng.random((_CANDIDATES, units.shape[1]))
    near = best + 0.1 * rng.standard_normal((_CANDIDATES // 2, units.shape[1]))
    candidates[: len(near)] = np.clip(near, 0, 1)
    chosen: Point = candidates[np.argmax(_expected_improvement(_fitted(units, values, rng), candidates, values.max()))]
    return chosen


def _fitted(units: Point, values: Point, rng: np.random.Generator) -> Any:
    try:
        process = import_module("sklearn.gaussian_process")
        kernels = import_module("sklearn.gaussian_process.kernels")
    except ImportError as error:
        raise ImportError("Bayesian optimisation needs scikit-learn: pip install scikit-learn") from error
    import warnings

    kernel = kernels.Matern(length_scale=0.3, length_scale_bounds=(0.02, 10), nu=2.5)
    kernel += kernels.WhiteKernel(1e-3, (1e-6, 1))
    seed = int(rng.integers(2**31))
    fitted = process.GaussianProcessRegressor(kernel, alpha=_JITTER, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound is a fit like any other
        return fitted.fit(units, values)


def _expected_improvement(process: Any, candidates: Point, best: float) -> Point:
    """E[max(f - best, 0)] under the process's normal predictions."""
    from scipy.stats import norm

    mean, deviation = process.predict(candidates, return_std=True)
    deviation = np.maximum(deviation, 1e-12)
    gain = mean - best
    improvement: Point = gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation)
    return improvement
