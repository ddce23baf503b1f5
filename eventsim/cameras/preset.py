"""Cameras as YAML files, whose fields are the camera's own: the named ones in `presets/`, and users' files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.pattern import Pattern, pattern_from_settings
from eventsim.errors import InputError
from eventsim.settings import read_mapping, read_settings

Camera = TypeVar("Camera")

FOLDER = Path(__file__).with_name("presets")


def preset_names(kind: str) -> list[str]:
    """Names of the presets of one kind of camera ("spike" or "event")."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.yaml"))


def load_preset(kind: str, camera: type[Camera], name: str, overrides: dict[str, Any]) -> Camera:
    """The camera that a preset describes, with some fields replaced.

    Args:
        kind: "spike" or "event".
        camera: the dataclass to build.
        name: name of a preset, or the path of a YAML file with the same fields. Where it states no size, maps do.
        overrides: fields to replace.

    Raises:
        InputError: no such preset, a field that is unknown, of the wrong kind or out of range, or a map of another size
            than the sensor.
    """
    path = FOLDER / kind / f"{name}.yaml"
    if name.lower().endswith((".yaml", ".yml")):
        path = Path(name)
    if not path.is_file():
        raise InputError(name, expected=f"one of {', '.join(preset_names(kind))} or a YAML file", found="neither")
    files: dict[str, Path] = {}

    def parse(path: Path, name: str, value: Any) -> Pattern:
        pattern = pattern_from_settings(path, name, value)
        if pattern.map is not None and name not in overrides:
            files[name] = path.parent / str(value["file"])
        return pattern

    found = read_settings(camera, path, overrides, dict.fromkeys(getattr(camera, "PATTERNS", ()), parse))
    return _of_the_maps_size(found, files, path, read_mapping(path).keys() | overrides.keys()) if files else found


def _of_the_maps_size(camera: Camera, files: dict[str, Path], path: Path, stated: set[str]) -> Camera:
    """The camera, whose maps come from these files by field, with a size that all of them have."""
    settings: Any = camera
    for name, file in files.items():
        found, size = getattr(settings, name).map.shape, (settings.height, settings.width)
        if not stated & {"height", "width"}:
            settings = dataclasses.replace(settings, height=found[0], width=found[1])
            stated = {"height", "width"}
        elif found != size:
            expected = f"a map of {size[0]}x{size[1]} pixels (height x width) for {name}, as {path.name} has it"
            raise InputError(file, expected=expected, found=f"{found[0]}x{found[1]}")
    return cast(Camera, settings)


def camera_settings(camera: Any) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """A camera's fields as YAML can hold them (a pattern becomes a mapping), and its maps by field."""
    settings: dict[str, Any] = {}
    maps: dict[str, NDArray[np.float32]] = {}
    for field in dataclasses.fields(camera):
        value = getattr(camera, field.name)
        if isinstance(value, Pattern) and value.map is not None:
            maps[field.name] = value.map
        elif isinstance(value, Pattern):
            parts = (each.name for each in dataclasses.fields(value) if each.name != "map")
            settings[field.name] = {name: getattr(value, name) for name in parts}
        else:
            settings[field.name] = value
    return settings, maps
