"""Named cameras: YAML files in `presets/`, whose fields are the camera's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from eventsim.errors import InputError

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
        name: name of a preset, or the path of a YAML file with the same fields.
        overrides: fields to replace.

    Raises:
        InputError: no such preset, or a file or override with an unknown field.
    """
    import yaml

    path = FOLDER / kind / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    if not path.is_file():
        raise InputError(name, expected=f"one of {', '.join(preset_names(kind))} or a YAML file", found="neither")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(path, expected="YAML", found=" ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise InputError(path, expected="a mapping of camera fields", found=type(values).__name__)
    fields = {field.name for field in dataclasses.fields(camera)}  # type: ignore[arg-type]
    unknown = (set(values) | set(overrides)) - fields
    if unknown:
        raise InputError(path, expected=f"fields among {', '.join(sorted(fields))}", found=", ".join(sorted(unknown)))
    try:
        return camera(**(values | overrides))
    except TypeError as error:
        raise InputError(path, expected="numbers for the camera's fields", found=str(error)) from error
