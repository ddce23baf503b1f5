"""`flownet convert-snn` and `export-nir`: flow networks on spikes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from eventsim.command import Options

if TYPE_CHECKING:
    from flownet.evaluate import Sample
    from flownet.model.steflownet import STEFlowNet
    from flownet.spiking.conversion import Conversion
    from flownet.spiking.study import Study


@dataclass(kw_only=True)
class ConvertSnn(Options):
    """A trained flow network to a spiking one, and what that costs: error, spikes and energy by time steps.

    The file that is written is read like any other network's: `flownet evaluate` and `infer` take it.
    """

    model: Positional[str]
    """A .safetensors file, or the name of a network that ships with the package."""
    out: Positional[Path]
    """File to write (.safetensors)."""
    data: tuple[Path, ...]
    """Recordings with ground truth (*_data.hdf5) to judge the spiking network on."""
    calibrate: tuple[Path, ...] = ()
    """Recordings to find thresholds on, which need no ground truth; by default those of --data, whose errors then are
    a little better than on unseen ones."""
    mode: Literal["hybrid", "lossless", "naive"] = "hybrid"
    """hybrid: spikes in encoder and decoder, GRUs analog. lossless: all on spikes, for networks trained with quantised
    gates. naive: gates at every micro-step, to show that this fails."""
    steps: tuple[int, ...] = (4, 8, 16, 32)
    """Micro-steps of a window: each is judged, and the last one is what the file says. In lossless mode, windows until
    everything has settled are judged as well, and kept."""
    method: Literal["percentile", "maximum", "balanced", "search"] = "percentile"
    """Thresholds from a percentile of the activations, their maximum, local threshold balancing, or a Bayesian search
    for the percentile whose flow is nearest to the network's (needs scikit-learn)."""
    share: float = 0.9999
    """Of the values that lie below a percentile's threshold."""
    per_layer: bool = False
    """One threshold for a layer, not one for each of its channels."""
    burst: int = 4
    """Most spikes of a neuron in a micro-step; 1 for plain spikes."""
    delay: int = 0
    """Micro-steps at the start that the read-out leaves out."""
    intervals: int = 5
    """Intervals of each recording to judge on, spread over it; as many to calibrate on."""
    counted: int = 1
    """Intervals on which operations are counted."""
    float64: bool = False
    """Judge in double precision, in which a lossless conversion is exact."""
    report: Path | None = None
    """HTML page to write, with tables, curves and pictures."""

    def run(self) -> None:
        from eventsim.command import check_output
        from eventsim.provenance import write_provenance
        from eventsim.report import HtmlReport

        others = [] if self.report is None else [self.report]
        check_output(self.out, ".safetensors", overwrite=self.overwrite, inputs=[Path(self.model)], others=others)

        from flownet.model.pretrained import load_pretrained
        from flownet.spiking.files import save_spiking
        from flownet.spiking.page import add_study

        model = load_pretrained(self.model)
        samples, conversion = self._samples(model), self._conversion(model)
        found = self._studied(deepcopy(model).double() if self.float64 else model, conversion, samples)
        print(found)
        save_spiking(model, conversion, self.out, overwrite=self.overwrite)
        if self.report:
            page = HtmlReport(f"{Path(self.model).name} on spikes")
            add_study(page, found)
            page.write(self.report, overwrite=self.overwrite)
        errors = {each.name: each.aee for each in found.lengths}
        write_provenance(self.out, self, aee=found.aee, spiking_aee=errors)

    def _conversion(self, model: STEFlowNet) -> Conversion:
        """How to convert, with thresholds from the recordings to calibrate on."""
        from eventsim.errors import InputError
        from flownet.spiking import conversion
        from flownet.spiking.calibrate import Calibration, unbounded
        from flownet.spiking.convert import NeuronSettings

        if self.method == "search" and self.mode != "hybrid":
            raise InputError("--method search", expected="--mode hybrid", found=self.mode)
        if self.mode == "lossless":
            return conversion.Conversion(mode="lossless")
        if not unbounded(model):
            return conversion.calibrated(model, [], mode=self.mode, steps=self.steps[-1], delay=self.delay)
        batches = self._slices(model)
        neurons = NeuronSettings(burst=self.burst)
        shared: dict[str, Any] = {"steps": self.steps[-1], "neurons": neurons, "delay": self.delay}
        if self.method == "balanced":
            return conversion.balanced(model, batches, mode=self.mode, per_channel=not self.per_layer, **shared)
        method: Any = "maximum" if self.method == "maximum" else "percentile"
        calibration = Calibration(method=method, share=self.share, per_channel=not self.per_layer)
        if self.method == "search":
            try:
                found, tried = conversion.searched(model, batches, calibration=calibration, seed=self.seed, **shared)
            except ImportError as error:
                raise InputError("--method search", expected="scikit-learn", found=str(error)) from error
            print(f"clipped by search: 1 in {10 ** -tried.best[0]:,.0f} values, {-tried.value:.4g} px off the network")
            return found
        return conversion.calibrated(model, batches, mode=self.mode, calibration=calibration, **shared)

    def _studied(self, model: STEFlowNet, conversion: Conversion, samples: list[Sample]) -> Study:
        from flownet.spiking.study import study

        lengths: list[int | None] = [*self.steps, *([None] if self.mode == "lossless" else [])]
        return study(model, conversion, samples, lengths, counted=min(self.counted, max(len(samples), 1)))

    def _samples(self, model: STEFlowNet) -> list[Sample]:
        from eventsim.errors import InputError
        from eventsim.io.mvsec import open_recording
        from flownet.evaluate import recording_name
        from flownet.protocols import load_protocol
        from flownet.spiking.study import spread_samples

        recordings = [open_recording(path) for path in self.data]
        found = list(spread_samples(recordings, lambda each: load_protocol("full", recording_name(each)), model,
                                    most=self.intervals))  # fmt: skip
        if not found:
            raise InputError(self.data[0], expected="intervals with events and ground truth", found="none")
        return found

    def _slices(self, model: STEFlowNet) -> list[Any]:
        """Inputs [1, T, C, H, W] to calibrate on."""
        from eventsim.io.mvsec import open_recording
        from flownet.spiking.study import spread_slices

        recordings = [open_recording(path) for path in self.calibrate or self.data]
        return list(spread_slices(recordings, model, most=self.intervals))


@dataclass(kw_only=True)
class ExportNir(Options):
    """The spiking encoder of a flow network (stem and matching pyramid) as a NIR graph, for neuromorphic tools.

    NIR knows neurons with a hard reset and feed-forward layers. What else a network has is refused.
    """

    model: Positional[str]
    """A .safetensors file: of a network that was trained on spikes, or of `flownet convert-snn`."""
    out: Positional[Path]
    """File to write (.nir)."""
    size: tuple[int, int] = (256, 256)
    """Rows and columns of the input."""
    allow_reset_mismatch: bool = False
    """Write neurons with a soft reset or a start above zero all the same, which other tools will run with a hard reset
    from zero; what they should do is in <out>.json."""

    def run(self) -> None:
        from eventsim.command import check_output
        from eventsim.provenance import write_provenance

        check_output(self.out, ".nir", overwrite=self.overwrite, inputs=[Path(self.model)])

        from flownet.model.pretrained import load_pretrained
        from flownet.spiking.nir_files import encoder_of, write_nir

        encoder, channels = encoder_of(load_pretrained(self.model))
        write_nir(encoder, self.out, input_shape=(channels, *self.size), overwrite=self.overwrite,
                  allow_reset_mismatch=self.allow_reset_mismatch)  # fmt: skip
        write_provenance(self.out, self)
