"""A still picture before a moving camera: tremor, pan, zoom and drift, with exact flow.

The picture is a plane at depth 1 that faces the camera and covers its view at time 0; it is mirrored beyond its
borders. Every motion is a similarity of the picture (shift, scale, turn). Tremor and drift are named after the
fixational movements of the eye (Martinez-Conde, Macknik and Hubel, "The role of fixational eye movements in visual
perception", Nature Reviews Neuroscience 5, 2004): tremor is an aperiodic wave below 100 Hz, drift a slow wandering.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.light.frames import Frames
from eventsim.light.paths import Path, Trajectory
from eventsim.light.planes import Plane
from eventsim.light.scenes import Scene, render_scene
from eventsim.light.textures import texture
from eventsim.settings import require

Picture = NDArray[np.float32]
Vector = NDArray[np.float64]
_LARGEST_STEP_PX = 0.5
_FRAMES_PER_PERIOD = 16
_TREMOR_HZ = (40.0, 100.0)
_DRIFT_HZ = (0.3, 3.0)
_TERMS = 3


@dataclass(frozen=True, kw_only=True)
class MotionStyle:
    """The view of a moving camera and how fast it moves.

    Args:
        height, width: of the view, pixels.
        speed_px: mean length of the optical flow, pixels a second (of a pan and of a zoom's first view: exactly; of
            tremor and drift: root mean square over time).
        oversampling: texels per camera pixel (see `textures.texture`).

    Raises:
        ValueError: a size, speed or oversampling that is not positive.
    """

    height: int
    width: int
    speed_px: float = 200.0
    oversampling: float = 2.0

    def __post_init__(self) -> None:
        require(self, above="height width speed_px oversampling")

    @property
    def focal_px(self) -> float:
        """Focal length: a view of 53 degrees across its longer side."""
        return float(max(self.height, self.width))

    @property
    def mean_radius_px(self) -> float:
        """Mean distance of the view's pixels from its middle."""
        y, x = np.mgrid[: self.height, : self.width]
        return max(float(np.hypot(x - (self.width - 1) / 2, y - (self.height - 1) / 2).mean()), 0.5)


@dataclass(frozen=True, eq=False)
class Pan(Path):
    """A constant velocity.

    Args:
        velocity: float64 [6], coordinates a second.
    """

    velocity: Vector

    def coordinates(self, t_us: float) -> Vector:
        return np.asarray(self.velocity * t_us * 1e-6)


@dataclass(frozen=True, eq=False)
class Zoom(Path):
    """Along the optical axis towards a plane at depth 1, so that its picture grows by the same factor in equal times.

    Args:
        growth_hz: logarithm of the factor, per second; negative: away from it.
    """

    growth_hz: float

    def coordinates(self, t_us: float) -> Vector:
        return np.array([0, 0, -math.expm1(-self.growth_hz * t_us * 1e-6), 0, 0, 0])


@dataclass(frozen=True, eq=False)
class FromRest(Path):
    """Another path, moved so that it begins at the origin."""

    path: Path

    def coordinates(self, t_us: float) -> Vector:
        return np.asarray(self.path.coordinates(t_us) - self.path.coordinates(0.0))

    @property
    def fastest_hz(self) -> float:
        return self.path.fastest_hz


def still_scene(picture: Picture, motion: str, style: MotionStyle, seed: int) -> Scene:
    """A picture before a camera that moves.

    Args:
        picture: float32 [h, w], linear luminance, any size; scaled to cover the view, its middle in the middle.
        motion: a name in `MOTIONS`.
        style: view and speed.
        seed: draws direction, frequencies and phases. In pixels, motions of one seed are the same in any view.

    Raises:
        ValueError: an unknown motion.
    """
    if motion not in MOTIONS:
        raise ValueError(f"expected a motion among {', '.join(MOTIONS)}, got {motion!r}")
    path = MOTIONS[motion].draw(style, np.random.default_rng(seed))
    zoom = max(style.height / picture.shape[0], style.width / picture.shape[1])
    return Scene([_facing(texture(picture, zoom, style.oversampling), style)], path, style.height, style.width,
                 style.focal_px)  # fmt: skip


def moving_frames(scene: Scene, motion: str, *, duration_us: int, threads: int | None = None) -> Frames:
    """The luminance frames of a still's scene from time 0 to exactly `duration_us`, at a rate that suits its motion.

    Nothing moves by more than about half a pixel from one frame to the next, and a wave has at least 16 frames a
    period, so that light may be taken as linear between them.
    """
    fastest = peak_speed_px(scene, duration_us) / _LARGEST_STEP_PX
    rate = max(fastest, _FRAMES_PER_PERIOD * MOTIONS[motion].fastest_hz)
    steps = max(1, math.ceil(duration_us * 1e-6 * rate))
    return render_scene(scene, duration_us=duration_us, fps=steps * 1e6 / duration_us, threads=threads)


def move_between(scene: Scene, t0_us: float, t1_us: float) -> Vector:
    """The homography from pixels at t0 to pixels at t1 of a scene of one plane: float64 [3, 3], last element 1."""
    plane = scene.planes[0]
    move = scene.homography(plane, t1_us) @ np.linalg.inv(scene.homography(plane, t0_us))
    return np.asarray(move / move[2, 2])


def peak_speed_px(scene: Scene, duration_us: float, samples: int = 200) -> float:
    """The largest speed of the view's corners, pixels a second, at moments spread over the duration.

    A similarity moves nothing in the view faster than one of its corners.
    """
    right, bottom = scene.width - 1, scene.height - 1
    corners = np.array([[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]], float)
    step_us = 100.0
    speeds = []
    for t_us in np.linspace(0, duration_us, samples):
        moved = move_between(scene, t_us, t_us + step_us) @ corners
        speeds.append(np.linalg.norm(moved[:2] / moved[2] - corners[:2], axis=0).max() * 1e6 / step_us)
    return float(max(speeds))


def _facing(picture: Picture, style: MotionStyle) -> Plane:
    """The texture at depth 1, its middle on the optical axis."""
    texel = 1.0 / (style.focal_px * style.oversampling)
    height, width = picture.shape
    origin = np.array([-(width - 1) / 2 * texel, -(height - 1) / 2 * texel, 1.0])
    return Plane(picture, origin, np.array([texel, 0, 0]), np.array([0, texel, 0]))


def _pan(style: MotionStyle, rng: np.random.Generator) -> Path:
    angle = rng.uniform(0, 2 * np.pi)
    velocity = np.zeros(6)
    velocity[:2] = style.speed_px / style.focal_px * np.array([np.cos(angle), np.sin(angle)])
    return Pan(velocity)


def _zoom(style: MotionStyle, rng: np.random.Generator) -> Path:
    return Zoom(style.speed_px / style.mean_radius_px * (1 if rng.random() < 0.5 else -1))


def _tremor(style: MotionStyle, rng: np.random.Generator) -> Path:
    return _waves(style, rng, _TREMOR_HZ, turn=0.0)


def _drift(style: MotionStyle, rng: np.random.Generator) -> Path:
    return _waves(style, rng, _DRIFT_HZ, turn=0.5)


def _waves(style: MotionStyle, rng: np.random.Generator, hz: tuple[float, float], turn: float) -> Path:
    """Sinusoids in x and y, and about the optical axis with a share `turn` of their speed, of the style's speed."""
    frequency = np.exp(rng.uniform(np.log(hz[0]), np.log(hz[1]), (6, _TERMS)))
    speed = rng.uniform(0.5, 1.0, (6, _TERMS))  # of each term, then of all together
    speed *= np.array([1, 1, 0, 0, 0, turn])[:, None]
    speed *= style.speed_px / math.sqrt(float((speed**2).sum() / 2))
    unit = np.array([*[style.focal_px] * 3, *[style.mean_radius_px] * 3])[:, None]
    amplitude = speed / (2 * np.pi * frequency) / unit
    waves = Trajectory(amplitude, frequency, rng.uniform(0, 2 * np.pi, (6, _TERMS)))
    return FromRest(waves)


@dataclass(frozen=True)
class _Motion:
    draw: Callable[[MotionStyle, np.random.Generator], Path]
    fastest_hz: float = 0.0


#: What a camera may do before a still; a new motion is one function and one line here.
MOTIONS = {
    "tremor": _Motion(_tremor, _TREMOR_HZ[1]),
    "pan": _Motion(_pan),
    "zoom": _Motion(_zoom),
    "drift": _Motion(_drift, _DRIFT_HZ[1]),
}
