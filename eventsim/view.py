"""Pictures and movies of light, events and spikes. Pictures are uint8 [H, W, 3], red, green, blue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.light.frames import grey_picture, quiet_opencv, read_frames
from eventsim.streams.events import Events
from eventsim.streams.reconstruct import reconstruct_tfp
from eventsim.streams.spikes import SpikeStream

if TYPE_CHECKING:
    from eventsim.io.event_source import EventSource

RGB = NDArray[np.uint8]
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_MOVIES = (".mp4",)
_WHITE_SAMPLES = 8
_ON, _OFF = np.array([[200, 30, 30], [30, 60, 200]], np.uint8)


def luminance_picture(luminance: NDArray[np.float32], white: float = 1.0) -> RGB:
    """Linear luminance [H, W] as a grey picture for a screen, `white` and above as white."""
    return np.repeat(grey_picture(luminance, white)[..., None], 3, axis=2)


def events_picture(events: Events, background: RGB | None = None) -> RGB:
    """Events on white (or on a picture of the sensor's size): ON red, OFF blue, by the last event of each pixel."""
    picture = np.full((events.height, events.width, 3), 255, np.uint8) if background is None else background.copy()
    picture[events.y, events.x] = np.where(events.p[:, None], _ON, _OFF)
    return picture


def spikes_picture(stream: SpikeStream, plane: int) -> RGB:
    """One plane of a spike stream: spikes white on black."""
    return np.repeat(stream.planes(plane, plane + 1)[0][..., None] * np.uint8(255), 3, axis=2)


def events_movie(events: Events | EventSource, start_us: int, stop_us: int, *, window_us: int) -> Iterator[RGB]:
    """A picture of each consecutive window of `window_us` from `start_us` on, read as it is asked for.

    Args:
        events: the recording.
        start_us: where the first window begins.
        stop_us: no window begins here or later.
        window_us: length of a window.
    """
    for t_us in range(start_us, stop_us, window_us):
        yield events_picture(events.window(t_us, t_us + window_us))


def spikes_movie(stream: SpikeStream, start: int = 0, stop: int | None = None, *, window: int) -> Iterator[RGB]:
    """The intensity counted (TFP) over each consecutive window of planes within start .. stop - 1, read as it is asked
    for.

    All are on one scale: white is what a few windows, spread over the whole time, hold at their brightest.
    """
    start, stop, _ = slice(start, stop).indices(len(stream))
    starts = range(start, stop - window + 1, window)
    sampled = starts[:: max(1, -(-len(starts) // _WHITE_SAMPLES))]
    white = max((float(np.percentile(_counted(stream, first, window), 99.5)) for first in sampled), default=0.0) or 1.0
    for first in starts:
        yield luminance_picture(_counted(stream, first, window), white)


def _counted(stream: SpikeStream, start: int, window: int) -> NDArray[np.float32]:
    return reconstruct_tfp(stream, window, start + window // 2)


def is_movie(path: str | PathLike[str]) -> bool:
    """Whether a path's suffix asks for a movie; otherwise it asks for a picture.

    Raises:
        InputError: it asks for neither.
    """
    return _known_suffix(path, (*_PICTURES, *_MOVIES)) in _MOVIES


def write_picture(path: str | PathLike[str], picture: RGB, *, overwrite: bool = False) -> None:
    """Writes a picture as PNG, JPEG, BMP, TIFF or WebP, by the suffix.

    Raises:
        InputError: another suffix.
        OutputExistsError: the file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    suffix = _known_suffix(path, _PICTURES)
    with naming(path), atomic_path(path, overwrite=overwrite) as partial:
        partial.write_bytes(_encoded(picture, suffix))


def png_bytes(picture: RGB) -> bytes:
    """A picture as the bytes of a PNG file."""
    return _encoded(picture, ".png")


def write_movie(path: str | PathLike[str], pictures: Iterable[RGB], *, fps: float = 30, overwrite: bool = False) -> int:
    """Writes pictures of one size as an MP4 movie and returns their number.

    Raises:
        InputError: another suffix than .mp4.
        OutputExistsError: the file exists and `overwrite` is false.
        ValueError: there are no pictures, or they differ in size.
        OSError: OpenCV cannot encode to this file, or not all of the movie can be read back (a full disk).
    """
    _known_suffix(path, _MOVIES)
    with atomic_path(path, overwrite=overwrite) as partial:
        count = _encode_movie(partial, path, iter(pictures), fps)
        # OpenCV does not tell of a disk that takes no more.
        found = _count_frames(partial)
        if found != count:
            raise OSError(f"{path}: {count} pictures were written, {found} can be read back; the disk may be full")
    return count


def _encode_movie(partial: Path, name: str | PathLike[str], pictures: Iterator[RGB], fps: float) -> int:
    first = next(pictures, None)
    if first is None:
        raise ValueError("expected at least one picture for a movie, got none")
    count = 0
    with quiet_opencv() as cv2:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, first.shape[1::-1])
        try:
            if not writer.isOpened():
                raise OSError(f"{name}: OpenCV cannot encode a movie to this file")
            for picture in chain([first], pictures):
                if picture.shape != first.shape:
                    raise ValueError(f"expected pictures of one size, {first.shape}, got {picture.shape} at {count}")
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
                count += 1
        finally:
            writer.release()
    return count


def _count_frames(movie: Path) -> int:
    try:
        return read_frames(movie).count or 0
    except InputError:
        return 0


def _known_suffix(path: str | PathLike[str], known: tuple[str, ...]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        raise InputError(path, expected=f"a name that ends in one of {', '.join(known)}", found=f"suffix '{suffix}'")
    return suffix


def _encoded(picture: RGB, suffix: str) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, picture[..., ::-1])
    if not done:
        raise ValueError(f"expected a picture [H, W, 3], got shape {picture.shape}")
    return bytes(data)
