"""An event camera's thresholds from its own events and the frames recorded beside them, with error bars.

Between two frames a pixel's log luminance changes by theta_on for every ON and by minus theta_off for every OFF event.
`counts` counts the events up to each frame, `rows` is the regression of log luminance
on the counts. What is left to find besides: the dark luminance under the logarithm, as that with which dim and bright
pixels show the same thresholds; and the spread from pixel to pixel, as what two halves of the recording agree on.

What the pixel loses before it fires is left in the thresholds: in simulated recordings of fast texture (150 events a
pixel and second), a refractory period of 500 us that is not told makes them 12 to 21 % too high (told: within 2 %), a
low-pass filter of 200 Hz 1 to 3 % too low. Without either they come out within 3 %, the dark luminance a quarter low.

Frames of a DAVIS against its events have been used so by Brandli et al. (ISCAS 2014) and Wang et al., "Event Camera
Calibration of Per-pixel Biased Contrast Threshold" (2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.calibrate import Estimate
from eventsim.cameras.calibrate_events.counts import FrameCounts
from eventsim.cameras.calibrate_events.pixels import Number, drawn_to_mean, pixel_thresholds
from eventsim.cameras.calibrate_events.rows import (
    LEVELS,
    Block,
    GreyScale,
    Sums,
    add_up,
    blocks,
    pixel_sums,
    rows_of,
    with_noise,
)
from eventsim.settings import require

Picture = NDArray[np.float64]
_START = np.array([0.2, 0.2])
_ROUNDS = 5
# Error of a threshold, as a share of it, that parts of events leave: at least, and times the squared share of events
# that turn; as seen in simulations of moving textures.
_COUNTING, _TURNING = 0.01, 0.17
# The same for a spread, times the share of events that turn, and for the dark luminance.
_SPREADING, _DARKENING = 0.2, 0.25
_ROUNDS_OVER_ALL = 2
_FIT_BLOCKS = 6
_FAINTEST, _BRIGHTEST = 6, 250  # grey values that are taken for neither black nor saturated
_DARK = np.geomspace(0.001, 0.25, 13)
_TWO_BLOCKS = 8  # frames from which on there are two blocks at least
_LEAST, _MOST_RELATIVE = 0.01, 0.4
_MOST_DARK_ERROR = 0.7  # of its logarithm


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """How frames are to be understood.

    Args:
        srgb: grey values are sRGB, not linear.
        black_level: grey value of no light.
        dark_luminance: added to luminance before the logarithm; None: found from dim against bright pixels.
        exposure: "free": it may change from frame to frame (only contrast within a frame counts), or "fixed".
        block_frames: frames that are compared with each other; noise events add up over longer ones.
        leak_rate_hz: ON events a second without light's doing, with a fixed exposure (a free one swallows them).
        assumed_dark: dark luminance where it cannot be told.

    Raises:
        ValueError: a number out of range.
    """

    srgb: bool = False
    black_level: float = 0.0
    dark_luminance: float | None = None
    exposure: str = "free"
    block_frames: int = 16
    leak_rate_hz: float = 0.0
    assumed_dark: float = 0.02

    def __post_init__(self) -> None:
        require(self, at_least="black_level leak_rate_hz assumed_dark")
        if self.exposure not in ("free", "fixed"):
            raise ValueError(f"expected an exposure of free or fixed, got {self.exposure}")
        if self.block_frames < 2 or self.black_level > 200:
            raise ValueError(f"expected block_frames of at least 2 and a black_level of at most 200, got {self}")
        if self.dark_luminance is not None:
            require(self, above="dark_luminance")

    def scale(self) -> GreyScale:
        """Luminance of each grey value, of which 255 is 1."""
        grey = np.arange(256.0)
        luminance = np.maximum(grey - self.black_level, 0) / (255 - self.black_level)
        if self.srgb:
            from eventsim.light.frames import srgb_to_linear

            luminance = srgb_to_linear(luminance)
        usable = (grey - self.black_level >= _FAINTEST) & (grey <= _BRIGHTEST)
        return GreyScale(
            luminance=luminance,
            usable=usable,
            step=np.gradient(luminance),
            dark_luminance=self.dark_luminance or self.assumed_dark or 0.02,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds:
    """What a recording with frames tells about the thresholds, in log luminance.

    Args:
        on, off: means over the pixels; errors hold what clusters of pixels and the two halves in time differ by, what
            the error of the dark luminance makes, and 1 % or more for the parts of events at frames.
        dark_luminance: with which they hold; None where it was given or cannot be told (`assumed_dark` is used).
        assumed_dark: the dark luminance that was used.
        spread_on, spread_off: standard deviations from pixel to pixel; None where the data do not tell.
        pixels_on, pixels_off: thresholds of the pixels with their errors (NaN where unknown); None without spreads.
        level_scale: contrast seen over contrast told by the events, in pixels from dim to bright: 1 where all is well.
        correlation: of the contrast that the frames show with that which the events tell, row by row.
        residual: standard deviation of a row's error at bright pixels, in log luminance.
        rows, frames: that were used.
        turned: share of the events whose pixel's event before was of the other polarity; few make a good recording.
        shortest_us: time that all but a thousandth of the intervals between a pixel's events exceed: what a refractory
            period can be at most.
    """

    on: Number
    off: Number
    dark_luminance: Number | None
    assumed_dark: float
    spread_on: Number | None
    spread_off: Number | None
    pixels_on: Estimate | None
    pixels_off: Estimate | None
    level_scale: tuple[Number, ...]
    correlation: float
    residual: float
    rows: int
    frames: int
    turned: float
    shortest_us: float


def fit_thresholds(
    counts: FrameCounts, settings: FrameSettings | None = None, excluded: NDArray[np.bool_] | None = None
) -> Thresholds:
    """Thresholds of a camera from its frames and events.

    Args:
        counts: of `count_events`.
        settings: how the frames are to be understood.
        excluded: bool [H, W], pixels that are left out besides those with far more events than all around them.

    Raises:
        ValueError: too little change between frames to tell, or thresholds that make no sense.
    """
    chosen = settings or FrameSettings()
    left_out = noisy_pixels(counts.total.sum(axis=0))
    if excluded is not None:
        left_out = left_out | excluded
    fit = _Fit(counts, chosen, left_out)
    state = fit.settle(_State(chosen.scale(), _START, np.zeros((2, *left_out.shape), np.float32)))
    dark, shift = None, np.zeros(2)
    if chosen.dark_luminance is None:
        dark, shift, state = fit.dark_luminance(state)
        state = fit.settle(state)
    for _ in range(_ROUNDS_OVER_ALL if fit.sampled else 1):
        found = fit.over(fit.blocks(), state)
        state = found.next_state(state)
    summary = _summary(counts, found, state, dark, shift)
    for name, number in (("ON", summary.on), ("OFF", summary.off)):
        if not (number.value > _LEAST and number.error < _MOST_RELATIVE * number.value):
            raise ValueError(
                f"expected frames whose contrast goes with the events, got a threshold {name} of {number} (correlation "
                f"{summary.correlation:.2f}): other motion, times of frames that are off, or too few events"
            )
    return summary


def noisy_pixels(total: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels with far more events than the median of those around them: bool [H, W]."""
    from scipy.ndimage import median_filter

    around = median_filter(total.astype(np.float64), size=5)
    found: NDArray[np.bool_] = total > 4 * around + 8 * np.sqrt(around) + 20
    return found


@dataclass(frozen=True, eq=False)
class _State:
    """What is known so far: the frames' noise, the mean thresholds, and the pixels' departures float32 [2, H, W]."""

    scale: GreyScale
    mean: NDArray[np.float64]
    departures: NDArray[np.float32]

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """float32 [2, H, W]."""
        return self.departures + self.mean.astype(np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class _Found:
    """Sums over all blocks and over every other one, and the pixels' own over every other one."""

    total: Sums
    halves: list[Sums]
    pixels: list[tuple[Picture, Picture]]

    def next_state(self, state: _State) -> _State:
        """What the sums say, each pixel's departure as far as it is no noise."""
        mean, scale = self.total.thresholds(), with_noise(state.scale, self.total)
        departures = np.zeros_like(state.departures)
        if len(self.pixels) == 2:
            spreads, maps = pixel_thresholds(state.thresholds, mean, self.pixels)
            for which, (spread, pixels) in enumerate(zip(spreads, maps, strict=True)):
                if spread is not None:
                    departures[which] = drawn_to_mean(pixels, float(mean[which]), spread.value) - mean[which]
        return _State(scale, mean, departures)


class _Fit:
    """The regression over a recording's blocks."""

    def __init__(self, counts: FrameCounts, settings: FrameSettings, excluded: NDArray[np.bool_]) -> None:
        self.counts, self.settings, self.excluded = counts, settings, excluded
        self.free = settings.exposure == "free"
        frames = len(counts.times_us)
        self.length = min(settings.block_frames, frames // 2 if frames >= _TWO_BLOCKS else frames)
        number = frames // self.length
        self.sampled = number > _FIT_BLOCKS
        chosen = set(np.linspace(0, number - 1, min(number, _FIT_BLOCKS)).astype(int).tolist())
        self.sample = [block for index, block in enumerate(self.blocks()) if index in chosen]
        grey = np.concatenate([block.grey[block.known] for block in self.sample])
        grey = grey[settings.scale().usable[grey]]
        self.edges = np.quantile(grey, np.arange(1, LEVELS) / LEVELS) if len(grey) else np.zeros(LEVELS - 1)

    def blocks(self) -> Iterator[Block]:
        """All of the recording."""
        return blocks(self.counts, self.length, self.excluded, self.settings.leak_rate_hz)

    def over(self, some: Iterable[Block], state: _State) -> _Found:
        """The sums over some blocks."""
        total: Sums | None = None
        halves: list[Sums | None] = [None, None]
        pixels: list[Any] = [None, None]
        for index, block in enumerate(some):
            half = index % 2
            rows = rows_of(block, state.scale, state.thresholds, free=self.free)
            total = add_up(total, block, rows, state.scale, self.edges, state.mean)
            halves[half] = add_up(halves[half], block, rows, state.scale, self.edges, state.mean)
            own = pixel_sums(rows)
            pixels[half] = own if pixels[half] is None else tuple(a + b for a, b in zip(pixels[half], own, strict=True))
        assert total is not None
        return _Found(total, [each for each in halves if each is not None], [each for each in pixels if each])

    def settle(self, state: _State) -> _State:
        """The noise, the thresholds and the pixels' departures that go with each other, over the sample."""
        for _ in range(_ROUNDS):
            state = self.over(self.sample, state).next_state(state)
        return state

    def dark_luminance(self, state: _State) -> tuple[Number | None, NDArray[np.float64], _State]:
        """The dark luminance with which all levels show one threshold, what its error does to the thresholds, and the
        state with it (as it was where the levels do not tell)."""
        misfit, means = [], []
        for dark in _DARK:
            trial = replace(state, scale=replace(state.scale, dark_luminance=float(dark)))
            for _ in range(2):
                sums = self.over(self.sample, trial).total
                trial = replace(trial, mean=sums.thresholds())
            scales, errors = sums.scales()
            mean = (scales / errors**2).sum() / (1 / errors**2).sum()
            misfit.append(float((((scales - mean) / errors) ** 2).sum()))
            means.append(trial.mean)
        number = _least(np.log(_DARK), np.array(misfit))
        if number is None:
            return None, np.zeros(2), state
        at = number.value + np.array([-0.5, 0.5]) * number.error
        shift = np.array([np.ptp(np.interp(at, _DARK, each)) for each in np.transpose(means)])
        return number, shift, replace(state, scale=replace(state.scale, dark_luminance=number.value))


def _least(at: NDArray[np.float64], misfit: NDArray[np.float64]) -> Number | None:
    """exp of where a misfit is least, with the error at which it is larger by 1 (times the misfit per degree of
    freedom); None at the grid's ends or where it hardly changes."""
    best = int(misfit.argmin())
    if best in (0, len(at) - 1):
        return None
    curve = np.polyfit(at[best - 1 : best + 2] - at[best], misfit[best - 1 : best + 2], 2)
    if curve[0] <= 0:
        return None
    place = float(at[best] - curve[1] / (2 * curve[0]))
    left = max(float(misfit[best]) / (LEVELS - 2), 1.0)
    error = float(np.hypot(np.sqrt(left / curve[0]), _DARKENING))
    return Number(float(np.exp(place)), float(np.exp(place)) * error) if error < _MOST_DARK_ERROR else None


def _summary(
    counts: FrameCounts, found: _Found, state: _State, dark: Number | None, shift: NDArray[np.float64]
) -> Thresholds:
    mean = found.total.thresholds()
    variance = np.diag(found.total.covariance())
    if len(found.halves) == 2 and all(half.tells for half in found.halves):
        apart = found.halves[0].thresholds() - found.halves[1].thresholds()
        variance = np.maximum(variance, (apart / 2) ** 2)
    variance = variance + shift**2 + (max(_COUNTING, _TURNING * counts.turned**2) * mean) ** 2
    spreads: Any = (None, None)
    maps: Any = (None, None)
    if len(found.pixels) == 2:
        spreads, maps = pixel_thresholds(state.thresholds, mean, found.pixels)
        spreads = [_less_sure(spread, _SPREADING * counts.turned) for spread in spreads]
    return Thresholds(
        on=Number(float(mean[0]), float(np.sqrt(variance[0]))),
        off=Number(float(mean[1]), float(np.sqrt(variance[1]))),
        dark_luminance=dark,
        assumed_dark=state.scale.dark_luminance,
        spread_on=spreads[0],
        spread_off=spreads[1],
        pixels_on=maps[0],
        pixels_off=maps[1],
        level_scale=tuple(Number(float(a), float(b)) for a, b in zip(*found.total.scales(), strict=True)),
        correlation=found.total.correlation,
        residual=float(np.sqrt(state.scale.count_variance)),
        rows=found.total.rows,
        frames=len(counts.times_us),
        turned=counts.turned,
        shortest_us=counts.shortest_us,
    )


def _less_sure(number: Number | None, share: float) -> Number | None:
    """With an error that holds a share of the value besides."""
    return number and Number(number.value, float(np.hypot(number.error, share * number.value)))
