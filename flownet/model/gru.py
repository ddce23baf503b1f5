"""Convolutional gated recurrent unit, over a whole sequence at a time.

Ballas et al., "Delving Deeper into Convolutional Networks for Learning Video Representations", ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from flownet.model import winograd


def gru_step(
    gates: Tensor,  # [B, 3 h, H, W], what the input adds to the gates z, r and q, biases included
    hidden: Tensor | None,  # [B, h, H, W]; None is zero
    recurrent_zr: Callable[[Tensor], Tensor],  # h -> 2 h, without bias
    recurrent_q: Callable[[Tensor], Tensor],  # h -> h, without bias
) -> Tensor:
    """The next hidden state [B, h, H, W].

    z = sigmoid(W_z [h, x]), r = sigmoid(W_r [h, x]), q = tanh(W_q [r h, x]), h' = (1 - z) h + z q.
    """
    z, r, q = gates.chunk(3, dim=1)
    if hidden is None:
        return torch.sigmoid(z) * torch.tanh(q)
    h_z, h_r = recurrent_zr(hidden).chunk(2, dim=1)
    update = torch.sigmoid(z + h_z)
    candidate = torch.tanh(q + recurrent_q(torch.sigmoid(r + h_r) * hidden))
    return torch.lerp(hidden, candidate, update)


def in_sequence(
    x: Tensor,  # [T B, ...]
    like: Tensor,  # [T, B, ...]
) -> Tensor:
    """A flat batch as the sequence [T, B, ...] that it came from."""
    return x.reshape(*like.shape[:2], *x.shape[1:])


class ConvGRU(nn.Module):
    """A GRU whose products are 3x3 convolutions.

    Each gate's convolution over [hidden, input] is split into its two halves: the input's half does not wait for the
    hidden state, so it runs for the whole sequence at once, and for the three gates in one convolution.
    """

    def __init__(self, *, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(in_channels, 3 * hidden_channels, 3, padding=1)
        self.recurrent_zr = nn.Conv2d(hidden_channels, 2 * hidden_channels, 3, padding=1, bias=False)
        self.recurrent_q = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, bias=False)
        self._kept: dict[str, tuple[object, Tensor]] = {}

    def infers(self, x: Tensor) -> bool:
        """Whether `infer` is the better way for pictures [..., H, W] now; not of GRUs that compute something else."""
        return type(self) is ConvGRU and winograd.pays(x, self.input.weight)

    def add_to_gates(
        self,
        x: Tensor,  # [T, B, c, H, W], the first c channels of the input
    ) -> Tensor:
        """What a part of the input adds to the gates, biases included: [T, B, 3 h, H, W]."""
        return in_sequence(self._convolved(x.flatten(0, 1), 0, self.input.bias), x)

    def forward(
        self,
        x: Tensor,  # [T, B, C, H, W], or its last channels, if the gates have the others
        hidden: Tensor | None,  # [B, h, H, W], the state before the sequence; None is zero
        gates: Tensor | None = None,  # [T, B, 3 h, H, W], from the first channels of the input
    ) -> Tensor:
        """The hidden states after each step of the sequence: [T, B, h, H, W]."""
        if gates is None and self.infers(x):
            found = torch.empty(*x.shape[:2], *x.shape[3:], self.recurrent_q.in_channels)
            before = None if hidden is None else winograd.channels_last(hidden)
            self.infer(in_sequence(winograd.channels_last(x.flatten(0, 1)), x), before, found)
            return found.permute(0, 1, 4, 2, 3)
        if gates is None:
            gates = self.add_to_gates(x)
        else:
            first = self.input.in_channels - x.shape[2]
            gates = gates + in_sequence(self._convolved(x.flatten(0, 1), first), x)
        states = []
        for step in gates.unbind(0):
            hidden = gru_step(step, hidden, self.recurrent_zr, self.recurrent_q)
            states.append(hidden)
        return torch.stack(states)

    def _convolved(self, x: Tensor, first: int, bias: Tensor | None = None) -> Tensor:
        """Channels of the input from the first-th on, [N, c, H, W], convolved: [N, 3 h, H, W]."""
        return functional.conv2d(x, self.input.weight[:, first : first + x.shape[1]], bias, padding=1)

    def infer(
        self,
        x: Tensor,  # float32 [T, B, H, W, C]
        hidden: Tensor | None,  # float32 [B, H, W, h], the state before the sequence; None is zero
        states: Tensor,  # float32 [T, B, H, W, h], the result
    ) -> None:
        """`forward` by Winograd's way, channels last, where `winograd.pays`.

        Both halves of a gate are one convolution here: the input's then waits for the hidden state, but there are half
        as many transforms, and gates of one slice at a time.
        """
        gates = torch.empty(*x.shape[1:4], 2 * states.shape[4])
        for each, out in zip(x, states, strict=True):
            self._infer_step(each, hidden, gates, out)
            hidden = out

    def prepare(self) -> None:
        """Transforms the weights for `infer` now, before what it computes takes the memory that this needs for once."""
        self._transformed("zr")
        self._transformed("q")

    def _infer_step(
        self,
        x: Tensor,  # float32 [B, H, W, C]
        hidden: Tensor | None,  # float32 [B, H, W, h]
        gates: Tensor,  # float32 [B, H, W, 2 h], room for z and r, then for z and q
        out: Tensor,  # float32 [B, H, W, h], the result
    ) -> None:
        from flownet.model.gru_kernel import go_on, open_gates

        # A state of zeros adds nothing to the sums.
        before = out.zero_() if hidden is None else hidden
        used = slice(x.shape[3] if hidden is None else None)
        remembered = torch.empty_like(out)
        sums, old, opened, new = (each.numpy() for each in (gates, before, remembered, out))

        def then_open(picture: int, top: int, bottom: int) -> None:
            rows = picture, slice(top, bottom)
            open_gates(sums[rows], old[rows], opened[rows])

        def then_go_on(picture: int, top: int, bottom: int) -> None:
            rows = picture, slice(top, bottom)
            go_on(sums[rows], old[rows], new[rows])

        channels = out.shape[3]
        assert self.input.bias is not None
        zr, q = self.input.bias[: 2 * channels], self.input.bias[2 * channels :]
        for name, state, bias, first, then in (("zr", before, zr, 0, then_open),
                                               ("q", remembered, q, channels, then_go_on)):  # fmt: skip
            parts = [x] if hidden is None else [x, state]
            winograd.convolve(parts, self._transformed(name)[:, used], bias, out=gates, offset=first, then=then)

    def _transformed(self, name: str) -> Tensor:
        """Weights of the gates z and r, or of q, over [input, hidden] for Winograd's way: [36, C + h, 2 h or h].

        They are transformed once for as long as they stay as they are.
        """
        recurrent: Tensor = getattr(self, f"recurrent_{name}").weight
        both, kind = (self.input.weight, recurrent), winograd.kind()
        state = kind, *((each.data_ptr(), 0 if each.is_inference() else each._version) for each in both)
        if name not in self._kept or self._kept[name][0] != state:
            inputs = self.input.weight[: len(recurrent)] if name == "zr" else self.input.weight[-len(recurrent) :]
            self._kept[name] = state, winograd.transformed(inputs, recurrent, kind=kind)
        return self._kept[name][1]
