"""Settings: a dataclass filled from a YAML file, with every fault named together with the file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from eventsim.errors import InputError

Settings = TypeVar("Settings")


Parse = Callable[[Path, str, Any], Any]


def read_settings(
    kind: type[Settings], path: Path, overrides: dict[str, Any], parse: dict[str, Parse] | None = None
) -> Settings:
    """A dataclass from the mapping in a YAML file, with some fields replaced.

    Args:
        kind: the dataclass; it checks ranges itself and raises ValueError.
        path: the file.
        overrides: fields to replace.
        parse: for fields that may hold a mapping: what makes their value of (path, name, mapping).

    Raises:
        InputError: the file is no YAML mapping, or holds an unknown field, a value of the wrong kind or out of range.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, expected="YAML", found=" ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise InputError(path, expected="a mapping of settings", found=type(values).__name__)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = (values | overrides).keys() - fields.keys()
    if unknown:
        found = ", ".join(sorted(map(str, unknown)))
        raise InputError(path, expected=f"settings among {', '.join(sorted(fields))}", found=found)
    for name, value in values.items():
        if isinstance(value, dict) and parse and name in parse:
            values[name] = parse[name](path, name, value)
        else:
            _check_kind(path, name, fields[name].default, value)
    try:
        return kind(**(values | overrides))
    except (TypeError, ValueError) as error:
        raise InputError(path, expected="settings within their ranges", found=str(error)) from error


def _check_kind(path: Path, name: str, default: Any, value: Any) -> None:
    """A number, switch or word where the default is one. YAML reads 1e-4 as a word: that must not pass for a number."""
    kinds: dict[type, tuple[str, type | tuple[type, ...]]] = {
        bool: ("true or false", bool),
        int: ("a whole number", int),
        float: ("a number (such as 1.0e-4)", (int, float)),
        str: ("a word", str),
    }
    if type(default) not in kinds:
        return
    expected, allowed = kinds[type(default)]
    if not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool):
        raise InputError(path, expected=f"{expected} for {name}", found=repr(value))


def require(settings: Any, *, above: str = "", at_least: str = "") -> None:
    """Checks the ranges of a dataclass's numbers, for its `__post_init__`.

    Args:
        settings: the dataclass.
        above: names of fields that must be above 0, separated by spaces.
        at_least: names of fields that must be 0 or more.

    Raises:
        ValueError: a field is out of range, infinite or not a number; names it.
    """
    for names, strict in ((above, True), (at_least, False)):
        for name in names.split():
            value = getattr(settings, name)
            if not (value > 0 if strict else value >= 0) or value == math.inf:
                raise ValueError(f"expected {name} {'above 0' if strict else 'of 0 or more'}, got {value}")
