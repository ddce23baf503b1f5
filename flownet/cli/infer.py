"""`flownet infer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from eventsim.command import Options


@dataclass(kw_only=True)
class Infer(Options):
    """Flow of any file of events, as .flo files, arrays, pictures and movies."""

    events: Positional[Path]
    """File of events."""
    out: Positional[Path]
    """Folder to write to."""
    model: str = "steflownet_tiny"
    """A .safetensors file, the name of a network that ships with the package, or a method without learning: contrast,
    dis, lucas_kanade or zero."""
    window_ms: float | None = None
    """Time that each flow spans, in milliseconds; 31.25 unless windows are by events."""
    window_events: int | None = None
    """Instead, events that each flow spans."""
    stride_ms: float | None = None
    """Time from the start of a window to that of the next; by default its length."""
    stride_events: int | None = None
    """The same in events, for windows by events."""
    warm_start: bool = False
    """Go on from what the network knew after the last window: its flow, and its hidden states unless it compensates
    motion."""
    tta: bool = False
    """Average over the eight mirror images and transposes of the events, which takes eight times as long."""
    write: tuple[Literal["flo", "npz", "kitti", "png", "quiver", "mp4"], ...] = ("flo", "png")
    """What to write: Middlebury's .flo, one NumPy archive, KITTI's 16-bit PNG, colours, arrows over events, a movie."""
    half: bool = False
    """The archive's flow in half precision."""
    largest_px: float | None = None
    """Flow that gets the full colour; by default the largest of each window."""
    one_scale: bool = False
    """Instead, the largest of all windows."""
    fps: float = 20.0
    """Windows a second in the movie."""

    def run(self) -> None:
        from eventsim.progress import track
        from eventsim.provenance import write_provenance
        from flownet.infer import Outputs, infer, load_model, write_windows
        from flownet.windows import Windowing, Windows

        outputs = Outputs(write=self.write, half=self.half, largest_px=self.largest_px, one_scale=self.one_scale,
                          fps=self.fps)  # fmt: skip
        windowing = Windowing.of_ms(self.window_ms, self.window_events, self.stride_ms, self.stride_events)
        windows = Windows(self.events, windowing)
        found = infer(load_model(self.model), windows, warm_start=self.warm_start, tta=self.tta)
        shown = track(found, "flow", total=len(windows), unit="windows", quiet=self.quiet)
        write_windows(shown, self.out, outputs, total=len(windows), overwrite=self.overwrite)
        # Not run.json: the folder may be a training run's, which has one of its own.
        write_provenance(self.out / "flow", self)
