"""The command `compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from eventsim.cli.files import RecordingFile, refuse_options
from eventsim.command import check_output, naming_files

if TYPE_CHECKING:
    from eventsim.streams.intervals import Mask
    from eventsim.streams.realism import Pair, Realism
    from eventsim.streams.spikes import SpikeStream


@dataclass(kw_only=True)
class Compare(RecordingFile):
    """Statistics of simulated spikes or events beside real ones', and how far apart the real ones' own halves are."""

    simulated: Positional[Path]
    """Simulated spikes or events."""
    real: Positional[Path]
    """Real recording, of the same kind."""
    out: Path | None = None
    """Page (.html) to write, with curves and pictures."""
    static: Path | None = None
    """Picture of the sensor's size, white where nothing moves. By default still regions are found. Spikes only."""
    everywhere: bool = False
    """Compare every pixel: motion then counts as noise. Spikes only; events are always compared everywhere."""
    dark: tuple[Path, Path] | None = None
    """Streams recorded without light, simulated and real: for the dark rates. Spikes only."""
    flat: tuple[Path, Path] | None = None
    """Streams of an evenly lit surface, simulated and real: for the fixed pattern. Spikes only."""

    def run(self) -> None:
        self.check()
        if self.of_spikes():
            self.compare_spikes()
        else:
            self.compare_events()
        if self.out is not None:
            from eventsim.provenance import write_provenance

            write_provenance(self.out, self)

    def of_spikes(self) -> bool:
        """Whether the files hold spikes, rather than events.

        Raises:
            InputError: one of them holds spikes, the other events.
        """
        from eventsim.errors import InputError
        from eventsim.io.formats import holds_spikes

        spikes = [holds_spikes(path) for path in (self.simulated, self.real)]
        if spikes[0] != spikes[1]:
            kinds = ["spikes" if each else "events" for each in spikes]
            raise InputError(self.real, expected=f"{kinds[0]}, as {self.simulated} holds", found=kinds[1])
        return spikes[0]

    def compare_spikes(self) -> None:
        """Prints what is measured of two spike streams, and writes the page."""
        refuse_options(self.real, self, "events", "time_unit")
        found = self.compared()
        print(found)
        if self.out is not None:
            from eventsim.realism_report import write_realism_page

            write_realism_page(
                self.out,
                found,
                simulated_name=self.simulated.name,
                real_name=self.real.name,
                flat_given=self.flat is not None,
                overwrite=self.overwrite,
            )

    def compare_events(self) -> None:
        """Prints what is measured of two event streams, and writes the page."""
        from eventsim.errors import InputError
        from eventsim.streams.event_realism import compare_events

        if self.everywhere:
            raise InputError(self.real, expected="spikes, for --everywhere", found="events")
        unwanted = ("static", "dark", "flat")
        with self.open_events(self.simulated, *unwanted) as simulated, self.open_events(self.real, *unwanted) as real:
            with naming_files(self.simulated, self.real):
                found = compare_events(simulated, real)
            print(found)
            if self.out is not None:
                from eventsim.event_realism_report import write_event_realism_page

                names = {"simulated_name": self.simulated.name, "real_name": self.real.name}
                write_event_realism_page(self.out, found, **names, overwrite=self.overwrite)

    def check(self) -> None:
        """Refuses a page that could not be written before anything is measured."""
        if self.out is not None:
            inputs = (self.simulated, self.real, *(self.dark or ()), *(self.flat or ()), self.static)
            check_output(self.out, ".html", ".htm", overwrite=self.overwrite, inputs=inputs)

    def compared(self) -> Realism:
        """What is measured of two spike streams.

        Raises:
            InputError: the streams cannot be compared; names the files.
        """
        from eventsim.streams.realism import compare_streams

        streams = self.open_spikes(self.simulated), self.open_spikes(self.real)
        static, dark, flat = self.still(streams), self.both(self.dark, streams), self.both(self.flat, streams)
        with naming_files(self.simulated, self.real):
            return compare_streams(*streams, static=static, dark=dark, flat=flat, seed=self.seed)

    def both(self, paths: tuple[Path, Path] | None, beside: Pair) -> Pair | None:
        """The streams of two files, where they are given, each of the sensor of the one that it belongs to."""
        if paths is None:
            return None
        from eventsim.errors import InputError
        from eventsim.streams.realism import FEWEST_PLANES_BESIDE

        found = self.open_spikes(paths[0]), self.open_spikes(paths[1])
        for path, stream, like in zip(paths, found, beside, strict=True):
            if (size := _size(stream)) != _size(like):
                raise InputError(path, expected=f"{_size(like)} pixels as the stream beside it has", found=size)
            if len(stream) < FEWEST_PLANES_BESIDE:
                raise InputError(path, expected=f"at least {FEWEST_PLANES_BESIDE} planes", found=f"{len(stream)}")
        return found

    def still(self, streams: Pair) -> Mask | Literal["everywhere"] | None:
        """The pixels to compare, as `compare_streams` wants them."""
        from eventsim.errors import InputError

        if self.static is None:
            return "everywhere" if self.everywhere else None
        if self.everywhere:
            raise InputError("--static", expected="either --static or --everywhere", found="both")
        import cv2
        import numpy as np

        if not self.static.is_file():
            raise InputError(self.static, expected="a picture of what is still", found="nothing there")
        picture = cv2.imdecode(np.fromfile(self.static, np.uint8), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise InputError(self.static, expected="a picture of what is still", found="no picture that OpenCV reads")
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        for path, stream in zip((self.simulated, self.real), streams, strict=True):
            if size != _size(stream):
                raise InputError(self.static, expected=f"{_size(stream)} pixels as {path} has", found=size)
        return np.asarray(picture > 127)


def _size(stream: SpikeStream) -> str:
    return f"{stream.width}x{stream.height}"
