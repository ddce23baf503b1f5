"""`flownet evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from eventsim.command import Options


@dataclass(kw_only=True)
class Evaluate(Options):
    """A network on recordings with ground truth, by one or more protocols' rules."""

    model: Positional[str]
    """A .safetensors file, or the name of a network that ships with the package, or of a baseline."""
    recordings: Positional[tuple[Path, ...]]
    """Recordings (*_data.hdf5, with *_gt.hdf5 beside them). A recording's name says which sequence it is."""
    protocol: tuple[str, ...] = ("steflow",)
    """Names of the rules, or .toml files of one's own."""
    dt: tuple[int, ...] = (1,)
    """Grey frames per interval; for eraft20 and idnet20, maps of the ground truth."""
    compare: bool = False
    """Print published results beside ours, with their sources and the rules that they were measured under."""
    camera: Literal["left", "right"] = "left"
    """Camera of the recordings. MVSEC gives flow for the left one only."""
    device: str = "cpu"
    """Where the network runs."""
    cache: Path | None = None
    """Folder to keep true flows over the intervals in, so that the next evaluation need not compute them."""
    report: Path | None = None
    """HTML page to write, with the tables and pictures of a few intervals."""
    warm_start: bool = False
    """Go on from what the network knew after the last interval (dt of 1), which no published protocol does."""

    def run(self) -> None:
        from itertools import product

        from eventsim.errors import OutputExistsError
        from eventsim.io.mvsec import open_recording
        from eventsim.provenance import write_provenance
        from eventsim.report import HtmlReport
        from flownet.baselines import BASELINES
        from flownet.evaluate import evaluate
        from flownet.model.pretrained import load_pretrained
        from flownet.report import Watched, add_comparison, add_flows, add_scores

        if self.report and self.report.exists() and not self.overwrite:
            raise OutputExistsError(self.report)
        model = BASELINES.get(self.model) or load_pretrained(self.model).to(self.device)
        page = HtmlReport(f"{self.model}: optical flow")
        for path, protocol, dt in product(self.recordings, self.protocol, self.dt):
            watched, recording = Watched(), open_recording(path, self.camera)
            found = evaluate(model, recording, protocol, dt, watch=watched.add if self.report else None,
                             warm_start=self.warm_start, quiet=self.quiet, cache=self.cache)  # fmt: skip
            print(found, *([found.compared()] if self.compare else []), sep="\n", end="\n\n", flush=True)
            if self.report:
                page.heading(f"{found.sequence}, dt={dt}, protocol {found.protocol.name}")
                add_scores(page, found)
                if self.compare:
                    add_comparison(page, found)
                add_flows(page, recording, found.protocol, watched.kept)
        if self.report:
            page.write(self.report, overwrite=self.overwrite)
            write_provenance(self.report, self)
