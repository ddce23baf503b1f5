"""The command `dataset`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from eventsim.command import Options

if TYPE_CHECKING:
    from eventsim.synthesize.run import Finished
    from eventsim.synthesize.settings import DatasetSettings

Motion = Literal["none", "tremor", "pan", "zoom", "drift"]
_SHOWN = 5
_NEEDED = {"speed": "--motion", "flow_hz": "--motion", "shard_items": "--layout shards"}


@dataclass(kw_only=True)
class Dataset(Options):
    """Trees of pictures and clips to data sets of spikes or events, with labels and exact flow.

    The folders' names are the labels. The same command goes on where it stopped: after a kill, or with new or edited
    pictures (shards take new ones only after all others, in order of names). Where one was taken away, begin anew with
    --overwrite.
    """

    folder: Positional[Path]
    """Tree of pictures (each a still) and videos; with --verify alone, the data set."""
    out: Positional[Path | None] = None
    """Folder of the data set; give it before options that take several values."""
    kind: Literal["spikes", "events", "both"] = "spikes"
    """What to record."""
    camera: tuple[str, ...] = ("vidar",)
    """Spike cameras: names or YAML files, one or more. Not with --kind events."""
    event_camera: tuple[str, ...] = ("davis346",)
    """Event cameras: names or YAML files, one or more. Only with --kind events or both."""
    motion: tuple[Motion, ...] = ("none",)
    """Motions of the camera before a still, one or more; each makes an item of its own. Clips move by themselves."""
    speed: float = 200.0
    """Mean speed of motions, pixels a second; up to 50000."""
    repeats: int = 1
    """Items of each source, motion and camera, each with motion and noise of its own."""
    duration: float | None = None
    """Seconds of an item; by default 0.05 for stills and the whole of a clip. A clip's last frame is held."""
    flow_hz: float = 200.0
    """Maps of exact flow a second, where a still is moved; up to 1000000."""
    clips: bool = False
    """The pictures of a folder are the frames of one clip; the label is the folder above."""
    fps: float | None = None
    """Frames a second of clips; by default a video's own, and 30 for folders."""
    size: tuple[int, int] | None = None
    """Height and width of every sensor; by default the cameras' own."""
    linear: bool = False
    """The pictures hold linear light already; otherwise integers are decoded from sRGB."""
    layout: Literal["items", "shards"] = "items"
    """A file for each item, or shards of many items (better for many small ones)."""
    shard_items: int = 64
    """Items in a shard, with --layout shards."""
    format: Literal["h5", "dat"] = "h5"
    """Format of spikes in files of their own: compressed HDF5, or raw .dat."""
    workers: int | None = None
    """Processes on this machine; by default one a core."""
    dask: str | None = None
    """Address of a Dask scheduler whose workers do the work; they must see the same folders."""
    verify: bool = False
    """Read the whole data set back and compare it with its checksums."""

    def run(self) -> None:
        from eventsim.errors import InputError

        if self.workers is not None and self.workers < 1:
            raise InputError("--workers", expected="1 or more", found=str(self.workers))
        if self.workers is not None and self.dask is not None:
            raise InputError("--workers", expected="no --dask, whose cluster has workers of its own", found="both")
        if self.out is None and not self.verify:
            place = "behind FOLDER (behind --camera, --event-camera or --motion it counts as one of these)"
            raise InputError("OUT", expected=f"a folder for the data set, {place}", found="none")
        finished = None if self.out is None else self.make(self.out)
        if self.verify and (finished is None or finished.made + finished.kept):
            self.check(self.out or self.folder)
        if finished is not None and finished.failed:
            found = f"{len(finished.failed)} that could not be used (named above) and were left out"
            raise InputError(self.folder, expected="pictures and clips that can be read", found=found)

    def settings(self) -> DatasetSettings:
        """What decides the data set's content."""
        from dataclasses import fields

        from eventsim.synthesize.settings import DatasetSettings

        return DatasetSettings(**{field.name: getattr(self, field.name) for field in fields(DatasetSettings)})

    def make(self, out: Path) -> Finished:
        """Makes the data set and says what was done."""
        from eventsim.synthesize.run import make_dataset

        settings = self.settings()
        if not self.quiet:
            self.name_idle(settings)
        finished = make_dataset(
            self.folder,
            out,
            settings,
            workers=self.workers,
            dask=self.dask,
            overwrite=self.overwrite,
            quiet=self.quiet,
        )
        for message in finished.failed.values():
            print(f"left out: {message}", file=sys.stderr)
        if not self.quiet:
            left_out = f", {finished.left_out} left out" if finished.left_out else ""
            moved = f"; the same sources as before in {finished.moved_from}" if finished.moved_from else ""
            print(f"{out}: {finished.made} items made, {finished.kept} were there{left_out}{moved}", file=sys.stderr)
        return finished

    def name_idle(self, settings: DatasetSettings) -> None:
        """Names the options that were given and decide nothing."""
        for name in settings.idle:
            if getattr(self, name) != getattr(Dataset, name):
                option, other = f"--{name.replace('_', '-')}", _NEEDED[name]
                print(f"{option} decides nothing without {other}", file=sys.stderr)

    def check(self, root: Path) -> None:
        """Compares all items with their checksums.

        Raises:
            InputError: some are damaged, or there is none; names how many, and the first.
        """
        from eventsim.errors import InputError
        from eventsim.io.spike_set import SpikeSet
        from eventsim.progress import track

        items = SpikeSet(root)
        if not len(items):
            raise InputError(root, expected="a data set of one item or more", found="none")
        shown = track(items.check(), "verify", total=len(items), unit="items", quiet=self.quiet)
        damaged = [error for error in shown if error is not None]
        for error in damaged[1:_SHOWN]:
            print(f"damaged: {error}", file=sys.stderr)
        if damaged:
            raise InputError(root, expected=f"{len(items)} whole items", found=f"{len(damaged)} damaged: {damaged[0]}")
