"""The spike camera: a clocked integrate-and-fire pixel in physical units.

Every readout, a pixel's capacitor gains the charge of the light that fell since the last one. When it holds the
threshold charge, the pixel emits a spike and is reset. Between two frames light is linear in time and integrated
exactly, whatever the readout rate. `cameras.spike_model` has the equations and where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.exposure import Exposures, exposures
from eventsim.cameras.pattern import Pattern, Value, as_pattern
from eventsim.cameras.preset import load_preset
from eventsim.cameras.random import Purpose, pixel_keys, stream_key
from eventsim.cameras.spike_model import (
    PATTERNS,
    dead_time_share,
    electrons,
    first_false_spikes,
    initial_charge,
    pixel_maps,
)
from eventsim.light.frames import Frames, as_frames
from eventsim.rows import over_rows
from eventsim.settings import check_kinds, require, require_at_most
from eventsim.streams.spikes import SpikeStream

_RESETS = ("soft", "hard")
#: A readout is far longer than times are rounded by, and float32 holds what is computed.
_AT_MOST = {
    "readout_hz": 1e7, "spikes_per_readout": 1e6, "electrons_per_spike": 1e12, "hot_spikes_per_readout": 1e6,
    "random_phase": 1, "hot_share": 1, "dead_share": 1, "false_spike_interval": 1e9, "false_spike_spread": 1e9,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SpikeCamera:
    """Parameters of a spike camera; `SpikeCamera.preset("vidar")` gives a named one.

    Charge is in nominal thresholds. What is called a `Value` may be one number for all pixels, a `Pattern` (drawn for
    each pixel of a specimen, with a spread) or a map float32 [H, W]; 0 (or 1 for relative ones) switches it off.

    Args:
        height, width: the sensor's size. Commands scale pictures to it; `simulate` takes frames of any size.
        readout_hz: readouts a second, at most 1e7.
        spikes_per_readout: rate at luminance 1.0, in spikes per readout (at most one can be read out).
        electrons_per_spike: photo-electrons that make up the threshold charge, at least 1; sets the shot noise.
        photon_noise: draw the electrons of each readout, of light and dark current, from a Poisson law.
        dark_spikes_per_readout: Value; rate of the dark current.
        response: Value; relative response to light (quantum efficiency, fill factor, vignetting).
        threshold: Value; relative threshold voltage.
        capacitance: Value; relative capacitance. The threshold charge is the product of both.
        threshold_noise: Value; standard deviation of the threshold from readout to readout, as a share of it.
        threshold_noise_stays: a soft reset takes off the threshold as it was at this readout, so that its noise stays
            in the charge (SCSim); otherwise the pixel's own threshold, as a noisy comparator leaves it.
        read_noise: Value; standard deviation of what each readout adds to the charge without light, in thresholds.
        reset: "soft" (the charge beyond the threshold is kept) or "hard" (the pixel is emptied).
        steps_per_readout: how often within a readout the threshold is compared; matters for a hard reset only.
        dead_time_us: how long after a spike no charge is collected.
        random_phase: share of the threshold over which the initial charges are spread; 0: all start empty.
        hot_share, hot_spikes_per_readout: share of pixels with a high dark current, and its rate.
        dead_share: share of pixels that never spike.
        false_spike_interval, false_spike_spread: mean and standard deviation, in readouts, of normal intervals (cut to
            whole readouts, at least 1) between spikes that no light explains; an interval of 0 is none.
        specimen: number of the camera among those of its kind: another one has other fixed patterns.

    Raises:
        ValueError: a parameter outside its range or of the wrong kind.
    """

    height: int = 250
    width: int = 400
    readout_hz: float = 20_000.0
    spikes_per_readout: float = 1.0
    electrons_per_spike: float = 20_000.0
    photon_noise: bool = True
    dark_spikes_per_readout: Value = 0.0
    response: Value = 1.0
    threshold: Value = 1.0
    capacitance: Value = 1.0
    threshold_noise: Value = 0.0
    threshold_noise_stays: bool = False
    read_noise: Value = 0.0
    reset: str = "soft"
    steps_per_readout: int = 1
    dead_time_us: float = 0.0
    random_phase: float = 1.0
    hot_share: float = 0.0
    hot_spikes_per_readout: float = 0.0
    dead_share: float = 0.0
    false_spike_interval: float = 0.0
    false_spike_spread: float = 0.0
    specimen: int = 0

    #: The fields that are a Value.
    PATTERNS: ClassVar[tuple[str, ...]] = PATTERNS

    def __post_init__(self) -> None:
        check_kinds(self, but=PATTERNS)
        require(
            self,
            above="height width readout_hz spikes_per_readout electrons_per_spike steps_per_readout",
            at_least="dead_time_us random_phase hot_share hot_spikes_per_readout dead_share "
            "false_spike_interval false_spike_spread",
        )
        require_at_most(self, _AT_MOST)
        if self.electrons_per_spike < 1:
            raise ValueError(f"expected electrons_per_spike of 1 or more, got {self.electrons_per_spike}")
        for name in PATTERNS:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, as_pattern(value))
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                require(self, at_least=name)
            elif not isinstance(value, Pattern):
                raise ValueError(f"expected a number, a Pattern or a map for {name}, got {value!r}")
        if self.reset not in _RESETS:
            raise ValueError(f"expected reset to be {' or '.join(_RESETS)}, got {self.reset}")
        if dead_time_share(self) >= 1:
            raise ValueError(f"expected a dead time shorter than a readout, got dead_time_us of {self.dead_time_us}")

    @property
    def noiseless(self) -> bool:
        """Whether a pixel only integrates and is softly reset, with nothing drawn between readouts."""
        quiet = all(_is_zero(value) for value in (self.threshold_noise, self.read_noise))
        return quiet and not self.photon_noise and self.reset == "soft" and self.dead_time_us == 0

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
            ValueError: a still without a duration, a duration that is not above 0 and finite, or frames that change
                size.
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
        """The stream in consecutive chunks of `chunk_planes` planes (the last may be shorter), in bounded memory.

        Raises:
            ValueError: as `simulate`, or `chunk_planes` below 1.
        """
        if chunk_planes < 1:
            raise ValueError(f"expected chunk_planes of 1 or more, got {chunk_planes}")
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
    """The state of a sensor's pixels from one readout to the next, and how many readouts were made."""

    def __init__(self, camera: SpikeCamera, height: int, width: int, seed: int, threads: int | None) -> None:
        self.camera = camera
        self.threads = threads
        self.maps = pixel_maps(camera, height, width)
        self.charge = initial_charge(camera, self.maps.full, seed)
        self.fired = np.zeros((height, width), np.uint8)
        self.keys = pixel_keys(stream_key(seed, Purpose.READOUT), height, width)
        self.false_keys = pixel_keys(stream_key(seed, Purpose.FALSE_SPIKES), height, width)
        if camera.false_spike_interval:
            self.due = first_false_spikes(camera, height, width, seed)
        self.plane = 0

    def read_out(self, block: Exposures, packed: NDArray[np.uint8]) -> None:
        over_rows(partial(self._rows, block, packed), len(self.charge), self.threads)
        self.plane += len(block)

    def _rows(self, block: Exposures, packed: NDArray[np.uint8], start: int, stop: int) -> None:
        from eventsim.cameras.kernels.spike import add_false_spikes, integrate_ideal, integrate_noisy

        camera, maps = self.camera, self.maps
        light = (self.charge, block.first, block.second, block.fraction, maps.gain, maps.dark, maps.full)
        if camera.noiseless:
            integrate_ideal(*light, packed, start, stop)
        else:
            steps = np.float32(camera.steps_per_readout if camera.reset == "hard" else 0)
            noise = (maps.jitter, maps.read, self.fired, electrons(camera), dead_time_share(camera))
            draws = (self.keys, self.plane)
            integrate_noisy(*light, *noise, camera.threshold_noise_stays, steps, *draws, packed, start, stop)
        if camera.false_spike_interval:
            interval, spread = np.float32(camera.false_spike_interval), np.float32(camera.false_spike_spread)
            draws = (self.false_keys, self.plane)
            add_false_spikes(self.due, maps.full, interval, spread, *draws, packed, start, stop)


def _is_zero(value: Value) -> bool:
    pattern = as_pattern(value)
    return pattern.mean == 0 if pattern.map is None else not pattern.map.any()
