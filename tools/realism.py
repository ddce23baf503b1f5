"""A table of how real the spike cameras' streams are, beside a real recording of a still scene.

python tools/realism.py RECORDING

Each camera records the light of the recording itself (each pixel's intensity). The noise of "fitted" is fitted to one
half of the pixels (the black fields of a chessboard), and all columns are of the other half.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro
from tyro.conf import Positional

from eventsim import Realism, SpikeCamera, compare_streams, open_spikes
from eventsim.cameras.noise_fit import fit_noise
from eventsim.cameras.pattern import as_pattern
from eventsim.streams.comparison import markdown_table
from eventsim.streams.intervals import spike_times
from eventsim.streams.spans import Span
from eventsim.streams.static_regions import static_region

#: The light is the recording's own: pixels are even, and dark current is part of it already.
EVEN = {"response": 1.0, "dark_spikes_per_readout": 0.0, "hot_share": 0.0, "threshold": 1.0, "capacitance": 1.0}


def main(recording: Positional[Path], seed: int = 1) -> None:
    """Prints the table as Markdown.

    Args:
        recording: spikes of a still scene.
        seed: of the simulations.
    """
    real = open_spikes(recording)
    still = static_region(real)
    black = np.indices(still.shape).sum(axis=0) % 2 == 0
    light = spike_times(Span(real, 0, len(real))).intensity().astype(np.float32)
    fitted = fit_noise(SpikeCamera.preset("vidar"), real, still & black)
    jitter = as_pattern(fitted.threshold_noise)
    print(f"Fitted to the other half of the pixels: {fitted.electrons_per_spike:.3g} electrons a spike,")
    print(f"threshold noise of {jitter.mean:.3g} with a log-normal spread of {jitter.spread:.2g}.\n")
    cameras = {"`vidar`, fitted": fitted}
    cameras |= {f"`{name}`": SpikeCamera.preset(name) for name in ("vidar", "ideal", "spikingsim", "scsim")}

    def compared(camera: SpikeCamera) -> Realism:
        even = replace(camera, **EVEN)
        seen = np.clip(light / np.float32(even.spikes_per_readout), 0, 1)
        stream = even.simulate(seen, duration_us=round(real.duration_us), seed=seed)
        return compare_streams(stream, real, static=still & ~black)

    print(markdown_table({name: compared(camera) for name, camera in cameras.items()}))


if __name__ == "__main__":
    tyro.cli(main)
