"""The convolutional GRU on few levels, and on spikes.

Its gates are a hard sigmoid and a hard tanh of G levels, and its state lies on the grid of 1 / G. So gates and state
are whole counts, products of two of them are whole multiples of 1 / G^2, and spiking neurons hold them exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from flownet.model.gru import ConvGRU, in_sequence
from flownet.spiking.quantise import Counted, HardSigmoidQ, HardTanhQ, floor_through
from flownet.spiking.signed import STBIF
from flownet.spiking.window import AtOnce, Feed, Timed, Windows


class QuantisedConvGRU(ConvGRU):
    """A `ConvGRU` with the same weights and state-dict keys, hard quantised gates and a quantised state.

    z, r = clip(x / 4 + 1/2, 0, 1) and q = clip(x, -1, 1), rounded to 1 / G, and h' = (1 - z) h + z q, rounded to
    1 / G as well. For training, gradients go straight through all roundings.

    Args:
        in_channels, hidden_channels: as `ConvGRU`.
        levels: G, 1 or more.

    Raises:
        ValueError: fewer levels.
    """

    def __init__(self, *, in_channels: int, hidden_channels: int, levels: int = 16) -> None:
        super().__init__(in_channels=in_channels, hidden_channels=hidden_channels)
        self.levels = levels
        self.update_reset = HardSigmoidQ(levels)
        self.candidate = HardTanhQ(levels)

    def forward(
        self,
        x: Tensor,  # [T, B, C, H, W], or its last channels, if the gates have the others
        hidden: Tensor | None,  # [B, h, H, W], the state before the sequence; None is zero
        gates: Tensor | None = None,  # [T, B, 3 h, H, W], from the first channels of the input
    ) -> Tensor:
        """The hidden states after each step of the sequence: [T, B, h, H, W]."""
        if gates is None:
            gates = self.add_to_gates(x)
        else:
            gates = gates + in_sequence(self._convolved(x.flatten(0, 1), self.input.in_channels - x.shape[2]), x)
        states = []
        for step in gates.unbind(0):
            hidden = self._step(step, hidden)
            states.append(hidden)
        return torch.stack(states)

    def _step(self, gates: Tensor, hidden: Tensor | None) -> Tensor:
        """The next hidden state [B, h, H, W]."""
        z, r, q = gates.chunk(3, dim=1)
        if hidden is None:
            update, candidate = self.update_reset(z), self.candidate(q)
            return self._rounded(blend(update, None, candidate, self.levels))
        h_z, h_r = self.recurrent_zr(hidden).chunk(2, dim=1)
        update, kept = self.update_reset(z + h_z), self.update_reset(r + h_r)
        candidate = self.candidate(q + self.recurrent_q(kept * hidden))
        return self._rounded(blend(update, hidden, candidate, self.levels))

    def _rounded(self, quanta: Tensor) -> Tensor:
        return floor_through(quanta + 0.5) / self.levels


def blend(
    update: Tensor,  # [B, h, H, W], multiples of 1 / G, 0 to 1
    hidden: Tensor | None,  # [B, h, H, W], multiples of 1 / G, -1 to 1; None is zero
    candidate: Tensor,  # [B, h, H, W], the same
    levels: int,
) -> Tensor:
    """(1 - z) h + z q in quanta of 1 / G, before rounding.

    Worked out on whole numbers, so that the many results that lie exactly between two levels are rounded alike on every
    machine, whatever G.
    """
    z, q = _count(update, levels), _count(candidate, levels)
    total = z * q if hidden is None else (levels - z) * _count(hidden, levels) + z * q
    return total / levels


def _count(value: Tensor, levels: int) -> Tensor:
    """A multiple of 1 / G as a whole number, with the gradient of G x."""
    quanta = value.to(torch.promote_types(value.dtype, torch.float32)) * levels
    return quanta + (quanta.round() - quanta).detach()


class SpikingConvGRU(QuantisedConvGRU):
    """A `QuantisedConvGRU` on spikes: the same result, from neurons that are silent in between.

    Every slice takes windows one after the other. What settled neurons know is handed on as so many unit spikes: the
    features into the gates' convolution, the state into the recurrent ones. Then z and r settle; r h, a product of two
    counts, goes once and graded into the candidate's convolution, and q settles; (1 - z) h + z q goes once and graded
    to the state's neurons. Correlations are analog, and reach the gates once and graded.

    Args:
        gru: whose weights it takes over.
        windows: of the network, in sum form.
        features: channels of the input, the first ones, that are multiples of a quantum.
        quantum: that one, [] or [C].

    Raises:
        ValueError: windows of another form.
    """

    def __init__(self, gru: QuantisedConvGRU, windows: Windows, *, features: int, quantum: Tensor) -> None:
        if windows.form != "sum":
            raise ValueError(f"expected windows in sum form, got {windows.form}")
        channels = {"in_channels": gru.input.in_channels, "hidden_channels": gru.recurrent_q.in_channels}
        super().__init__(**channels, levels=gru.levels)
        self.input, self.recurrent_zr, self.recurrent_q = gru.input, gru.recurrent_zr, gru.recurrent_q
        self.features = features
        self.register_buffer("quantum", quantum.detach().clone(), persistent=False)
        self.quantum: Tensor
        self._windows = windows
        self.update_reset_neurons = Timed(STBIF(gru.update_reset), windows.clock)
        self.candidate_neurons = Timed(STBIF(gru.candidate), windows.clock)
        self.state_neurons = Timed(STBIF(Counted(gru.levels)), windows.clock)

    def _convolved(self, x: Tensor, first: int, bias: Tensor | None = None) -> Tensor:
        """Channels of the input from the first-th on, [N, c, H, W], convolved: [N, 3 h, H, W]."""
        spiking = min(max(self.features - first, 0), x.shape[1])
        split, stop = first + spiking, first + x.shape[1]
        parts: list[tuple[Feed, slice]] = []
        if spiking:
            parts.append((self._windows.feed(x[:, :spiking], self.quantum), slice(first, split)))
        if split < stop:
            parts.append((AtOnce(x[:, spiking:]), slice(split, stop)))

        def body(*arriving: Tensor) -> Tensor:
            pairs = zip(arriving, parts, strict=True)
            found = [functional.conv2d(each, self.input.weight[:, used], padding=1) for each, (_, used) in pairs]
            return found[0] if len(found) == 1 else found[0] + found[1]

        total: Tensor = self._windows.run(body, *(feed for feed, _ in parts))
        return total if bias is None else total + bias[:, None, None]

    def _step(self, gates: Tensor, hidden: Tensor | None) -> Tensor:
        """The next hidden state [B, h, H, W]."""
        z, r, q = gates.chunk(3, dim=1)
        one = self.input.weight.new_ones(())
        if hidden is None:
            update = self._settled(self.update_reset_neurons, None, z, None)
            candidate = self._settled(self.candidate_neurons, None, q, None)
        else:
            spikes = self._windows.feed(hidden, one / self.levels)
            both = self._settled(self.update_reset_neurons, self.recurrent_zr, torch.cat([z, r], dim=1), spikes)
            update, kept = both.chunk(2, dim=1)
            candidate = self._settled(self.candidate_neurons, self.recurrent_q, q, AtOnce(kept * hidden))
        return self._settled(self.state_neurons, None, blend(update, hidden, candidate, self.levels), None)

    def _settled(
        self, neurons: Timed, synapses: Callable[[Tensor], Tensor] | None, current: Tensor, spikes: Feed | None
    ) -> Tensor:
        """What neurons come to from a current that arrives once and spikes through synapses: [B, c, H, W]."""

        def body(at_once: Tensor, *arriving: Tensor) -> Tensor:
            found: Tensor = neurons(at_once if synapses is None else at_once + synapses(arriving[0]))
            return found

        feeds: tuple[Feed, ...] = (AtOnce(current),) if spikes is None else (AtOnce(current), spikes)
        total: Tensor = self._windows.run(body, *feeds)
        return (total * self.levels).round() / self.levels
