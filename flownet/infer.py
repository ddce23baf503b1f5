"""Flow from a file of events: window after window, as pictures and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.flo import write_flo
from eventsim.io.formats import open_events
from eventsim.streams.events import Events
from eventsim.view import write_picture
from flownet.evaluate import Predictor
from flownet.model.steflownet import STEFlowNet
from flownet.view import flow_to_rgb


@dataclass(frozen=True)
class Window:
    """The flow of one window of events.

    Args:
        start_us, stop_us: the window [start, stop).
        flow: float32 [2, H, W], (dx, dy) in pixels over the window.
    """

    start_us: int
    stop_us: int
    flow: NDArray[np.float32]


def windows(path: Path, window_us: int) -> Iterator[tuple[int, Events]]:
    """Consecutive windows of a file's events, from the first event on; only whole windows.

    Raises:
        ValueError: a window of no length.
        InputError: the file holds less than one window.
    """
    if window_us < 1:
        raise ValueError(f"expected a window of at least 1 us, got {window_us} us")
    events = open_events(path)
    if not len(events):
        raise InputError(path, expected="events", found="none")
    first, last = events.time_span()
    end = last + 1
    if end - first < window_us:
        raise InputError(path, expected=f"at least one window of {window_us} us", found=f"{end - first} us of events")
    for start in range(first, end - window_us + 1, window_us):
        yield start, events.window(start, start + window_us)


def infer(model: STEFlowNet, path: Path, *, window_us: int, warm_start: bool = False) -> Iterator[Window]:
    """The flow of each consecutive window of a file's events; with a warm start, each goes on from the one before."""
    predict = Predictor(model)
    for start, events in windows(path, window_us):
        yield Window(start, start + window_us, predict(model.represent(events), goes_on=warm_start))


def write_windows(found: Iterable[Window], out: Path, *, overwrite: bool = False) -> Iterator[Window]:
    """Writes each window's flow to a folder as `flow_<start>_<stop>.flo` and `.png`, and passes it on.

    Raises:
        OutputExistsError: the folder holds flow already, and `overwrite` is false; else that flow is removed.
    """
    old = sorted(out.glob("flow_*_*.*"))
    if old and not overwrite:
        raise OutputExistsError(out)
    for index, window in enumerate(found):
        if index == 0:  # only now is it known that there is something to replace them
            for path in old:
                path.unlink()
        name = f"flow_{window.start_us:016d}_{window.stop_us:016d}"
        write_flo(out / f"{name}.flo", window.flow, overwrite=True)
        write_picture(out / f"{name}.png", flow_to_rgb(window.flow), overwrite=True)
        yield window
