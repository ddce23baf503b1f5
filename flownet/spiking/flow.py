"""STE-FlowNet on few levels, and on spikes.

Of the spiking network, these parts run for a window of micro-steps each: stem and matching pyramid (of all slices at
once, each with membranes of its own), the stride after every GRU but the last, and bottleneck with decoder. Between
them lie, in time of slices, the GRUs, the correlations and the warps. Correlations and warps are analog, as they
depend on data in both factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flownet.model.encoder import SLOPE, Encoder
from flownet.model.gru import ConvGRU, in_sequence
from flownet.model.steflownet import STEFlowNet
from flownet.spiking.calibrate import set_thresholds
from flownet.spiking.gru import QuantisedConvGRU, SpikingConvGRU
from flownet.spiking.quantise import QCFS, QuantisedLeakyReLU, Quantiser
from flownet.spiking.window import Windows

Activation = Literal["leaky", "relu"]


class QuantisedSTEFlowNet(STEFlowNet):
    """STE-FlowNet whose activations have a few levels, for fine-tuning, and for a lossless conversion.

    Args:
        levels: of each activation, per sign.
        gates: levels of the gates and of the state, per sign.
        activation: "leaky", LeakyReLU(0.1) clipped on both sides; or "relu", `quantise.QCFS`.
        network: the arguments of `STEFlowNet`.

    Raises:
        ValueError: fewer than one level, an unknown activation, or arguments that `STEFlowNet` refuses.
    """

    def __init__(self, *, levels: int = 8, gates: int = 16, activation: Activation = "leaky", **network: Any) -> None:
        super().__init__(**network)
        if activation not in ("leaky", "relu"):
            raise ValueError(f"expected an activation 'leaky' or 'relu', got {activation!r}")
        self.config |= {"levels": levels, "gates": gates, "activation": activation}
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.LeakyReLU):
                    new = QuantisedLeakyReLU(levels, SLOPE) if activation == "leaky" else QCFS(levels)
                    setattr(parent, name, new)
        self.encoder.grus = nn.ModuleList(_quantised_gru(gru, gates) for gru in self.encoder.grus)


def quantised(
    model: STEFlowNet,
    *,
    levels: int = 8,
    gates: int = 16,
    activation: Activation = "leaky",
    thresholds: Mapping[str, Tensor] | None = None,
) -> QuantisedSTEFlowNet:
    """A copy of a network with activations, gates and states of a few levels; it takes and returns the same.

    Args:
        model: a network that is not quantised.
        levels, gates, activation: as `QuantisedSTEFlowNet`.
        thresholds: to start the activations' from, one per layer, of `calibrate.thresholds`; without, all start at 8,
            far above what most layers put out.

    Raises:
        ValueError: the network is quantised already, a threshold per channel, or arguments as `QuantisedSTEFlowNet`.
    """
    if type(model) is not STEFlowNet:
        raise ValueError(f"expected a STEFlowNet, got {type(model).__name__}")
    if wide := [name for name, value in (thresholds or {}).items() if value.ndim]:
        raise ValueError(f"expected one threshold per layer, got one per channel of {', '.join(wide)}")
    copy = QuantisedSTEFlowNet(levels=levels, gates=gates, activation=activation, **model.config)
    copy = copy.to(next(model.parameters()))  # before the weights, which are not to be rounded on the way
    copy.load_state_dict(model.state_dict(), strict=False)
    set_thresholds(copy, thresholds or {})
    copy.recompute = model.recompute
    return copy.train(model.training)


class Stage(nn.Module):
    """A part of a network that takes a window of its own.

    Args:
        body: what runs at every micro-step.
        windows: of the network.
        quantum: of its input, where that is a multiple of one.
    """

    def __init__(self, body: nn.Module, windows: Windows, quantum: Tensor | None) -> None:
        super().__init__()
        self.body = body
        self._windows = windows
        self.register_buffer("_quantum", quantum, persistent=False)
        self._quantum: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """What the window comes to."""
        found: Tensor = self._windows.run(self.body, self._windows.feed(x, self._quantum))
        return found


class SpikingEncoder(Encoder):
    """The encoder with pyramid and strides on spikes.

    Args:
        encoder: of neurons in the place of activations.
        grus: the GRUs, analog or spiking.
        windows: of the network.
        quantum: of the GRUs' states; None if they are analog.
    """

    def __init__(self, encoder: Encoder, *, grus: Sequence[ConvGRU], windows: Windows, quantum: Tensor | None) -> None:
        super().__init__(
            stem=encoder.stem,
            matching=list(encoder.matching),
            strides=[Stage(stride, windows, quantum) for stride in encoder.strides],
            grus=grus,
            radius=encoder.radius,
            reference=encoder.reference,
        )
        self._windows = windows

    def features(self, x: Tensor) -> list[Tensor]:
        """The features to match, fine to coarse, [T, B, C_l, h_l, w_l]: what a window on each slice comes to."""
        found = self._windows.run(self._pyramid, self._windows.feed(x.flatten(0, 1)))
        return [in_sequence(level, x) for level in found]

    def _pyramid(self, x: Tensor) -> list[Tensor]:
        pyramid = [self.stem(x)]
        for module in self.matching:
            pyramid.append(module(pyramid[-1]))
        return pyramid


class SpikingSTEFlowNet(STEFlowNet):
    """STE-FlowNet on spikes; made by `convert.convert`. It takes and returns the same.

    Args:
        model: its copy, with neurons in the place of activations.
        encoder: the spiking encoder.
        windows: how long the windows are; `windows.steps` may be changed at any time.
        quantum: of the GRUs' states; None if they are analog.
    """

    def __init__(self, model: STEFlowNet, *, encoder: SpikingEncoder, windows: Windows, quantum: Tensor | None) -> None:
        nn.Module.__init__(self)  # all parts are there: STEFlowNet's would draw them anew
        self.config = dict(model.config)
        self.normalise_input = model.normalise_input
        self.encoder = encoder
        self.bottleneck = model.bottleneck
        self.decoder = model.decoder
        self.windows = windows
        self.register_buffer("_quantum", quantum, persistent=False)
        self._quantum: Tensor | None

    def _decode(self, states: list[Tensor], flows: list[Tensor] | None) -> list[Tensor]:
        """Flows [S, B, 2, h, w] from states and earlier flows of the same slices, which all go in one batch."""
        feeds = [self.windows.feed(state.flatten(0, 1), self._quantum) for state in states]
        feeds += [self.windows.feed(flow.flatten(0, 1)) for flow in flows or []]

        def body(*arriving: Tensor) -> list[Tensor]:
            now, earlier = list(arriving[: len(states)]), list(arriving[len(states) :])
            found: list[Tensor] = self.decoder(now, self.bottleneck(now[-1]), earlier or None)
            return found

        return [in_sequence(flow, states[0]) for flow in self.windows.run(body, *feeds)]


def spiking_grus(encoder: Encoder, windows: Windows) -> list[ConvGRU]:
    """The GRUs of a quantised network on spikes.

    Args:
        encoder: before its activations are replaced: they say how large the features' quanta are.
        windows: of the network, in sum form.

    Raises:
        ValueError: the GRUs or the activations are not quantised.
    """
    grus: list[ConvGRU] = []
    for gru, source in zip(encoder.grus, [encoder.stem, *encoder.strides], strict=True):
        quanta = [module.quantum for module in source.modules() if isinstance(module, Quantiser)]
        if not isinstance(gru, QuantisedConvGRU) or len(quanta) != 1:
            raise ValueError("expected a network of flow.quantised, got GRUs or activations that are not quantised")
        features = gru.input.in_channels - (2 * encoder.radius + 1) ** 2
        grus.append(SpikingConvGRU(gru, windows, features=features, quantum=quanta[0]))
    return grus


def _quantised_gru(gru: nn.Module, levels: int) -> QuantisedConvGRU:
    assert isinstance(gru, ConvGRU)
    channels = {"in_channels": gru.input.in_channels, "hidden_channels": gru.recurrent_q.in_channels}
    new = QuantisedConvGRU(**channels, levels=levels)
    new.input, new.recurrent_zr, new.recurrent_q = gru.input, gru.recurrent_zr, gru.recurrent_q
    return new


def state_quantum(model: STEFlowNet) -> Tensor:
    """What one level of a quantised network's states is worth.

    Raises:
        ValueError: its GRUs are not quantised.
    """
    gru = model.encoder.grus[0]
    if not isinstance(gru, QuantisedConvGRU):
        raise ValueError("expected a network of flow.quantised, got one whose GRUs are not quantised")
    return torch.ones_like(gru.input.weight.detach().flatten()[0]) / gru.levels
