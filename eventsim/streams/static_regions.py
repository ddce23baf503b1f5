"""Where a scene stands still: noise can only be told from motion there.

Under steady light the spikes that an integrator counts in a window of w planes vary by f (1 - f) <= 1/4, f being the
fraction of the expected count, and noise adds to that in proportion to w at most. Motion adds more, in two ways:

- Slow change. Neighbouring windows are alike and far ones are not, so that the variance over all windows exceeds half
  the mean square of successive differences (von Neumann, "Distribution of the ratio of the mean square successive
  difference to the variance", Annals of Mathematical Statistics 1941). Independent noise of any strength makes the
  two equal on average, and the counting error of an integrator makes the first the smaller: what one window counts
  too much the next lacks, with covariance -min(f, 1 - f)^2.
- Fast change, of which successive windows know nothing: the variance itself.

Both are averaged over a small neighbourhood, and looked at for windows of several lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.settings import require
from eventsim.streams.intervals import Mask, Picture, spike_times
from eventsim.streams.spans import Span
from eventsim.streams.spikes import SpikeStream


@dataclass(frozen=True, kw_only=True)
class Stillness:
    """What still counts as still.

    Args:
        windows: into how many windows the longest are cut from; each further scale has four times as many.
        shortest_planes: windows are not cut shorter than this.
        sides: pixels along the sides of the neighbourhoods that are averaged over, odd: small for small things that
            move, large for faint ones.
        patch: pixels along the side of the smallest still square: smaller islands amid motion are featureless at best.
        false_spikes: independent spikes per readout that pass for noise (SpikingSIM makes 0.0072).
        drift: change of the rate, as a share of it (standard deviation over time), that passes for still.
        deviations: standard errors by which a neighbourhood's variance may exceed what is expected of it.

    Raises:
        ValueError: a setting outside its range.
    """

    windows: int = 8
    shortest_planes: int = 10
    sides: tuple[int, ...] = (7, 21)
    patch: int = 15
    false_spikes: float = 0.012
    drift: float = 0.005
    deviations: float = 4.0

    def __post_init__(self) -> None:
        require(self, above="shortest_planes patch deviations", at_least="false_spikes drift")
        if self.windows < 3 or not all(side > 0 and side % 2 for side in self.sides):
            raise ValueError(f"expected 3 windows or more and odd sides, got {self.windows} and {self.sides}")


@dataclass(frozen=True, eq=False)
class Counted:
    """How the spike counts of consecutive windows of one length vary: float64 [H, W] each, in spikes squared.

    Args:
        windows, planes: number of windows and the length of each.
        mean: spikes in a window.
        variance: over all windows, unbiased.
        successive: half the mean square of successive differences.
    """

    windows: int
    planes: int
    mean: Picture
    variance: Picture
    successive: Picture


def static_region(stream: SpikeStream, stop: int | None = None, *, stillness: Stillness | None = None) -> Mask:
    """The pixels around which nothing moves during the planes 0 .. stop - 1: bool [H, W].

    Featureless surfaces are still by what can be seen of them, moving or not. A stream too short for a pixel's counts
    to tell (some 60 planes, or two spikes a window) is called still.

    Args:
        stream: the spikes; may be memory-mapped.
        stop: end of the planes to look at, by default all.
        stillness: what counts as still.
    """
    rules = stillness or Stillness()
    span = Span(stream, 0, len(stream) if stop is None else stop)
    still = np.ones(span.shape, bool)
    for counted in windowed_counts(span, rules):
        for side in rules.sides:
            still &= _still(counted, side, rules)
    return _patches(still, rules.patch)


def _patches(still: Mask, side: int) -> Mask:
    """The pixels that lie in a wholly still square; beyond the border all is as at the border."""
    from scipy.ndimage import binary_opening

    patches: Mask = binary_opening(np.pad(still, side, mode="edge"), np.ones((side, side)))
    return patches[side:-side, side:-side]


def _still(counted: Counted, side: int, rules: Stillness) -> Mask:
    """Whether the counts of windows of one length, averaged over squares, vary as under steady light: bool [H, W]."""
    from scipy.ndimage import uniform_filter

    fraction = counted.mean - np.floor(counted.mean)
    maps = (counted.variance, counted.successive, counted.mean, fraction * (1 - fraction))
    variance, successive, mean, counting = (uniform_filter(each, side) for each in maps)
    drift = 0.005 + (rules.drift * mean) ** 2
    noise = 0.02 + rules.false_spikes * counted.planes
    # A variance over n windows of m pixels scatters by sqrt(2 / nm) of it, its excess over `successive` by
    # sqrt(1 / nm).
    error = rules.deviations * np.maximum(successive, counting) / np.sqrt(side**2 * counted.windows)
    slow = variance - successive > drift + error
    fast = variance > counting + noise + drift + np.sqrt(2) * error
    still: Mask = ~(slow | fast)
    return still


def windowed_counts(span: Span, rules: Stillness) -> Iterator[Counted]:
    """The counts' variation at each scale, from the shortest windows to the longest, in one pass over the span.

    Only sums are kept, so that memory does not grow with the length of the span.
    """
    longest = len(span) // rules.windows
    scales = 0
    while longest // 4 ** (scales + 1) >= rules.shortest_planes:
        scales += 1
    shortest = longest // 4**scales
    if shortest == 0:
        return
    sums = [_Sums(span.shape) for _ in range(scales + 1)]
    for window in range(len(span) // shortest):
        start = span.start + window * shortest
        _add(sums, spike_times(Span(span.stream, start, start + shortest)).count)
    for scale, each in enumerate(sums):
        yield each.counted(shortest * 4**scale)


def _add(sums: list[_Sums], counts: NDArray[np.int64]) -> None:
    """Gives a window's counts to the shortest scale, and every fourth time their sum to the next."""
    for each in sums:
        each.add(counts)
        if each.windows % 4:
            break
        counts, each.waiting = each.waiting, np.zeros_like(each.waiting)


class _Sums:
    """Sums over windows of one length."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.windows = 0
        self.waiting = np.zeros(shape, np.int64)
        self.latest = np.zeros(shape, np.int64)
        self.total = np.zeros(shape, np.int64)
        self.squares = np.zeros(shape, np.int64)
        self.differences = np.zeros(shape, np.int64)

    def add(self, counts: NDArray[np.int64]) -> None:
        if self.windows:
            self.differences += (counts - self.latest) ** 2
        self.windows += 1
        self.latest = counts
        self.waiting = self.waiting + counts
        self.total += counts
        self.squares += counts**2

    def counted(self, planes: int) -> Counted:
        n, mean = self.windows, self.total / self.windows
        variance = (self.squares - self.total * mean) / (n - 1)
        return Counted(n, planes, mean, variance, self.differences / (2 * (n - 1)))
