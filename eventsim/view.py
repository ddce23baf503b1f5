"""Pictures and movies of light, events and spikes. Pictures are uint8 [H, W, 3], red, green, blue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.light.frames import grey_picture, quiet_opencv, read_frames
from eventsim.streams.events import Events
from eventsim.streams.reconstruct import reconstruct_tfi, reconstruct_tfp, reconstruct_tfstp
from eventsim.streams.spikes import SpikeStream

if TYPE_CHECKING:
    from eventsim.io.event_source import EventSource

RGB = NDArray[np.uint8]
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_MOVIES = (".mp4", ".gif")
_WHITE_SAMPLES = 8
# OpenCV's GIF encoder takes all pictures at once: 200 MB of them, 671 of 400x250.
_GIF_PIXELS = 1 << 26
_GIF_TICK_HZ, _GIF_FEWEST_TICKS = 100, 2  # browsers slow down what is faster than 50 pictures a second
#: How spikes are shown: single `planes`, or intensity as counted (`tfp`), from intervals (`tfi`) or from synapses with
#: short-term plasticity (`tfstp`).
Shown = Literal["tfp", "tfi", "tfstp", "planes"]
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


def spikes_movie(
    stream: SpikeStream, start: int = 0, stop: int | None = None, *, window: int, show: Shown = "tfp"
) -> Iterator[RGB]:
    """A picture of each consecutive window of planes within start .. stop - 1, read as it is asked for.

    Intensities are on one scale: white is what a few windows, spread over the whole time, hold at their brightest.

    Args:
        stream: the spikes.
        start, stop: planes between which the windows lie.
        window: planes of a window.
        show: the intensity counted over the window (`tfp`), or the intensity (`tfi`, `tfstp`) or the spikes (`planes`)
            at the plane in its middle. Intervals may reach beyond the window.

    Raises:
        ValueError: it is to show something else.
    """
    if show not in get_args(Shown):
        raise ValueError(f"expected to show one of {', '.join(get_args(Shown))}, got {show!r}")
    start, stop, _ = slice(start, stop).indices(len(stream))
    starts = range(start, stop - window + 1, window)
    if show == "planes":
        return (spikes_picture(stream, first + window // 2) for first in starts)
    return _intensities_movie(stream, starts, window, show)


def _intensities_movie(stream: SpikeStream, starts: range, window: int, show: Shown) -> Iterator[RGB]:
    sampled = starts[:: max(1, -(-len(starts) // _WHITE_SAMPLES))]
    brightest = (np.percentile(_intensity(stream, first, window, show), 99.5) for first in sampled)
    white = max((float(each) for each in brightest), default=0.0) or 1.0
    for first in starts:
        yield luminance_picture(_intensity(stream, first, window, show), white)


def _intensity(stream: SpikeStream, start: int, window: int, show: Shown) -> NDArray[np.float32]:
    middle = start + window // 2
    if show == "tfp":
        return reconstruct_tfp(stream, window, middle)
    return (reconstruct_tfi if show == "tfi" else reconstruct_tfstp)(stream, middle)


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


def write_movie(
    path: str | PathLike[str],
    pictures: Iterable[RGB],
    *,
    fps: float = 30,
    total: int | None = None,
    overwrite: bool = False,
) -> int:
    """Writes pictures of one size as an MP4 or GIF movie and returns their number.

    An MP4 is written picture by picture. A GIF is held in memory, and so limited to 67 million pixels in all (671
    pictures of 400x250); it repeats without end, on average at `fps`, as its times are multiples of 10 ms. Grey levels
    come back from a GIF within 1 of 255.

    Args:
        path: ends in .mp4 or .gif.
        pictures: uint8 [H, W, 3] each.
        fps: pictures a second; at most 50 in a GIF.
        total: their number, where it is known: then too large a GIF is refused at its first picture.
        overwrite: replace an existing file.

    Raises:
        InputError: another suffix; an MP4 less than 2 pixels high or wide; a GIF that is too large or too fast, or an
            OpenCV that writes none.
        OutputExistsError: the file exists and `overwrite` is false.
        ValueError: there are no pictures, or they differ in size.
        OSError: OpenCV cannot encode to this file, or not all of the movie can be read back (a full disk).
    """
    gif = _known_suffix(path, _MOVIES) == ".gif"
    with atomic_path(path, overwrite=overwrite) as partial:
        if gif:
            count = _encode_gif(partial, path, _same_size(pictures), fps, total)
        else:
            count = _encode_movie(partial, path, _same_size(pictures), fps)
        # OpenCV does not tell of a disk that takes no more.
        found = _count_gif(partial) if gif else _count_frames(partial)
        if found != count:
            raise OSError(f"{path}: {count} pictures were written, {found} can be read back; the disk may be full")
    return count


def _same_size(pictures: Iterable[RGB]) -> Iterator[RGB]:
    shape: tuple[int, ...] | None = None
    for index, picture in enumerate(pictures):
        shape = shape or picture.shape
        if picture.shape != shape:
            raise ValueError(f"expected pictures of one size, {shape}, got {picture.shape} at {index}")
        yield picture
    if shape is None:
        raise ValueError("expected at least one picture for a movie, got none")


def _encode_movie(partial: Path, name: str | PathLike[str], pictures: Iterator[RGB], fps: float) -> int:
    first = next(pictures)
    height, width = first.shape[:2]
    if min(height, width) < 2:
        raise InputError(name, expected="pictures of at least 2x2 pixels for an MP4", found=f"{width}x{height}")
    count = 0
    with quiet_opencv() as cv2:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        try:
            if not writer.isOpened():
                raise OSError(f"{name}: OpenCV cannot encode a movie to this file")
            for picture in chain([first], pictures):
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
                count += 1
        finally:
            writer.release()
    return count


def _encode_gif(
    partial: Path, name: str | PathLike[str], pictures: Iterator[RGB], fps: float, total: int | None
) -> int:
    with quiet_opencv() as cv2:
        if not hasattr(cv2, "imwriteanimation"):
            found = f"OpenCV {cv2.__version__}"
            raise InputError(name, expected="OpenCV 4.11 or later for a GIF (.mp4 needs none)", found=found)
        if not 0 < fps <= _GIF_TICK_HZ / _GIF_FEWEST_TICKS:
            fastest = f"{_GIF_TICK_HZ / _GIF_FEWEST_TICKS:g}"
            raise InputError(name, expected=f"at most {fastest} pictures a second in a GIF", found=f"{fps:g}")
        held = _held_for_gif(name, pictures, total)
        animation = cv2.Animation()
        animation.frames, animation.durations, animation.loop_count = held, _gif_durations_ms(len(held), fps), 0
        # No dithering: with it, the encoder keeps few grey levels. It can also crash on its setting of quality.
        if not cv2.imwriteanimation(str(partial), animation, [cv2.IMWRITE_GIF_DITHER, 3]):
            raise OSError(f"{name}: OpenCV cannot encode a movie to this file")
    return len(held)


def _held_for_gif(name: str | PathLike[str], pictures: Iterator[RGB], total: int | None) -> list[NDArray[Any]]:
    held: list[NDArray[Any]] = []
    for picture in pictures:
        pixels = picture.shape[0] * picture.shape[1]
        if max(len(held) + 1, total or 0) * pixels > _GIF_PIXELS:
            most = f"at most {_GIF_PIXELS // pixels} pictures of this size in a GIF (an .mp4 has no limit)"
            raise InputError(name, expected=most, found=f"{total}" if total else "more")
        held.append(np.ascontiguousarray(picture[..., ::-1]))
    return held


def _gif_durations_ms(count: int, fps: float) -> NDArray[np.int32]:
    """How long each picture is shown: whole hundredths of a second that keep pace with `fps`."""
    ticks = np.round(np.arange(count + 1) * _GIF_TICK_HZ / fps)
    return (np.diff(ticks) * (1000 // _GIF_TICK_HZ)).astype(np.int32)


def _count_gif(movie: Path) -> int:
    with quiet_opencv() as cv2:
        return int(cv2.imcount(str(movie)))


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
