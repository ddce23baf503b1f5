"""Kinds of scenes, drawn at random: a plane, a room, a corridor, objects that move before a background.

Lengths are in units of the background's depth, which is 1 for paths that are drawn with the scene. Rooms and
corridors are as wide as the camera's path needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eventsim.light.lens import Lens
from eventsim.light.paths import Along, Path, Scaled, Trajectory, reach, rotation_matrix
from eventsim.light.planes import Plane
from eventsim.light.scenes import Scene, SceneStyle, draw_path, draw_scene, speeds_px
from eventsim.light.textures import ellipse_outline, polygon_outline, shrunk, texture

Picture = NDArray[np.float32]
Vector = NDArray[np.float64]
_X, _Y, _Z = np.eye(3)
_CLEAR = 0.2
_MOST_TEXELS = 2048
_ROUNDS = 5
_MEASURED_US = 10e6


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface:
    """A plane before it has a texture.

    Args:
        centre: float64 [3], its middle in the world, or from the origin of its path.
        right, down: float64 [3], unit vectors.
        distance: at which a camera sees its texture as sharp as the picture it comes from.
        size: along right and down; None: endless.
        shape: of a plane that ends: "rectangle", "ellipse" or "polygon".
        path: its own motion.
    """

    centre: Vector
    right: Vector
    down: Vector
    distance: float
    size: tuple[float, float] | None = None
    shape: str = "rectangle"
    path: Path | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Space:
    """Where the camera comes to.

    Args:
        low, high: float64 [3], the smallest and largest x, y, z.
        unit: depth of the background.
        forward: steady speed along z, lengths a second.
        style: of the scene.
    """

    low: Vector
    high: Vector
    unit: float
    forward: float
    style: SceneStyle


def draw_room(
    kind: str,
    pictures: Sequence[Picture],
    style: SceneStyle,
    seed: int,
    *,
    path: Path | None = None,
    duration_us: float = _MEASURED_US,
    depth: float = 1.0,
    lens: Lens | None = None,
) -> Scene:
    """A scene of a kind, drawn at random.

    Args:
        kind: a name in `KINDS`.
        pictures: float32 [h, w] each, linear luminance; drawn from for every plane, without repetition where they
            suffice. May read files as they are indexed (`textures.PictureFiles`).
        style: sizes and ranges; its speed and frequencies are those of a path that is drawn.
        seed: the same seed draws the same scene.
        path: of the camera; by default one is drawn with the scene, of the style's mean speed.
        duration_us: how long the given path is followed: the scene leaves room for it.
        depth: the background's, in the given path's unit.
        lens: what bends the picture.

    Raises:
        ValueError: an unknown kind, or no pictures.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of scene among {', '.join(KINDS)}, got {kind!r}")
    if not len(pictures):
        raise ValueError("expected at least one picture, got none")
    if kind == "plane" and path is None:
        chosen = int(np.random.default_rng(seed).integers(len(pictures))) if len(pictures) > 1 else 0
        return replace(draw_scene(pictures[chosen], style, seed), lens=lens)
    path_seed, space_seed, texture_seed = np.random.SeedSequence(seed).spawn(3)
    if path is None:
        path, surfaces = _at_speed(kind, style, path_seed, space_seed)
    else:
        surfaces = _surfaces(kind, style, path, space_seed, duration_us, depth)
    planes = _dressed(surfaces, pictures, style, np.random.default_rng(texture_seed))
    return Scene(planes, path, style.height, style.width, style.focal, lens)


def _at_speed(
    kind: str, style: SceneStyle, path_seed: np.random.SeedSequence, space_seed: np.random.SeedSequence
) -> tuple[Path, list[Surface]]:
    """A drawn path of the style's speed and the surfaces around it: a faster path needs a larger room, in which the
    same path looks slower."""
    drawn = KINDS[kind].draw_path(style, np.random.default_rng(path_seed))
    factor = 1.0
    for _ in range(_ROUNDS):
        path = Scaled(drawn, factor)
        surfaces = _surfaces(kind, style, path, space_seed, _MEASURED_US, 1.0)
        still = [_bare(surface) for surface in surfaces if surface.size is None]
        scene = Scene(still, path, style.height, style.width, style.focal)
        factor *= style.speed_px / float(speeds_px(scene, _MEASURED_US).mean())
    return Scaled(drawn, factor), _surfaces(kind, style, Scaled(drawn, factor), space_seed, _MEASURED_US, 1.0)


def _surfaces(
    kind: str, style: SceneStyle, path: Path, seed: np.random.SeedSequence, duration_us: float, depth: float
) -> list[Surface]:
    low, high = reach(path, duration_us)
    forward = path.factor * path.path.velocity[2] if isinstance(path, Scaled) and isinstance(path.path, Along) else 0.0
    space = Space(low=low, high=high, unit=depth, forward=float(forward), style=style)
    return KINDS[kind].surfaces(space, np.random.default_rng(seed))


# --- kinds


def _plane(space: Space, rng: np.random.Generator) -> list[Surface]:
    """One plane behind everything, slightly tilted."""
    tilt = rotation_matrix(np.array([*rng.uniform(-space.style.tilt, space.style.tilt, 2), 0]))
    middle = (space.low + space.high) / 2
    centre = np.array([middle[0], middle[1], max(space.unit, space.high[2] + 0.5 * space.unit)])
    return [Surface(centre=centre, right=tilt @ _X, down=tilt @ _Y, distance=space.unit)]


def _room(space: Space, rng: np.random.Generator) -> list[Surface]:
    """Floor, ceiling and four walls, turned a little about the vertical."""
    unit, turn = space.unit, rotation_matrix(np.array([0, rng.uniform(-0.5, 0.5), 0]))
    corners = np.stack(np.meshgrid(*zip(space.low, space.high, strict=True)), axis=-1).reshape(-1, 3) @ turn
    low, high = corners.min(axis=0) - _CLEAR * unit, corners.max(axis=0) + _CLEAR * unit
    low = np.minimum(low, -unit * rng.uniform([0.45, 0.3, 0.5], [0.7, 0.45, 1.0]))
    high = np.maximum(high, unit * rng.uniform([0.45, 0.25, 0.9], [0.7, 0.4, 1.3]))
    sides = [(_X, high[0], _Z, _Y), (-_X, -low[0], _Z, _Y), (_Y, high[1], _X, _Z), (-_Y, -low[1], _X, _Z),
             (_Z, high[2], _X, _Y), (-_Z, -low[2], _X, _Y)]  # fmt: skip
    return [
        Surface(centre=turn @ (out * apart), right=turn @ right, down=turn @ down, distance=unit)
        for out, apart, right, down in sides
    ]


def _corridor(space: Space, rng: np.random.Generator) -> list[Surface]:
    """Floor, two walls without an end, and a far plane that stays ahead as a horizon does."""
    unit = space.unit
    left, right = (_CLEAR * unit + unit * rng.uniform(0.15, 0.4, 2)) + [-min(space.low[0], 0), max(space.high[0], 0)]
    floor = space.high[1] + unit * rng.uniform(0.2, 0.35)
    far = unit * rng.uniform(2.0, 3.0) + (0.0 if space.forward else space.high[2])
    ahead = Along(_NOWHERE, np.zeros(6), space.forward * np.eye(6)[2]) if space.forward else None
    return [
        Surface(centre=floor * _Y, right=_X, down=_Z, distance=0.7 * unit),
        Surface(centre=-left * _X, right=_Z, down=_Y, distance=0.7 * unit),
        Surface(centre=right * _X, right=_Z, down=_Y, distance=0.7 * unit),
        Surface(centre=far * _Z, right=_X, down=_Y, distance=far, path=ahead),
    ]


def _objects(space: Space, rng: np.random.Generator) -> list[Surface]:
    """A background and three to six planes of any shape before it, each on a path of its own."""
    return [*_plane(space, rng), *(_object(space, rng) for _ in range(int(rng.integers(3, 7))))]


def _object(space: Space, rng: np.random.Generator) -> Surface:
    style, unit = space.style, space.unit
    depth = rng.uniform(0.35, 0.8) * unit
    view = np.array([style.width, style.height]) / style.focal * depth
    width, height = view.max() * rng.uniform(0.15, 0.4, 2)
    at = rng.uniform(-0.4, 0.4, 2) * view + rng.uniform(space.low[:2], space.high[:2])
    path = draw_path(style, rng)
    # Its own speed, root mean square of x and y, is comparable to the background's.
    speeds = 2 * np.pi * path.frequency_hz[:2] * path.amplitude[:2]
    pace = style.speed_px * rng.uniform(0.3, 1.5) / style.focal * depth / np.sqrt((speeds**2).sum() / 2)
    amplitude = path.amplitude * np.array([pace, pace, pace, 3, 3, 6])[:, None]
    base = np.array([*at, max(space.high[2], 0) + depth, *rng.uniform(-0.3, 0.3, 2), rng.uniform(-np.pi, np.pi)])
    moving = Along(replace(path, amplitude=amplitude), base, np.zeros(6))
    shape = str(rng.choice(["rectangle", "ellipse", "polygon"]))
    return Surface(centre=np.zeros(3), right=_X, down=_Y, distance=float(depth), size=(width, height), shape=shape,
                   path=moving)  # fmt: skip


def _onwards(style: SceneStyle, rng: np.random.Generator) -> Path:
    """Mostly forwards at a steady speed."""
    sway = draw_path(style, rng)
    share = np.array([0.3, 0.2, 0.3, 0.5, 0.5, 0.3])[:, None]
    velocity = 0.2 * rng.uniform(0.7, 1.3) * np.eye(6)[2]
    return Along(replace(sway, amplitude=sway.amplitude * share), np.zeros(6), velocity)


_NOWHERE = Trajectory(*(np.zeros((6, 1)) for _ in range(3)))


@dataclass(frozen=True)
class _Kind:
    surfaces: Callable[[Space, np.random.Generator], list[Surface]]
    draw_path: Callable[[SceneStyle, np.random.Generator], Path] = draw_path
    frame_hz: float = 32.0


#: What scenes there are; a new kind is one function and one line here. The rates are MVSEC's, indoors and outdoors.
KINDS = {
    "plane": _Kind(_plane),
    "room": _Kind(_room),
    "corridor": _Kind(_corridor, _onwards, 45.0),
    "objects": _Kind(_objects),
}


# --- textures


def _dressed(
    surfaces: Sequence[Surface], pictures: Sequence[Picture], style: SceneStyle, rng: np.random.Generator
) -> list[Plane]:
    order = [int(k) for _ in range(-(-len(surfaces) // len(pictures))) for k in rng.permutation(len(pictures))]
    return [_textured(surface, pictures[k], style, rng) for surface, k in zip(surfaces, order, strict=False)]


def _textured(surface: Surface, picture: Picture, style: SceneStyle, rng: np.random.Generator) -> Plane:
    small = shrunk(picture, style.height, style.width)
    texel = surface.distance / (style.focal * style.oversampling)
    zoom = style.draw_zoom(rng)
    if surface.size is None:
        shown = texture(small, zoom, style.oversampling)
        centre = rng.uniform(0.3, 0.7, 2) * shown.shape[::-1]
        return _placed(surface, shown, texel, centre, style.oversampling)
    texel = max(texel, max(surface.size) / _MOST_TEXELS)
    columns, rows = (max(8, round(length / texel)) for length in surface.size)
    enough = 1.001 * max(rows / small.shape[0], columns / small.shape[1]) / style.oversampling
    shown = texture(small, max(zoom, enough), style.oversampling)
    top, left = (int(rng.integers(0, has - need + 1)) for has, need in zip(shown.shape, (rows, columns), strict=True))
    cut = np.ascontiguousarray(shown[top : top + rows, left : left + columns])
    placed = _placed(surface, cut, texel, np.array([(columns - 1) / 2, (rows - 1) / 2]), style.oversampling)
    return replace(placed, outline=_outline(surface.shape, rows, columns, rng))


def _placed(surface: Surface, shown: Picture, texel: float, centre: Vector, sharpness: float) -> Plane:
    """A plane whose texel `centre` lies at the surface's middle."""
    right, down = surface.right * texel, surface.down * texel
    origin = surface.centre - right * centre[0] - down * centre[1]
    return Plane(shown, origin, right, down, surface.size is None, surface.path, None, sharpness)


def _bare(surface: Surface) -> Plane:
    """An endless surface without a picture, to measure motion by."""
    return _placed(surface, np.ones((2, 2), np.float32), surface.distance, np.zeros(2), 0.0)


def _outline(shape: str, rows: int, columns: int, rng: np.random.Generator) -> Picture | None:
    if shape == "rectangle":
        return None
    return ellipse_outline(rows, columns) if shape == "ellipse" else polygon_outline(rows, columns, rng)
