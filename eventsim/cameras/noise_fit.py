"""The noise of a spike camera from a recording of a still scene.

Under steady light all that widens a pixel's intervals beyond an ideal integrator's is noise. How much a given noise
widens them depends on where between two whole readouts the mean interval lies, so there is no formula for a whole
picture: cameras are simulated under the recording's own intensities until their intervals spread alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.pattern import Pattern, as_pattern
from eventsim.cameras.random import Purpose
from eventsim.cameras.spike import SpikeCamera
from eventsim.streams.intervals import IntervalTally, spike_times, tally_intervals
from eventsim.streams.spans import Span
from eventsim.streams.spikes import SpikeStream

#: Simulations of a fit, at most.
EVALUATIONS = 40
_ELECTRONS, _JITTER = 4e4, 0.0014
#: Log-normal spread of the threshold noise between pixels. A wider one fits the public recording of a Vidar a little
#: better, but its variance then rests on a handful of pixels and changes from specimen to specimen.
_SPREAD = 1.6
_FEWEST_PIXELS = 16
#: A recording's planes and pixels that are looked at: they fix the noise to a few per cent, and more would only cost.
MOST_PLANES, MOST_PIXELS = 1000, 50_000
_WIDTH = 512


def fit_noise(
    camera: SpikeCamera,
    recording: SpikeStream,
    pixels: NDArray[np.bool_] | None = None,
    *,
    seed: int = 0,
    show: Callable[[Iterable[int]], Iterator[int]] = iter,
) -> SpikeCamera:
    """A camera whose photon noise and threshold noise spread intervals as a recording's are spread.

    Fitted are `electrons_per_spike` and the mean of `threshold_noise`, which is taken as log-normal from pixel to pixel
    (spread 1.6): recordings have a few pixels that are much noisier than the rest. In daylight the two hardly differ in
    their effect, so that the variance 1 / electrons + 2 jitter^2 of an interval is found much better than its parts.

    Args:
        camera: its other parameters; read noise, which only shows in the dark, is taken as it is.
        recording: of a still scene, with some tens of intervals at most pixels. Its first 1,000 planes are looked at,
            so that memory and time do not grow with its length.
        pixels: bool [H, W], those to look at, by default all; motion looks like noise, so leave out what moves. Of
            more than 50,000 so many are drawn.
        seed: of that choice and of the simulations.
        show: iterates over the numbers of the (at most 40) simulations, to tell the progress; see `progress.track`.

    Returns:
        The camera, of the recording's size and clock. Rates per readout stay as they are, whatever the clock.

    Raises:
        ValueError: fewer than 16 of the pixels are left or have three spikes each, or a map of the camera's read noise
            is of another size than the recording.
    """
    from scipy.optimize import minimize

    span = Span(recording, 0, min(len(recording), MOST_PLANES))
    chosen, light = _lit_pixels(span, pixels, seed)
    target = _spread(tally_intervals(span, chosen))
    read = as_pattern(camera.read_noise).values(camera.specimen, Purpose.READ_NOISE, *span.shape).ravel()[chosen]
    even = {"response": 1.0, "threshold": 1.0, "capacitance": 1.0, "spikes_per_readout": 1.0}
    none = {"dark_spikes_per_readout": 0.0, "hot_share": 0.0, "dead_share": 0.0}
    bare = replace(camera, **even, **none, readout_hz=recording.readout_hz, photon_noise=True)  # type: ignore[arg-type]
    bare, picture = replace(bare, read_noise=_in_rows(read)), _in_rows(light)
    duration_us = round(len(span) * 1e6 / recording.readout_hz)
    simulations = show(range(EVALUATIONS))

    def distance(logarithms: NDArray[np.float64]) -> float:
        next(simulations, None)
        stream = _with_noise(bare, logarithms).simulate(picture, duration_us=duration_us, seed=seed)
        found = _spread(tally_intervals(Span(stream, 0, len(stream)), np.arange(len(chosen))))
        return float(((found - target) ** 2).sum())

    start = np.log([_ELECTRONS, _JITTER])
    simplex = start + np.array([[0, 0], [0.7, 0], [0, 0.7]])
    options = {"maxfev": EVALUATIONS, "initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-4}
    best = minimize(distance, start, method="Nelder-Mead", options=options)
    for _ in simulations:  # those that were not needed
        pass
    sensor = {"height": recording.height, "width": recording.width, "readout_hz": recording.readout_hz}
    return replace(_with_noise(camera, best.x), **sensor, photon_noise=True)  # type: ignore[arg-type]


def _lit_pixels(
    span: Span, pixels: NDArray[np.bool_] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pixels that fire at least three times, int64 [P] indices y * W + x in order, and their intensity, float32 [P]."""
    if pixels is not None and pixels.sum() < _FEWEST_PIXELS:
        raise ValueError(f"expected at least {_FEWEST_PIXELS} still pixels, got {int(pixels.sum())}: all else moves")
    times = spike_times(span)
    usable = np.flatnonzero(times.count >= 3 if pixels is None else (times.count >= 3) & pixels)
    if len(usable) < _FEWEST_PIXELS:
        raise ValueError(
            f"expected at least {_FEWEST_PIXELS} pixels with three spikes in {len(span)} planes, got {len(usable)}"
        )
    if len(usable) > MOST_PIXELS:
        usable = np.sort(np.random.default_rng(seed).choice(usable, MOST_PIXELS, replace=False))
    return usable, times.intensity().ravel()[usable].astype(np.float32)


def _in_rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values one after another in rows, which threads share out; the last row is filled up with 0."""
    rows = np.zeros((-(-len(values) // _WIDTH), _WIDTH), np.float32)
    rows.ravel()[: len(values)] = values
    return rows


def _with_noise(camera: SpikeCamera, logarithms: NDArray[np.float64]) -> SpikeCamera:
    electrons, jitter = np.exp(np.clip(logarithms, np.log([1, 1e-9]), np.log([1e9, 1])))
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
