"""Timed luminance frames from an image folder, a picture, a video or an array, read one at a time.

Luminance is linear, 1.0 is the sensor's saturation. Colours are weighted by Rec. 709 after the sRGB curve is undone
(IEC 61966-2-1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError

Picture = NDArray[np.float32]
#: Frame rate of folders and arrays, which state none.
DEFAULT_FPS = 30.0
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".pgm", ".ppm", ".hdr", ".exr")
# FF 00 and the restart marks FF D0 .. D7 belong to the coded light, which may lie between two segments.
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_REC709 = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True, eq=False)
class Frames:
    """Timed luminance frames that are made as they are asked for; iterating again starts again.

    Args:
        height, width: of every frame, pixels.
        fps: frames a second; the last frame is taken to last 1 / fps.
        source: gives a new iterator over (t_us, luminance float32 [H, W], linear, 1.0 = saturation), in order of time.
        count: number of frames where it is known. A video's is what its container states.
    """

    height: int
    width: int
    fps: float
    source: Callable[[], Iterator[tuple[int, Picture]]]
    count: int | None = None

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"expected frames of at least 1x1 pixel, got height {self.height}, width {self.width}")
        if not 0 < self.fps < float("inf"):
            raise ValueError(f"expected a positive frame rate, got {self.fps}")

    def __iter__(self) -> Iterator[tuple[int, Picture]]:
        return self.source()

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("the number of these frames is not known; `count` is None")
        return self.count


def read_frames(
    source: str | os.PathLike[str] | NDArray[Any],
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    linear: bool = False,
) -> Frames:
    """Luminance frames from pictures, in bounded memory: frame i is at round(i * 1e6 / fps) microseconds.

    Args:
        source: an image folder (natural order: frame2 before frame10), one picture (a still: one frame at 0), a video
            file, or an array [H, W], [T, H, W], [H, W, 3] or [T, H, W, 3] (red, green, blue; a fourth channel is
            dropped) of uint8, uint16 or float. A last axis of 3 or 4 always counts as colour: give frames that are
            3 or 4 pixels wide as [T, H, W, 1].
        fps: frames a second; by default a video's own, and 30 for folders and arrays.
        size: (height, width) to scale to; what does not fit the shape is cut off evenly, nothing is distorted.
        linear: integers are linear already. By default they are decoded as sRGB; floats are always linear.

    Raises:
        InputError: the source is missing, empty, truncated or cannot be decoded; a folder holds pictures of several
            sizes and no size is given (when opened for PNG and JPEG, otherwise when reached); a video ends early.
        ValueError: a size or frame rate that is not positive.
    """
    if size is not None and min(size) < 1:
        raise ValueError(f"expected a size (height, width) of at least 1x1 pixel, got {size}")
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"expected a positive frame rate, got {fps}")
    rate = DEFAULT_FPS if fps is None else fps
    if not isinstance(source, str | os.PathLike):
        return _array_frames(np.asarray(source), rate, size, linear)
    path = Path(source)
    if not path.exists():
        raise InputError(path, expected="an image folder, a picture or a video", found="nothing there")
    if path.is_dir():
        return _folder_frames(path, rate, size, linear)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _picture_frames([path], rate, size, linear)
    return _video_frames(path, fps, size, linear)


def as_frames(frames: Frames | NDArray[Any]) -> Frames:
    """Frames as they are, or one picture ([H, W] or [H, W, 3], see `read_frames`) as a still.

    Raises:
        ValueError: an array of several frames, which has no frame rate.
    """
    if isinstance(frames, Frames):
        return frames
    still = read_frames(frames)
    if still.count != 1:
        raise ValueError(f"expected frames or one picture, got {still.count} pictures: use read_frames(array, fps=...)")
    return still


def checked(frames: Frames) -> Iterator[tuple[int, Picture]]:
    """The frames, each checked to have the stated size and to come after the one before.

    Raises:
        ValueError: a frame of another size, luminance that is not finite, or times that do not rise.
    """
    last: int | None = None
    for t_us, luminance in frames:
        if luminance.shape != (frames.height, frames.width):
            raise ValueError(
                f"expected {frames.height}x{frames.width} (H x W) frames, got {luminance.shape} at {t_us} us"
            )
        if last is not None and t_us <= last:
            raise ValueError(f"expected frame times that rise, got {t_us} us after {last} us")
        # One sum tells of any number that is not finite, for a small part of what the cameras spend on a frame.
        if not np.isfinite(luminance.sum()):
            raise ValueError(f"expected finite luminance, got NaN or infinity at {t_us} us")
        last = t_us
        yield t_us, luminance


def srgb_to_linear(encoded: NDArray[Any]) -> NDArray[Any]:
    """Linear light in [0, 1] of sRGB values in [0, 1] (any shape; float64 unless the input is another float)."""
    value = np.asarray(encoded)
    light = np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0) + 0.055) / 1.055) ** 2.4)
    return light.astype(value.dtype if value.dtype.kind == "f" else np.float64)


def linear_to_srgb(light: NDArray[Any]) -> NDArray[Any]:
    """sRGB values in [0, 1] of linear light in [0, 1] (any shape; float64 unless the input is another float)."""
    value = np.asarray(light)
    encoded = np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055)
    return encoded.astype(value.dtype if value.dtype.kind == "f" else np.float64)


def grey_picture(luminance: Picture, white: float = 1.0) -> NDArray[np.uint8]:
    """Linear luminance as 8-bit grey for screens and files: sRGB-encoded, `white` and above is 255. uint8 [H, W]."""
    grey: NDArray[np.uint8] = np.round(255 * linear_to_srgb(np.clip(luminance / white, 0, 1))).astype(np.uint8)
    return grey


def _time_us(index: int, fps: float) -> int:
    return round(index * 1e6 / fps)


# --- arrays


def _array_frames(array: NDArray[Any], fps: float, size: tuple[int, int] | None, linear: bool) -> Frames:
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise InputError("array", expected="uint8, uint16 or float", found=str(array.dtype))
    coloured = array.ndim >= 3 and array.shape[-1] in (3, 4)
    if array.ndim == 4 and array.shape[-1] == 1:
        stack = array[..., 0]
    elif array.ndim == (3 if coloured else 2):
        stack = array[None]
    elif array.ndim == (4 if coloured else 3):
        stack = array
    else:
        raise InputError("array", expected="[H, W], [T, H, W], [H, W, 3] or [T, H, W, 3]", found=f"shape {array.shape}")
    if not stack.size:
        raise InputError("array", expected="at least one frame of one pixel", found=f"shape {array.shape}")
    height, width = size or stack.shape[1:3]
    return Frames(height, width, fps, partial(_each_of_stack, stack, fps, size, linear), len(stack))


def _each_of_stack(
    stack: NDArray[Any], fps: float, size: tuple[int, int] | None, linear: bool
) -> Iterator[tuple[int, Picture]]:
    for index, image in enumerate(stack):
        yield _time_us(index, fps), _fit(_luminance(f"array, frame {index}", image, linear), size)


# --- pictures


def _folder_frames(folder: Path, fps: float, size: tuple[int, int] | None, linear: bool) -> Frames:
    names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = sorted((path for path in names if path.suffix.lower() in PICTURE_SUFFIXES), key=natural_order)
    if not paths:
        raise InputError(folder, expected="pictures (.png, .jpg, .tif, ...)", found=f"none among {len(names)} files")
    if size is None:
        _refuse_mixed_sizes(paths)
    return _picture_frames(paths, fps, size, linear)


def _picture_frames(paths: list[Path], fps: float, size: tuple[int, int] | None, linear: bool) -> Frames:
    height, width = size or _read_picture(paths[0], linear).shape
    return Frames(height, width, fps, partial(_each_of_pictures, paths, fps, size, linear), len(paths))


def _each_of_pictures(
    paths: list[Path], fps: float, size: tuple[int, int] | None, linear: bool
) -> Iterator[tuple[int, Picture]]:
    shape: tuple[int, ...] | None = None
    for index, path in enumerate(paths):
        picture = _read_picture(path, linear)
        shape = shape or picture.shape
        if size is None and picture.shape != shape:
            raise _other_size(path, picture.shape, paths[0], shape)
        yield _time_us(index, fps), _fit(picture, size)


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Sorts the numbers in names by value."""
    pieces = re.split(r"(\d+)", path.name)
    return [int(piece) if odd % 2 else piece.lower() for odd, piece in enumerate(pieces)], path.name


def _refuse_mixed_sizes(paths: list[Path]) -> None:
    """Looks at headers alone, so that a long folder fails at once; other formats are compared when they are read."""
    first: tuple[Path, tuple[int, int]] | None = None
    for path in paths:
        found = _header_size(path)
        if found is not None and first is None:
            first = path, found
        # A camera's note on orientation may turn a JPEG: a turned size is left to be judged when it is read.
        elif found is not None and first is not None and sorted(found) != sorted(first[1]):
            raise _other_size(path, found, first[0], first[1])


def _other_size(path: Path, found: tuple[int, ...], first: Path, expected: tuple[int, ...]) -> InputError:
    sizes = [f"{height}x{width}" for height, width in (expected, found)]
    return InputError(
        path,
        expected=f"{sizes[0]} pixels (height x width) as in {first.name}, or a size to scale all to",
        found=sizes[1],
    )


def _header_size(path: Path) -> tuple[int, int] | None:
    """(height, width) from the header of a PNG or JPEG file, None for anything else."""
    with path.open("rb") as file:
        start = file.read(24)
        if start.startswith(b"\x89PNG") and len(start) == 24:
            return int.from_bytes(start[20:24], "big"), int.from_bytes(start[16:20], "big")
        if not start.startswith(b"\xff\xd8"):
            return None
        file.seek(2)
        while len(head := file.read(9)) == 9 and head[0] == 0xFF:
            if 0xC0 <= head[1] <= 0xCF and head[1] not in (0xC4, 0xC8, 0xCC):
                return int.from_bytes(head[5:7], "big"), int.from_bytes(head[7:9], "big")
            file.seek(int.from_bytes(head[2:4], "big") - 7, os.SEEK_CUR)
    return None


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG's own end is there. Thumbnails inside it have theirs, and anything may follow it, as the film of
    a motion photo does: so the segments are followed one by one."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        if data[found.end() - 1] == 0xD9:
            return True
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


def _read_picture(path: Path, linear: bool) -> Picture:
    data = path.read_bytes()
    # OpenCV makes partly grey pictures of truncated files without a word.
    truncated = (data.startswith(b"\x89PNG") and b"IEND\xae\x42\x60\x82" not in data) or (
        data.startswith(b"\xff\xd8") and not _jpeg_ends(data)
    )
    if not data or truncated:
        raise InputError(path, expected="a whole picture", found="a truncated one", at=f"byte {len(data)}, its end")
    image = None
    with quiet_opencv() as cv2:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
        except cv2.error:
            image = None
    if image is None:
        raise InputError(path, expected="a picture that OpenCV can decode", found=f"{len(data)} bytes that it cannot")
    return _luminance(path, image[..., ::-1] if image.ndim == 3 else image, linear)


# --- videos


def _video_frames(path: Path, fps: float | None, size: tuple[int, int] | None, linear: bool) -> Frames:
    with _capture(path) as (capture, cv2):
        rate = capture.get(cv2.CAP_PROP_FPS) if fps is None else fps
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        found, image = capture.read()
    if not found:
        raise InputError(path, expected="a video", found="no frame that can be decoded", at="frame 0")
    if not 0 < rate < float("inf"):
        raise InputError(path, expected="a video that states its frame rate, or fps", found=f"{rate} frames a second")
    height, width = size or image.shape[:2]
    known = count if count > 0 else None
    return Frames(height, width, rate, partial(_each_of_video, path, rate, size, linear, known), known)


def _each_of_video(
    path: Path, fps: float, size: tuple[int, int] | None, linear: bool, count: int | None
) -> Iterator[tuple[int, Picture]]:
    index = 0
    with _capture(path) as (capture, _):
        while True:
            found, image = capture.read()
            if not found:
                break
            yield _time_us(index, fps), _fit(_luminance(path, image[..., ::-1], linear), size)
            index += 1
    # Some containers only estimate their number of frames from a duration.
    if count is not None and index < count - max(1, count // 100):
        raise InputError(path, expected=f"{count} frames", found="a video that ends early", at=f"frame {index}")


@contextmanager
def _capture(path: Path) -> Iterator[tuple[Any, Any]]:
    with quiet_opencv() as cv2:
        capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(path, expected="a picture or video that OpenCV can open", found="a file that it cannot")
        yield capture, cv2
    finally:
        capture.release()


@contextmanager
def quiet_opencv() -> Iterator[Any]:
    """OpenCV without its remarks on stderr: what is wrong is told by an exception."""
    # Both are read when OpenCV first needs them; a user's own settings stay.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield cv2
    finally:
        cv2.utils.logging.setLogLevel(level)


# --- light


def _luminance(source: str | Path, image: NDArray[Any], linear: bool) -> Picture:
    """Linear luminance float32 [H, W] of a picture [H, W] or [H, W, 3 or 4] (red, green, blue)."""
    if image.dtype.kind == "f":
        weighted = [image[..., c] * np.float32(w) for c, w in enumerate(_REC709)] if image.ndim == 3 else [image]
    elif image.dtype in (np.uint8, np.uint16):
        tables = _decoding(8 * image.dtype.itemsize, linear)
        planes = zip(tables[1:], np.moveaxis(image, -1, 0), strict=False) if image.ndim == 3 else [(tables[0], image)]
        weighted = [np.take(table, plane) for table, plane in planes]
    else:
        raise InputError(source, expected="8-bit, 16-bit or float pixels", found=str(image.dtype))
    luminance: Picture = sum(weighted[1:], start=weighted[0]).astype(np.float32)
    if image.dtype.kind == "f" and not (luminance.min() >= 0 and luminance.max() < np.inf):
        raise InputError(source, expected="finite luminance of 0 or more", found="negative or non-finite pixels")
    return np.ascontiguousarray(luminance)


@lru_cache(maxsize=4)
def _decoding(bits: int, linear: bool) -> tuple[Picture, ...]:
    """Tables from code to linear light: for grey, and weighted for red, green and blue."""
    code = np.arange(2**bits) / (2**bits - 1)
    light = code if linear else srgb_to_linear(code)
    return tuple((weight * light).astype(np.float32) for weight in (1.0, *_REC709))


def _fit(luminance: Picture, size: tuple[int, int] | None) -> Picture:
    """Scaled to cover (height, width), the rest cut off evenly."""
    if size is None or luminance.shape == tuple(size):
        return luminance
    import cv2

    height, width = luminance.shape
    scale = max(size[0] / height, size[1] / width)
    scaled = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(luminance, scaled[::-1], interpolation=method)
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    return np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]])
