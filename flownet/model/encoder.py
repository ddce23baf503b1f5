"""The recurrent encoder of STE-FlowNet: matching features, correlations and a ConvGRU at each of four scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from flownet.model import winograd
from flownet.model.correlation import correlate, correlate_into
from flownet.model.gru import ConvGRU, in_sequence
from flownet.model.warp import warp

SLOPE = 0.1
# Of the GRUs' inputs that inference holds at a time.
_CHUNK_NUMBERS = 3_000_000


def conv(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and a LeakyReLU(0.1)."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, 1), nn.LeakyReLU(SLOPE))


def cost_volume(
    features: Tensor,  # [T, B, C, H, W]
    flow: Tensor | None,  # [T, B, 2, H, W], from the reference to each; None is zero
    first: Tensor,  # [B, C, H, W], of the reference
    *,
    radius: int,
    reference: bool,
) -> Tensor:
    """Activated correlations of a reference's features with every slice's, warped back: [T, B, (2r+1)^2, H, W]."""
    warped = _warped(features, flow, reference=reference)
    volume = functional.leaky_relu(correlate(first.expand_as(warped), warped, radius=radius), SLOPE)
    # The authors' code activates twice, which makes the slope 0.01.
    return functional.leaky_relu(volume, SLOPE) if reference else volume


def _warped(features: Tensor, flow: Tensor | None, *, reference: bool) -> Tensor:
    """Features [T, B, C, H, W] read where a flow [T, B, 2, H, W] points."""
    if flow is None and reference:
        # The authors' warp moves the image even by no flow: see `warp`.
        flow = features.new_zeros(*features.shape[:2], 2, *features.shape[3:])
    if flow is None:
        return features
    return in_sequence(warp(features.flatten(0, 1), flow.flatten(0, 1), aligned=not reference), features)


class Encoder(nn.Module):
    """Four scales (1/2 to 1/16), each a GRU over [features, correlations].

    The features of scale 1 are the stem's; of the others, those of the GRU one scale finer, strided. What is matched
    are the features of a second, non-recurrent pyramid over the same stem.

    Within one pass nothing but a GRU's hidden state depends on the slice before. So the pass goes scale by scale, not
    slice by slice: all slices of a scale share one batch, and only the GRU's recurrent half runs in sequence.

    Args:
        stem: from the input to scale 1.
        matching: from each scale to the next, three modules.
        strides: from each GRU's state to the next scale, three modules.
        grus: one per scale, fine to coarse.
        radius: largest displacement that is correlated, pixels of the scale.
        reference: reproduce the warps and activations of the authors' code.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        matching: Sequence[nn.Module],
        strides: Sequence[nn.Module],
        grus: Sequence[ConvGRU],
        radius: int,
        reference: bool,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.matching = nn.ModuleList(matching)
        self.strides = nn.ModuleList(strides)
        self.grus = nn.ModuleList(grus)
        self.radius = radius
        self.reference = reference
        self.recompute = False

    def features(
        self,
        x: Tensor,  # [T, B, C, H, W]
    ) -> list[Tensor]:
        """The features to match, fine to coarse: [T, B, C_l, h_l, w_l]. They depend on neither flow nor state."""
        pyramid = [self.stem(x.flatten(0, 1))]
        for module in self.matching:
            pyramid.append(module(pyramid[-1]))
        for gru, level in reversed(list(zip(self.grus, pyramid, strict=True))):
            if isinstance(gru, ConvGRU) and gru.infers(level):
                gru.prepare()
        return [in_sequence(level, x) for level in pyramid]

    def lasting_gates(
        self,
        features: Sequence[Tensor],  # four, as `features` returns them
    ) -> Tensor | None:
        """What the finest scale's features add to its gates in every pass: [T, B, 3 h_0, h, w]."""
        gru = self.grus[0]
        assert isinstance(gru, ConvGRU)
        if gru.infers(features[0]):
            return None
        return gru.add_to_gates(features[0])

    def forward(
        self,
        features: Sequence[Tensor],  # four, as `features` returns them
        flows: Sequence[Tensor] | None,  # [T, B, 2, h, w], full resolution to 1/8, of the pass before
        hidden: Sequence[Tensor | None],  # four [B, h_l, h, w], the states before the first slice
        gates: Tensor | None = None,  # of `lasting_gates`, where there are several passes
        first: Sequence[Tensor] | None = None,  # four [B, C_l, h_l, w_l], of the reference; None: the first slice's
    ) -> list[Tensor]:
        """One pass over all slices: the states of the four GRUs after each, [T, B, h_l, h, w]."""
        states: list[Tensor] = []
        for level, matched in enumerate(features):
            reference = matched[0] if first is None else first[level]
            # At the coarsest scale there is no flow of its resolution.
            flow = None if flows is None or level == len(features) - 1 else flows[level + 1]
            entry = features[0] if level == 0 else states[-1]
            lasting = gates if level == 0 else None
            states.append(maybe_again(self.recompute, self._scale, level, matched, flow, reference, entry,
                                      hidden[level], lasting))  # fmt: skip
        return states

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
        """One scale of a pass: the states of its GRU. Args: as `forward`; `entry` is the finer scale's states."""
        gru = self.grus[level]
        assert isinstance(gru, ConvGRU)
        if self._in_parts(gru, matched):
            return self._infer_scale(level, matched, flow, first, entry, hidden)
        x = self._volume(level, matched, flow, first)
        if gates is None:
            x = torch.cat([self._entering(level, entry), x], dim=2)
        states: Tensor = gru(x, hidden, gates)
        return states

    def _in_parts(self, gru: ConvGRU, matched: Tensor) -> bool:
        """Whether `_infer_scale` is the better way."""
        return gru.infers(matched)

    def _volume(self, level: int, matched: Tensor, flow: Tensor | None, first: Tensor) -> Tensor:
        """A scale's activated correlations: [T, B, (2r+1)^2, h, w]."""
        if level < len(self.grus) - 1:
            return cost_volume(matched, flow, first, radius=self.radius, reference=self.reference)
        # Not warped, not even by the authors' warp of no flow.
        volume = cost_volume(matched, None, first, radius=self.radius, reference=False)
        return functional.leaky_relu(volume, SLOPE) if self.reference else volume

    def _entering(self, level: int, entry: Tensor) -> Tensor:
        """The features of a scale, from the finer one's states: [T, B, C, h, w]."""
        return entry if level == 0 else _each(self.strides[level - 1], entry)

    def _infer_scale(
        self, level: int, matched: Tensor, flow: Tensor | None, first: Tensor, entry: Tensor, hidden: Tensor | None
    ) -> Tensor:
        """`_scale` without gradients: as many slices at a time as bounded memory holds, each part written in place."""
        gru = self.grus[level]
        assert isinstance(gru, ConvGRU)
        slices, batch, _, height, width = matched.shape
        states = torch.empty(slices, batch, height, width, gru.recurrent_q.in_channels)
        before = None if hidden is None else winograd.channels_last(hidden)
        most = max(1, _CHUNK_NUMBERS // (batch * height * width * gru.input.in_channels))
        for start in range(0, slices, most):
            part = slice(start, start + most)
            x = self._inputs(level, matched[part], None if flow is None else flow[part], first, entry[part])
            gru.infer(x, before, states[part])
            before = states[part][-1]
        return states.permute(0, 1, 4, 2, 3)

    def _inputs(self, level: int, matched: Tensor, flow: Tensor | None, first: Tensor, entry: Tensor) -> Tensor:
        """What the GRU of a scale sees, channels last: float32 [T, B, h, w, C]."""
        reference = self.reference and level < len(self.grus) - 1
        features = self._entering(level, entry)
        channels, side = features.shape[2], 2 * self.radius + 1
        x = torch.empty(*matched.shape[:2], *matched.shape[3:], channels + side * side)
        x[..., :channels].copy_(features.permute(0, 1, 3, 4, 2))
        warped = _warped(matched, flow, reference=reference)
        correlate_into(first, warped.flatten(0, 1), radius=self.radius, slope=SLOPE**2 if self.reference else SLOPE,
                       out=x[..., channels:].flatten(0, 1).permute(0, 3, 1, 2))  # fmt: skip
        return x


def maybe_again(recompute: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """A function's result; with `recompute`, what it holds in between is computed again when gradients ask for it."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)


class Bottleneck(nn.Module):
    """Five convolutions at the coarsest scale: an entry, and two blocks of two that add what they were given."""

    def __init__(self, *, entry: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.entry = entry
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self,
        x: Tensor,  # [N, C, h, w]
    ) -> Tensor:
        """[N, C', h, w]. The sums come after the activation."""
        x = self.entry(x)
        for block in self.blocks:
            x = x + block(x)
        return x


def _each(module: nn.Module, x: Tensor) -> Tensor:
    """A module for images over a sequence [T, B, C, H, W] of them."""
    return in_sequence(module(x.flatten(0, 1)), x)
