"""Scenes whose motion is known exactly: textured planes seen by a pinhole camera on a smooth path.

The world's axes are the camera's at rest: x to the right, y down, z forward. A plane's texel (u, v) lies at
origin + u right + v down, so plane and picture are related by a homography at every moment, and depth and optical flow
between any two times follow from the homographies without approximation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eventsim.light.frames import Frames
from eventsim.rows import over_rows

Picture = NDArray[np.float32]
Vector = NDArray[np.float64]
#: Pictures of up to this many pixels squared become textures as they are, however small the view.
_KEPT_SIDE = 640


@dataclass(frozen=True, eq=False)
class Plane:
    """A textured plane.

    Args:
        texture: float32 [h, w], linear luminance, smooth at the scale of a texel (see `texture`).
        origin: float64 [3], where texel (0, 0) is.
        right, down: float64 [3], from one texel to the next.
        endless: mirror the texture beyond its borders; otherwise the plane ends there.
    """

    texture: Picture
    origin: Vector
    right: Vector
    down: Vector
    endless: bool = True


class Path(ABC):
    """Where the camera is at any time, as six coordinates: x, y, z in the unit of depth, then the rotation vector."""

    @abstractmethod
    def coordinates(self, t_us: float) -> Vector:
        """Position and rotation vector (radians), camera to world: float64 [6]."""

    def pose(self, t_us: float) -> tuple[Vector, Vector]:
        """Rotation [3, 3] (camera to world) and position [3] of the camera."""
        coordinates = self.coordinates(t_us)
        return rotation_matrix(coordinates[3:]), coordinates[:3]

    def matrix(self, t_us: float) -> Vector:
        """The pose as a 4x4 matrix, camera to world."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.pose(t_us)
        return matrix

    def inertial(self, t_us: float, step_us: float = 1000.0) -> Vector:
        """Acceleration (m/s^2 where depth is in metres; without gravity) and angular velocity (rad/s), both in the
        camera's axes: float64 [6], by central differences over `step_us`."""
        (before, p0), (now, p1), (after, p2) = (self.pose(t_us + k * step_us) for k in (-1, 0, 1))
        seconds = step_us * 1e-6
        turn = before.T @ after
        spin = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / (4 * seconds)
        return np.concatenate([now.T @ ((p2 - 2 * p1 + p0) / seconds**2), spin])


@dataclass(frozen=True, eq=False)
class Trajectory(Path):
    """A smooth 6-DoF path: each coordinate is a sum of sinusoids.

    Args:
        amplitude: float64 [6, S]; x, y, z in the unit of depth, then the rotation vector in radians.
        frequency_hz: float64 [6, S].
        phase: float64 [6, S], radians.
    """

    amplitude: Vector
    frequency_hz: Vector
    phase: Vector

    def coordinates(self, t_us: float) -> Vector:
        angle = 2e-6 * np.pi * self.frequency_hz * t_us + self.phase
        return np.asarray((self.amplitude * np.sin(angle)).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Scene:
    """Planes, a path and a pinhole camera whose optical axis meets the middle of the picture.

    Args:
        planes: at least one; the nearest is seen.
        path: of the camera.
        height, width: of the picture, pixels.
        focal_px: focal length in pixels.
    """

    planes: Sequence[Plane]
    path: Path
    height: int = 260
    width: int = 346
    focal_px: float = 226.0

    def __post_init__(self) -> None:
        if not self.planes:
            raise ValueError("expected a scene of at least one plane, got none")

    def luminance(self, t_us: float, *, threads: int | None = None) -> Picture:
        """What falls on the sensor: float32 [H, W], linear."""
        return self._render(t_us, threads)[0]

    def depth(self, t_us: float) -> Picture:
        """Distance along the optical axis: float32 [H, W], infinite where nothing is seen."""
        return self._render(t_us)[1]

    def flow(self, t0_us: float, t1_us: float) -> Picture:
        """Exact displacement of every pixel from t0 to t1: float32 [2, H, W], (dx to the right, dy down), pixels.

        The point that a pixel sees at t0 is projected at t1, whether or not something hides it then. NaN where nothing
        is seen at t0 or where the point lies behind the camera at t1.
        """
        seen = self._render(t0_us)[2]
        grid = np.stack([*np.meshgrid(np.arange(self.width), np.arange(self.height)), np.ones_like(seen)]).astype(float)
        flow = np.full((2, self.height, self.width), np.nan, np.float32)
        for index, plane in enumerate(self.planes):
            there = seen == index
            move = self.homography(plane, t1_us) @ np.linalg.inv(self.homography(plane, t0_us))
            x, y, z = move @ grid[:, there]
            ahead = np.where(z > 0, z, np.nan)
            flow[:, there] = np.stack([x / ahead, y / ahead]) - grid[:2, there]
        return flow

    def homography(self, plane: Plane, t_us: float) -> Vector:
        """From texel (u, v, 1) to pixel (x, y, 1), times depth: float64 [3, 3]."""
        rotation, position = self.path.pose(t_us)
        camera = np.array(
            [[self.focal_px, 0, (self.width - 1) / 2], [0, self.focal_px, (self.height - 1) / 2], [0, 0, 1]]
        )
        axes = np.stack([plane.right, plane.down, plane.origin - position], axis=1)
        return np.asarray(camera @ rotation.T @ axes)

    def _render(self, t_us: float, threads: int | None = None) -> tuple[Picture, Picture, NDArray[np.int16]]:
        from eventsim.light.render import draw_plane

        size = (self.height, self.width)
        luminance, depth, seen = (
            np.zeros(size, np.float32),
            np.full(size, np.inf, np.float32),
            np.full(size, -1, np.int16),
        )
        jobs = [(plane.texture, np.linalg.inv(self.homography(plane, t_us)), plane.endless, index)
                for index, plane in enumerate(self.planes)]  # fmt: skip

        def band(top: int, end: int) -> None:
            for job in jobs:
                draw_plane(*job, luminance, depth, seen, top, end)

        over_rows(band, self.height, threads)
        return luminance, depth, seen


def render_scene(scene: Scene, *, duration_us: int, fps: float, threads: int | None = None) -> Frames:
    """The scene's luminance frames from time 0 up to `duration_us`, rendered as they are asked for.

    The frame rate is for the cameras, which take light as linear between frames: choose it so that nothing moves by
    more than about half a pixel from one frame to the next.
    """
    count = int(duration_us * fps / 1e6 + 1e-9) + 1

    def frames() -> Iterator[tuple[int, Picture]]:
        for index in range(count):
            t_us = round(index * 1e6 / fps)
            yield t_us, scene.luminance(t_us, threads=threads)

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
            were shrunk, see `shrunk`).
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


def draw_scene(picture: Picture, style: SceneStyle, seed: int) -> Scene:
    """A scene drawn at random: a picture as an endless, slightly tilted plane under a smoothly moving camera.

    Args:
        picture: float32 [h, w], linear luminance, any size; it is repeated, mirrored, beyond its borders.
        style: sizes and ranges.
        seed: the same seed draws the same scene.
    """
    rng = np.random.default_rng(seed)
    zoom = float(np.exp(rng.uniform(np.log(style.smallest_zoom), np.log(style.largest_zoom))))
    plane = _background(texture(shrunk(picture, style), zoom, style.oversampling), style, rng)
    path = _draw_path(style, rng)
    scene = Scene([plane], path, style.height, style.width, style.focal)
    factor = style.speed_px / float(speeds_px(scene, 10e6).mean())
    return replace(scene, path=replace(path, amplitude=path.amplitude * factor))


def shrunk(picture: Picture, style: SceneStyle) -> Picture:
    """A picture of more pixels than a square as wide as the view (at least 640 pixels), shrunk to as many.

    Textures are the picture enlarged by zoom times oversampling, 5 at most by default: so a photograph of any size
    makes a texture of at most 3,200 x 3,200 texels for views of up to 640 pixels, and a view shows a good part of it.
    """
    import cv2

    most = max(_KEPT_SIDE, style.height, style.width) ** 2
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


def _background(picture: Picture, style: SceneStyle, rng: np.random.Generator) -> Plane:
    """A plane at depth 1 with a random turn, tilt and offset."""
    texel = 1.0 / (style.focal * style.oversampling)
    turn = rotation_matrix(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
    tilt = rotation_matrix(np.array([*rng.uniform(-style.tilt, style.tilt, 2), 0]))
    axes = tilt @ turn * texel
    centre = rng.uniform(0.3, 0.7, 2) * np.array(picture.shape[::-1])
    origin = np.array([0, 0, 1.0]) - axes[:, :2] @ centre
    return Plane(picture, origin, axes[:, 0].copy(), axes[:, 1].copy())


def _draw_path(style: SceneStyle, rng: np.random.Generator, terms: int = 3) -> Trajectory:
    frequency = rng.uniform(style.slowest_hz, style.fastest_hz, (6, terms))
    # Amplitude falls with frequency: every term moves the picture about equally fast.
    amplitude = rng.normal(size=(6, terms)) / frequency
    amplitude *= np.array([1, 1, style.forward, 0.3, 0.3, style.roll])[:, None]
    return Trajectory(amplitude * 0.02, frequency, rng.uniform(0, 2 * np.pi, (6, terms)))


def speeds_px(scene: Scene, duration_us: float, samples: int = 60) -> Vector:
    """Lengths of the optical flow, pixels a second, at a grid of pixels and moments: float64 [samples, 256]."""
    small = replace(scene, height=16, width=16, focal_px=scene.focal_px * 16 / scene.width)
    times = np.linspace(0, duration_us, samples)
    lengths = [np.linalg.norm(small.flow(t, t + 1000.0), axis=0).ravel() for t in times]
    return np.asarray(np.nan_to_num(lengths), dtype=np.float64) * 1000.0 * scene.width / 16


def rotation_matrix(rotation_vector: Vector) -> Vector:
    """The rotation by |v| radians about v (Rodrigues): float64 [3, 3]."""
    angle = float(np.linalg.norm(rotation_vector))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = rotation_vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))
