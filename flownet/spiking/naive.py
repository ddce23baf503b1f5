"""The conversion that does not work, to show why: sigmoid and tanh of instantaneous currents.

The mean of a saturating function over spiking currents is not that function of the mean current: with currents of a
few large spikes, all gates are pushed to one half and all candidates towards zero or the rails.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flownet.model.gru import in_sequence
from flownet.spiking.flow import SpikingEncoder, Stage
from flownet.spiking.window import Constant


class Train:
    """Spikes that are known already, micro-step by micro-step.

    Args:
        spikes: [T, N, ...].
    """

    def __init__(self, spikes: Tensor) -> None:
        self._spikes = spikes
        self.length = len(spikes)

    def chunk(self, start: int, count: int) -> Tensor:
        """Those of some micro-steps."""
        return self._spikes[start : start + count].flatten(0, 1)


class NaiveEncoder(SpikingEncoder):
    """The encoder with GRUs that run at every micro-step on the currents of that one; the mean is the new state."""

    def features(self, x: Tensor) -> list[Tensor]:
        """As `SpikingEncoder`; the finest scale's spikes are kept for its GRU."""
        found, chunks = [], []

        def body(arriving: Tensor) -> list[Tensor]:
            pyramid = self._pyramid(arriving)
            chunks.append(pyramid[0].reshape(-1, *x.shape[:2], *pyramid[0].shape[1:]))
            return pyramid

        for level in self._windows.run(body, Constant(x.flatten(0, 1))):
            found.append(in_sequence(level, x))
        self._spikes = torch.cat(chunks)  # [T, S, B, C, h, w]
        return found

    def _scale(
        self,
        level: int,
        matched: Tensor,
        flow: Tensor | None,
        first: Tensor,
        entry: Tensor,
        hidden: Tensor | None,
        gates: Tensor | None,
    ) -> Tensor:
        """One scale of a pass: the states of its GRU, [T, B, h_l, h, w]."""
        states: list[Tensor] = []
        for index, correlations in enumerate(self._volume(level, matched, flow, first)):
            feed = Train(self._spikes[:, index]) if level == 0 else Constant(entry[index])
            hidden = self._state(level, feed, correlations, hidden)
            states.append(hidden)
        return torch.stack(states)

    def _state(self, level: int, entry: Train | Constant, volume: Tensor, hidden: Tensor | None) -> Tensor:
        def body(arriving: Tensor, correlations: Tensor, *state: Tensor) -> Tensor:
            features = arriving
            if level:
                stage = self.strides[level - 1]
                assert isinstance(stage, Stage)
                features = stage.body(arriving)
            x = torch.cat([features, correlations], dim=1)
            found: Tensor = self.grus[level](x[None], state[0] if state else None)[0]
            return found

        feeds = [entry, Constant(volume)] + ([] if hidden is None else [Constant(hidden)])
        found: Tensor = self._windows.run(body, *feeds)
        return found
