"""STE-FlowNet whose encoder is trained on spikes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flownet.model.encoder import Encoder
from flownet.model.gru import ConvGRU, in_sequence
from flownet.model.steflownet import TINY, STEFlowNet
from flownet.spiking.arrivals import Graded, mark
from flownet.spiking.direct import Kind, OverTime, neuron
from flownet.spiking.surrogate import Surrogate


class DirectEncoder(Encoder):
    """The encoder with neurons behind its convolutions (stem, matching pyramid, strides), which run over the slices.

    Neurons start from nothing at the first slice of every pass: a warm start hands on the GRUs' states, not theirs.

    Args:
        stem, matching, strides: as of `Encoder`, each from [T, B, ...] to [T, B, ...].
        grus, radius, reference: as of `Encoder`.
    """

    def features(self, x: Tensor) -> list[Tensor]:
        """The features to match, fine to coarse: spikes [T, B, C_l, h_l, w_l] of value 0 or 1."""
        arriving = in_sequence(mark(x.flatten(0, 1), Graded()), x)
        pyramid: list[Tensor] = [self.stem(arriving)]
        for module in self.matching:
            pyramid.append(module(pyramid[-1]))
        return pyramid

    def _in_parts(self, gru: ConvGRU, matched: Tensor) -> bool:
        """Never: neurons would start anew in every part of the slices."""
        return False

    def _entering(self, level: int, entry: Tensor) -> Tensor:
        """The features of a scale, from the finer one's states, all slices in one run of the neurons."""
        features: Tensor = entry if level == 0 else self.strides[level - 1](entry)
        return features


class DirectSTEFlowNet(STEFlowNet):
    """STE-FlowNet with a spiking encoder, for training as it is; it takes and returns the same.

    Spikes leave the stem, the matching pyramid and the strides between scales: at most one per value and slice, so
    that the convolutions behind them only add. GRUs, correlations and the decoder stay as they are; a correlation of
    spikes is one of zeros and ones.

    Args:
        neuron: the neurons, see `direct.Kind`.
        leak: share of the potential that is left from slice to slice, of "lif".
        surrogate: gradient of firing; by default "arctan", which reaches every membrane, and of "srif_mpr" the
            rectifier's.
        network: the arguments of `STEFlowNet`.

    Raises:
        ValueError: an unknown neuron, the reference's form of the network, or arguments that `STEFlowNet` refuses.
    """

    def __init__(
        self, *, neuron: Kind = "lif", leak: float = 0.5, surrogate: Surrogate | None = None, **network: Any
    ) -> None:
        super().__init__(**network)
        if self.config["reference"]:
            raise ValueError("expected reference=False for a spiking encoder, got True")
        self.config |= {"neuron": neuron, "leak": leak, "surrogate": surrogate}
        before = self.encoder
        self.encoder = DirectEncoder(
            stem=self._spiking(before.stem),
            matching=[self._spiking(each) for each in before.matching],
            strides=[self._spiking(each) for each in before.strides],
            grus=[gru for gru in before.grus if isinstance(gru, ConvGRU)],
            radius=before.radius,
            reference=False,
        )

    def _spiking(self, activated: nn.Module) -> OverTime:
        """A convolution and its activation as the convolution and neurons."""
        assert isinstance(activated, nn.Sequential)
        kind, given = self.config["neuron"], self.config["surrogate"]
        gradient: Surrogate = given or ("mpr" if kind == "srif_mpr" else "arctan")
        return OverTime(activated[0], neuron(kind, leak=self.config["leak"], surrogate=gradient))


def steflownet_spiking(**overrides: Any) -> DirectSTEFlowNet:
    """`steflownet_tiny` with a spiking encoder, of one pass: 0.99 million parameters."""
    return DirectSTEFlowNet(**TINY | {"iterations": 1} | overrides)
