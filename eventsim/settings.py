"""Settings: a dataclass filled from a YAML file, with every fault named together with the file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from eventsim.errors import InputError

Settings = TypeVar("Settings")
Parse = Callable[[Path, str, Any], Any]
_KINDS: dict[type, tuple[str, type | tuple[type, ...]]] = {
    bool: ("true or false", bool),
    int: ("a whole number", int),
    float: ("a number (such as 1.0e-4)", (int, float)),
    str: ("a word", str),
}


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
        InputError: the file is no YAML mapping, or holds an unknown field, a field twice, or a value of the wrong kind
            or out of range.
    """
    values = read_mapping(path)
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


def read_mapping(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file, empty where the file is.

    Raises:
        InputError: the file is no YAML in UTF-8, holds a key twice, or something else than a mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if double := {key for key in keys if keys.count(key) > 1}:
                raise yaml.YAMLError(f"{', '.join(sorted(double))} twice")
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that there is not
        raise InputError(path, expected="YAML in UTF-8", found=" ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise InputError(path, expected="a mapping of settings", found=type(values).__name__)
    return values


def _check_kind(path: Path, name: str, default: Any, value: Any) -> None:
    """A number, switch or word where the default is one. YAML reads 1e-4 as a word: that must not pass for a number."""
    if expected := _other_kind(default, value):
        raise InputError(path, expected=f"{expected} for {name}", found=repr(value))


def _other_kind(default: Any, value: Any) -> str | None:
    """What is expected of a value that is not of its default's kind; None where it is, or the default has no kind."""
    expected, allowed = _KINDS.get(type(default), (None, object))
    fits = isinstance(value, allowed) and isinstance(value, bool) == isinstance(default, bool)
    return None if fits else expected


def check_kinds(settings: Any, *, but: Collection[str] = ()) -> None:
    """Checks that a dataclass has numbers, switches and words where its defaults are such, for its `__post_init__`.

    NumPy's numbers become Python's.

    Args:
        settings: the dataclass.
        but: names of fields that may hold something else as well.

    Raises:
        ValueError: a field of another kind; names it.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if getattr(value, "ndim", None) == 0:
            value = value.item()
            object.__setattr__(settings, field.name, value)
        expected = _other_kind(field.default, value)
        if expected and field.name not in but:
            raise ValueError(f"expected {expected} for {field.name}, got {value!r}")


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


def require_at_most(settings: Any, bounds: Mapping[str, float]) -> None:
    """Checks upper bounds of a dataclass's numbers, by field, for its `__post_init__`.

    Raises:
        ValueError: a field is above its bound; names it.
    """
    for name, most in bounds.items():
        if getattr(settings, name) > most:
            raise ValueError(f"expected {name} of at most {most:g}, got {getattr(settings, name)}")
