"""The spike camera's pixel: its parameters at every pixel, and the model as a plain loop, to read.

In one readout a pixel gains the charge of the light that fell and of its dark current, with the shot noise of both and
the read noise. The comparator then asks whether the charge has reached the threshold, which jitters from readout to
readout. A pixel that has spiked is reset: softly, by taking the threshold off, or hard, to nothing. All charge is
counted in nominal thresholds, as float32.

The terms are those of SCSim (Hu et al., "SCSim: A realistic spike cameras simulator", ICME 2024), of SpikingSIM (Zhao
et al., ISCAS 2022: hard reset in steps, false spikes) and of what recordings of a Vidar show (soft reset, random phase,
read noise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.pattern import as_pattern
from eventsim.cameras.random import (
    Purpose,
    draw,
    mix64,
    normals,
    pixel_keys,
    pixel_uniforms,
    stream_key,
    uniform,
)

if TYPE_CHECKING:
    from eventsim.cameras.spike import SpikeCamera

Picture = NDArray[np.float32]
#: Means of fewer electrons are drawn by inversion of the Poisson law; from here on its skewness is at most 1/4.
FEW_ELECTRONS = 16
_LEAST_THRESHOLD = np.float32(0.05)


@dataclass(frozen=True)
class PixelMaps:
    """What a camera's parameters come to at each pixel: float32 [H, W], in thresholds (per readout).

    Args:
        gain: charge at luminance 1.
        dark: charge without light.
        full: charge at which the pixel spikes; infinite for a dead pixel.
        jitter: standard deviation of that threshold.
        read: standard deviation of the charge of a readout, beside its shot noise.
    """

    gain: Picture
    dark: Picture
    full: Picture
    jitter: Picture
    read: Picture


def pixel_maps(camera: SpikeCamera, height: int, width: int) -> PixelMaps:
    """The parameters at each pixel of one specimen of a camera.

    Raises:
        ValueError: a map of the camera is of another size.
    """

    def values(name: str) -> Picture:
        purpose = _PURPOSES[name]
        return as_pattern(getattr(camera, name)).values(camera.specimen, purpose, height, width)

    capacitance = np.maximum(values("capacitance"), _LEAST_THRESHOLD)
    full = capacitance * np.maximum(values("threshold"), _LEAST_THRESHOLD)
    dark = values("dark_spikes_per_readout")
    hot = pixel_uniforms(camera.specimen, Purpose.HOT, height, width) < camera.hot_share
    dead = pixel_uniforms(camera.specimen, Purpose.DEAD, height, width) < camera.dead_share
    return PixelMaps(
        gain=np.float32(camera.spikes_per_readout) * values("response"),
        dark=np.where(hot, np.maximum(dark, np.float32(camera.hot_spikes_per_readout)), dark),
        full=np.where(dead, np.float32(np.inf), full),
        jitter=np.where(dead, np.float32(0), capacitance * values("threshold_noise")),
        read=values("read_noise"),
    )


_PURPOSES = {
    "response": Purpose.RESPONSE,
    "dark_spikes_per_readout": Purpose.DARK,
    "threshold": Purpose.THRESHOLD,
    "capacitance": Purpose.CAPACITANCE,
    "threshold_noise": Purpose.THRESHOLD_NOISE,
    "read_noise": Purpose.READ_NOISE,
}
#: The fields of a spike camera that may be a number, a spread or a map.
PATTERNS = tuple(_PURPOSES)


def initial_charge(camera: SpikeCamera, full: Picture, seed: int) -> Picture:
    """Charge of each pixel before the first readout: float32 [H, W], up to its threshold (0 for dead pixels)."""
    phase = pixel_uniforms(seed, Purpose.PHASE, *full.shape).astype(np.float32) * np.float32(camera.random_phase)
    return np.where(np.isfinite(full), phase, 0) * np.where(np.isfinite(full), full, 0)


def electrons(camera: SpikeCamera) -> np.float32:
    """Photo-electrons per threshold; infinitely many make no photon noise."""
    return np.float32(camera.electrons_per_spike if camera.photon_noise else np.inf)


def dead_time_share(camera: SpikeCamera) -> np.float32:
    """The share of a readout that a pixel is blind for after a spike."""
    return np.float32(camera.dead_time_us * 1e-6 * camera.readout_hz)


def integrate_reference(camera: SpikeCamera, exposure: Picture, seed: int) -> NDArray[np.bool_]:
    """The model as a plain loop over readouts: the specification that the kernels agree with bit for bit.

    Args:
        camera: its parameters.
        exposure: float32 [T, H, W], mean luminance during each readout.
        seed: of the initial phase and the noise.

    Returns:
        Spikes, bool [T, H, W].
    """
    size = exposure.shape[1:]
    maps = pixel_maps(camera, *size)
    charge = initial_charge(camera, maps.full, seed)
    keys = pixel_keys(stream_key(seed, Purpose.READOUT), *size)
    reset = _soft_reset if camera.reset == "soft" else _hard_reset
    spikes = np.zeros(exposure.shape, bool)
    fired = np.zeros(size, np.float32)
    for plane, light in enumerate(exposure):
        bits = draw(keys, np.full(1, plane, np.uint64))
        gained = maps.gain * light + maps.dark
        gained = gained - dead_time_share(camera) * fired * gained
        charge_noise, threshold_noise = normals(bits)
        gained = _with_noise(gained, electrons(camera), maps.read, charge_noise, bits)
        threshold = maps.full + maps.jitter * threshold_noise
        charge, spikes[plane] = reset(camera, charge, gained, threshold, maps.full)
        fired = spikes[plane].astype(np.float32)
    return spikes | _false_spikes_reference(camera, maps.full, len(exposure), seed)


def _soft_reset(
    camera: SpikeCamera, charge: Picture, gained: Picture, threshold: Picture, full: Picture
) -> tuple[Picture, NDArray[np.bool_]]:
    """Takes the threshold off and keeps what is beyond it, up to one more threshold: a pixel that saturates recovers
    at once when the light goes."""
    level = charge + gained
    spikes = level >= threshold
    taken = threshold if camera.threshold_noise_stays else full
    return np.where(spikes, np.minimum(level - taken, full), level), spikes


def _hard_reset(
    camera: SpikeCamera, charge: Picture, gained: Picture, threshold: Picture, full: Picture
) -> tuple[Picture, NDArray[np.bool_]]:
    """Empties the pixel at the first of a readout's steps at which it is full, and again whenever it fills up."""
    steps = np.float32(camera.steps_per_readout)
    step = gained / steps
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        first = np.maximum(np.ceil((threshold - charge) / step), np.float32(1))
        period = np.maximum(np.ceil(threshold / step), np.float32(1))
        spikes = (step > 0) & (first <= steps)
        since = (steps - first) - period * np.floor((steps - first) / period)
        return np.where(spikes, since * step, charge + gained), spikes


def _with_noise(
    gained: Picture, electrons: np.float32, read: Picture, normal: Picture, bits: NDArray[np.uint64]
) -> Picture:
    """The charge of a readout with its shot noise and the read noise."""
    noisy = np.asarray(gained + np.sqrt(np.maximum(gained, 0) / electrons + read * read) * normal, np.float32)
    if np.isfinite(electrons):
        few = gained * electrons < FEW_ELECTRONS
        count = poisson_reference((gained * electrons)[few], uniform(mix64(bits[few])))
        noisy[few] = count / electrons + read[few] * normal[few]
    return noisy


def poisson_reference(mean: Picture, rest: NDArray[np.float64]) -> Picture:
    """Poisson numbers by inversion of uniform ones: float32, like `mean`."""
    exact = mean.astype(np.float64)
    probability = np.exp(-exact)
    cumulative, count = probability.copy(), np.zeros(mean.shape, np.float32)
    for k in range(1, 201):
        more = rest > cumulative
        probability = probability * (exact / k)
        cumulative += probability
        count += more
    return count


def first_false_spikes(camera: SpikeCamera, height: int, width: int, seed: int) -> NDArray[np.int64]:
    """The plane of each pixel's first false spike, int64 [H, W]: its sequence has run for some intervals before."""
    keys = pixel_keys(stream_key(seed, Purpose.FALSE_SPIKES, 1), height, width)
    due = -np.floor(uniform(draw(keys, np.uint64(0))) * 4 * camera.false_spike_interval).astype(np.int64) - 1
    index = 1
    while (due < 0).any():
        gap = false_spike_gap(camera, normals(draw(keys, np.full(1, index, np.uint64)))[0])
        due, index = np.where(due < 0, due + gap, due), index + 1
    return np.asarray(due, np.int64)


def false_spike_gap(camera: SpikeCamera, normal: Picture) -> NDArray[np.int64]:
    """Readouts from one false spike to the next, of a standard normal number: int64."""
    interval = np.float32(camera.false_spike_interval) + np.float32(camera.false_spike_spread) * normal
    return np.asarray(np.maximum(interval, np.float32(1)), np.int64)


def _false_spikes_reference(camera: SpikeCamera, full: Picture, planes: int, seed: int) -> NDArray[np.bool_]:
    """Spikes that no light explains, bool [T, H, W]: each pixel has its own sequence, which leaves the charge alone."""
    spikes = np.zeros((planes, *full.shape), bool)
    if camera.false_spike_interval == 0:
        return spikes
    keys = pixel_keys(stream_key(seed, Purpose.FALSE_SPIKES), *full.shape)
    height, width = full.shape
    due = first_false_spikes(camera, height, width, seed)
    for plane in range(planes):
        now = due == plane
        spikes[plane] = now & np.isfinite(full)
        normal, _ = normals(draw(keys, np.full(1, plane, np.uint64)))
        due = np.where(now, plane + false_spike_gap(camera, normal), due)
    return spikes
