"""Pictures as textures: from any file or folder, of a size that suits the view, and smooth at the scale of a texel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.light.frames import PICTURE_SUFFIXES, read_frames

Picture = NDArray[np.float32]
#: Pictures of up to this many pixels squared become textures as they are, however small the view.
_KEPT_SIDE = 640


class PictureFiles(Sequence[Picture]):
    """The luminance of pictures, each read when it is asked for: float32 [h, w].

    Args:
        source: a picture, or a folder of pictures, however deep; in order of their paths.

    Raises:
        InputError: nothing there, or no picture in it. Indexing raises it for a picture that cannot be decoded.
    """

    def __init__(self, source: Path) -> None:
        if not source.exists():
            raise InputError(source, expected="a picture or a folder of pictures", found="nothing there")
        found = [source] if source.is_file() else sorted(source.rglob("*"))
        self.paths = [path for path in found if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES]
        if not self.paths:
            raise InputError(source, expected=f"pictures ({', '.join(PICTURE_SUFFIXES[:4])}, ...)", found="none")

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Picture: ...

    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...

    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [_read(path) for path in self.paths[index]]
        return _read(self.paths[index])


@lru_cache(maxsize=4)
def _read(path: Path) -> Picture:
    return next(iter(read_frames(path)))[1]


def shrunk(picture: Picture, height: int, width: int) -> Picture:
    """A picture of more pixels than a square as wide as the view (at least 640 pixels), shrunk to as many.

    Textures are the picture enlarged by zoom times oversampling, 5 at most by default: so a photograph of any size
    makes a texture of at most 3,200 x 3,200 texels for views of up to 640 pixels, and a view shows a good part of it.

    Args:
        picture: float32 [h, w].
        height, width: of the view, pixels.
    """
    import cv2

    most = max(_KEPT_SIDE, height, width) ** 2
    if picture.size <= most:
        return picture
    scale = (most / picture.size) ** 0.5
    size = [max(1, round(length * scale)) for length in picture.shape]
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def texture(picture: Picture, zoom: float, oversampling: float) -> Picture:
    """A picture as a texture that bilinear sampling neither aliases nor makes flicker.

    Sampled bilinearly at its own resolution, a texture is sharp where samples fall on texels and blurred between,
    and this ripple makes events that no motion explains. Enlarged and blurred a little, it is almost the same
    everywhere.

    Args:
        picture: float32 [h, w].
        zoom: camera pixels that one of its pixels covers.
        oversampling: texels per camera pixel.
    """
    import cv2

    scale = zoom * oversampling
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
    smooth = cv2.GaussianBlur(scaled, (0, 0), 0.5 * oversampling)
    return np.ascontiguousarray(np.clip(smooth, 0, None), dtype=np.float32)


def ellipse_outline(rows: int, columns: int) -> Picture:
    """Signed distance in texels to the largest ellipse in a texture, positive inside, near the outline: [h, w]."""
    y, x = _from_middle(rows, columns)
    a, b = columns / 2 - 2, rows / 2 - 2
    radius = np.maximum(np.hypot(x / a, y / b), 1e-6)
    return np.asarray((1 - radius) * radius / np.hypot(x / a**2, y / b**2).clip(1e-9), np.float32)


def polygon_outline(rows: int, columns: int, rng: np.random.Generator) -> Picture:
    """Signed distance in texels to a convex polygon of 3 to 8 sides in a texture, positive inside: float32 [h, w]."""
    y, x = _from_middle(rows, columns)
    sides = int(rng.integers(3, 9))
    angles = (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) * 2 * np.pi / sides + rng.uniform(0, 2 * np.pi)
    half = min(rows, columns) / 2 - 2
    offsets = half * rng.uniform(0.6, 1.0, sides)
    border = np.minimum(columns / 2 - 2 - np.abs(x), rows / 2 - 2 - np.abs(y))
    inside = [offset - np.cos(angle) * x - np.sin(angle) * y for offset, angle in zip(offsets, angles, strict=True)]
    return np.asarray(np.minimum.reduce([border, *inside]), np.float32)


def _from_middle(rows: int, columns: int) -> NDArray[np.float64]:
    return np.asarray(np.mgrid[:rows, :columns] - np.array([(rows - 1) / 2, (columns - 1) / 2]).reshape(2, 1, 1))
