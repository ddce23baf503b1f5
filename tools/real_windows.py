"""Windows of real recordings whose true flow is known in part: a measured rotation, or a known translation.

The folder holds `ecd_rotation/{boxes,poster}_rotation`, `ecd_slider_depth` (Event Camera Dataset, Mueggler et al., IJRR
2017) and `dvsflow16_rueckauer/dataset.mat` (DVSFLOW16, Rueckauer and Delbruck, Frontiers in Neuroscience 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim import Events, open_events
from eventsim.errors import InputError
from eventsim.light.lens import Lens

Flow = NDArray[np.float64]

#: Pixels a second, (dx, dy). Of the slider, that of what is in front; only the direction holds for all, as the wall
#: behind moves at a third of it.
SLIDER_PX_S = (-130.0, 0.0)
#: Images of the events 0.1 to 1.6 s apart match best when shifted by 27 to 29 px/s, in all parts of the picture.
BOXES_PX_S = (28.0, 0.0)
SQUARE_PX_S = (20.0, 20.0)
#: The synthetic square moves a pixel every 50 ms, and has events only then.
SQUARE_WINDOW_US = 250_000
#: Sensor of DVSFLOW16.
HEIGHT, WIDTH = 180, 240


@dataclass(frozen=True)
class RealWindow:
    """Events of one window and what is known of their flow.

    Args:
        events: at raw pixels.
        start_us, stop_us: the window [start, stop).
        truth: float64 [2, H, W], pixels over the window, of raw pixels; nan where it is unknown.
    """

    events: Events
    start_us: int
    stop_us: int
    truth: Flow


@dataclass(frozen=True)
class Recording:
    """Windows of one recording.

    Args:
        name: of the recording.
        truth: what is known, in words.
        windows: in order of time.
        direction_only: whether only the direction of the windows' truth is to be relied on, not its length.
    """

    name: str
    truth: str
    windows: tuple[RealWindow, ...]
    direction_only: bool = False

    @property
    def window_ms(self) -> float:
        """Length of a window, milliseconds."""
        first = self.windows[0]
        return (first.stop_us - first.start_us) / 1000


def recordings(data: Path, window_ms: tuple[float, ...]) -> Iterator[Recording]:
    """The recordings of a folder that are there.

    Args:
        data: the folder, or the one that has it as `flow_real`.
        window_ms: lengths of windows that the longer recordings are cut into.

    Raises:
        InputError: none of them is there.
    """
    root = data / "flow_real" if (data / "flow_real").is_dir() else data
    makers = {
        "ecd_rotation/boxes_rotation": rotation,
        "ecd_rotation/poster_rotation": rotation,
        "ecd_slider_depth": slider,
        "dvsflow16_rueckauer": boxes,
    }
    there = [(make, root / name) for name, make in makers.items() if (root / name).is_dir()]
    if not there:
        raise InputError(data, expected=f"one of {', '.join(makers)}", found="none of them")
    for make, folder in there:
        yield from make(folder, window_ms)


def rotation(folder: Path, _window_ms: tuple[float, ...]) -> Iterator[Recording]:
    """A rotating camera: 30,000 events as one window, with the motion field of the measured rotation."""
    events = open_events(folder / "events.txt", HEIGHT, WIDTH).read()
    straight = np.load(folder / "flow.npy")[0].astype(np.float64)
    truth = raw_flow(straight, read_calibration(folder / "calib.txt"))
    window = RealWindow(events, int(events.t[0]), int(events.t[-1]) + 1, truth)
    yield Recording(folder.name, "of the measured rotation; known to be short by 10-20 %", (window,))


def slider(folder: Path, window_ms: tuple[float, ...]) -> Iterator[Recording]:
    """A camera on a slider: translation along x, past things at several depths."""
    events = open_events(folder / "events_chunk.txt", HEIGHT, WIDTH).read()
    lens = read_calibration(folder / "calib.txt")
    for length_ms in window_ms:
        straight = uniform(SLIDER_PX_S, length_ms, events)
        windows = tuple(cut(events, length_ms, raw_flow(straight, lens)))
        yield Recording("slider_depth", "along x; its length is that of what is in front", windows, direction_only=True)


def boxes(folder: Path, window_ms: tuple[float, ...]) -> Iterator[Recording]:
    """Boxes moving along x before a still camera, and a drawn square moving along the diagonal."""
    from scipy.io import loadmat

    arrays = loadmat(folder / "dataset.mat")
    real, drawn = (events_of(arrays[name]) for name in ("trans_boxes_real", "trans_square"))
    for length_ms in window_ms:
        windows = tuple(cut(real, length_ms, uniform(BOXES_PX_S, length_ms, real)))
        yield Recording(
            "trans_boxes_real", "uniform, 27-29 px/s by matching images of events up to 1.6 s apart", windows
        )
    length_ms = SQUARE_WINDOW_US / 1000
    windows = tuple(cut(drawn, length_ms, uniform(SQUARE_PX_S, length_ms, drawn)))
    yield Recording("trans_square (synthetic)", "uniform, exact", windows)


def events_of(table: NDArray[np.int64]) -> Events:
    """Events from rows x, y, p, t (microseconds)."""
    x, y, p, t = (table[:, column].astype(np.int64) for column in range(4))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p > 0, WIDTH, HEIGHT)


def uniform(px_per_s: tuple[float, float], length_ms: float, events: Events) -> Flow:
    """The same flow everywhere, pixels over a window."""
    flow = np.array(px_per_s) * length_ms / 1000
    return np.broadcast_to(flow[:, None, None], (2, events.height, events.width)).copy()


def cut(events: Events, length_ms: float, truth: Flow) -> Iterator[RealWindow]:
    """Whole windows with events, one after another."""
    length = round(length_ms * 1000)
    for start in range(int(events.t[0]), int(events.t[-1]) + 2 - length, length):
        inside = events.window(start, start + length)
        if len(inside):
            yield RealWindow(inside, start, start + length, truth)


def read_calibration(path: Path) -> Lens:
    """The lens of a `calib.txt` of the Event Camera Dataset: fx fy cx cy k1 k2 p1 p2 k3.

    Raises:
        InputError: other than nine numbers.
    """
    words = path.read_text(encoding="utf-8").split()
    if len(words) != 9:
        raise InputError(path, expected="fx fy cx cy k1 k2 p1 p2 k3", found=f"{len(words)} words")
    fx, fy, cx, cy, *coefficients = map(float, words)
    return Lens(model="radtan", coefficients=tuple(coefficients), focal_px=(fx, fy), centre_px=(cx, cy))


def raw_flow(straight: Flow, lens: Lens) -> Flow:
    """Flow of raw pixels, from that of the undistorted picture (a pinhole camera of the same focal lengths and centre).

    A raw pixel x is u(x) in the undistorted picture, moves there by the flow, and comes back to a raw pixel:
    u^-1(u(x) + flow(u(x))) - x.

    Returns:
        float64 [2, H, W]; nan where the undistorted picture does not reach.
    """
    import cv2

    height, width = straight.shape[1:]
    raw = np.indices((height, width))[::-1].astype(np.float64)
    focal, centre = (np.array(pair)[:, None, None] for pair in (lens.focal_px, lens.centre_px))
    plane = lens.unproject(raw)
    at = (plane * focal + centre).astype(np.float32)
    moves = [
        cv2.remap(each, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
        for each in straight.astype(np.float32)
    ]
    return np.asarray(lens.project(plane + np.stack(moves) / focal) - raw)
