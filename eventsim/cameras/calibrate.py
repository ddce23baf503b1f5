"""A spike camera's fixed pattern from recordings in the dark and of uniform light, with error bars.

A pixel under luminance L fires a L + b times a readout: a is its gain over its threshold, b its dark current over its
threshold. A dark recording gives b, one of uniform light then gives a; a second one over-determines the line and tells
how straight it is. Rates alone cannot tell a high threshold from a low response: both are found as one relative
response. The procedure is that of RSIR (ACM MM 2023) and SpikeNeRF (CVPR 2024), whose algebra of intervals comes to
the same line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.pattern import Pattern, load_arrays
from eventsim.cameras.spike import SpikeCamera
from eventsim.errors import InputError
from eventsim.streams.intervals import spike_times, tally_intervals
from eventsim.streams.spans import Span
from eventsim.streams.spikes import SpikeStream

Picture = NDArray[np.float64]
#: Illuminance (lux) of the brightest of the uniform recordings behind RSIR's and SpikeNeRF's maps.
_MAPS_LUX = 335.0
_NOISE_PIXELS = 4000
_SATURATED, _FEW_SATURATED = 0.98, 0.01
#: What measured maps contain already.
_MEASURED: dict[str, Any] = {
    "hot_share": 0.0, "dead_share": 0.0, "false_spike_interval": 0.0, "reset": "soft", "dead_time_us": 0.0,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Estimate:
    """A quantity of each pixel with its standard error: float64 [H, W] each."""

    value: Picture
    error: Picture


@dataclass(frozen=True, eq=False)
class Calibration:
    """What recordings tell about a camera's pixels.

    Args:
        spikes_per_readout: mean rate that light of luminance 1 adds, in spikes per readout.
        response: relative response to light, of mean 1.
        dark: dark current in spikes per readout.
        readout_hz: of the recordings.
        curvature: with two uniform recordings, how far the brighter one lies above the line through the dark and the
            fainter one, as a share of its rate (median over the pixels): 0 for a linear camera, None with one.
    """

    spikes_per_readout: float
    response: Estimate
    dark: Estimate
    readout_hz: float
    curvature: float | None

    def camera(self, base: SpikeCamera) -> SpikeCamera:
        """A camera with these pixels, and all else (the noise above all) as `base` has it.

        False spikes and hot pixels are part of the measured dark current, and what a hard reset or a dead time loses is
        part of the measured response: they are off.
        """
        height, width = self.dark.value.shape
        return replace(
            base,
            height=height,
            width=width,
            readout_hz=self.readout_hz,
            spikes_per_readout=self.spikes_per_readout,
            response=Pattern(map=np.maximum(self.response.value, 0).astype(np.float32)),
            dark_spikes_per_readout=Pattern(map=np.maximum(self.dark.value, 0).astype(np.float32)),
            threshold=1.0,
            capacitance=1.0,
            **_MEASURED,
        )


def calibrate_spikes(dark: SpikeStream, flats: Sequence[tuple[SpikeStream, float]]) -> Calibration:
    """The fixed pattern of a camera.

    Args:
        dark: recorded in the dark.
        flats: one or two recordings of uniform light, each with its luminance (in units of the luminance that shall be
            1.0), none of which saturates the pixels.

    Raises:
        ValueError: no or more than two flats, sizes or clocks that differ, luminances that are not above 0 or equal, a
            flat in which more than 1 % of the pixels fire more than 0.98 times a readout, or one that is no brighter
            than the dark.
    """
    _check(dark, flats)
    floor = measured_rate(dark)
    rates = [(measured_rate(stream), luminance) for stream, luminance in sorted(flats, key=lambda flat: flat[1])]
    _refuse_saturated(rates)
    slopes, slope_errors, offsets, offset_errors = _lines(floor, rates)
    mean = float(slopes.mean())
    if mean <= 0:
        raise ValueError(f"expected flats brighter than the dark recording, got a mean gain of {mean:.3g}")
    curvature = None
    if len(rates) == 2:
        (fainter, low), (brighter, high) = rates
        line = floor.value + (fainter.value - floor.value) * high / low
        curvature = float(np.median(brighter.value / np.maximum(line, 1e-12) - 1))
    return Calibration(
        spikes_per_readout=mean,
        response=Estimate(slopes / mean, slope_errors / mean),
        dark=Estimate(offsets, offset_errors),
        readout_hz=dark.readout_hz,
        curvature=curvature,
    )


def _check(dark: SpikeStream, flats: Sequence[tuple[SpikeStream, float]]) -> None:
    if not 1 <= len(flats) <= 2:
        raise ValueError(f"expected one or two recordings of uniform light, got {len(flats)}")
    expected = (dark.height, dark.width, dark.readout_hz)
    for stream, luminance in flats:
        if (found := (stream.height, stream.width, stream.readout_hz)) != expected:
            raise ValueError(f"expected recordings of one (height, width, readout_hz) {expected}, got {found}")
        if not 0 < luminance < np.inf:
            raise ValueError(f"expected a luminance above 0, got {luminance}")
    if len({luminance for _, luminance in flats}) < len(flats):
        raise ValueError("expected flats of different luminance, got equal ones")


def _refuse_saturated(rates: Sequence[tuple[Estimate, float]]) -> None:
    for rate, luminance in rates:
        share = float((rate.value > _SATURATED).mean())
        if share > _FEW_SATURATED:
            raise ValueError(
                f"expected flats in which at most {_FEW_SATURATED:.0%} of the pixels fire more than {_SATURATED} times "
                f"a readout, got {share:.1%} at luminance {luminance:g}: they saturate"
            )


def measured_rate(stream: SpikeStream) -> Estimate:
    """Spikes per readout of each pixel under steady light: (n - 1) / (t_last - t_first), and its standard error.

    The clock rounds both ends up, each by a uniform share of a readout: a variance of 1/6 in all. The noise of the
    n - 1 intervals is taken from the recording (its excess variance), as noise that adds up from one to the next; what
    does not (a comparator's) makes the error an upper bound. A pixel with fewer than three spikes has an error of one
    spike.
    """
    span = Span(stream, 0, len(stream))
    times = spike_times(span)
    rate = times.intensity()
    length = np.maximum(times.last - times.first, 1)
    intervals = np.maximum(times.count - 1, 1)
    mean = length / intervals
    steady, growing = _interval_noise(span)
    spread = np.sqrt(1 / 6 + intervals * (steady + growing * mean) * mean**2)
    few = times.count < 3
    return Estimate(rate, np.where(few, 1 / len(stream), rate * spread / length))


def _interval_noise(span: Span) -> tuple[float, float]:
    """Variance of an interval beyond an ideal integrator's, as a share of the squared mean interval m, as a constant
    (shot noise) and a factor of m (read noise): fitted over some thousands of pixels, both 0 or more."""
    from scipy.optimize import nnls

    height, width = span.shape
    count = min(_NOISE_PIXELS, height * width)
    pixels = np.linspace(0, height * width - 1, count).astype(np.int64)
    try:
        tally = tally_intervals(span, pixels)
    except ValueError:  # no pixel has three spikes
        return 0.0, 0.0
    mean = tally.mean()
    weight = np.sqrt(tally.sums.intervals) / mean
    share = tally.excess_variance() / mean**2
    (steady, growing), _ = nnls(np.stack([weight, weight * mean], axis=1), weight * share)
    return float(steady), float(growing)


def _lines(floor: Estimate, rates: Sequence[tuple[Estimate, float]]) -> tuple[Picture, Picture, Picture, Picture]:
    """Slope and offset of each pixel's line through the dark (luminance 0) and the flats by weighted least squares,
    each followed by its standard error."""
    points = [(floor, 0.0), *rates]
    weight = np.stack([1 / np.maximum(rate.error, 1e-12) ** 2 for rate, _ in points])
    value = np.stack([rate.value for rate, _ in points])
    luminance = np.array([light for _, light in points])[:, None, None]
    total = weight.sum(axis=0)
    centre = (weight * luminance).sum(axis=0) / total
    spread = (weight * (luminance - centre) ** 2).sum(axis=0)
    slope = (weight * (luminance - centre) * value).sum(axis=0) / spread
    offset = (weight * value).sum(axis=0) / total - slope * centre
    return slope, np.sqrt(1 / spread), offset, np.sqrt(1 / total + centre**2 / spread)


def camera_of_maps(path: str | PathLike[str], base: SpikeCamera) -> SpikeCamera:
    """A camera with the pixels that SpikeNeRF's (or RSIR's) calibration measured.

    The file holds, per pixel, `D_light` (mean interval less one readout under 335 lux), `Nd` (the dark current as an
    illuminance, lux) and `Nl` (response, relative to the first pixel's). Intervals are taken to go with the inverse of
    light plus dark current, D (L + Nd) = constant: so D_light and Nd give the rates under 335 lux and in the dark, and
    Nl follows, which is checked.

    Args:
        path: .npz with the three maps.
        base: the camera's other parameters, less what the maps contain (see `Calibration.camera`); luminance 1.0 adds
            its `spikes_per_readout` on average.

    Raises:
        InputError: the file is missing, is no such file, or its maps disagree.
    """
    source = Path(path)
    interval, dark_lux, relative = _read_maps(source)
    light_term = interval * (_MAPS_LUX + dark_lux)
    response = light_term[0, 0] / light_term
    if not np.allclose(response, relative, rtol=1e-3):
        raise InputError(source, expected="Nl that follows from D_light and Nd at 335 lux", found="another Nl")
    rate, dark = 1 / (1 + interval), dark_lux / (dark_lux + light_term)
    gain = rate - dark
    return replace(
        base,
        height=interval.shape[0],
        width=interval.shape[1],
        response=Pattern(map=(gain / gain.mean()).astype(np.float32)),
        dark_spikes_per_readout=Pattern(map=dark.astype(np.float32)),
        threshold=1.0,
        capacitance=1.0,
        **_MEASURED,
    )


def _read_maps(source: Path) -> tuple[Picture, Picture, Picture]:
    names = ("D_light", "Nd", "Nl")
    found = load_arrays(source, names, f"maps {', '.join(names)} in an .npz")
    maps = [each.astype(np.float64) for each in found]
    shapes = {each.shape for each in maps}
    if len(shapes) > 1 or maps[0].ndim != 2:
        raise InputError(source, expected="three maps [H, W] of one size", found=f"shapes {sorted(shapes)}")
    for name, values in zip(names, maps, strict=True):
        if not (np.isfinite(values).all() and values.min() > 0):
            raise InputError(source, expected=f"values above 0 in {name}", found=f"{values.min()} to {values.max()}")
    return maps[0], maps[1], maps[2]
