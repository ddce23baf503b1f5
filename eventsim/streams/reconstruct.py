"""Intensity from spikes, in spikes per readout: by counting (TFP), by the interval around a moment (TFI), or from the
states of synapses with short-term plasticity (TFSTP).

TFP and TFI: Zhu, Dong, Huang and Tian, "A retina-inspired sampling method for visual texture reconstruction", ICME
2019. TFSTP: Zheng, Zheng, Yu, Shi, Tian and Huang, "High-speed image reconstruction through short-term plasticity for
spiking cameras", CVPR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.settings import require
from eventsim.streams.spikes import SpikeStream

_LEVELS = 256
_CHUNK = 64
# What lies this many time constants back has lost all but e^-16 of its weight, a float32's precision.
_MEMORY = 16


def reconstruct_tfp(stream: SpikeStream, window: int, plane: int | None = None) -> NDArray[np.float32]:
    """Texture from playback: each pixel's share of spikes among `window` planes.

    Args:
        stream: the spikes.
        window: number of planes to count over.
        plane: the plane in their middle; by default the stream's. At the ends the window is moved inwards.

    Returns:
        Spikes per readout, float32 [H, W] in [0, 1].

    Raises:
        ValueError: the window is longer than the stream, or the plane outside it.
    """
    if not 1 <= window <= len(stream):
        raise ValueError(f"expected a window of 1..{len(stream)} planes, got {window}")
    middle = _plane(stream, plane)
    start = min(max(middle - window // 2, 0), len(stream) - window)
    return stream.rate(start, start + window)


def reconstruct_tfi(stream: SpikeStream, plane: int | None = None, longest: int = 256) -> NDArray[np.float32]:
    """Texture from interval: the reciprocal of the interval between the spikes before and after a moment.

    Args:
        stream: the spikes.
        plane: the moment; a spike at this very plane ends the interval. By default the stream's middle.
        longest: intervals longer than this many readouts count as dark.

    Returns:
        Spikes per readout, float32 [H, W]: 1 / interval, and 0 where no interval is found.

    Raises:
        ValueError: the plane lies outside the stream, or `longest` is below 1.
    """
    _check_longest(longest)
    middle = _plane(stream, plane)
    before = stream.planes(max(middle - longest, 0), middle)[::-1].astype(bool)
    after = stream.planes(middle, min(middle + longest, len(stream))).astype(bool)
    found = before.any(axis=0) & after.any(axis=0) if len(before) else np.zeros(after.shape[1:], bool)
    interval = (before.argmax(axis=0) if len(before) else 0) + after.argmax(axis=0) + 1
    intensity: NDArray[np.float32] = np.where(found & (interval <= longest), 1.0 / interval, 0.0).astype(np.float32)
    return intensity


@dataclass(frozen=True, kw_only=True)
class ShortTermPlasticity:
    """A synapse whose strength depends on the spikes before, after Tsodyks and Markram.

    Between spikes the resource R recovers to 1 with the time constant D, and the utilisation u falls to u0 with F:
    dR/dt = (1 - R) / D, du/dt = (u0 - u) / F. A spike uses up u R and facilitates: R -> R (1 - u), u -> u + f (1 - u).
    So from a spike to the next one, n readouts later,

        R' = 1 - (1 - R (1 - u)) exp(-n / D)
        u' = u0 + (u + f (1 - u) - u0) exp(-n / F).

    The defaults are those published (as constants of 0.05 and 0.5 ms at 20 readouts a millisecond).

    Args:
        resting_utilisation: u0, above 0 and below 1.
        recovery_readouts: D.
        facilitation_readouts: F.
        facilitation: f, above 0 and below 1.

    Raises:
        ValueError: a value out of range.
    """

    resting_utilisation: float = 0.15
    recovery_readouts: float = 1.0
    facilitation_readouts: float = 10.0
    facilitation: float = 0.15

    def __post_init__(self) -> None:
        require(self, above="resting_utilisation recovery_readouts facilitation_readouts facilitation")
        for name in ("resting_utilisation", "facilitation"):
            if getattr(self, name) >= 1:
                raise ValueError(f"expected {name} below 1, got {getattr(self, name)}")


def reconstruct_tfstp(
    stream: SpikeStream,
    plane: int | None = None,
    *,
    plasticity: ShortTermPlasticity | None = None,
    longest: int = 256,
    equalise: bool = False,
) -> NDArray[np.float32]:
    """Texture from short-term plasticity: the rate that the states of a synapse at each pixel would settle at.

    Every pixel's spikes drive a `ShortTermPlasticity`, up to the spike that ends the interval around a moment. Spikes
    at equal intervals n bring R' = R and u' = u; solved for n, either state tells the rate:

        1 / n = -1 / (D ln((1 - R) / (1 - R (1 - u))))
        1 / n = -1 / (F ln((u - u0) / (u + f (1 - u) - u0))).

    The result is the mean of the two. R forgets within a few readouts and follows the last interval; u averages over
    some F readouts, which smooths the noise of single intervals.

    As published: the model, its parameters, both inversions, and that they are added (for the mean, the sum is
    halved). Otherwise than in the public code (SpikeCV): the second logarithm's denominator is the model's (there, F
    stands for f in it); a synapse is at rest until its pixel's first spike; and the interval around the moment is
    taken in, as TFI does, so that both show the same time. Results are kept within a spike per readout, which the
    first term may pass after a sudden change.

    Args:
        stream: the spikes. No more than `longest`, or 16 of the longer time constant, planes before the moment are
            read, some at a time: what is older is forgotten to a float32's precision.
        plane: the moment; a spike at this very plane ends the interval. By default the stream's middle.
        plasticity: the synapse.
        longest: where the interval around the moment is longer than this many readouts, the pixel counts as dark.
        equalise: spread the grey levels evenly, as published (256 levels between the picture's extremes by the share
            of pixels below). The result is then a picture, not an intensity.

    Returns:
        Spikes per readout, float32 [H, W] in [0, 1], and 0 where no interval is found; or the equalised picture.

    Raises:
        ValueError: the plane lies outside the stream, or `longest` is below 1.
    """
    _check_longest(longest)
    synapse, middle = plasticity or ShortTermPlasticity(), _plane(stream, plane)
    decay = max(synapse.recovery_readouts, synapse.facilitation_readouts)
    start = max(middle - max(longest, int(np.ceil(_MEMORY * decay))), 0)
    states = _Synapses(synapse, stream.height * stream.width)
    for first in range(start, middle, _CHUNK):
        for offset, fired in enumerate(_fired(stream, first, min(first + _CHUNK, middle))):
            states.spike(np.flatnonzero(fired), first + offset)
    ended = _end_intervals(stream, states, middle, longest)
    intensity = np.where(ended, states.rate(), 0).astype(np.float32).reshape(stream.height, stream.width)
    return _equalised(intensity) if equalise else intensity


def _fired(stream: SpikeStream, start: int, stop: int) -> NDArray[np.uint8]:
    """The planes start .. stop - 1 as [n, H W]."""
    return stream.planes(start, stop).reshape(stop - start, -1)


def _end_intervals(stream: SpikeStream, states: _Synapses, middle: int, longest: int) -> NDArray[np.bool_]:
    """Takes in each pixel's first spike from the plane `middle` on; returns where it ends an interval, bool [H W]."""
    waiting = (states.last >= 0) & (states.last > middle - 1 - longest)
    ended = np.zeros_like(waiting)
    for first in range(middle, min(middle + longest, len(stream)), _CHUNK):
        for offset, fired in enumerate(_fired(stream, first, min(first + _CHUNK, len(stream)))):
            now = np.flatnonzero(waiting & (fired > 0) & (first + offset - states.last <= longest))
            states.spike(now, first + offset)
            waiting[now], ended[now] = False, True
        if not waiting.any():
            break
    return ended


class _Synapses:
    """Synapses of all pixels: 1 - R and u - u0, whose differences from rest are kept so that small ones stay exact."""

    def __init__(self, synapse: ShortTermPlasticity, pixels: int) -> None:
        self.synapse = synapse
        self.last = np.full(pixels, -1, np.int64)  # plane of the last spike; -1 before the first
        self.depleted, self.facilitated = np.zeros(pixels), np.zeros(pixels)

    def spike(self, pixels: NDArray[np.int64], plane: int) -> None:
        """Lets spikes at some pixels arrive; a pixel's first only starts its clock."""
        known = pixels[self.last[pixels] >= 0]
        interval = plane - self.last[known]
        depleted, facilitated = self._after_spike(self.depleted[known], self.facilitated[known])
        self.depleted[known] = depleted * np.exp(-interval / self.synapse.recovery_readouts)
        self.facilitated[known] = facilitated * np.exp(-interval / self.synapse.facilitation_readouts)
        self.last[pixels] = plane

    def _after_spike(
        self, depleted: NDArray[np.float64], facilitated: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        used = self.synapse.resting_utilisation + facilitated
        return depleted + used - depleted * used, facilitated + self.synapse.facilitation * (1 - used)

    def rate(self) -> NDArray[np.float64]:
        """The rate at which each synapse would settle in its state, at most 1."""
        constants = self.synapse.recovery_readouts, self.synapse.facilitation_readouts
        left = self.depleted, self.facilitated
        spent = self._after_spike(*left)
        with np.errstate(divide="ignore"):  # a synapse at rest has an interval without end
            depression, facilitation = (1 / (constants[i] * np.log(spent[i] / left[i])) for i in range(2))
        mean: NDArray[np.float64] = np.minimum((depression + facilitation) / 2, 1.0)
        return mean


def _equalised(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    darkest, span = float(picture.min()), float(np.ptp(picture))
    if not span:
        return picture
    level = ((picture - darkest) / span * (_LEVELS - 1)).astype(np.int64)
    below = np.cumsum(np.bincount(level.ravel(), minlength=_LEVELS))
    equal: NDArray[np.float32] = ((below - below[0]) / (picture.size - below[0])).astype(np.float32)
    return equal[level]


def _check_longest(longest: int) -> None:
    if longest < 1:
        raise ValueError(f"expected longest of 1 readout or more, got {longest}")


def _plane(stream: SpikeStream, plane: int | None) -> int:
    middle = len(stream) // 2 if plane is None else plane
    if not 0 <= middle < len(stream):
        raise ValueError(f"expected a plane within 0..{len(stream) - 1}, got {middle}")
    return middle
