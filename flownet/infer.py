"""Flow from a file of events: window after window, as numbers and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import OutputExistsError
from eventsim.io.flo import write_flo
from eventsim.io.flow_archive import FlowArchive, flow_archive
from eventsim.io.flow_png import write_flow_png
from eventsim.streams.events import Events
from eventsim.view import events_picture, write_movie, write_picture
from flownet.baselines import BASELINES
from flownet.evaluate import Predictor
from flownet.model.pretrained import load_pretrained
from flownet.tta import Augmented, Estimator
from flownet.view import flow_to_rgb, quiver
from flownet.windows import Windows

RGB = NDArray[np.uint8]
#: What can be written of each window (`npz` and `mp4`: of all together).
Written = Literal["flo", "npz", "kitti", "png", "quiver", "mp4"]
_PICTURES = {"png", "quiver", "mp4"}
_OURS = ("flow_*_*.flo", "flow_*_*.png", "kitti_*_*.png", "quiver_*_*.png", "flow.npz", "flow.mp4")


@dataclass(frozen=True)
class Window:
    """The flow of one window of events.

    Args:
        start_us, stop_us: the window [start, stop).
        flow: float32 [2, H, W], (dx, dy) in pixels over the window.
        events: those of the window.
    """

    start_us: int
    stop_us: int
    flow: NDArray[np.float32]
    events: Events


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is written of the flow.

    Args:
        write: "flo" (Middlebury), "kitti" (16-bit PNG), "npz" (all windows in one NumPy archive), "png" (colours),
            "quiver" (arrows over the events), "mp4" (the colours as a movie).
        half: the archive's flow as float16 instead of float32.
        largest_px: flow of full colour, and of an arrow that spans its cell; by default the largest of each window.
        one_scale: instead the largest of all windows, which are kept in a temporary file until it is known.
        step_px: distance of the arrows.
        fps: windows a second in the movie.

    Raises:
        ValueError: nothing to write or something unknown; both scales; a scale, step or rate that is not positive.
    """

    write: tuple[Written, ...] = ("flo", "png")
    half: bool = False
    largest_px: float | None = None
    one_scale: bool = False
    step_px: int = 16
    fps: float = 20.0

    def __post_init__(self) -> None:
        if not self.write or set(self.write) - set(get_args(Written)):
            raise ValueError(f"expected to write some of {', '.join(get_args(Written))}, got {self.write}")
        if self.one_scale and self.largest_px is not None:
            raise ValueError(f"expected one scale of all windows or a given one, got both ({self.largest_px} px)")
        for name, value in (("largest_px", self.largest_px), ("step_px", self.step_px), ("fps", self.fps)):
            if value is not None and not value > 0:
                raise ValueError(f"expected a positive {name}, got {value}")


def load_model(name_or_path: str) -> Any:
    """A network (a file, or the name of one that ships with the package) or a baseline (a name in `BASELINES`).

    Raises:
        InputError: none of these.
    """
    return BASELINES[name_or_path] if name_or_path in BASELINES else load_pretrained(name_or_path)


def estimator(model: Any, *, warm_start: bool = False, tta: bool = False) -> Estimator:
    """What finds the flow of one window after another.

    Args:
        model: a network with `represent`, or an object that takes flow from events itself, by a method
            `from_events(events, window)` that returns float32 [2, H, W] over the window [t0, t1) of microseconds.
        warm_start: go on from what the network knew after the window before.
        tta: the mean over mirror images and transposes of the events (`flownet.tta`), at eight times the cost.

    Raises:
        ValueError: a warm start of what is no network.
    """
    make: Callable[[], Estimator] = partial(_network, model, warm_start)
    if hasattr(model, "from_events"):
        if warm_start:
            raise ValueError("expected a network for a warm start, got a method that sees each window by itself")
        make = partial(getattr, model, "from_events")
    return Augmented(make) if tta else make()


def _network(model: Any, warm_start: bool) -> Estimator:
    predict = Predictor(model)
    return lambda events, _window: predict(model.represent(events), goes_on=warm_start)


def infer(model: Any, windows: Windows, *, warm_start: bool = False, tta: bool = False) -> Iterator[Window]:
    """The flow of each window of a recording.

    Args:
        model, warm_start, tta: as for `estimator`.
        windows: the recording, cut.

    Raises:
        ValueError: a warm start of windows that do not follow each other without overlap or gap.
    """
    windowing = windows.windowing
    if warm_start and windowing.stride != windowing.length:
        found = f"windows of {windowing.length} every {windowing.stride} {windowing.unit}"
        raise ValueError(f"expected windows end to end for a warm start, got {found}")
    estimate = estimator(model, warm_start=warm_start, tta=tta)
    for start_us, stop_us, events in windows:
        yield Window(start_us, stop_us, estimate(events, (start_us, stop_us)), events)


def write_windows(
    found: Iterable[Window], out: Path, outputs: Outputs | None = None, *, total: int, overwrite: bool = False
) -> int:
    """Writes the flow of windows to a folder, and returns their number.

    Files of a window are named after its start and stop: `flow_<start>_<stop>.flo`, `flow_...png` (colours),
    `kitti_...png` and `quiver_...png`. `flow.npz` and `flow.mp4` hold all windows. Each file is under its name only
    when it is whole. Memory holds one window at a time.

    Args:
        found: as `infer` gives them.
        out: the folder; made where it is missing.
        outputs: what to write, by default .flo files and colours.
        total: number of windows.
        overwrite: remove what an earlier run wrote.

    Raises:
        OutputExistsError: the folder holds flow already, and `overwrite` is false.
        ValueError: flows of different sizes, or not `total` of them, in an archive or movie.
        OSError: the disk takes no more, or OpenCV has no encoder for MP4.
    """
    chosen = outputs or Outputs()
    old = [path for pattern in _OURS for path in out.glob(pattern)]
    if old and not overwrite:
        raise OutputExistsError(out)
    with ExitStack() as stack:
        archive = None
        if "npz" in chosen.write:
            dtype = np.float16 if chosen.half else np.float32
            archive = stack.enter_context(flow_archive(out / "flow.npz", total, dtype=dtype, overwrite=overwrite))
        shown = _numbers(_cleared(found, old), out, chosen, archive)
        if chosen.one_scale and _PICTURES & set(chosen.write):
            shown, largest = _spooled(shown, stack.enter_context(_spool(out)))
            chosen = replace(chosen, one_scale=False, largest_px=largest or 1.0)
        colours = _pictures(shown, out, chosen)
        if "mp4" in chosen.write:
            return write_movie(out / "flow.mp4", colours, fps=chosen.fps, overwrite=overwrite)
        return sum(1 for _ in colours)


class _Shown(NamedTuple):
    """What pictures are made of: the window's name, its flow and its events."""

    name: str
    flow: NDArray[np.float32]
    events: RGB | None


def _cleared(found: Iterable[Window], old: list[Path]) -> Iterator[Window]:
    for index, window in enumerate(found):
        if index == 0:  # only now is it known that there is something to replace them
            for path in old:
                path.unlink(missing_ok=True)
        yield window


def _numbers(
    found: Iterable[Window], out: Path, outputs: Outputs, archive: FlowArchive | None
) -> Iterator[_Shown]:  # fmt: skip
    """Writes what holds numbers, and passes on what pictures need."""
    for window in found:
        name = f"{window.start_us:016d}_{window.stop_us:016d}"
        if "flo" in outputs.write:
            write_flo(out / f"flow_{name}.flo", window.flow, overwrite=True)
        if "kitti" in outputs.write:
            write_flow_png(out / f"kitti_{name}.png", window.flow, overwrite=True)
        if archive is not None:
            archive.add(window.start_us, window.stop_us, window.flow)
        yield _Shown(name, window.flow, events_picture(window.events) if "quiver" in outputs.write else None)


def _pictures(shown: Iterable[_Shown], out: Path, outputs: Outputs) -> Iterator[RGB]:
    """Writes the pictures of each window, and gives its colours."""
    for name, flow, events in shown:
        colours = flow_to_rgb(flow, outputs.largest_px) if {"png", "mp4"} & set(outputs.write) else None
        if "png" in outputs.write and colours is not None:
            write_picture(out / f"flow_{name}.png", colours, overwrite=True)
        if events is not None:
            arrows = quiver(flow, events, (events != 255).any(axis=2), outputs.largest_px, step_px=outputs.step_px)
            write_picture(out / f"quiver_{name}.png", arrows, overwrite=True)
        yield colours if colours is not None else np.zeros((0, 0, 3), np.uint8)


def _spool(out: Path) -> IO[bytes]:
    """A file without a name: whatever happens, nothing of it is left."""
    out.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=out)


def _spooled(shown: Iterable[_Shown], file: IO[bytes]) -> tuple[Iterator[_Shown], float]:
    """All that pictures need, once more from a file, and the length of the longest flow, pixels."""
    largest, names = 0.0, []
    for each in shown:
        largest = max(largest, float(np.hypot(*each.flow).max(initial=0, where=np.isfinite(each.flow).all(axis=0))))
        names.append(each.name)
        for array in (each.flow, each.events):
            if array is not None:
                np.save(file, array, allow_pickle=False)
    has_events = bool(names) and each.events is not None
    file.seek(0)
    return (_Shown(name, np.load(file), np.load(file) if has_events else None) for name in names), largest
