"""The noise of a spike camera from a recording of a still scene.

Under steady light all that widens a pixel's intervals beyond an ideal integrator's is noise. How much a given noise
widens them depends on where between two whole readouts the mean interval lies, so there is no formula for a whole
picture: cameras are simulated under the recording's own intensities until their intervals spread alike.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.pattern import Pattern
from eventsim.cameras.spike import SpikeCamera
from eventsim.streams.intervals import IntervalTally, spike_times, tally_intervals
from eventsim.streams.spans import Span
from eventsim.streams.spikes import SpikeStream

_EVALUATIONS = 40
_ELECTRONS, _JITTER = 4e4, 0.0014
#: Log-normal spread of the threshold noise between pixels. A wider one fits the public recording of a Vidar a little
#: better, but its variance then rests on a handful of pixels and changes from specimen to specimen.
_SPREAD = 1.6
_FEWEST_PIXELS = 16
#: What is looked at of a recording: more would hardly tell more, and be simulated as often.
_MOST_PLANES, _MOST_PIXELS = 1000, 50_000


def fit_noise(
    camera: SpikeCamera,
    recording: SpikeStream,
    pixels: NDArray[np.bool_] | None = None,
    *,
    seed: int = 0,
) -> SpikeCamera:
    """A camera whose photon noise and threshold noise spread intervals as a recording's are spread.

    Fitted are `electrons_per_spike` and the mean of `threshold_noise`, which is taken as log-normal from pixel to pixel
    (spread 1.6): recordings have a few pixels that are much noisier than the rest. In daylight the two hardly differ in
    their effect, so that the variance 1 / electrons + 2 jitter^2 of an interval is found much better than its parts.

    Args:
        camera: its other parameters; read noise, which only shows in the dark, is taken as it is.
        recording: of a still scene, with some tens of intervals at most pixels. Its first 1,000 planes and 50,000
            pixels of it at most are looked at.
        pixels: bool [H, W], those to look at, by default all; motion looks like noise, so leave out what moves.
        seed: of the simulations.

    Returns:
        The camera, of the recording's size and clock.

    Raises:
        ValueError: fewer than 16 of the pixels have three spikes each.
    """
    from scipy.optimize import minimize

    span = Span(recording, 0, min(len(recording), _MOST_PLANES))
    light = _light(span, pixels)
    target = _spread(tally_intervals(span, np.flatnonzero(light.ravel() > 0)))
    even = {"response": 1.0, "threshold": 1.0, "capacitance": 1.0, "spikes_per_readout": 1.0}
    none = {"dark_spikes_per_readout": 0.0, "hot_share": 0.0, "dead_share": 0.0}
    bare = replace(camera, **even, **none, readout_hz=recording.readout_hz, photon_noise=True)  # type: ignore[arg-type]
    packed_light = np.ascontiguousarray(light[light > 0][None])

    def distance(logarithms: NDArray[np.float64]) -> float:
        tried = _with_noise(bare, logarithms)
        duration_us = round(len(span) * 1e6 / recording.readout_hz)
        stream = tried.simulate(packed_light, duration_us=duration_us, seed=seed)
        found = _spread(tally_intervals(Span(stream, 0, len(stream)), np.arange(packed_light.size)))
        return float(((found - target) ** 2).sum())

    start = np.log([_ELECTRONS, _JITTER])
    simplex = start + np.array([[0, 0], [0.7, 0], [0, 0.7]])
    options = {"maxfev": _EVALUATIONS, "initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-4}
    best = minimize(distance, start, method="Nelder-Mead", options=options)
    sensor = {"height": recording.height, "width": recording.width, "readout_hz": recording.readout_hz}
    return replace(_with_noise(camera, best.x), **sensor, photon_noise=True)  # type: ignore[arg-type]


def _light(span: Span, pixels: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Intensity of the chosen pixels that fire at least three times, 0 elsewhere: float32 [H, W]."""
    times = spike_times(span)
    usable = times.count >= 3 if pixels is None else (times.count >= 3) & pixels
    if usable.sum() < _FEWEST_PIXELS:
        raise ValueError(f"expected at least {_FEWEST_PIXELS} pixels with three spikes, got {int(usable.sum())}")
    every = -(-int(usable.sum()) // _MOST_PIXELS)
    chosen = np.zeros(usable.shape, bool)
    chosen.ravel()[np.flatnonzero(usable)[::every]] = True
    return np.where(chosen, times.intensity(), 0).astype(np.float32)


def _with_noise(camera: SpikeCamera, logarithms: NDArray[np.float64]) -> SpikeCamera:
    electrons, jitter = np.exp(logarithms)
    pattern = Pattern(mean=float(jitter), spread=_SPREAD, distribution="lognormal")
    return replace(camera, electrons_per_spike=float(electrons), threshold_noise=pattern)


def _spread(tally: IntervalTally) -> NDArray[np.float64]:
    """How far intervals are spread: numbers that noise changes by about as much, logarithms where they are shares."""
    least = 1 / tally.sums.intervals.sum()
    lag1 = np.nan_to_num(tally.lag1_correlation())
    shares = [
        float(tally.excess_variance().mean()),
        tally.outlying_share(),
        1 - tally.two_valued_share(),
        tally.jump_share(),
    ]
    # A tenth of correlation counts as much as a factor of e.
    return np.array([*np.log(np.maximum(shares, least)), 10 * lag1])
