"""Textured planes in space, at rest or on a path of their own, and what the renderer needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.light.paths import Path

Picture = NDArray[np.float32]
Vector = NDArray[np.float64]
_SMALLEST_SIDE = 8


@dataclass(frozen=True, eq=False)
class Plane:
    """A textured plane: texel (u, v) lies at origin + u right + v down.

    Args:
        texture: float32 [h, w], linear luminance, at least 2x2, smooth at the scale of a texel (`textures.texture`).
        origin: float64 [3], where texel (0, 0) is.
        right, down: float64 [3], from one texel to the next.
        endless: mirror the texture beyond its borders; otherwise the plane ends there.
        path: the plane's own motion: origin, right and down are then the object's axes, which the path's pose takes
            to the world. Without one the plane stays.
        outline: float32 [h, w]; cuts a shape out of a plane that is not endless: signed distance to its outline in
            texels, positive inside.
        sharpness: texels per pixel beyond which smaller versions of the texture are shown, which keeps distant and
            slanted planes from flickering; 0: never.

    Raises:
        ValueError: a texture too small, an outline of another size, or one of an endless plane.
    """

    texture: Picture
    origin: Vector
    right: Vector
    down: Vector
    endless: bool = True
    path: Path | None = None
    outline: Picture | None = None
    sharpness: float = 0.0

    def __post_init__(self) -> None:
        if self.texture.ndim != 2 or min(self.texture.shape) < 2:
            raise ValueError(f"expected a texture of at least 2x2 texels, got shape {self.texture.shape}")
        if self.outline is not None and (self.endless or self.outline.shape != self.texture.shape):
            raise ValueError("expected an outline of the texture's size, of a plane that is not endless")

    def axes(self, t_us: float) -> Vector:
        """From texel (u, v, 1) to the world at a time: float64 [3, 3]."""
        axes = np.stack([self.right, self.down, self.origin], axis=1)
        if self.path is None:
            return axes
        rotation, position = self.path.pose(t_us)
        moved = rotation @ axes
        moved[:, 2] += position
        return np.asarray(moved)


@dataclass(frozen=True, eq=False, kw_only=True)
class Packed:
    """Planes as the renderer takes them: see `render`.

    Args:
        table: float64 [P, render.TABLE_COLUMNS], all but what changes with time.
        levels: int64 [P, L, 3].
        outlines, textures: float32, flat.
    """

    table: Vector
    levels: NDArray[np.int64]
    outlines: Picture
    textures: Picture

    def at(self, homographies: Vector) -> Vector:
        """The table of planes at a time: float64 [P, render.TABLE_COLUMNS].

        Args:
            homographies: float64 [P, 3, 3], texel (u, v, 1) -> pixel (x, y, 1) times depth.
        """
        from eventsim.light import render

        count, table = len(homographies), self.table.copy()
        inverse = np.linalg.inv(homographies)
        last = table[:, [render.COLUMNS, render.ROWS], None] - 1
        edges = np.concatenate([inverse[:, :2], last * inverse[:, 2:] - inverse[:, :2]], axis=1)
        edges /= np.maximum(np.hypot(edges[..., :1], edges[..., 1:2]), 1e-300)
        table[:, render.INVERSE : render.EDGES] = inverse.reshape(count, 9)
        table[:, render.EDGES : render.SHRINK] = edges.reshape(count, 12)
        table[:, render.SHRINK] = np.abs(np.linalg.det(inverse))
        return table


def packed(planes: Sequence[Plane]) -> Packed:
    """The planes as the renderer takes them, all their textures in all sizes in one flat array.

    Of planes that share a texture it is stored once.
    """
    from eventsim.light import render

    textures, places = _flat_textures(planes)
    levels = np.zeros((len(planes), max(map(len, places)), 3), np.int64)
    outlines, start = [np.zeros(0, np.float32)], 0
    table = np.zeros((len(planes), render.TABLE_COLUMNS))
    for index, (plane, place) in enumerate(zip(planes, places, strict=True)):
        levels[index, : len(place)] = place
        table[index, render.ENDLESS :] = (
            plane.endless, -1 if plane.outline is None else start, *plane.texture.shape, plane.sharpness, len(place),
        )  # fmt: skip
        if plane.outline is not None:
            outlines.append(np.ravel(plane.outline).astype(np.float32))
            start += plane.outline.size
    return Packed(table=table, levels=levels, outlines=np.concatenate(outlines), textures=textures)


def _flat_textures(planes: Sequence[Plane]) -> tuple[Picture, list[list[tuple[int, int, int]]]]:
    parts: list[Picture] = []
    known: dict[tuple[int, bool], list[tuple[int, int, int]]] = {}
    places, start = [], 0
    for plane in planes:
        key = (id(plane.texture), plane.sharpness > 0)
        if key not in known:
            known[key] = []
            for size in _sizes(plane):
                known[key].append((start, *size.shape))
                parts.append(np.ravel(size))
                start += size.size
        places.append(known[key])
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)), places


def _sizes(plane: Plane) -> list[Picture]:
    """The texture and its halves, each as smooth at the scale of its own texels as the whole."""
    import cv2

    sizes = [np.ascontiguousarray(plane.texture, dtype=np.float32)]
    while plane.sharpness > 0 and min(sizes[-1].shape) >= 2 * _SMALLEST_SIDE:
        # A blur of s texels (half the sharpness) must become one of 2 s: sqrt(4 - 1) s is missing.
        smooth = cv2.GaussianBlur(sizes[-1], (0, 0), 3**0.5 * 0.5 * plane.sharpness)
        rows, columns = smooth.shape
        half = cv2.resize(smooth, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
        sizes.append(np.ascontiguousarray(half, dtype=np.float32))
    return sizes
