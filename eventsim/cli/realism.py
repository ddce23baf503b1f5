"""The command `compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from eventsim.cli.files import SpikeFile

if TYPE_CHECKING:
    from eventsim.streams.intervals import Mask
    from eventsim.streams.realism import Realism
    from eventsim.streams.spikes import SpikeStream


@dataclass(kw_only=True)
class Compare(SpikeFile):
    """Statistics of a simulated spike stream beside a real one's, and how far apart the real one's own halves are."""

    simulated: Positional[Path]
    """Simulated stream."""
    real: Positional[Path]
    """Real recording."""
    out: Path | None = None
    """Page (.html) to write, with curves and pictures."""
    static: Path | None = None
    """Picture of the sensor's size, white where nothing moves. By default still regions are found."""
    everywhere: bool = False
    """Compare every pixel: motion then counts as noise."""
    dark: tuple[Path, Path] | None = None
    """Streams recorded without light, simulated and real: for the dark rates."""
    flat: tuple[Path, Path] | None = None
    """Streams of an evenly lit surface, simulated and real: for the fixed pattern."""

    def run(self) -> None:
        self.check()
        found = self.compared()
        print(found)
        if self.out is not None:
            from eventsim.provenance import write_provenance
            from eventsim.realism_report import write_realism_page

            write_realism_page(
                self.out,
                found,
                simulated_name=self.simulated.name,
                real_name=self.real.name,
                flat_given=self.flat is not None,
                overwrite=self.overwrite,
            )
            write_provenance(self.out, self)

    def check(self) -> None:
        """Refuses a page that could not be written before anything is measured."""
        from eventsim.errors import InputError
        from eventsim.io.atomic import refuse_existing

        if self.out is None:
            return
        if self.out.suffix.lower() not in (".html", ".htm"):
            raise InputError(self.out, expected="a name that ends in .html", found=f"suffix '{self.out.suffix}'")
        refuse_existing(self.out, overwrite=self.overwrite)

    def compared(self) -> Realism:
        """What is measured.

        Raises:
            InputError: the streams cannot be compared; names both files.
        """
        from eventsim.errors import InputError
        from eventsim.streams.realism import compare_streams

        streams = self.open_spikes(self.simulated), self.open_spikes(self.real)
        options = {"static": self.still(), "dark": self.both(self.dark), "flat": self.both(self.flat)}
        try:
            return compare_streams(*streams, **options, seed=self.seed)  # type: ignore[arg-type]
        except ValueError as error:
            names = f"{self.simulated} and {self.real}"
            raise InputError(names, expected="streams that can be compared", found=str(error)) from error

    def both(self, paths: tuple[Path, Path] | None) -> tuple[SpikeStream, SpikeStream] | None:
        """The streams of two files, where they are given."""
        return None if paths is None else (self.open_spikes(paths[0]), self.open_spikes(paths[1]))

    def still(self) -> Mask | Literal["everywhere"] | None:
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
        return np.asarray(picture > 127)
