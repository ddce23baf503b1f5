"""Trained networks to spiking ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

from torch import Tensor, nn

from flownet.model.gru import ConvGRU
from flownet.model.steflownet import STEFlowNet
from flownet.spiking.arrivals import along_channels
from flownet.spiking.flow import SpikingEncoder, SpikingSTEFlowNet, spiking_grus, state_quantum
from flownet.spiking.fold import fold_batch_norm, norm_as_affine
from flownet.spiking.naive import NaiveEncoder
from flownet.spiking.neurons import IF, Neuron
from flownet.spiking.pooling import LIPool2d
from flownet.spiking.quantise import QCFS, HardSigmoidQ, HardTanhQ, QuantisedLeakyReLU, Quantiser, Staircase
from flownet.spiking.signed import STBIF, CalibratedIF
from flownet.spiking.window import Once, Timed, Windows

_Spiking = TypeVar("_Spiking", bound=nn.Module)

#: `hybrid`: rate-coded spikes in feed-forward layers, GRUs and what else has no spiking form analog, once per slice.
#: `lossless`: everything quantised, on signed spikes that settle. `naive`: sigmoid and tanh at every micro-step.
Mode = Literal["hybrid", "lossless", "naive"]

_AFFINE = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)
_LINEAR = (nn.Identity, nn.Flatten, nn.Unflatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Upsample, nn.ZeroPad2d,
           nn.ReflectionPad2d, nn.ReplicationPad2d, nn.PixelShuffle, nn.PixelUnshuffle, nn.Dropout,
           nn.Dropout2d)  # fmt: skip
_ANALOG = (nn.Sigmoid, nn.Tanh)


@dataclass(frozen=True, kw_only=True)
class NeuronSettings:
    """The neurons of a rate-coded network.

    Args:
        initial: potential to start from, as a share of the threshold; 1/2 is optimal (see `neurons.IF`).
        reset: "soft", or "hard" to show what it costs.
        burst: most spikes in a micro-step; activations that learned a clip must not burst.
        signed: neurons that take spikes back (`signed.STBIF`) for ReLU and QCFS too. LeakyReLU always has them.
        allowance: spike calibration by inter-spike intervals, with so many micro-steps of allowance
            (`signed.CalibratedIF`); None for none.

    Raises:
        ValueError: settings that exclude each other.
    """

    initial: float = 0.5
    reset: Literal["soft", "hard"] = "soft"
    burst: int = 1
    signed: bool = False
    allowance: float | None = None

    def __post_init__(self) -> None:
        special = self.signed or self.allowance is not None
        if (self.signed and self.allowance is not None) or (special and self.reset == "hard"):
            raise ValueError(f"expected one of signed, allowance and a hard reset, got {self}")


class SpikingModel(nn.Module):
    """A feed-forward network on spikes; made by `convert`. It takes and returns the same as the network.

    Args:
        body: the network, with neurons in the place of activations.
        windows: how long the window is; `windows.steps` may be changed at any time.
    """

    def __init__(self, body: nn.Module, windows: Windows) -> None:
        super().__init__()
        self.body = body
        self.windows = windows

    def forward(self, *inputs: Tensor) -> Any:
        """What the network's output comes to over a window: its mean in hybrid mode, its sum in lossless mode."""
        return self.windows.run(self.body, *(self.windows.feed(x) for x in inputs))

    def trace(self, *inputs: Tensor, steps: Sequence[int]) -> list[Any]:
        """The same after several numbers of micro-steps, from one run of the longest.

        Raises:
            ValueError: no number, or one below 1.
        """
        return self.windows.trace(self.body, *(self.windows.feed(x) for x in inputs), steps=steps)


@overload
def convert(  # type: ignore[overload-overlap]
    model: STEFlowNet,
    *,
    mode: Mode = ...,
    steps: int | None = ...,
    thresholds: Mapping[str, Tensor | float] | None = ...,
    neurons: NeuronSettings | None = ...,
    delay: int = ...,
) -> SpikingSTEFlowNet:
    """Of a flow network."""


@overload
def convert(
    model: nn.Module,
    *,
    mode: Mode = ...,
    steps: int | None = ...,
    thresholds: Mapping[str, Tensor | float] | None = ...,
    neurons: NeuronSettings | None = ...,
    delay: int = ...,
) -> SpikingModel:
    """Of any other network."""


def convert(
    model: nn.Module,
    *,
    mode: Mode = "hybrid",
    steps: int | None = None,
    thresholds: Mapping[str, Tensor | float] | None = None,
    neurons: NeuronSettings | None = None,
    delay: int = 0,
) -> SpikingModel | SpikingSTEFlowNet:
    """A spiking copy of a trained network, in evaluation mode, without gradients.

    Activations have to be modules: `nn.ReLU`, `nn.ReLU6`, `nn.LeakyReLU`, or the quantisers of `quantise`. Around
    them, convolutions, transposed convolutions, linear layers, batch normalisation, average and max-pooling, padding,
    upsampling and reshaping are taken, in any network whose forward pass treats samples of a batch alike; sums and
    concatenations of spikes too. Batch normalisation is folded where it follows a layer in an `nn.Sequential`.

    Args:
        model: the network; a `STEFlowNet` keeps its own interface.
        mode: see `Mode`. Lossless takes quantised activations only: for flow, networks of `flow.quantised`.
        steps: micro-steps of a window. None, in lossless mode only, runs each window until everything has settled:
            then the result is the quantised network's, in float64 to rounding. In float32 a current that comes within
            rounding of a level's edge may fall to its other side, and what follows with it: no more than the quantised
            network itself differs between float32 and float64.
        thresholds: qualified name -> threshold of each ReLU and LeakyReLU: see `calibrate`.
        neurons: of the modes other than lossless.
        delay: micro-steps at the start that the read-out leaves out; not in lossless mode.

    Raises:
        ValueError: a module that has no spiking form, by its qualified name and class; an activation without a
            threshold; settings that do not fit the mode. On the first run: a non-linear function that is no module.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"expected a mode of {', '.join(get_args(Mode))}, got {mode!r}")
    if mode == "lossless" and (neurons is not None or delay):
        raise ValueError("expected neither neurons nor a delay in lossless mode, got one")
    windows = Windows("sum" if mode == "lossless" else "mean", steps, delay=delay, guarded=mode != "naive")
    replacement = _Replacement(mode, windows, thresholds or {}, neurons or NeuronSettings())
    if isinstance(model, STEFlowNet):
        return _flow(model, mode, windows, replacement)
    body = nn.Sequential(fold_batch_norm(model))
    replacement.inside(body, names={"0": ""})
    return _frozen(SpikingModel(body[0], windows), model)


def _flow(model: STEFlowNet, mode: Mode, windows: Windows, replacement: _Replacement) -> SpikingSTEFlowNet:
    if isinstance(model, SpikingSTEFlowNet):
        raise ValueError("expected a network that is not spiking yet, got one of convert")
    copy = deepcopy(model).eval()
    encoder, quantum = copy.encoder, None
    grus = [gru for gru in encoder.grus if isinstance(gru, ConvGRU)]
    if mode == "lossless":
        quantum, grus = state_quantum(copy), spiking_grus(encoder, windows)
    encoder.grus = nn.ModuleList()
    replacement.inside(copy)
    kind = NaiveEncoder if mode == "naive" else SpikingEncoder
    spiking = kind(encoder, grus=grus, windows=windows, quantum=quantum)
    return _frozen(SpikingSTEFlowNet(copy, encoder=spiking, windows=windows, quantum=quantum), model)


def _frozen(spiking: _Spiking, model: nn.Module) -> _Spiking:
    """In evaluation mode and without gradients, in the network's precision and on its device."""
    parameter = next(model.parameters(), None)
    return (spiking if parameter is None else spiking.to(parameter)).eval().requires_grad_(False)


class _Replacement:
    """Puts neurons in the place of activations, and what else a window needs in the place of other modules."""

    def __init__(
        self, mode: Mode, windows: Windows, thresholds: Mapping[str, Tensor | float], settings: NeuronSettings
    ) -> None:
        self._mode = mode
        self._clock = windows.clock
        self._sums = windows.form == "sum"
        self._thresholds = thresholds
        self._settings = settings
        self._done: dict[nn.Module, nn.Module] = {}

    def inside(self, parent: nn.Module, prefix: str = "", names: Mapping[str, str] | None = None) -> None:
        """Replaces what lies below a module; `names` stand for some children's own."""
        for key, child in list(parent._modules.items()):
            if child is None:
                continue
            name = (names or {}).get(key, f"{prefix}{key}")
            if child not in self._done:
                self._done[child] = self._replaced(name, child)
            parent._modules[key] = self._done[child]

    def _replaced(self, name: str, module: nn.Module) -> nn.Module:
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.LeakyReLU | Quantiser):
            return self._activation(name, module)
        if isinstance(module, nn.MaxPool2d):
            return Timed(LIPool2d.of(module), self._clock)
        if isinstance(module, _AFFINE):
            return self._affine(module)
        if isinstance(module, _NORM) and module.running_mean is not None:
            return self._norm(module)
        if isinstance(module, _LINEAR) or (isinstance(module, _ANALOG) and self._mode == "naive"):
            return module
        container = bool(module._modules) or isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if not container or isinstance(module, ConvGRU):
            supported = ", ".join(each.__name__ for each in (*_AFFINE, *_NORM, nn.MaxPool2d, *_LINEAR))
            raise ValueError(f"expected activations that spike (ReLU, ReLU6, LeakyReLU, quantisers) and {supported}, "
                             f"got {name or 'the network'} ({type(module).__name__})")  # fmt: skip
        self.inside(module, f"{name}." if name else "")
        return module

    def _affine(self, layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> nn.Module:
        if not self._sums or layer.bias is None:
            return layer
        bias, layer.bias = layer.bias, None
        return Once(layer, bias, self._clock)

    def _norm(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
        if not self._sums:
            return norm
        scale, shift = norm_as_affine(norm)
        return Once(_Scale(scale), shift, self._clock)

    def _activation(self, name: str, module: nn.Module) -> nn.Module:
        if self._sums:
            if not isinstance(module, Quantiser):
                raise ValueError(f"expected quantised activations in lossless mode, got {name} "
                                 f"({type(module).__name__})")  # fmt: skip
            return Timed(STBIF(module), self._clock)
        if isinstance(module, HardSigmoidQ):
            return nn.Sequential(_Quarter(), Timed(self._neuron(1.0, 0.0, clipped=True), self._clock))
        if isinstance(module, HardTanhQ):
            return Timed(self._neuron(1.0, 1.0, clipped=True), self._clock)
        if isinstance(module, QCFS | QuantisedLeakyReLU):
            return Timed(self._neuron(module.threshold.detach(), _slope(module), clipped=True), self._clock)
        if isinstance(module, nn.ReLU6):
            return Timed(self._neuron(6.0, 0.0, clipped=True), self._clock)
        if name not in self._thresholds:
            raise ValueError(f"expected a threshold of every ReLU and LeakyReLU, such as calibrate.thresholds finds, "
                             f"got none of {name} ({type(module).__name__})")  # fmt: skip
        return Timed(self._neuron(self._thresholds[name], _slope(module), clipped=False), self._clock)

    def _neuron(self, threshold: Tensor | float, slope: float, *, clipped: bool) -> Neuron:
        settings = self._settings
        if clipped and settings.burst > 1:
            raise ValueError("expected no bursts where activations learned a clip, got some")
        if slope or settings.signed:
            return STBIF(Staircase(threshold, slope), burst=settings.burst)
        if settings.allowance is not None:
            return CalibratedIF(threshold, allowance=settings.allowance, initial=settings.initial, burst=settings.burst)
        return IF(threshold, initial=settings.initial, reset=settings.reset, burst=settings.burst)


class _Scale(nn.Module):
    """A factor per channel."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * along_channels(self.scale, x)


class _Quarter(nn.Module):
    """x / 4 + 1/2, of which the hard sigmoid is the clip to 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 4 + 0.5


def _slope(module: nn.Module) -> float:
    if isinstance(module, nn.LeakyReLU):
        return module.negative_slope
    return module.slope if isinstance(module, QuantisedLeakyReLU) else 0.0
