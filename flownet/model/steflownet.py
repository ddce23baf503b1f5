"""STE-FlowNet: optical flow from a sequence of event slices, by recurrent refinement.

Ding et al., "Spatio-Temporal Recurrent Networks for Event-Based Optical Flow Estimation", AAAI 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream
from flownet.model.compensation import flow_at, middles_of, moved_back
from flownet.model.decoder import Decoder, deconv, flow_head
from flownet.model.eager import on_cpu
from flownet.model.encoder import Bottleneck, Encoder, conv, maybe_again
from flownet.model.gru import ConvGRU, in_sequence
from flownet.model.initialise import initialise
from flownet.representation import temporal_distribution

#: Inputs are padded to multiples of so many pixels.
COARSEST = 16
# At half resolution, that inference decodes at a time.
_DECODED_POSITIONS = 20_000


@dataclass(frozen=True)
class State:
    """What a network knows after a window, for the next one.

    Args:
        hidden: four [B, h_l, h, w], the GRUs' states after the last slice that was needed.
        flow: four [B, 2, h, w], that slice's flow at all scales, of the padded size.
    """

    hidden: tuple[Tensor, ...]
    flow: tuple[Tensor, ...]

    def detach(self) -> State:
        """The same without the way that gradients would take back."""
        return State(tuple(each.detach() for each in self.hidden), tuple(each.detach() for each in self.flow))


@dataclass(frozen=True)
class Flows:
    """Optical flow from the time of the first slice to the end of each requested slice.

    Args:
        final: [B, 2, H, W], pixels, at full resolution and the last requested slice.
        pyramid: four tensors [B, S, 2, h, w], fine to coarse (full resolution to 1/8), for the S requested slices;
            each in pixels of its own scale.
        state: after the latest of the requested slices, to go on from.
        earlier: of a network that compensates motion, with gradients: pyramids of the passes before, which are to be
            trained as well.
    """

    final: Tensor
    pyramid: tuple[Tensor, ...]
    state: State
    earlier: tuple[tuple[Tensor, ...], ...] = ()

    def at(self, index: int) -> list[list[Tensor]]:
        """The flows of one requested slice, fine to coarse, [B, 2, h, w], of every pass that is to be trained."""
        return [[scale[:, index] for scale in pyramid] for pyramid in (*self.earlier, self.pyramid)]


class STEFlowNet(nn.Module):
    """The network, for inputs [B, T, C, H, W] of any size from 16 pixels on.

    Args:
        in_channels: channels C of a slice: 2 (ON, OFF) for events, 1 for spikes.
        width: channels at half resolution, which every halving of the resolution doubles; or channels at each of the
            four scales, fine to coarse.
        radius: largest displacement that is correlated, in pixels of each scale.
        iterations: passes over the sequence; each refines the flow of the one before.
        compensate: how later passes use an earlier flow. False, as in the paper: only what is correlated is warped by
            it. True: the slices themselves are moved back by it, a pass sees the motion that is left, from states of
            zero, and adds its flow. Ours: any number of passes then is one function, and a pass more can be asked of a
            trained network.
        hidden: channels of the GRUs: "input", as many as their input has, as in the paper; or "width", as many as
            their scale.
        reference: reproduce the authors' code where it departs from the paper: warps that are half a pixel off and
            two activations on each correlation. Needed for their weights; also initialises as they do.
        normalise_input: divide each sample by its root mean square over slices, channels and pixels. Ours: few cells
            of a slice hold events, and without it a network starts from weak activations.
        input_slices, input_weights, input_every: of the representation that the network is trained on: the number of
            slices, their weights, and which of the slices the network sees (`temporal_distribution`'s `every`).

    Raises:
        ValueError: a number below 1 (a radius below 0), or an unknown form of `hidden`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 2,
        width: int | Sequence[int] = 64,
        radius: int = 4,
        iterations: int = 3,
        hidden: Literal["input", "width"] = "input",
        compensate: bool = False,
        reference: bool = False,
        normalise_input: bool = False,
        input_slices: int = 5,
        input_weights: Literal["float", "ceil"] = "float",
        input_every: int = 1,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)] if isinstance(width, int) else [int(each) for each in width]
        if len(widths) != 4:
            raise ValueError(f"expected the widths of four scales, got {widths}")
        if min(in_channels, *widths, iterations, radius + 1, input_every) < 1:
            raise ValueError(f"expected positive numbers, got in_channels {in_channels}, width {width}, radius "
                             f"{radius}, iterations {iterations}, input_every {input_every}")  # fmt: skip
        if hidden not in ("input", "width"):
            raise ValueError(f"expected hidden 'input' or 'width', got {hidden!r}")
        #: The constructor's arguments, which are saved with the weights.
        self.config: dict[str, Any] = {
            "in_channels": in_channels, "width": width if isinstance(width, int) else widths, "radius": radius,
            "iterations": iterations, "hidden": hidden, "compensate": compensate, "reference": reference,
            "normalise_input": normalise_input, "input_slices": input_slices, "input_weights": input_weights,
            "input_every": input_every,
        }  # fmt: skip
        self.normalise_input = normalise_input
        volume = (2 * radius + 1) ** 2
        states = [channels + volume if hidden == "input" else channels for channels in widths]
        self.encoder = Encoder(
            stem=conv(in_channels, widths[0], stride=2),
            matching=[conv(fine, coarse, stride=2) for fine, coarse in pairwise(widths)],
            strides=[conv(state, coarse, stride=2) for state, coarse in zip(states[:3], widths[1:], strict=True)],
            grus=[ConvGRU(in_channels=channels + volume, hidden_channels=state)
                  for channels, state in zip(widths, states, strict=True)],
            radius=radius,
            reference=reference,
        )  # fmt: skip
        self.bottleneck = Bottleneck(
            entry=conv(states[3], widths[3]),
            blocks=[nn.Sequential(conv(widths[3], widths[3]), conv(widths[3], widths[3])) for _ in range(2)],
        )
        self.decoder = _decoder(widths, states)
        initialise(self, reference=reference)

    def forward(
        self,
        x: Tensor,  # [B, T, C, H, W]
        slices: Sequence[int] | None = None,
        *,
        state: State | None = None,
        reference: Tensor | None = None,  # [B, C, H, W]
    ) -> Flows:
        """The flow from the first slice on.

        Args:
            x: the slices in order of time.
            slices: up to which of the T slices to return the flow; negative ones count from the end. By default only
                the last.
            state: of the window before (warm start). The hidden states go on from there, and its last flow, in equal
                steps, is the first estimate of a network of several passes; of a network that compensates motion, only
                this. Networks are trained from nothing: whether this helps must be measured.
            reference: the slice that flow counts from, where x goes on with a window that began before: then only
                the hidden states of `state` are taken over. The input must be neither normalised nor compensated,
                which would take whole windows.

        Raises:
            ValueError: the input has other axes or channels, is smaller than 16 pixels, or lacks a requested slice; or
                state or reference are of other sizes.
        """
        wanted = self._check(x, slices)
        self._check_start(x, state, reference)
        height, width = x.shape[3:]
        if self.normalise_input:
            x = normalise_rms(x)
        x = self._padded(x).transpose(0, 1)
        if self.config["compensate"]:
            passes, after = self._compensate(x, wanted, state)
        else:
            features, first = self.encoder.features(x), None
            if reference is not None:
                first = [level[0] for level in self.encoder.features(self._padded(reference)[None])]
            flows, after = self._refine(features, wanted, state, first)
            passes = [flows]
        *earlier, pyramid = (
            tuple(flow[..., : -(-height // 2**scale), : -(-width // 2**scale)].transpose(0, 1)
                  for scale, flow in enumerate(flows)) for flows in passes
        )  # fmt: skip
        return Flows(final=pyramid[0][:, -1], pyramid=pyramid, state=after, earlier=tuple(earlier))

    @property
    def iterations(self) -> int:
        """Passes; may be changed, of a network that compensates motion also after training."""
        return int(self.config["iterations"])

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.config["iterations"] = value

    @property
    def slices(self) -> int:
        """Slices of an interval that the network sees."""
        return -(-int(self.config["input_slices"]) // int(self.config["input_every"]))

    @property
    def recompute(self) -> bool:
        """Whether training keeps only what passes from scale to scale, and computes the rest again for the gradients:
        the same gradients, a third more work and a fraction of the memory. Off by default."""
        return self.encoder.recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self.encoder.recompute = value

    def represent(self, events: Events | SpikeStream, slices: int | None = None) -> Tensor:
        """Events as the network was trained to see them: [T, C, H, W].

        Args:
            events: of a window.
            slices: into how many to divide them; by default `input_slices`. T is the number of every `input_every`-th.
        """
        number, every = slices or self.config["input_slices"], self.config["input_every"]
        return temporal_distribution(events, number, weights=self.config["input_weights"], every=every)

    @staticmethod
    def _padded(x: Tensor) -> Tensor:
        return functional.pad(x, (0, -x.shape[-1] % COARSEST, 0, -x.shape[-2] % COARSEST))

    def _refine(
        self, features: list[Tensor], wanted: list[int], before: State | None, first: list[Tensor] | None
    ) -> tuple[list[Tensor], State]:
        """All passes: flows [S, B, 2, h, w] of the wanted slices, full resolution to 1/8, and the state at the end."""
        # A network of one pass never refines a flow: given one, it would add another to it.
        refines = before is not None and first is None and self.iterations > 1
        flows = _in_steps(before.flow, len(features[0])) if before is not None and refines else None
        hidden: list[Tensor | None] = [None] * len(features) if before is None else list(before.hidden)
        everything = list(range(len(features[0])))
        gates = self.encoder.lasting_gates(features) if self.iterations > 1 else None
        for iteration in range(self.iterations):
            kept = everything
            if iteration == self.iterations - 1:  # nothing that comes after the last wanted slice is used
                kept = wanted
                features = [level[: max(wanted) + 1] for level in features]
                gates = None if gates is None else gates[: max(wanted) + 1]
                flows = None if flows is None else [flow[: max(wanted) + 1] for flow in flows]
            states = self.encoder(features, flows, hidden, gates, first)
            hidden = [_last(state) for state in states]  # carried on: the paper resets it only between samples
            states = [_pick(state, kept) for state in states]
            flows = maybe_again(self.recompute, self._decode, states,
                                None if flows is None else [_pick(flow, kept) for flow in flows])  # fmt: skip
            del states  # else held through the next pass
        assert flows is not None
        last = wanted.index(max(wanted))
        return flows, State(tuple(each for each in hidden if each is not None), tuple(flow[last] for flow in flows))

    def _compensate(self, x: Tensor, wanted: list[int], before: State | None) -> tuple[list[list[Tensor]], State]:
        """Flows as `_refine` of the last pass, or with gradients of every pass, and the state at the end.

        No gradient goes from a pass to the one before: each makes the best of what it is given.
        """
        interval, stop = self.slices, max(wanted) + 1
        # Earlier passes see whole intervals, so that a slice's flow does not depend on which are asked for.
        x = x[: -(-stop // interval) * interval]
        ends = sorted({*range(interval - 1, len(x), interval), len(x) - 1})
        times = [each + 1.0 for each in wanted]
        middles = middles_of(len(x), of=self.config["input_slices"], every=self.config["input_every"])
        estimate = None if before is None else [flow[ends] for flow in _in_steps(before.flow, len(x))]
        passes: list[list[Tensor]] = []
        for iteration in range(self.iterations):
            seen = x if estimate is None else moved_back(x, estimate[0], ends, middles)
            last = iteration == self.iterations - 1
            kept = wanted if last else ends
            states = self.encoder(self.encoder.features(seen[:stop] if last else seen), None, [None] * 4)
            flows = maybe_again(self.recompute, self._decode, [_pick(state, kept) for state in states], None)
            if estimate is not None:
                olds = [flow_at(flow, ends, times) for flow in estimate] if last else estimate
                flows = [flow + old for flow, old in zip(flows, olds, strict=True)]
            if last:
                passes.append(flows)
            elif torch.is_grad_enabled():
                passes.append([flow_at(flow, ends, times) for flow in flows])
            estimate = [flow.detach() for flow in flows]
        latest = wanted.index(max(wanted))
        return passes, State(tuple(_last(state) for state in states), tuple(flow[latest] for flow in passes[-1]))

    def _decode(self, states: list[Tensor], flows: list[Tensor] | None) -> list[Tensor]:
        """Flows [S, B, 2, h, w] from states and earlier flows of the same slices, which all go in one batch."""
        flat = [state.flatten(0, 1) for state in states]
        deepest = self.bottleneck(flat[-1])
        earlier = None if flows is None else [flow.flatten(0, 1) for flow in flows]
        if torch.is_grad_enabled() or not on_cpu(deepest):
            return [in_sequence(flow, states[0]) for flow in self.decoder(flat, deepest, earlier)]
        most = max(1, _DECODED_POSITIONS // math.prod(flat[0].shape[2:]))
        decoded = []
        for start in range(0, len(deepest), most):
            part = slice(start, start + most)
            before = None if earlier is None else [flow[part] for flow in earlier]
            decoded.append(self.decoder([state[part] for state in flat], deepest[part], before))
        return [in_sequence(torch.cat(scale), states[0]) for scale in zip(*decoded, strict=True)]

    def _check(self, x: Tensor, slices: Sequence[int] | None) -> list[int]:
        channels = self.config["in_channels"]
        if x.ndim != 5 or x.shape[2] != channels or min(x.shape[3:]) < COARSEST or x.shape[1] < 1:
            raise ValueError(f"expected an input [B, T, {channels}, H, W] with T of 1 and H and W of {COARSEST} or "
                             f"more, got {tuple(x.shape)}")  # fmt: skip
        number = x.shape[1]
        wanted = [-1] if slices is None else list(slices)
        if not wanted or any(not -number <= index < number for index in wanted):
            raise ValueError(f"expected slices within 0..{number - 1}, got {wanted}")
        return [index % number for index in wanted]

    def _check_start(self, x: Tensor, state: State | None, reference: Tensor | None) -> None:
        whole = self.normalise_input or self.config["compensate"]
        if reference is not None and (reference.shape != x[:, 0].shape or whole):
            does = "compensate motion" if self.config["compensate"] else "normalise its input"
            why = f"of a network that does not {does}" if whole else f"{tuple(x[:, 0].shape)}"
            raise ValueError(f"expected a reference slice {why}, got {tuple(reference.shape)}")
        sides = [-(-side // COARSEST) * COARSEST // 2 for side in x.shape[3:]]
        if state is not None and state.hidden[0].shape[::2] + state.hidden[0].shape[3:] != (len(x), *sides):
            raise ValueError(f"expected the state of windows like {tuple(x.shape)}, got hidden states "
                             f"{tuple(state.hidden[0].shape)}")  # fmt: skip


def _in_steps(flow: Sequence[Tensor], number: int) -> list[Tensor]:
    """A window's flow [B, 2, h, w] as that of `number` slices, each a step further: [T, B, 2, h, w]."""
    shares = torch.arange(1, number + 1, dtype=flow[0].dtype, device=flow[0].device) / number
    return [shares.reshape(-1, 1, 1, 1, 1) * each for each in flow]


def normalise_rms(
    x: Tensor,  # [B, T, C, H, W]
) -> Tensor:
    """Each sample divided by its root mean square; one without events stays zero."""
    mean_square = x.square().mean(dim=(1, 2, 3, 4), keepdim=True)
    return x * torch.where(mean_square > 0, mean_square, 1).rsqrt()


#: Arguments of `steflownet_tiny`.
TINY: dict[str, Any] = {"width": (16, 32, 64, 64), "radius": 1, "iterations": 2, "compensate": True, "hidden": "width",
                        "normalise_input": True}  # fmt: skip


def steflownet(**overrides: Any) -> STEFlowNet:
    """The network of the paper, 48,327,216 parameters, with aligned warps and one activation per correlation."""
    settings: dict[str, Any] = {"width": 64, "radius": 4, "iterations": 3, "hidden": "input"}
    return STEFlowNet(**settings | overrides)


def steflownet_small(**overrides: Any) -> STEFlowNet:
    """Half the width, states as wide as their scale, two passes: 10.3 million parameters."""
    settings: dict[str, Any] = {"width": 32, "radius": 4, "iterations": 2, "hidden": "width", "normalise_input": True}
    return STEFlowNet(**settings | overrides)


def steflownet_tiny(**overrides: Any) -> STEFlowNet:
    """Learns within minutes on two CPU cores: 0.99 million parameters, two passes that compensate motion."""
    return STEFlowNet(**TINY | overrides)


def steflownet_spiking(**overrides: Any) -> STEFlowNet:
    """One pass with IF, LIF or SRIF neurons in the encoder (`flownet.spiking.direct_flow`), 0.99 million parameters."""
    built: STEFlowNet = import_module("flownet.spiking.direct_flow").steflownet_spiking(**overrides)
    return built


#: The named networks.
BUILDERS: dict[str, Callable[..., STEFlowNet]] = {
    "steflownet": steflownet,
    "steflownet_small": steflownet_small,
    "steflownet_tiny": steflownet_tiny,
    "steflownet_spiking": steflownet_spiking,
}


def _decoder(widths: Sequence[int], states: Sequence[int]) -> Decoder:
    # In the paper's width of 64: 4, 64 and 128 upsampled channels, and 32 within the heads.
    upsampled = [max(widths[0] // 16, 4), widths[0], widths[1]]
    between = max(widths[0] // 2, 8)
    inputs = [state + extra + 2 for state, extra in zip(states, upsampled, strict=False)] + [states[3] + widths[3]]
    return Decoder(
        heads=[flow_head(channels, between) for channels in inputs],
        deconvs=[deconv(channels, extra) for channels, extra in zip(inputs[1:], upsampled, strict=True)],
    )


def _last(sequence: Tensor) -> Tensor:
    """The last entry; where no gradient keeps the sequence anyway, as a copy that lets go of the others."""
    return sequence[-1] if torch.is_grad_enabled() else sequence[-1].clone()


def _pick(sequence: Tensor, indices: list[int]) -> Tensor:
    """Entries of a sequence [T, ...]; itself, not a copy, if these are all."""
    return sequence if indices == list(range(len(sequence))) else sequence[indices]
