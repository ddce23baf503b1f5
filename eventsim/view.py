"""Pictures and movies of light, events and spikes. Pictures are uint8 [H, W, 3], red, green, blue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from eventsim.io.atomic import atomic_path
from eventsim.light.frames import linear_to_srgb
from eventsim.streams.events import Events
from eventsim.streams.reconstruct import reconstruct_tfp
from eventsim.streams.spikes import SpikeStream

RGB = NDArray[np.uint8]
_ON, _OFF = np.array([[200, 30, 30], [30, 60, 200]], np.uint8)


def luminance_picture(luminance: NDArray[np.float32], white: float = 1.0) -> RGB:
    """Linear luminance [H, W] as a grey picture for a screen, `white` and above as white."""
    grey = np.round(255 * linear_to_srgb(np.clip(luminance / white, 0, 1))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def events_picture(events: Events, background: RGB | None = None) -> RGB:
    """Events on white (or on a picture of the sensor's size): ON red, OFF blue, by the last event of each pixel."""
    picture = np.full((events.height, events.width, 3), 255, np.uint8) if background is None else background.copy()
    picture[events.y, events.x] = np.where(events.p[:, None], _ON, _OFF)
    return picture


def spikes_picture(stream: SpikeStream, plane: int) -> RGB:
    """One plane of a spike stream: spikes white on black."""
    return np.repeat(stream.planes(plane, plane + 1)[0][..., None] * np.uint8(255), 3, axis=2)


def events_movie(events: Events, *, window_us: int) -> Iterator[RGB]:
    """A picture of each consecutive window of `window_us` microseconds."""
    if not len(events):
        return
    for start in range(int(events.t[0]), int(events.t[-1]) + 1, window_us):
        yield events_picture(events.window(start, start + window_us))


def spikes_movie(stream: SpikeStream, *, window: int) -> Iterator[RGB]:
    """The intensity counted (TFP) over each consecutive window of planes, on one scale."""
    pictures = [reconstruct_tfp(stream, window, start + window // 2)
                for start in range(0, len(stream) - window + 1, window)]  # fmt: skip
    white = max((float(np.percentile(picture, 99.5)) for picture in pictures), default=0.0) or 1.0
    for picture in pictures:
        yield luminance_picture(picture, white)


def write_picture(path: str | PathLike[str], picture: RGB, *, overwrite: bool = False) -> None:
    """Writes a picture as PNG, JPEG or whatever OpenCV makes of the suffix."""
    import cv2

    with atomic_path(path, overwrite=overwrite) as partial:
        if not cv2.imwrite(str(partial), picture[..., ::-1]):
            raise OSError(f"{path}: could not be written")


def png_bytes(picture: RGB) -> bytes:
    """A picture as the bytes of a PNG file."""
    import cv2

    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise ValueError(f"expected a picture [H, W, 3], got shape {picture.shape}")
    return bytes(data)


def write_movie(path: str | PathLike[str], pictures: Iterable[RGB], *, fps: float = 30, overwrite: bool = False) -> int:
    """Writes pictures of one size as an MP4 movie and returns their number.

    Raises:
        ValueError: there are no pictures.
        OSError: OpenCV cannot encode to this file.
    """
    import cv2

    count, writer = 0, None
    with atomic_path(path, overwrite=overwrite) as partial:
        try:
            for picture in pictures:
                if writer is None:
                    height, width = picture.shape[:2]
                    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
                    if not writer.isOpened():
                        raise OSError(f"{path}: OpenCV cannot encode a movie to this file; use .mp4")
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
                count += 1
        finally:
            if writer is not None:
                writer.release()
        if not count:
            raise ValueError("expected at least one picture for a movie, got none")
    return count
