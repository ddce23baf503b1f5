"""The command `compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from eventsim.cli.files import SpikeFile


@dataclass(kw_only=True)
class Compare(SpikeFile):
    """Statistics of a simulated spike stream beside a real one's."""

    simulated: Positional[Path]
    """Simulated stream."""
    real: Positional[Path]
    """Real recording of a still scene."""

    def run(self) -> None:
        from eventsim.streams.realism import compare_streams

        print(compare_streams(self.open_spikes(self.simulated), self.open_spikes(self.real), seed=self.seed))
