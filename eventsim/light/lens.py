"""Lenses that bend straight lines: the equidistant (fisheye) and the radial-tangential model, both ways.

Both take a point (x, y) of the plane at depth 1 to another one, which focal lengths and centre then turn into pixels.

- Equidistant (Kannala and Brandt, "A generic camera model and calibration method for conventional, wide-angle, and
  fish-eye lenses", PAMI 2006; OpenCV's fisheye and Kalibr's "equidistant"): with the angle a to the axis,
  r' = a (1 + k1 a^2 + k2 a^4 + k3 a^6 + k4 a^8).
- Radial-tangential (Brown, "Close-range camera calibration", 1971; OpenCV's order k1, k2, p1, p2, k3):
  x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2), y' likewise.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError

Points = NDArray[np.float64]
#: The models and how many coefficients each may have.
MODELS = {"equidistant": (4,), "radtan": (4, 5)}
_KALIBR = {"equidistant": "equidistant", "fisheye": "equidistant", "radtan": "radtan", "plumb_bob": "radtan"}
_ITERATIONS = 30
#: Terms so small turn back only thousands of focal lengths away, and root finding overflows on them.
_NO_TERM = 1e-9


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A lens and where its picture lies on the sensor.

    Args:
        model: "equidistant" or "radtan".
        coefficients: k1 .. k4 (equidistant), or k1, k2, p1, p2 and perhaps k3 (radtan).
        focal_px: focal lengths (x, y), pixels.
        centre_px: where the optical axis meets the sensor (x, y), pixels; the first pixel's middle is (0, 0).

    Raises:
        ValueError: an unknown model, another number of coefficients, or focal lengths that are not positive.
    """

    model: str
    coefficients: tuple[float, ...]
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"expected a lens among {', '.join(MODELS)}, got {self.model!r}")
        if len(self.coefficients) not in MODELS[self.model]:
            counts = " or ".join(map(str, MODELS[self.model]))
            raise ValueError(f"expected {counts} coefficients of a {self.model} lens, got {len(self.coefficients)}")
        if not all(math.isfinite(number) for number in self.coefficients):
            raise ValueError(f"expected finite coefficients, got {self.coefficients}")
        if not min(self.focal_px) > 0:
            raise ValueError(f"expected focal lengths above 0, got {self.focal_px}")

    def project(self, points: Points) -> Points:
        """Pixels of points on the plane at depth 1.

        Args:
            points: float64 [2, ...], (x, y).

        Returns:
            float64 [2, ...], (x, y); NaN where the model folds back, beyond the angle it is good for.
        """
        x, y = points
        radius = np.hypot(x, y)
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.model == "equidistant":
                scale = np.where(radius > 0, self._bent(np.arctan(radius)) / radius, 1.0)
                bent = np.stack([x * scale, y * scale])
                good = np.arctan(radius) < self.limit
            else:
                bent = self._radtan(points)
                good = radius < self.limit
        focal, centre = (_column(pair, points.ndim) for pair in (self.focal_px, self.centre_px))
        return np.asarray(np.where(good, bent, np.nan) * focal + centre)

    def unproject(self, pixels: Points) -> Points:
        """Points on the plane at depth 1 that are seen at pixels: `project` the other way, by Newton's iterations.

        Args:
            pixels: float64 [2, ...], (x, y).

        Returns:
            float64 [2, ...], (x, y); NaN for pixels that see nothing.
        """
        focal, centre = (_column(pair, pixels.ndim) for pair in (self.focal_px, self.centre_px))
        bent = (pixels - centre) / focal
        points = self._angle_of(bent) if self.model == "equidistant" else self._plane_of(bent)
        with np.errstate(invalid="ignore"):
            found = np.abs(self.project(points) - pixels).max(axis=0) < 1e-6
        return np.asarray(np.where(found, points, np.nan))

    @cached_property
    def limit(self) -> float:
        """How far the model is good: the angle (equidistant, radians, at most 90 degrees) or the radius at depth 1 up
        to which the picture goes on outwards."""
        radial = self.coefficients if self.model == "equidistant" else (*self.coefficients[:2], *self.coefficients[4:])
        slope = np.zeros(2 * len(radial) + 1)
        slope[0] = 1.0
        slope[2::2] = [(2 * k + 3) * value for k, value in enumerate(radial)]
        slope[np.abs(slope) < _NO_TERM] = 0.0
        roots = np.polynomial.polynomial.polyroots(np.trim_zeros(slope, "b"))
        turns = [root.real for root in np.atleast_1d(roots) if abs(root.imag) < 1e-9 and root.real > 0]
        return float(min([*turns, math.pi / 2 if self.model == "equidistant" else math.inf]))

    def _bent(self, angle: Points) -> Points:
        k1, k2, k3, k4 = self.coefficients
        square = angle**2
        return np.asarray(angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4)))))

    def _angle_of(self, bent: Points) -> Points:
        k1, k2, k3, k4 = self.coefficients
        radius = np.hypot(*bent)
        angle = np.minimum(radius, 0.99 * self.limit)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for _ in range(_ITERATIONS):
                s = angle**2
                slope = 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))
                angle = np.clip(angle - (self._bent(angle) - radius) / slope, 0, self.limit)
            return np.asarray(bent * np.where(radius > 0, np.tan(angle) / radius, 1.0))

    def _radtan(self, points: Points) -> Points:
        k1, k2, p1, p2, k3 = (*self.coefficients, 0.0)[:5]
        x, y = points
        s = x * x + y * y
        radial = 1 + s * (k1 + s * (k2 + s * k3))
        return np.stack([x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x),
                         y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y])  # fmt: skip

    def _plane_of(self, bent: Points) -> Points:
        k1, k2, p1, p2, k3 = (*self.coefficients, 0.0)[:5]
        x, y = bent.copy()
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for _ in range(_ITERATIONS):
                s = x * x + y * y
                radial, slope = 1 + s * (k1 + s * (k2 + s * k3)), 2 * (k1 + s * (2 * k2 + s * 3 * k3))
                error_x, error_y = self._radtan(np.stack([x, y])) - bent
                xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
                yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
                xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
                determinant = xx * yy - xy * xy
                x = x - (yy * error_x - xy * error_y) / determinant
                y = y - (xx * error_y - xy * error_x) / determinant
        return np.stack([x, y])


def lens_of(text: str, *, height: int, width: int, focal_px: float) -> Lens:
    """The lens that a short text or a file describes.

    Args:
        text: "equidistant" (no coefficients: all 0) or "radtan", with coefficients after a colon
            ("radtan:-0.3,0.1,0,0"), or the path of a camera chain of Kalibr (.yaml), whose first camera is taken.
        height, width: of the sensor; a file's lens is scaled to the width.
        focal_px: focal length, which a short text does not state.

    Raises:
        InputError: none of these; a file that is missing, no YAML, or has no intrinsics.
        ValueError: another number of coefficients than the model has.
    """
    name, _, listed = text.partition(":")
    if name in MODELS:
        numbers = _numbers(text, listed) if listed else (0.0,) * 4
        middle = ((width - 1) / 2, (height - 1) / 2)
        return Lens(model=name, coefficients=numbers, focal_px=(focal_px, focal_px), centre_px=middle)
    if Path(text).suffix.lower() not in (".yaml", ".yml"):
        raise InputError(text, expected=f"a lens ({', '.join(MODELS)}) or the .yaml of a camera chain", found="neither")
    return read_lens(text, width=width)


def read_lens(path: str | os.PathLike[str], *, width: int | None = None, camera: str = "cam0") -> Lens:
    """A lens from a camera chain as Kalibr writes it, and as MVSEC and DSEC have it.

    Args:
        path: the .yaml; `intrinsics`, `distortion_model`, `distortion_coeffs` and `resolution` of a camera are read.
        width: scales the lens to a sensor of another width.
        camera: which camera.

    Raises:
        InputError: the file is missing, no YAML, or has no such camera, intrinsics or known model.
    """
    entry = _camera_entry(Path(path), camera)
    try:
        fx, fy, cx, cy = map(float, entry["intrinsics"])
        model = _KALIBR[entry["distortion_model"]]
        numbers = tuple(map(float, entry["distortion_coeffs"]))
        scale = 1.0 if width is None else width / float(entry["resolution"][0])
        half = (scale - 1) / 2  # the first pixel's middle is at 0, its border at -1/2
        return Lens(model=model, coefficients=numbers, focal_px=(fx * scale, fy * scale),
                    centre_px=(cx * scale + half, cy * scale + half))  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        known = f"intrinsics, resolution, distortion_coeffs and a distortion_model among {', '.join(_KALIBR)}"
        raise InputError(path, expected=known, found=f"a fault in {error}", at=camera) from None


def _camera_entry(path: Path, camera: str) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise InputError(path, expected="a camera chain in YAML", found="nothing there")
    try:
        chain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, expected="YAML", found=" ".join(str(error).split())) from None
    if not isinstance(chain, dict) or not isinstance(chain.get(camera), dict):
        found = ", ".join(map(str, chain)) if isinstance(chain, dict) else type(chain).__name__
        raise InputError(path, expected=f"a camera {camera}", found=found)
    entry: dict[str, Any] = chain[camera]
    return entry


def _numbers(text: str, listed: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in listed.split(","))
    except ValueError:
        raise InputError(text, expected="numbers between commas after the colon", found=f"'{listed}'") from None


def _column(pair: tuple[float, float], dimensions: int) -> Points:
    return np.array(pair).reshape(2, *(1,) * (dimensions - 1))
