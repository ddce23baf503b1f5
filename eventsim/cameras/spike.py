"""The spike camera: a clocked integrate-and-fire pixel with soft reset, dark current, photon and threshold noise.

Every readout, a pixel's capacitor gains the charge of the light that fell since the last one. When it holds the
threshold charge, the pixel emits a spike and *subtracts* the threshold, so that no charge is lost (soft reset: what
recordings of a Vidar show). Between two frames light is linear in time and integrated exactly, whatever the readout
rate. Charge is counted in thresholds, as float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.exposure import Exposures, exposures
from eventsim.cameras.preset import load_preset
from eventsim.cameras.random import (
    Purpose,
    draw,
    gaussian,
    gaussian_table,
    mix64,
    pixel_keys,
    pixel_uniforms,
    stream_key,
    uniform,
    upper_bits,
)
from eventsim.light.frames import Frames, as_frames
from eventsim.rows import over_rows
from eventsim.settings import require
from eventsim.streams.spikes import SpikeStream

Picture = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SpikeCamera:
    """Parameters of a spike camera; `SpikeCamera.preset("vidar")` gives a named one.

    Args:
        height, width: the sensor's size. Commands scale pictures to it; `simulate` takes frames of any size.
        readout_hz: readouts a second.
        spikes_per_readout: rate at luminance 1.0, in spikes per readout (at most one can be read out).
        electrons_per_spike: photo-electrons that make up the threshold charge; sets the photon noise.
        dark_spikes_per_readout: rate of the dark current.
        photon_noise: draw the electrons of each readout from a Poisson law.
        threshold_noise: standard deviation of the threshold from readout to readout, as a share of it.
        random_phase: start each pixel at a random charge; otherwise all start empty.

    Raises:
        ValueError: a parameter outside its range.
    """

    height: int = 250
    width: int = 400
    readout_hz: float = 20_000.0
    spikes_per_readout: float = 1.0
    electrons_per_spike: float = 20_000.0
    dark_spikes_per_readout: float = 0.0
    photon_noise: bool = True
    threshold_noise: float = 0.0
    random_phase: bool = True

    def __post_init__(self) -> None:
        above = "height width readout_hz spikes_per_readout electrons_per_spike"
        require(self, above=above, at_least="dark_spikes_per_readout threshold_noise")

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> SpikeCamera:
        """A named camera, or one from a YAML file, with some fields replaced."""
        return load_preset("spike", cls, name, overrides)

    def simulate(
        self,
        frames: Frames | NDArray[Any],
        *,
        duration_us: int | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> SpikeStream:
        """The whole stream that the camera reads out.

        Args:
            frames: timed luminance frames, or one picture [H, W].
            duration_us: how long to record; the last frame is held. Needed for a still. By default the frames' time.
            seed: the same seed gives the same stream, whatever `threads` is.
            threads: threads to use, by default the cores.

        Raises:
            ValueError: a still without a duration, or frames that change size.
        """
        chunks = list(self.stream(frames, duration_us=duration_us, seed=seed, threads=threads))
        packed = np.concatenate([chunk.packed for chunk in chunks])
        return SpikeStream(packed, chunks[0].height, chunks[0].width, self.readout_hz)

    def stream(
        self,
        frames: Frames | NDArray[Any],
        *,
        duration_us: int | None = None,
        seed: int = 0,
        chunk_planes: int = 256,
        threads: int | None = None,
    ) -> Iterator[SpikeStream]:
        """The stream in consecutive chunks of `chunk_planes` planes (the last may be shorter), in bounded memory."""
        light = as_frames(frames)
        pixels = _Pixels(self, light.height, light.width, seed, threads)
        buffer = np.zeros((chunk_planes, light.height, -(-light.width // 8)), np.uint8)
        filled = 0
        for block in exposures(light, self.readout_hz, duration_us):
            done = 0
            while done < len(block):
                part = block[done : done + chunk_planes - filled]
                pixels.read_out(part, buffer[filled : filled + len(part)])
                done += len(part)
                filled += len(part)
                if filled == chunk_planes:
                    yield SpikeStream(buffer, light.height, light.width, self.readout_hz)
                    buffer, filled = np.zeros_like(buffer), 0
        if filled:
            yield SpikeStream(buffer[:filled].copy(), light.height, light.width, self.readout_hz)


class _Pixels:
    """The state of a sensor's pixels from one readout to the next: their charge, and how many readouts were made."""

    def __init__(self, camera: SpikeCamera, height: int, width: int, seed: int, threads: int | None) -> None:
        self.camera = camera
        self.threads = threads
        self.charge = initial_charge(camera, height, width, seed)
        self.keys = pixel_keys(stream_key(seed, Purpose.READOUT), height, width)
        self.plane = 0

    def read_out(self, block: Exposures, packed: NDArray[np.uint8]) -> None:
        from eventsim.cameras.kernels.spike import integrate_ideal, integrate_noisy

        camera = self.camera
        light = (self.charge, block.first, block.second, block.fraction)
        rates = (np.float32(camera.spikes_per_readout), np.float32(camera.dark_spikes_per_readout))
        if camera.photon_noise or camera.threshold_noise:
            noise = (electrons(camera), np.float32(camera.threshold_noise))
            band = partial(integrate_noisy, *light, *rates, *noise, self.keys, self.plane, gaussian_table(), packed)
        else:
            band = partial(integrate_ideal, *light, *rates, packed)
        over_rows(band, len(self.charge), self.threads)
        self.plane += len(block)


def initial_charge(camera: SpikeCamera, height: int, width: int, seed: int) -> Picture:
    """Charge of each pixel before the first readout, in thresholds: float32 [H, W] in [0, 1)."""
    if not camera.random_phase:
        return np.zeros((height, width), np.float32)
    return pixel_uniforms(seed, Purpose.PHASE, height, width).astype(np.float32)


def electrons(camera: SpikeCamera) -> np.float32:
    """Photo-electrons per threshold, or 0 where photon noise is off."""
    return np.float32(camera.electrons_per_spike if camera.photon_noise else 0)


def integrate_reference(camera: SpikeCamera, exposure: Picture, seed: int) -> NDArray[np.bool_]:
    """The model as a plain loop over readouts: the specification that the kernels agree with bit for bit.

    Args:
        camera: its parameters.
        exposure: float32 [T, H, W], mean luminance during each readout.
        seed: of the initial phase and the noise.

    Returns:
        Spikes, bool [T, H, W].
    """
    height, width = exposure.shape[1:]
    charge = initial_charge(camera, height, width, seed)
    keys = pixel_keys(stream_key(seed, Purpose.READOUT), height, width)
    gain, dark = np.float32(camera.spikes_per_readout), np.float32(camera.dark_spikes_per_readout)
    spikes = np.zeros(exposure.shape, bool)
    for plane, light in enumerate(exposure):
        bits = draw(keys, np.full(1, plane, np.uint64))
        gained = gain * light + dark
        if camera.photon_noise:
            gained = _shot_noise_reference(gained * electrons(camera), bits) / electrons(camera)
        charge = charge + gained
        threshold = np.float32(1)
        if camera.threshold_noise:
            threshold = threshold + np.float32(camera.threshold_noise) * gaussian(upper_bits(bits), gaussian_table())
        spikes[plane] = charge >= threshold
        # Charge beyond a second threshold is lost: a saturated pixel recovers at once when the light goes.
        charge = np.minimum(np.where(spikes[plane], charge - np.float32(1), charge), np.float32(1))
    return spikes


def _shot_noise_reference(mean: Picture, bits: NDArray[np.uint64]) -> Picture:
    """A Poisson draw for each pixel: by inversion below a mean of 64, from a normal above."""
    normal = mean + np.sqrt(mean) * gaussian(bits, gaussian_table())
    small = mean < 64
    rest = uniform(mix64(bits[small]))
    mean_small = mean[small].astype(np.float64)
    probability = np.exp(-mean_small)
    cumulative, count = probability.copy(), np.zeros(mean_small.shape, np.float32)
    for k in range(1, 201):
        more = rest > cumulative
        probability *= mean_small / k
        cumulative += probability
        count += more
    noisy: Picture = normal
    noisy[small] = count
    return noisy
