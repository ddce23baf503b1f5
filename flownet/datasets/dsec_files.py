"""A sequence of DSEC as it is downloaded: events, images and flow of one camera, each read as it is asked for.

    SEQUENCE/                                 the sequence's name, zurich_city_01_a say
      events/left/events.h5, rectify_map.h5
      images/timestamps.txt                   a line an image, microseconds
      images/left/rectified/000000.png, ...
      flow/forward_timestamps.txt             lines `from, to`, microseconds
      flow/forward/000002.png, ...            16 bit, a file a line
      calibration/cam_to_cam.yaml

Archives unpacked side by side (train_events/SEQUENCE/events, train_images/SEQUENCE/images, ...) are found as well.
Layout and meaning of the files: dsec.ifi.uzh.ch/data-format. Image timestamps are also known as image_timestamps.txt.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.dsec import DsecEvents
from eventsim.streams.events import Events

Camera = Literal["left", "right"]
# Numbers of the event camera and of the colour camera beside it in the calibration.
_NUMBERS = {"left": (0, 1), "right": (3, 2)}
_FLOW_ZERO, _FLOW_STEPS = 1 << 15, 128
_IMAGE_TIMES = ("images/timestamps.txt", "images/{camera}/timestamps.txt", "image_timestamps.txt")


class DsecSequence:
    """One camera of a sequence; may be sent to other processes.

    Args:
        folder: the folder that holds events/CAMERA/events.h5.
        camera: "left" or "right".
        rectify: give events and images in the rectified view of the event camera, in which the flow is; or as its
            sensor saw them.

    Raises:
        InputError: no events there, or no map to rectify them by.
    """

    def __init__(self, folder: Path, camera: Camera = "left", *, rectify: bool = True) -> None:
        self.folder, self.camera, self.rectify, self.name = folder, camera, rectify, folder.name
        self.events_path = folder / "events" / camera / "events.h5"
        self._events = DsecEvents(self.events_path)
        self.height, self.width = self._events.height, self._events.width
        if rectify and not self.events_path.with_name("rectify_map.h5").is_file():
            expected = "rectify_map.h5 beside the events (or rectify=False)"
            raise InputError(self.events_path, expected=expected, found="none")

    @cached_property
    def image_us(self) -> NDArray[np.int64]:
        """Times of the images: int64 [M], microseconds.

        Raises:
            InputError: none there, or times that do not rise.
        """
        path = next((found for name in _IMAGE_TIMES if (found := self._part(name)) is not None), None)
        if path is None:
            raise InputError(self.folder, expected=_IMAGE_TIMES[0], found="nothing there")
        times = _table(path, columns=1)[:, 0]
        if (np.diff(times) <= 0).any():
            raise InputError(path, expected="times that rise", found="others")
        return times

    @cached_property
    def flow_us(self) -> NDArray[np.int64]:
        """Times from and to which each flow is: int64 [F, 2], microseconds; none where there is no flow."""
        path = self._part("flow/forward_timestamps.txt")
        return np.zeros((0, 2), np.int64) if path is None else _table(path, columns=2)

    def span_us(self) -> tuple[int, int]:
        """Times of the first event and, plus 1, of the last: microseconds; both 0 without events."""
        if not len(self._events):
            return 0, 0
        first, last = self._events.time_span()
        return first, last + 1

    def events(self, start_us: int, end_us: int) -> Events:
        """The events with start <= t < end, at the nearest pixels of the rectified view if that is asked for."""
        events = self._events.window(start_us, end_us)
        rectify_map = self._events.rectify_map if self.rectify else None
        if rectify_map is None:
            return events
        x, y = (np.rint(each) for each in rectify_map.rectify(events))
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        x, y = x[inside].astype(np.uint16), y[inside].astype(np.uint16)
        return Events(events.t[inside], x, y, events.p[inside], self.width, self.height)

    def flow(self, number: int) -> NDArray[np.float32]:
        """Flow number 0 .. F - 1: float32 [2, H, W], pixels of the rectified view, nan where unknown.

        Raises:
            InputError: as many files as times are not there, or a file is no 16-bit PNG of this size.
        """
        return read_flow_png(self._flow_files[number], self.height, self.width)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Grey image 0 .. M - 1 in the view of the events: uint8 [H, W].

        Images come from a camera beside the event camera. They are turned into its view as if everything were far away
        (a baseline of 4.5 cm), by the calibration; images that have the events' size are taken to be in its view.

        Raises:
            InputError: as many files as times are not there, one cannot be read, or the calibration is missing.
        """
        import cv2

        path = self._image_files[number]
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise InputError(path, expected="an image", found="one that cannot be read")
        if picture.shape == (self.height, self.width):
            return np.asarray(picture, np.uint8)
        x, y = self._image_places
        return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)

    def close(self) -> None:
        """Closes the events' file; reading opens it again."""
        self._events.close()

    @cached_property
    def _flow_files(self) -> list[Path]:
        return self._files("flow/forward", len(self.flow_us))

    @cached_property
    def _image_files(self) -> list[Path]:
        return self._files(f"images/{self.camera}/rectified", len(self.image_us))

    def _files(self, name: str, number: int) -> list[Path]:
        folder = self._part(name)
        found = [] if folder is None else sorted(folder.glob("*.png"))
        if len(found) != number:
            raise InputError(folder or self.folder / name, expected=f"{number} files *.png, one a time",
                             found=str(len(found)))  # fmt: skip
        return found

    @cached_property
    def _image_places(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Column and row in the image of each pixel of the events' view: float32 [H, W]."""
        import cv2

        turn = _view_to_image(self._calibration(), *_NUMBERS[self.camera])
        rectify_map = None if self.rectify else self._events.rectify_map
        grid = np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), axis=-1).astype(np.float64)
        pixels = grid if rectify_map is None else rectify_map.xy.astype(np.float64)
        places = cv2.perspectiveTransform(pixels.reshape(1, -1, 2), turn)
        x, y = places.reshape(self.height, self.width, 2).astype(np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray(x), np.ascontiguousarray(y)

    def _calibration(self) -> dict[str, Any]:
        import yaml

        path = self._part("calibration/cam_to_cam.yaml")
        if path is None:
            raise InputError(self.folder, expected="calibration/cam_to_cam.yaml, to bring images into the events' view",
                             found="nothing there")  # fmt: skip
        try:
            return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise InputError(path, expected="a calibration", found=" ".join(str(error).split())) from None

    def _part(self, name: str) -> Path | None:
        """A file or folder of the sequence: here, or in an archive's folder beside this one's (train_events)."""
        name, archive = name.format(camera=self.camera), self.folder.parent.name
        beside: list[Path] = []
        if archive.endswith("_events"):
            pattern = f"{archive.removesuffix('events')}*/{self.name}/{name}"
            beside = sorted(self.folder.parent.parent.glob(pattern))
        return next((path for path in (self.folder / name, *beside) if path.exists()), None)


def read_flow_png(path: Path, height: int, width: int) -> NDArray[np.float32]:
    """A flow of DSEC's, from its 16-bit PNG: float32 [2, H, W], pixels, nan where the third channel is 0.

    Raises:
        InputError: no such PNG of this size.
    """
    import cv2

    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape != (height, width, 3):
        found = "none" if values is None else f"{values.dtype} {values.shape}"
        raise InputError(path, expected=f"a PNG of 16 bit, {height}x{width}, three channels", found=found)
    known, dy, dx = np.moveaxis(values, -1, 0)  # OpenCV turns the channels around
    flow = (np.stack([dx, dy]).astype(np.float32) - _FLOW_ZERO) / _FLOW_STEPS
    return np.where(known > 0, flow, np.float32(np.nan))


def find_sequences(sources: list[Path], camera: Camera) -> list[Path]:
    """Folders that hold events/CAMERA/events.h5, among the given ones and up to two levels below them, by name.

    Raises:
        InputError: a source without any.
    """
    found: list[Path] = []
    for source in sources:
        below = [path for depth in ("", "*/", "*/*/") for path in source.glob(f"{depth}events/{camera}/events.h5")]
        if not below:
            raise InputError(source, expected=f"sequences of DSEC (*/events/{camera}/events.h5)", found="none")
        found += sorted((path.parents[2] for path in below), key=lambda folder: folder.name)
    return found


def _view_to_image(calibration: dict[str, Any], events: int, image: int) -> NDArray[np.float64]:
    """The homography [3, 3] from pixels of the rectified event camera to those of the rectified image, far away."""
    try:
        inner, outer = calibration["intrinsics"], calibration["extrinsics"]
        from_view, to_image = (_matrix(inner[f"camRect{n}"]["camera_matrix"]) for n in (events, image))
        rectify_view, rectify_image = (np.asarray(outer[f"R_rect{n}"], np.float64) for n in (events, image))
        high, low = max(events, image), min(events, image)
        between = np.asarray(outer[f"T_{high}{low}"], np.float64)[:3, :3]  # from the lower to the higher number
        turn = between if image == high else between.T
        return np.asarray(to_image @ rectify_image @ turn @ rectify_view.T @ np.linalg.inv(from_view))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError("calibration/cam_to_cam.yaml", expected="DSEC's keys", found=f"a fault at {error}") from None


def _matrix(values: list[float]) -> NDArray[np.float64]:
    fx, fy, cx, cy = (float(value) for value in values)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _table(path: Path, *, columns: int) -> NDArray[np.int64]:
    """Whole numbers with commas or blanks between, from a file's lines that are no comments: int64 [n, columns]."""
    lines = [line.split("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [line.replace(",", " ").split() for line in lines]
    try:
        table = np.array([[int(word) for word in row] for row in rows if row], np.int64).reshape(-1, columns)
    except ValueError:
        expected = f"lines of {columns} whole numbers, microseconds"
        raise InputError(path, expected=expected, found="others") from None
    if not len(table):
        raise InputError(path, expected="times", found="none")
    return table
