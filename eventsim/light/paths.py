"""Paths through space: where a camera or an object is at any time, drawn or through given poses.

Axes are the camera's: x to the right, y down, z forward. A pose takes points of the camera (or of the object) to the
world: world = rotation @ point + position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
#: Rotation that takes camera axes (x right, y down, z forward) to a body's (x forward, y left, z up; ROS REP 103).
_CAMERA_IN_BODY = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
AXES = {"camera": np.eye(3), "body": _CAMERA_IN_BODY}


class Path(ABC):
    """Where something is at any time, as six coordinates: x, y, z in the unit of depth, then the rotation vector."""

    @abstractmethod
    def coordinates(self, t_us: float) -> Vector:
        """Position and rotation vector (radians), to the world: float64 [6]."""

    @property
    def fastest_hz(self) -> float:
        """The highest frequency in the path, where one is known; otherwise 0."""
        return 0.0

    def pose(self, t_us: float) -> tuple[Vector, Vector]:
        """Rotation [3, 3] (to the world) and position [3]."""
        coordinates = self.coordinates(t_us)
        return rotation_matrix(coordinates[3:]), coordinates[:3]

    def matrix(self, t_us: float) -> Vector:
        """The pose as a 4x4 matrix, to the world."""
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

    @property
    def fastest_hz(self) -> float:
        return float(np.where(self.amplitude != 0, self.frequency_hz, 0).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Along(Path):
    """Another path on top of a steady motion: base + velocity * time + path.

    Args:
        path: what is added.
        base: float64 [6], coordinates at time 0 besides the path's.
        velocity: float64 [6], coordinates a second.
    """

    path: Path
    base: Vector
    velocity: Vector

    def coordinates(self, t_us: float) -> Vector:
        return np.asarray(self.base + self.velocity * t_us * 1e-6 + self.path.coordinates(t_us))

    @property
    def fastest_hz(self) -> float:
        return self.path.fastest_hz


@dataclass(frozen=True, eq=False)
class Scaled(Path):
    """Another path, all its coordinates times a factor."""

    path: Path
    factor: float

    def coordinates(self, t_us: float) -> Vector:
        return np.asarray(self.factor * self.path.coordinates(t_us))

    @property
    def fastest_hz(self) -> float:
        return self.path.fastest_hz


@dataclass(frozen=True, eq=False)
class KeyedPath(Path):
    """A path through given poses, seen from the pose at its start, which becomes the origin.

    Positions follow a cubic spline. Between two keys the rotation turns on from the first by a rotation vector that is
    a cubic in time (scipy's RotationSpline). Velocity and acceleration of both are continuous. Before the first key
    and after the last the path rests.

    Args:
        t_us: float64 [N], N >= 2, rising; of the keys.
        positions: float64 [N, 3].
        quaternions: float64 [N, 4], x, y, z, w, to the world; of any length but 0.
        start_us: time among the keys' that is our 0.
        speed: how many times as fast as the keys the path is gone.
        axes: the keys' axes, "camera" (x right, y down, z forward) or "body" (x forward, y left, z up).

    Raises:
        ValueError: fewer than two keys, times that do not rise, arrays of other shapes, a start outside the keys, a
            speed that is not positive or unknown axes.
    """

    t_us: Vector
    positions: Vector
    quaternions: Vector
    start_us: float = 0.0
    speed: float = 1.0
    axes: str = "camera"

    def __post_init__(self) -> None:
        count = len(self.t_us)
        if count < 2 or self.positions.shape != (count, 3) or self.quaternions.shape != (count, 4):
            raise ValueError(f"expected N >= 2 times, positions [N, 3] and quaternions [N, 4], got {self.t_us.shape}, "
                             f"{self.positions.shape} and {self.quaternions.shape}")  # fmt: skip
        if not (np.diff(self.t_us) > 0).all():
            raise ValueError("expected times of keys that rise, got others")
        if not self.t_us[0] <= self.start_us < self.t_us[-1]:
            raise ValueError(f"expected a start within {self.t_us[0]:g} .. {self.t_us[-1]:g} us, got {self.start_us:g}")
        if not 0 < self.speed < np.inf:
            raise ValueError(f"expected a speed above 0, got {self.speed}")
        if self.axes not in AXES:
            raise ValueError(f"expected axes among {', '.join(AXES)}, got {self.axes!r}")

    @property
    def duration_us(self) -> float:
        """How long the path goes on from its start."""
        return float(self.t_us[-1] - self.start_us) / self.speed

    def coordinates(self, t_us: float) -> Vector:
        from scipy.spatial.transform import Rotation

        rotation, position = self.pose(t_us)
        return np.concatenate([position, Rotation.from_matrix(rotation).as_rotvec()])

    def pose(self, t_us: float) -> tuple[Vector, Vector]:
        start_rotation, start_position = self._start
        rotation, position = self._key_pose(self.start_us + t_us * self.speed)
        axes = AXES[self.axes]
        to_camera = (start_rotation @ axes).T
        return to_camera @ rotation @ axes, to_camera @ (position - start_position)

    @cached_property
    def _start(self) -> tuple[Vector, Vector]:
        return self._key_pose(self.start_us)

    @cached_property
    def _splines(self) -> tuple[Vector, Vector, Vector]:
        """Coefficients [4, N - 1, 3] of positions and rotation vectors, highest power first, in seconds from each key;
        rotations [N, 3, 3] of the keys."""
        from scipy.interpolate import CubicSpline
        from scipy.spatial.transform import Rotation, RotationSpline

        seconds = (self.t_us - self.t_us[0]) * 1e-6
        rotations = Rotation.from_quat(self.quaternions)
        turns = RotationSpline(seconds, rotations).interpolator.c
        # Two keys make straight lines, which have fewer coefficients.
        full = [np.concatenate([np.zeros((4 - len(c), *c.shape[1:])), c])
                for c in (CubicSpline(seconds, self.positions).c, turns)]  # fmt: skip
        return full[0], full[1], rotations.as_matrix()

    def _key_pose(self, key_us: float) -> tuple[Vector, Vector]:
        positions, turns, rotations = self._splines
        now = float(np.clip(key_us, self.t_us[0], self.t_us[-1]))
        before = int(np.clip(np.searchsorted(self.t_us, now, side="right") - 1, 0, len(self.t_us) - 2))
        powers = ((now - self.t_us[before]) * 1e-6) ** np.arange(3, -1, -1)
        return rotations[before] @ rotation_matrix(powers @ turns[:, before]), powers @ positions[:, before]


def rotation_matrix(rotation_vector: Vector) -> Vector:
    """The rotation by |v| radians about v (Rodrigues): float64 [3, 3]."""
    angle = float(np.linalg.norm(rotation_vector))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = rotation_vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def reach(path: Path, duration_us: float, samples: int = 500) -> tuple[Vector, Vector]:
    """The smallest and largest x, y, z that a path comes to, at moments spread over the duration: float64 [3] each."""
    places = np.stack([path.pose(t_us)[1] for t_us in np.linspace(0, duration_us, samples)])
    return places.min(axis=0), places.max(axis=0)
