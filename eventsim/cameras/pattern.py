"""Quantities that differ from pixel to pixel and stay: a camera's fixed patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.random import Purpose, pixel_normals
from eventsim.errors import InputError
from eventsim.settings import check_kinds, require

Map = NDArray[np.float32]
_DISTRIBUTIONS = ("normal", "lognormal")
_PIXELS, _ROWS, _COLUMNS = range(3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """A quantity with a fixed pattern: drawn for each pixel of a specimen, or measured.

    Args:
        mean: over the pixels.
        spread: standard deviation between pixels, as a share of the mean (of its logarithm where lognormal).
        distribution: "normal" (cut off at 0), or "lognormal", as dark currents are.
        rows, columns: standard deviations of what whole rows and whole columns have in common, as shares of the mean.
        falloff: share by which the corners fall below the centre, growing with the squared distance (vignetting).
        map: float32 [H, W], the values themselves; then nothing else applies.

    Raises:
        ValueError: a value out of range or of the wrong kind, an unknown distribution, or a map that is not a finite
            picture of 0 or more.
    """

    mean: float = 1.0
    spread: float = 0.0
    distribution: str = "normal"
    rows: float = 0.0
    columns: float = 0.0
    falloff: float = 0.0
    map: Map | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pattern):
            return NotImplemented
        if self.map is None or other.map is None:
            return self._numbers() == other._numbers() and self.map is other.map
        return np.array_equal(self.map, other.map)

    def __hash__(self) -> int:
        return hash(self._numbers() if self.map is None else (self.map + 0).tobytes())  # -0 equals 0

    def _numbers(self) -> tuple[float | str, ...]:
        return self.mean, self.spread, self.distribution, self.rows, self.columns, self.falloff

    def __post_init__(self) -> None:
        check_kinds(self)
        require(self, at_least="mean spread rows columns falloff")
        if self.distribution not in _DISTRIBUTIONS:
            raise ValueError(f"expected a distribution of {' or '.join(_DISTRIBUTIONS)}, got {self.distribution}")
        if self.falloff >= 1:
            raise ValueError(f"expected a falloff below 1, got {self.falloff}")
        if self.map is not None:
            object.__setattr__(self, "map", _checked_map(self.map))

    def values(self, specimen: int, purpose: Purpose, height: int, width: int) -> Map:
        """The value of each pixel: float32 [H, W].

        Args:
            specimen: the number of the camera among those of its kind; another one has other pixels.
            purpose: which quantity it is, so that patterns are independent.
            height, width: of the sensor.

        Raises:
            ValueError: the map is of another size.
        """
        if self.map is not None:
            if self.map.shape != (height, width):
                raise ValueError(f"expected frames of the map's size {self.map.shape} (H x W), got {(height, width)}")
            return self.map
        relative = np.ones((height, width), np.float32)
        for share, part, size in (
            (self.rows, _ROWS, (height, 1)),
            (self.columns, _COLUMNS, (1, width)),
        ):
            relative = relative + np.float32(share) * pixel_normals(specimen, purpose, *size, part=part)
        relative = relative * _vignette(self.falloff, height, width)
        noise = np.float32(self.spread) * pixel_normals(specimen, purpose, height, width, part=_PIXELS)
        if self.distribution == "lognormal":
            relative = relative * np.exp(noise - np.float32(self.spread**2 / 2))
        else:
            relative = relative + noise
        return np.asarray(np.maximum(np.float32(self.mean) * relative, np.float32(0)), np.float32)


#: How a fixed pattern may be given: one number for all pixels, a pattern, or a map float32 [H, W].
Value = float | Pattern | Map


def as_pattern(value: Value) -> Pattern:
    """A pattern from any way of giving it."""
    if isinstance(value, Pattern):
        return value
    return Pattern(map=value) if isinstance(value, np.ndarray) else Pattern(mean=float(value))


def pattern_from_settings(path: Path, name: str, value: Any) -> Pattern:
    """A pattern from a YAML file's mapping: Pattern's own fields, or `file` and `key` of a map in an .npz or .npy.

    Args:
        path: the YAML file; map files are looked for beside it.
        name: of the setting, for errors.
        value: the mapping.

    Raises:
        InputError: an unknown field, or a map that cannot be read; names the file.
    """
    if "file" in value:
        return Pattern(map=_read_map(path, name, value))
    known = {field.name for field in fields(Pattern)} - {"map"}
    if unknown := value.keys() - known:
        expected = f"a number, or a mapping of {', '.join(sorted(known))} or of file and key, for {name}"
        raise InputError(path, expected=expected, found=", ".join(sorted(map(str, unknown))))
    try:
        return Pattern(**value)
    except (TypeError, ValueError) as error:
        raise InputError(path, expected=f"a pattern within its ranges for {name}", found=str(error)) from error


def _read_map(path: Path, name: str, value: dict[str, Any]) -> Map:
    source = path.parent / str(value["file"])
    if value.keys() - {"file", "key"}:
        raise InputError(path, expected=f"file and key alone for {name}", found=", ".join(sorted(map(str, value))))
    expected = f"a map [H, W] for {name}"
    (found,) = load_arrays(source, [str(value.get("key", name))], expected)
    try:
        return _checked_map(found)
    except ValueError as error:
        raise InputError(source, expected=expected, found=str(error)) from error


def load_arrays(source: Path, keys: Sequence[str], expected: str) -> list[NDArray[Any]]:
    """Arrays of real numbers from an .npz by their keys, or the one of an .npy, which has no key.

    Raises:
        InputError: the file is missing or damaged, has no such arrays, or others than of real numbers.
    """
    try:
        with source.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = [loaded] if isinstance(loaded, np.ndarray) else [np.asarray(loaded[key]) for key in keys]
        if len(found) < len(keys):
            raise ValueError("a single array")
        for array in found:
            _check_real(array)
    except Exception as error:  # whatever zipfile, zlib and NumPy's parser of headers make of damaged bytes
        raise InputError(source, expected=expected, found=str(error) or type(error).__name__) from error
    return found


def _check_real(values: NDArray[Any]) -> None:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, got {values.dtype}")


def _checked_map(values: Any) -> Map:
    _check_real(np.asarray(values))
    found: Map = np.ascontiguousarray(values, dtype=np.float32)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"expected a map [H, W], got shape {found.shape}")
    if not (np.isfinite(found).all() and found.min() >= 0):
        raise ValueError(f"expected a map of finite values of 0 or more, got {found.min()} to {found.max()}")
    return found


def _vignette(falloff: float, height: int, width: int) -> Map:
    """1 - falloff r^2 for a distance r from the centre that is 1 in the corners, scaled to a mean of 1."""
    y, x = (np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in (height, width))
    light = 1 - falloff * 0.5 * (y[:, None] ** 2 + x**2)
    return np.asarray(light / light.mean(), np.float32)
