"""What is measured of one stretch of a spike stream: its statistics, the curves behind them, and the light it saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.fixed_pattern import DarkRates, PatternSpread, dark_rates, darkest, fixed_pattern
from eventsim.streams.intervals import IntervalTally, Mask, Picture, spike_times, tally_intervals
from eventsim.streams.spans import Span
from eventsim.streams.spectrum import frequencies_hz, plane_mean_deviation, plane_means, relative_spectrum

#: Window lengths in planes of the Fano curve, and the one whose factor stands in the table.
WINDOWS = (5, 10, 20, 50, 100)
WINDOW = 50
_LONGEST_SEGMENT = 1024


@dataclass(frozen=True)
class SpikeStatistics:
    """Statistics of a stream's still pixels. Intervals are those between a pixel's spikes, in readouts.

    Args:
        mean_rate: spikes per readout.
        two_valued_share: share of pixels whose intervals take at most two values. It falls with the stream's length:
            compare equal lengths only.
        excess_variance: mean over pixels of the interval variance beyond f (1 - f), f the mean interval's fraction.
        relative_excess_variance: mean over pixels of that over the squared mean interval: about 1 / electrons a spike.
        outlying_share: share of intervals that are 1 or more from their pixel's mean.
        jump_share: share of successive intervals that are 2 or more apart.
        lag1_correlation: mean over pixels of the correlation of successive intervals.
        fano_factor: variance over mean of the spikes counted in 50 planes; NaN for streams shorter than that.
        plane_mean_deviation: standard deviation of the planes' means over its value for independent pixels.
        spectrum_ratio: power of the planes' means over that of independent pixels, mean over frequencies above 0.
        dark_rate_mean, dark_rate_spread, dark_rate_high: spikes per readout in the dark, mean, standard deviation and
            99th percentile over pixels; of the darkest 1 % of the still pixels where no dark recording is given.
        pixel_pattern, row_pattern, column_pattern: spread of the fixed pattern as a share of the light; of a scene
            (no flat recording given) from each pixel's residual to the mean of its 9x9 neighbours, texture included.
    """

    mean_rate: float
    two_valued_share: float
    excess_variance: float
    relative_excess_variance: float
    outlying_share: float
    jump_share: float
    lag1_correlation: float
    fano_factor: float
    plane_mean_deviation: float
    spectrum_ratio: float
    dark_rate_mean: float
    dark_rate_spread: float
    dark_rate_high: float
    pixel_pattern: float
    row_pattern: float
    column_pattern: float


@dataclass(frozen=True, eq=False)
class Measured:
    """One stretch of a stream, measured.

    Args:
        statistics: the numbers.
        static: bool [H, W], the pixels that they are of.
        light: float64 [H, W], intensity in spikes per readout.
        histogram: int64 [L], number of intervals of 0, 1, .. readouts; the last bin's are as long or longer.
        windows, fano: window lengths in planes and the Fano factor over each, NaN where fewer than two windows fit.
        frequencies_hz, spectrum: power of the planes' means over that of independent pixels.
        dark: float64 [H, W], spikes per readout of the dark recording, where there is one.
    """

    statistics: SpikeStatistics
    static: Mask
    light: Picture
    histogram: NDArray[np.int64]
    windows: NDArray[np.int64]
    fano: NDArray[np.float64]
    frequencies_hz: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    dark: Picture | None


def measure(
    span: Span,
    static: Mask,
    pixels: NDArray[np.int64],
    segment: int,
    *,
    dark: Span | None = None,
    flat: Span | None = None,
) -> Measured:
    """Measures a stretch of a stream.

    Args:
        span: its planes.
        static: bool [H, W], the pixels to look at.
        pixels: int64, indices y * W + x of those whose intervals are looked at, in random order.
        segment: planes in a segment of the spectrum; see `segment_planes`.
        dark: planes recorded without light.
        flat: planes recorded of an evenly lit surface; the dark's rates are subtracted where known.

    Raises:
        ValueError: none of the pixels has three spikes.
    """
    times = spike_times(span)
    light = times.intensity()
    tally = tally_intervals(span, np.sort(pixels), WINDOWS)
    fano = np.where(2 * tally.windows <= len(span), tally.fano_factors(), np.nan)
    spectrum = relative_spectrum(span, static, pixels, segment)
    dark_map = None if dark is None else spike_times(dark).intensity()
    statistics = _statistics(
        tally,
        times.count[static] / len(span),
        plane_means(span, static),
        spectrum,
        dark_rates(darkest(light, static) if dark_map is None else dark_map),
        fixed_pattern(light, static) if flat is None else _flat_pattern(flat, dark_map),
    )
    frequencies = frequencies_hz(segment, span.stream.readout_hz)
    return Measured(statistics, static, light, tally.histogram, tally.windows, fano, frequencies, spectrum, dark_map)


def segment_planes(planes: int) -> int:
    """The spectrum's segment for stretches of so many planes: a power of two, up to half of them, at most 1,024."""
    return min(_LONGEST_SEGMENT, 1 << max(1, (planes // 2).bit_length() - 1))


def _statistics(
    tally: IntervalTally, rates: Picture, means: NDArray[np.float64], spectrum: NDArray[np.float64],
    dark: DarkRates, pattern: PatternSpread,
) -> SpikeStatistics:  # fmt: skip
    excess = tally.excess_variance()
    known = spectrum[np.isfinite(spectrum)]
    fano = tally.fano_factors()[WINDOWS.index(WINDOW)]
    return SpikeStatistics(
        mean_rate=float(rates.mean()),
        two_valued_share=tally.two_valued_share(),
        excess_variance=float(excess.mean()),
        relative_excess_variance=float(np.mean(excess / tally.mean() ** 2)),
        outlying_share=tally.outlying_share(),
        jump_share=tally.jump_share(),
        lag1_correlation=tally.lag1_correlation(),
        fano_factor=float(fano) if np.isfinite(fano) else np.nan,
        plane_mean_deviation=plane_mean_deviation(means, rates),
        spectrum_ratio=float(known.mean()) if known.size else np.nan,
        dark_rate_mean=dark.mean,
        dark_rate_spread=dark.spread,
        dark_rate_high=dark.high,
        pixel_pattern=pattern.pixel,
        row_pattern=pattern.row,
        column_pattern=pattern.column,
    )


def _flat_pattern(flat: Span, dark: Picture | None) -> PatternSpread:
    light = spike_times(flat).intensity() - (0.0 if dark is None else dark)
    return fixed_pattern(light, np.ones(light.shape, bool), flat=True)
