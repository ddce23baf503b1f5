"""Scenes whose motion is known exactly: textured planes, at rest or moving, seen by a camera on a smooth path.

The world's axes are the camera's at rest: x to the right, y down, z forward. A plane's texel (u, v) lies at
origin + u right + v down, so plane and picture are related by a homography at every moment, and depth and optical flow
between any two times follow from the homographies without approximation. A lens bends the pinhole camera's pixels
afterwards, and flow with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eventsim.light.frames import Frames
from eventsim.light.lens import Lens
from eventsim.light.lighting import Lighting
from eventsim.light.paths import Path, Trajectory, rotation_matrix
from eventsim.light.planes import Packed, Plane, packed
from eventsim.light.textures import shrunk, texture
from eventsim.rows import over_rows

Picture = NDArray[np.float32]
Vector = NDArray[np.float64]
_GRID = (13, 17)
_NO_TEXTURE = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """What the camera sees at a time.

    Args:
        t_us: the time.
        luminance: float32 [H, W], linear; all 0 in a view without light.
        depth: float32 [H, W], distance along the optical axis, infinite where nothing is seen.
        planes: int16 [H, W], index of the plane that is seen (the nearest that covers at least half of the pixel), -1
            where none is.
    """

    t_us: float
    luminance: Picture
    depth: Picture
    planes: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Scene:
    """Planes, a path and a pinhole camera whose optical axis meets the middle of the picture.

    Args:
        planes: at least one; the nearest is seen.
        path: of the camera.
        height, width: of the picture, pixels.
        focal_px: focal length in pixels.
        lens: what bends the picture; it has a focal length and centre of its own. None: a pinhole.
    """

    planes: Sequence[Plane]
    path: Path
    height: int = 260
    width: int = 346
    focal_px: float = 226.0
    lens: Lens | None = None

    def __post_init__(self) -> None:
        if not self.planes:
            raise ValueError("expected a scene of at least one plane, got none")

    def luminance(self, t_us: float, *, threads: int | None = None) -> Picture:
        """What falls on the sensor: float32 [H, W], linear."""
        return self.view(t_us, threads=threads).luminance

    def depth(self, t_us: float) -> Picture:
        """Distance along the optical axis: float32 [H, W], infinite where nothing is seen."""
        return self.view(t_us, light=False).depth

    def flow(self, t0_us: float, t1_us: float) -> Picture:
        """Exact displacement of every pixel from t0 to t1: float32 [2, H, W], (dx to the right, dy down), pixels.

        The point that a pixel sees at t0 is projected at t1, whether or not something hides it then (see `occluded`).
        NaN where nothing is seen at t0 or where the point lies behind the camera (or its lens) at t1.
        """
        return self.flow_from(self.view(t0_us, light=False), t1_us)

    def flow_from(self, view: View, t1_us: float) -> Picture:
        """As `flow`, from the time of a view that is there already."""
        moved = self._carried(view.planes, view.t_us, t1_us, self.rays)
        return (self._bend(moved[:2]) - self._pixels).astype(np.float32)

    def occluded(self, t0_us: float, t1_us: float, *, tolerance: float = 1e-4) -> NDArray[np.bool_]:
        """Where the point that a pixel sees at t0 is not seen at t1: bool [H, W].

        True where another plane hides it, it is outside the view (whose borders are half a pixel outside of the
        outermost pixels' middles) or behind the camera, or nothing is seen at t0.

        Args:
            t0_us, t1_us: the two times.
            tolerance: share of the depth by which something must be nearer to hide a point.
        """
        return self.occluded_from(self.view(t0_us, light=False), t1_us, tolerance=tolerance)

    def occluded_from(self, view: View, t1_us: float, *, tolerance: float = 1e-4) -> NDArray[np.bool_]:
        """As `occluded`, from the time of a view that is there already."""
        from eventsim.light.render import hide

        moved = self._carried(view.planes, view.t_us, t1_us, self.rays)
        moved[2] *= np.where(view.planes >= 0, view.depth, np.nan)
        x, y = self._bend(moved[:2])
        inside = (x >= -0.5) & (x <= self.width - 0.5) & (y >= -0.5) & (y <= self.height - 0.5)
        hidden: NDArray[np.bool_] = ~inside
        table, outlines = self._packed.at(self._homographies(t1_us)), self._packed.outlines

        def band(top: int, end: int) -> None:
            hide(table, outlines, view.planes, moved, tolerance, hidden, top, end)

        over_rows(band, self.height)
        return hidden

    def view(self, t_us: float, *, light: bool = True, threads: int | None = None) -> View:
        """Light, depth and planes from one rendering; without `light` the textures are not looked at."""
        size = (self.height, self.width)
        view = View(t_us=t_us, luminance=np.zeros(size, np.float32), depth=np.empty(size, np.float32),
                    planes=np.empty(size, np.int16))  # fmt: skip
        self._draw(view, self._packed.textures if light else _NO_TEXTURE, self.rays, threads)
        return view

    def homography(self, plane: Plane, t_us: float) -> Vector:
        """From texel (u, v, 1) to the pinhole camera's pixel (x, y, 1), times depth: float64 [3, 3]."""
        return np.asarray(self._homographies(t_us, [plane])[0])

    def largest_px(self, t0_us: float, t1_us: float) -> float:
        """The largest displacement in the view from t0 to t1, pixels: on a grid of pixels and of points of planes that
        end."""
        x, y = np.meshgrid(np.linspace(0, self.width - 1, _GRID[1]), np.linspace(0, self.height - 1, _GRID[0]))
        pixels = np.stack([x, y])
        rays = pixels if self.lens is None else self._unbend(pixels)
        view = View(t_us=t0_us, luminance=np.empty((0, 0), np.float32), depth=np.empty(_GRID, np.float32),
                    planes=np.empty(_GRID, np.int16))  # fmt: skip
        self._draw(view, _NO_TEXTURE, rays, 1)
        moves = [self._bend(self._carried(view.planes, t0_us, t1_us, rays)[:2]) - pixels]
        ending = [plane for plane in self.planes if not plane.endless]
        if ending:
            both = zip(self._homographies(t0_us, ending), self._homographies(t1_us, ending), strict=True)
            moves += [self._moved_points(plane, *pair) for plane, pair in zip(ending, both, strict=True)]
        lengths = np.concatenate([np.hypot(*move).ravel() for move in moves])
        return float(np.nan_to_num(lengths).max())

    def _moved_points(self, plane: Plane, before: Vector, after: Vector) -> Vector:
        """Displacements [2, N] of points spread over a plane, from one homography to another, of those in view."""
        rows, columns = plane.texture.shape
        u, v = np.meshgrid(np.linspace(0, columns - 1, 4), np.linspace(0, rows - 1, 4))
        texels = np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
        places = []
        for homography in (before, after):
            x, y, depth = homography @ texels
            with np.errstate(divide="ignore", invalid="ignore"):
                places.append(self._bend(np.where(depth > 0, np.stack([x, y]) / depth, np.nan)))
        x, y = places[0]
        seen = (x >= -0.5) & (x <= self.width - 0.5) & (y >= -0.5) & (y <= self.height - 0.5)
        return np.asarray((places[1] - places[0])[:, seen])

    def _draw(self, view: View, textures: Picture, rays: Vector, threads: int | None) -> None:
        from eventsim.light.render import draw

        table = self._packed.at(self._homographies(view.t_us))
        levels, outlines = self._packed.levels, self._packed.outlines

        def band(top: int, end: int) -> None:
            draw(table, levels, outlines, textures, rays, view.luminance, view.depth, view.planes, top, end)

        over_rows(band, len(view.depth), threads)

    def _carried(self, planes: NDArray[np.int16], t0_us: float, t1_us: float, rays: Vector) -> Vector:
        """Where the points that rays meet at t0 are at t1 before the lens, and their depth as a multiple: [3, H, W]."""
        from eventsim.light.render import carry

        moves = self._homographies(t1_us) @ np.linalg.inv(self._homographies(t0_us))
        moved = np.empty((3, *planes.shape))
        over_rows(lambda top, end: carry(planes, moves.reshape(-1, 9), rays, moved, top, end), len(planes))
        return moved

    def _homographies(self, t_us: float, planes: Sequence[Plane] | None = None) -> Vector:
        """Of all planes, or of some: [P, 3, 3], see `homography`."""
        rotation, position = self.path.pose(t_us)
        axes = np.stack([plane.axes(t_us) for plane in (self.planes if planes is None else planes)])
        axes[:, :, 2] -= position
        return np.asarray(self._camera @ rotation.T @ axes)

    def _bend(self, places: Vector) -> Vector:
        """Pixels of the sensor for pixels of the pinhole camera: [2, ...]."""
        if self.lens is None:
            return places
        middle = self._camera[:2, 2].reshape(2, *(1,) * (places.ndim - 1))
        return self.lens.project((places - middle) / self.focal_px)

    def _unbend(self, pixels: Vector) -> Vector:
        assert self.lens is not None
        middle = self._camera[:2, 2].reshape(2, *(1,) * (pixels.ndim - 1))
        return np.ascontiguousarray(self.lens.unproject(pixels) * self.focal_px + middle)

    @cached_property
    def _camera(self) -> Vector:
        return np.array(
            [[self.focal_px, 0, (self.width - 1) / 2], [0, self.focal_px, (self.height - 1) / 2], [0, 0, 1]]
        )

    @cached_property
    def _pixels(self) -> Vector:
        return np.stack(np.meshgrid(np.arange(self.width, dtype=float), np.arange(self.height, dtype=float)))

    @cached_property
    def rays(self) -> Vector:
        """The pinhole camera's pixel of every pixel of the sensor: [2, H, W]; empty without a lens: the same."""
        return np.empty((2, 0, 0)) if self.lens is None else self._unbend(self._pixels)

    @cached_property
    def _packed(self) -> Packed:
        return packed(self.planes)


def render_scene(
    scene: Scene, *, duration_us: int, fps: float, lighting: Lighting | None = None, threads: int | None = None
) -> Frames:
    """The scene's luminance frames from time 0 up to `duration_us`, rendered as they are asked for.

    The frame rate is for the cameras, which take light as linear between frames: choose it so that nothing moves by
    more than about half a pixel from one frame to the next, or use `timing.adaptive_frames`.
    """
    count = int(duration_us * fps / 1e6 + 1e-9) + 1

    def frames() -> Iterator[tuple[int, Picture]]:
        for index in range(count):
            t_us = round(index * 1e6 / fps)
            luminance = scene.luminance(t_us, threads=threads)
            yield t_us, luminance if lighting is None else lighting.applied(luminance, t_us)

    return Frames(scene.height, scene.width, fps, frames, count)


@dataclass(frozen=True, kw_only=True)
class SceneStyle:
    """What a drawn scene is like; lengths in units of the background's depth.

    Args:
        height, width: of the picture, pixels.
        focal_px: focal length; by default MVSEC's, scaled with the width.
        speed_px: mean length of the optical flow, pixels a second.
        slowest_hz, fastest_hz: range of the path's frequencies.
        tilt: largest angle of the background to the picture plane, radians.
        roll, forward: shares of the motion that turn about and go along the optical axis.
        smallest_zoom, largest_zoom: range of camera pixels that one pixel of the picture covers (after large pictures
            were shrunk, see `textures.shrunk`).
        oversampling: texels per camera pixel at the background's depth.
    """

    height: int = 260
    width: int = 346
    focal_px: float | None = None
    speed_px: float = 70.0
    slowest_hz: float = 0.3
    fastest_hz: float = 1.2
    tilt: float = 0.25
    roll: float = 0.5
    forward: float = 0.5
    smallest_zoom: float = 0.7
    largest_zoom: float = 2.5
    oversampling: float = 2.0

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.focal_px if self.focal_px is not None else 226.0 * self.width / 346

    def draw_zoom(self, rng: np.random.Generator) -> float:
        """A zoom within the range, evenly in its logarithm."""
        return float(np.exp(rng.uniform(np.log(self.smallest_zoom), np.log(self.largest_zoom))))


def draw_scene(picture: Picture, style: SceneStyle, seed: int) -> Scene:
    """A scene drawn at random: a picture as an endless, slightly tilted plane under a smoothly moving camera.

    `rooms.draw_room` draws scenes of several planes.

    Args:
        picture: float32 [h, w], linear luminance, any size; it is repeated, mirrored, beyond its borders.
        style: sizes and ranges.
        seed: the same seed draws the same scene.
    """
    rng = np.random.default_rng(seed)
    shown = texture(shrunk(picture, style.height, style.width), style.draw_zoom(rng), style.oversampling)
    plane = _background(shown, style, rng)
    path = draw_path(style, rng)
    scene = Scene([plane], path, style.height, style.width, style.focal)
    factor = style.speed_px / float(speeds_px(scene, 10e6).mean())
    return replace(scene, path=replace(path, amplitude=path.amplitude * factor))


def _background(picture: Picture, style: SceneStyle, rng: np.random.Generator) -> Plane:
    """A plane at depth 1 with a random turn, tilt and offset."""
    texel = 1.0 / (style.focal * style.oversampling)
    turn = rotation_matrix(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
    tilt = rotation_matrix(np.array([*rng.uniform(-style.tilt, style.tilt, 2), 0]))
    axes = tilt @ turn * texel
    centre = rng.uniform(0.3, 0.7, 2) * np.array(picture.shape[::-1])
    origin = np.array([0, 0, 1.0]) - axes[:, :2] @ centre
    return Plane(picture, origin, axes[:, 0].copy(), axes[:, 1].copy())


def draw_path(style: SceneStyle, rng: np.random.Generator, terms: int = 3) -> Trajectory:
    """A smooth path about the origin, of no particular speed: sums of sinusoids, in units of the background's depth."""
    frequency = rng.uniform(style.slowest_hz, style.fastest_hz, (6, terms))
    # Amplitude falls with frequency: every term moves the picture about equally fast.
    amplitude = rng.normal(size=(6, terms)) / frequency
    amplitude *= np.array([1, 1, style.forward, 0.3, 0.3, style.roll])[:, None]
    return Trajectory(amplitude * 0.02, frequency, rng.uniform(0, 2 * np.pi, (6, terms)))


def speeds_px(scene: Scene, duration_us: float, samples: int = 60) -> Vector:
    """Lengths of the optical flow, pixels a second, at a grid of pixels and moments: float64 [samples, 256].

    Seen by a pinhole camera, whatever the scene's lens.
    """
    small = replace(scene, height=16, width=16, focal_px=scene.focal_px * 16 / scene.width, lens=None)
    times = np.linspace(0, duration_us, samples)
    lengths = [np.linalg.norm(small.flow(t, t + 1000.0), axis=0).ravel() for t in times]
    return np.asarray(np.nan_to_num(lengths), dtype=np.float64) * 1000.0 * scene.width / 16
