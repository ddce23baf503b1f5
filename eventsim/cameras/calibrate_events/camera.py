"""The camera that measured thresholds and noise make, all else as another camera has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from eventsim.cameras.calibrate_events.pixels import Number, reliable_map
from eventsim.cameras.calibrate_events.static import StaticNoise
from eventsim.cameras.calibrate_events.thresholds import Thresholds
from eventsim.cameras.event import EventCamera
from eventsim.cameras.pattern import Pattern

_WIDE = 0.3  # spreads from which on a normal distribution would often be cut off at 0


def calibrated_camera(
    base: EventCamera,
    *,
    thresholds: Thresholds | None = None,
    noise: StaticNoise | None = None,
    dead: Number | None = None,
    refractory_us: float | None = None,
    size: tuple[int, int] | None = None,
) -> EventCamera:
    """A camera with what was measured, and all that was not as `base` has it.

    Thresholds become maps where the pixels are known well enough, else a mean and a spread. Where no refractory period
    is known, the base's is cut to the shortest intervals that the events have.

    Args:
        base: the other parameters; its maps must be of the recordings' size.
        thresholds, noise, dead: as found; None leaves the base's.
        refractory_us: as found or told.
        size: height and width of the recordings.

    Raises:
        ValueError: a parameter that no camera can have.
    """
    changes: dict[str, Any] = {}
    if size is not None:
        changes |= {"height": size[0], "width": size[1]}
    if thresholds is not None:
        changes |= _with_thresholds(base, thresholds)
    if noise is not None:
        changes |= _with_noise(noise)
    if dead is not None:
        changes["dead_share"] = dead.value
    if refractory_us is not None:
        changes["refractory_us"] = float(refractory_us)
    elif thresholds is not None and base.refractory_us > thresholds.shortest_us:
        changes["refractory_us"] = float(thresholds.shortest_us)
    return replace(base, **changes)


def _with_thresholds(base: EventCamera, found: Thresholds) -> dict[str, Any]:
    changes: dict[str, Any] = {"dark_luminance": found.assumed_dark, "linear_below": 0.0}
    both = found.spread_on is not None and found.spread_off is not None
    if both:
        changes["threshold_mismatch"] = 0.0
    for name, mean, spread, pixels in (
        ("threshold_on", found.on, found.spread_on, found.pixels_on),
        ("threshold_off", found.off, found.spread_off, found.pixels_off),
    ):
        values = reliable_map(pixels, mean.value, spread)
        if values is not None:
            changes[name] = Pattern(map=values)
        elif spread is not None and both:
            changes[name] = Pattern(mean=mean.value, spread=spread.value / mean.value)
        else:
            changes[name] = mean.value
    return changes


def _with_noise(found: StaticNoise) -> dict[str, Any]:
    return {
        "leak_rate_hz": _spread_out(found.leak_rate_hz, found.leak_spread),
        "shot_noise_rate_hz": _spread_out(found.shot_noise_rate_hz, found.shot_spread),
        "hot_share": found.hot_share.value,
        "hot_rate_hz": found.hot_rate_hz.value if found.hot_rate_hz else 0.0,
    }


def _spread_out(mean: Number, share: Number | None) -> float | Pattern:
    if share is None or share.value <= 2 * share.error:
        return mean.value
    if share.value < _WIDE:
        return Pattern(mean=mean.value, spread=share.value)
    return Pattern(mean=mean.value, spread=float(np.sqrt(np.log1p(share.value**2))), distribution="lognormal")
