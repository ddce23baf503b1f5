"""`flownet view`, `convert`, `export` and `models`: flow and networks as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from eventsim.command import Options


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
        slices = model.slices if self.slices is None else self.slices
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
