"""The folder of a data set that is being made: begun, found again with the same settings, cleared of leftovers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming
from eventsim.io.manifest import JOURNAL, MANIFEST, Row
from eventsim.provenance import provenance
from eventsim.synthesize.settings import first_difference

#: Settings, cameras, versions and commit of a data set.
RECORD = "dataset.json"
_FORMAT, _VERSION = "retinaflow data set", 1
# What `io.atomic` names a file in the making.
_LEFTOVER = re.compile(r"\..+\.\d+\.partial(\.\w+)?")


def refuse_strangers(out: Path) -> None:
    """For a folder that holds something else than a data set of ours.

    Raises:
        InputError: it does; names what.
    """
    if (out / RECORD).exists() or (out / JOURNAL).exists():
        return
    strange = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if strange:
        raise InputError(out, expected="an empty folder, or a data set to go on with", found=", ".join(strange[:3]))


def begin_or_compare(out: Path, settings: dict[str, Any], folder: Path) -> None:
    """Writes `dataset.json` into a new data set, or compares what is there.

    Args:
        out: folder of the data set.
        settings: as `settings.resolved` gives them.
        folder: of the sources; kept as a note.

    Raises:
        InputError: the data set was begun with other settings; names the first.
    """
    path = out / RECORD
    if not path.exists():
        record = {"format": _FORMAT, "version": _VERSION, "folder": str(folder)} | provenance(settings)
        with naming(path), atomic_path(path) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return
    different = first_difference(_begun(path), settings)
    if different is not None:
        name, before, after = different
        expected = f"{name} {json.dumps(before)} as the data set was begun with, or --overwrite to begin anew"
        raise InputError(out, expected=expected, found=f"{name} {json.dumps(after)}")


def _begun(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stated = (record["format"], record["version"])
        settings: dict[str, Any] = record["settings"]
    except (ValueError, KeyError, TypeError):
        raise InputError(path, expected="the settings of a data set", found="something else") from None
    if stated != (_FORMAT, _VERSION):
        raise InputError(path, expected=f"{_FORMAT}, version {_VERSION}", found=f"{stated[0]}, version {stated[1]}")
    return settings


def remove_leftovers(out: Path) -> None:
    """Removes files that a killed run had not finished."""
    for path in out.rglob(".*.partial*"):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove_items(out: Path, rows: Iterable[Row]) -> None:
    """Removes the files of these items, the folders that are empty then, the manifest and the settings.

    Raises:
        InputError: a path that leads out of the data set; nothing is removed.
    """
    names = {name for row in rows for name in (row.path, row.flow_path) if name}
    paths = [out / name for name in sorted(names)]
    for path in paths:
        if not path.resolve().is_relative_to(out.resolve()):
            raise InputError(out / JOURNAL, expected="paths within the data set", found=str(path))
    for path in (*paths, out / MANIFEST, out / RECORD):
        path.unlink(missing_ok=True)
    inside = {parent for path in paths for parent in path.parents if parent != out and parent.is_relative_to(out)}
    for folder in sorted(inside, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
