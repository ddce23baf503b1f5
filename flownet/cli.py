"""The `flownet` command. Heavy libraries are imported where a command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tyro.conf import Positional

from eventsim.command import Options
from eventsim.command import main as run_main


@dataclass(kw_only=True)
class Train(Options):
    """A network, self-supervised, on recordings in MVSEC's layout."""

    seed: int | None = None  # type: ignore[assignment]
    """Seed of weights, order and patches, instead of the configuration's."""

    data: Positional[tuple[Path, ...]]
    """Recordings (*_data.hdf5) or folders of them."""
    out: Path
    """Folder of the run."""
    config: Path | None = None
    """YAML file of settings; by default those with which steflownet_tiny learns in minutes."""
    steps: int | None = None
    """Optimiser steps, instead of the configuration's."""
    minutes: float | None = None
    """Stop when this much time is spent."""
    device: str = "cpu"
    """Where to train."""
    resume: bool = False
    """Go on from the run's checkpoint."""

    def run(self) -> None:
        from flownet.train import load_config, train

        path = self.config or Path(__file__).with_name("configs") / "tiny.yaml"
        given = {"steps": self.steps, "minutes": self.minutes, "seed": self.seed}
        overrides = {name: value for name, value in given.items() if value is not None}
        config = load_config(path, data=[str(source) for source in self.data], **overrides)
        train(config, self.out, overwrite=self.overwrite, resume=self.resume, device=self.device, quiet=self.quiet)


@dataclass(kw_only=True)
class Evaluate(Options):
    """A network on a recording with ground truth, by a protocol's rules."""

    model: Positional[str]
    """A .safetensors file, or the name of a network that ships with the package."""
    recordings: Positional[tuple[Path, ...]]
    """Recordings (*_data.hdf5, with *_gt.hdf5 beside them)."""
    protocol: str = "steflow"
    """Name of the rules."""
    dt: int = 1
    """Grey frames per interval."""
    report: Path | None = None
    """HTML page to write, with the tables and pictures of a few intervals."""
    warm_start: bool = False
    """Go on from the last interval's hidden states and flow, which no published protocol does."""

    def run(self) -> None:
        from eventsim.errors import OutputExistsError
        from eventsim.io.mvsec import open_recording
        from eventsim.provenance import write_provenance
        from eventsim.report import HtmlReport
        from flownet.evaluate import evaluate
        from flownet.model.pretrained import load_pretrained
        from flownet.report import Watched, add_flows, add_scores

        if self.report and self.report.exists() and not self.overwrite:
            raise OutputExistsError(self.report)
        model, page = load_pretrained(self.model), HtmlReport(f"{self.model}: optical flow, protocol {self.protocol}")
        for path in self.recordings:
            watched = Watched()
            watch = watched.add if self.report else None
            found = evaluate(model, path, self.protocol, self.dt, watch=watch, warm_start=self.warm_start,
                             quiet=self.quiet)  # fmt: skip
            print(found)
            if self.report:
                page.heading(found.sequence)
                add_scores(page, found)
                add_flows(page, open_recording(path), found.protocol, watched.kept)
        if self.report:
            page.write(self.report, overwrite=self.overwrite)
            write_provenance(self.report, self)


@dataclass(kw_only=True)
class Infer(Options):
    """Flow of any file of events, as .flo files and pictures."""

    model: Positional[str]
    """A .safetensors file, or the name of a network that ships with the package."""
    events: Positional[Path]
    """File of events."""
    out: Positional[Path]
    """Folder to write to."""
    window_ms: float = 31.25
    """Time that each flow spans, in milliseconds."""
    warm_start: bool = False
    """Go on from the last window's hidden states and flow."""

    def run(self) -> None:
        from eventsim.progress import track
        from eventsim.provenance import write_provenance
        from flownet.infer import infer, write_windows
        from flownet.model.pretrained import load_pretrained

        found = infer(load_pretrained(self.model), self.events, window_us=round(self.window_ms * 1000),
                      warm_start=self.warm_start)  # fmt: skip
        written = write_windows(found, self.out, overwrite=self.overwrite)
        for _ in track(written, "flow", unit="windows", quiet=self.quiet):
            pass
        # Not run.json: the folder may be a training run's, which has one of its own.
        write_provenance(self.out / "flow", self)


@dataclass(kw_only=True)
class View(Options):
    """A .flo file as a picture in the colours of the flow wheel."""

    source: Positional[Path]
    """Flow file."""
    out: Positional[Path]
    """Picture to write."""
    largest_px: float | None = None
    """Flow that gets the full colour; by default the largest there is."""

    def run(self) -> None:
        from eventsim.io.flo import read_flo
        from eventsim.provenance import write_provenance
        from eventsim.view import write_picture
        from flownet.view import flow_to_rgb

        write_picture(self.out, flow_to_rgb(read_flo(self.source), self.largest_px), overwrite=self.overwrite)
        write_provenance(self.out, self)


@dataclass(kw_only=True)
class Convert(Options):
    """A checkpoint to .safetensors, with the network's configuration inside."""

    checkpoint: Positional[Path]
    """A training run's checkpoint.pt, or a checkpoint of STE-FlowNet's authors (steflow_dt1.pth.tar)."""
    out: Positional[Path]
    """File to write (.safetensors)."""

    def run(self) -> None:
        from eventsim.command import check_output
        from eventsim.provenance import write_provenance

        check_output(self.out, ".safetensors", overwrite=self.overwrite, inputs=[self.checkpoint])

        from flownet.export import load_checkpoint
        from flownet.model.pretrained import save_pretrained

        model, origin = load_checkpoint(self.checkpoint)
        save_pretrained(model, self.out, origin, overwrite=self.overwrite)
        write_provenance(self.out, self)


@dataclass(kw_only=True)
class Export(Options):
    """A network as ONNX (.onnx) or torch.export (.pt2), checked against the original.

    It takes "slices", float32 [batch, slices, channels, height, width], and returns "flow", [batch, 2, height, width]
    in pixels, at the last slice.
    """

    model: Positional[str]
    """A .safetensors file, or the name of a network that ships with the package."""
    out: Positional[Path]
    """File to write; its suffix says which form."""
    size: tuple[int, int]
    """Rows and columns of the input, of 16 pixels or more."""
    slices: int | None = None
    """Slices of the input; by default as many as the network is trained on."""
    batch: int = 1
    """Samples of the input."""
    dynamic: bool = False
    """Take inputs of any batch and size, not only of the given ones."""

    def run(self) -> None:
        from eventsim.command import check_output
        from eventsim.provenance import write_provenance

        check_output(self.out, ".onnx", ".pt2", overwrite=self.overwrite, inputs=[Path(self.model)])

        from flownet.export import ExportShape, export_network
        from flownet.model.pretrained import load_pretrained

        model, (height, width) = load_pretrained(self.model), self.size
        slices = model.config["input_slices"] if self.slices is None else self.slices
        shape = ExportShape(height=height, width=width, slices=slices, batch=self.batch, dynamic=self.dynamic)
        error = export_network(model, self.out, shape, overwrite=self.overwrite)
        print(f"{self.out}: largest difference from the network's flow {error:.2g} of the largest flow")
        write_provenance(self.out, self, relative_error=error)


@dataclass(kw_only=True)
class Models(Options):
    """The networks that can be trained, and the trained ones that ship with the package, with what they cost."""

    size: tuple[int, int] = (256, 256)
    """Rows and columns of the input that the costs are for."""
    slices: int = 5
    """Slices of that input."""

    def run(self) -> None:
        import torch

        from flownet.costs import table
        from flownet.model.pretrained import load_pretrained, shipped
        from flownet.model.steflownet import BUILDERS

        trained = shipped()
        with torch.device("meta"):  # no weights need to be drawn
            networks = {name: builder() for name, builder in BUILDERS.items()}
        networks |= {f"{name} (trained)": load_pretrained(name) for name in trained}
        print(table(networks, height=self.size[0], width=self.size[1], slices=self.slices))
        print(f"trained networks that ship: {', '.join(trained) or 'none'}")


COMMANDS: dict[str, type[Options]] = {
    "train": Train,
    "evaluate": Evaluate,
    "infer": Infer,
    "convert": Convert,
    "export": Export,
    "view": View,
    "models": Models,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `flownet` command."""
    run_main("flownet", COMMANDS, arguments)
