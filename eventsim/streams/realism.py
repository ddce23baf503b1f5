"""How far a simulated spike stream is from a real one, with the real one's own two halves as the yardstick.

Many statistics depend on how long a stream is: the longer, the more values a pixel's intervals take, and the less any
number scatters. So the streams are cut to one length, and every difference is between stretches of half of it: each
half of the simulated stream against the same half of the real one, on average; and beside it, by the same formula,
the real stream's second half against its first. A difference like that one is as small as can be told.

Only still pixels are compared: motion widens intervals as noise does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.comparison import Comparison, mean_differences
from eventsim.streams.intervals import Mask, Picture, spike_times, total_variation, wasserstein
from eventsim.streams.measure import Measured, SpikeStatistics, measure, segment_planes
from eventsim.streams.spans import Span
from eventsim.streams.spikes import SpikeStream
from eventsim.streams.static_regions import static_region

_PIXELS = 100_000
_BINS = 20
_SAME_SCENE = 0.9
#: Three in each half: a pixel that fires in all of them has two intervals.
FEWEST_PLANES = 6
FEWEST_PLANES_BESIDE = 2
_STATISTICS = tuple(field.name for field in fields(SpikeStatistics))

Pair = tuple[SpikeStream, SpikeStream]


@dataclass(frozen=True, eq=False)
class Halved:
    """A stream measured over all the planes compared, over their first half and over their second."""

    whole: Measured
    halves: tuple[Measured, Measured]


@dataclass(frozen=True, eq=False)
class Realism(Comparison):
    """A simulated stream beside a real one; `print` it for a table.

    Args:
        simulated_stream, real_stream: what was measured of each, curves and pictures among it.
        difference: name of a statistic or distance -> difference between the streams, mean over the two halves.
        half_against_half: the same, between the real stream's second half and its first.
        planes: planes compared.
        same_scene: both show the same light on sensors of one size, so that they are compared pixel by pixel.
    """

    simulated_stream: Halved
    real_stream: Halved
    difference: dict[str, float]
    half_against_half: dict[str, float]
    planes: int
    same_scene: bool

    @property
    def simulated(self) -> SpikeStatistics:
        """The simulated stream's statistics over all the planes compared."""
        return self.simulated_stream.whole.statistics

    @property
    def real(self) -> SpikeStatistics:
        """The real stream's statistics over all the planes compared."""
        return self.real_stream.whole.statistics

    @property
    def interval_distance(self) -> float:
        """`difference["interval_total_variation"]`, the one number that says most: 0 (alike) to 1."""
        return self.difference["interval_total_variation"]

    def rate_curve(self) -> dict[str, tuple[Picture, Picture]]:
        """Rate against the light of the real stream's first half, in 20 bins of as many pixels: name -> (x, y).

        Of the simulated stream's first half and of the real one's second half. Where the streams do not show the same
        scene, quantiles against quantiles.
        """
        first, second = self.real_stream.halves
        return {
            "simulated": rate_curve(self.simulated_stream.halves[0], first, self.same_scene),
            "real, second half": rate_curve(second, first, self.same_scene),
        }

    def heading(self) -> list[str]:
        """What was compared with what, in lines above the table."""
        still = (f"{100 * each.whole.static.mean():.4g} %" for each in (self.simulated_stream, self.real_stream))
        how = "pixel by pixel" if self.same_scene else "as different scenes"
        return [
            f"{' and '.join(still)} of the pixels are compared over {self.planes} planes, {how}.",
            "Differences are between stretches of half that length.",
        ]


def compare_streams(
    simulated: SpikeStream,
    real: SpikeStream,
    *,
    static: Mask | Literal["everywhere"] | None = None,
    dark: Pair | None = None,
    flat: Pair | None = None,
    pixels: int = _PIXELS,
    seed: int = 0,
) -> Realism:
    """How far a simulated stream is from a real one, statistic by statistic.

    Args:
        simulated, real: streams on one readout clock, several intervals long at most pixels and at least 6 planes; may
            be memory-mapped.
        static: bool [H, W], the pixels where nothing moves, or "everywhere". By default they are found: of sensors of
            one size in the real stream for both, else in each (see `static_region`).
        dark: a simulated and a real stream recorded without light, for the dark rates; by default they are those of
            the darkest 1 % of the still pixels. Like `flat`, of at least 2 planes.
        flat: a simulated and a real stream of an evenly lit surface, for the fixed pattern; by default it is taken
            from the scenes, whose texture is then part of it.
        pixels: look at the intervals of at most so many of the still pixels.
        seed: of their choice.

    Raises:
        ValueError: the clocks or sizes do not fit, a stream is too short, nothing is still, or no chosen pixel has
            three spikes in each half.
    """
    if simulated.readout_hz != real.readout_hz:
        raise ValueError(f"expected streams of one readout clock, got {simulated.readout_hz} and {real.readout_hz} Hz")
    planes = _common((simulated, real))
    if planes < FEWEST_PLANES:
        raise ValueError(f"expected streams of at least {FEWEST_PLANES} planes, got {len(simulated)} and {len(real)}")
    masks = _static((simulated, real), static, planes)
    streams = [
        _halved(Span(each, 0, planes), _spans(index, dark, each), _spans(index, flat, each), masks[index], pixels, seed)
        for index, each in enumerate((simulated, real))
    ]
    same_scene = _show_same_scene(streams[0].whole, streams[1].whole)
    ours, theirs = streams[0].halves, streams[1].halves
    by_half = [differences(a, b, same_scene) for a, b in zip(ours, theirs, strict=True)]
    mean = mean_differences(*by_half)
    own = differences(theirs[1], theirs[0], same_scene)
    return Realism(streams[0], streams[1], mean, own, planes, same_scene)


def differences(a: Measured, b: Measured, same_scene: bool) -> dict[str, float]:
    """How far one stretch is from another of the same length: absolute differences of statistics, then distances.

    - interval_total_variation (0 to 1) and interval_wasserstein (readouts): of the pooled interval histograms.
    - rate_curve: root mean square distance of the rate curve from the diagonal, over the mean rate.
    - rate_error: root mean square difference of the pixels' rates, over the mean rate; NaN for different scenes.
    - fano_curve: root mean square difference of the Fano factors over window lengths, over b's.
    - spectrum_db: root mean square difference of the relative spectra, in decibels.
    """
    found = {name: abs(getattr(a.statistics, name) - getattr(b.statistics, name)) for name in _STATISTICS}
    light, ours = rate_curve(a, b, same_scene)
    found["interval_total_variation"] = total_variation(a.histogram, b.histogram)
    found["interval_wasserstein"] = wasserstein(a.histogram, b.histogram)
    found["rate_curve"] = _relative(ours - light, light.mean())
    both = a.static & b.static if same_scene else None
    found["rate_error"] = np.nan if both is None else _relative((a.light - b.light)[both], b.light[both].mean())
    known = np.isfinite(a.fano) & np.isfinite(b.fano)
    found["fano_curve"] = _relative((a.fano - b.fano)[known], _root_mean_square(b.fano[known]))
    with_power = (a.spectrum > 0) & (b.spectrum > 0)
    found["spectrum_db"] = _root_mean_square(10 * np.log10(a.spectrum[with_power] / b.spectrum[with_power]))
    return found


def rate_curve(a: Measured, b: Measured, same_scene: bool) -> tuple[Picture, Picture]:
    """Rate of a against light, which is the rate of b, both float64 [20].

    Of the same scene: means over 20 bins of as many pixels, sorted by b's rate. Otherwise 20 quantiles of each.
    """
    if not same_scene:
        at = (np.arange(_BINS) + 0.5) / _BINS
        return np.quantile(b.light[b.static], at), np.quantile(a.light[a.static], at)
    both = a.static & b.static
    ours, light = a.light[both], b.light[both]
    bins = np.array_split(np.argsort(light, kind="stable"), min(_BINS, light.size))
    return np.array([light[each].mean() for each in bins]), np.array([ours[each].mean() for each in bins])


def _halved(span: Span, dark: Span | None, flat: Span | None, static: Mask, pixels: int, seed: int) -> Halved:
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(static))[:pixels]
    segment = segment_planes(len(span) // 2)
    darks = (None, None) if dark is None else dark.halves()
    flats = (None, None) if flat is None else flat.halves()
    try:
        first, second = (
            measure(half, static, chosen, segment, dark=darks[index], flat=flats[index])
            for index, half in enumerate(span.halves())
        )
    except ValueError as error:  # a half in which no pixel has two intervals
        raise _too_short(span, static) from error
    return Halved(measure(span, static, chosen, segment, dark=dark, flat=flat), (first, second))


def _too_short(span: Span, static: Mask) -> ValueError:
    """The error of a stream without intervals to measure, with the length that takes."""
    rate = float(spike_times(span).count[static].mean()) / len(span)
    needed = f"at {rate:.2g} spikes per readout that takes some {6 / rate:.0f} planes" if rate > 0 else "none fires"
    return ValueError(
        f"expected still pixels with three spikes in each half of the {len(span)} planes compared, got none: {needed}"
    )


def _common(streams: Pair) -> int:
    return min(len(stream) for stream in streams)


def _spans(index: int, pair: Pair | None, beside: SpikeStream) -> Span | None:
    """A dark or flat recording, as long as the other of its pair and of the same sensor as the stream beside it."""
    if pair is None:
        return None
    found, expected = ((each.height, each.width) for each in (pair[index], beside))
    if found != expected:
        raise ValueError(f"expected dark and flat recordings of {expected[1]}x{expected[0]} pixels like the stream, "
                         f"got {found[1]}x{found[0]}")  # fmt: skip
    if _common(pair) < FEWEST_PLANES_BESIDE:
        raise ValueError(f"expected dark and flat recordings of at least {FEWEST_PLANES_BESIDE} planes, "
                         f"got {len(pair[0])} and {len(pair[1])}")  # fmt: skip
    return Span(pair[index], 0, _common(pair))


def _static(streams: Pair, static: Mask | Literal["everywhere"] | None, planes: int) -> tuple[Mask, Mask]:
    """The pixels to look at in the simulated stream and in the real one."""
    simulated, real = streams
    shapes = [(stream.height, stream.width) for stream in streams]
    if isinstance(static, str):
        return np.ones(shapes[0], bool), np.ones(shapes[1], bool)
    if static is not None:
        if static.dtype != bool or any(static.shape != shape for shape in shapes):
            raise ValueError(f"expected static as bool of shape {shapes[0]} and {shapes[1]}, got {static.dtype} "
                             f"{static.shape}")  # fmt: skip
        masks = (static, static)
    else:
        found = static_region(real, planes)
        masks = (found if shapes[0] == shapes[1] else static_region(simulated, planes), found)
    for name, mask in zip(("simulated", "real"), masks, strict=True):
        if not mask.any():
            raise ValueError(f"expected still pixels in the {name} stream, got none; give them as `static` (--static), "
                             'or compare "everywhere" (--everywhere) and take motion for noise')  # fmt: skip
    return masks


def _show_same_scene(a: Measured, b: Measured) -> bool:
    """Whether the two saw the same light on sensors of one size, by the correlation of their pictures."""
    if a.light.shape != b.light.shape:
        return False
    both = a.static & b.static
    ours, theirs = a.light[both] - a.light[both].mean(), b.light[both] - b.light[both].mean()
    norm = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return bool((ours * theirs).sum() >= _SAME_SCENE * norm)


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else np.nan


def _relative(values: NDArray[np.float64], scale: float) -> float:
    return _root_mean_square(values) / float(scale) if scale > 0 else np.nan
