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
    """For a folder that holds something else than a data set of ours. Changes nothing.

    Raises:
        InputError: it does; names what.
    """
    if (out / RECORD).exists():
        _read_record(out / RECORD)
        return
    # A run that was killed at once has left an empty journal.
    strange = sorted(path.name for path in out.iterdir() if not path.name.startswith(".") and not _just_begun(path))
    if strange:
        raise InputError(out, expected="an empty folder, or a data set to go on with", found=", ".join(strange[:3]))


def _just_begun(path: Path) -> bool:
    return path.name == JOURNAL and path.is_file() and path.stat().st_size == 0


def begin(out: Path, settings: dict[str, Any], folder: Path) -> None:
    """Writes `dataset.json`, in place of an earlier one.

    Args:
        out: folder of the data set.
        settings: as `settings.resolved` gives them.
        folder: of the sources.
    """
    _write_record(out, {"format": _FORMAT, "version": _VERSION, "folder": str(folder)} | provenance(settings))


def begin_or_compare(out: Path, settings: dict[str, Any], folder: Path) -> Path:
    """Begins a data set, or compares its settings with those that it was begun with.

    Args:
        out, settings, folder: as `begin` takes them.

    Returns:
        The folder of the sources that it was begun with.

    Raises:
        InputError: the data set was begun with other settings; names the first.
    """
    if not (out / RECORD).exists():
        begin(out, settings, folder)
        return folder
    record = _read_record(out / RECORD)
    different = first_difference(record["settings"], settings)
    if different is not None:
        name, before, after = different
        expected = f"{name} {json.dumps(before)} as the data set was begun with, or --overwrite to begin anew"
        raise InputError(out, expected=expected, found=f"{name} {json.dumps(after)}")
    return Path(record["folder"])


def note_folder(out: Path, folder: Path) -> None:
    """Writes into `dataset.json` where the sources are now."""
    _write_record(out, _read_record(out / RECORD) | {"folder": str(folder)})


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stated = (record["format"], record["version"])
        whole = isinstance(record["settings"], dict) and isinstance(record["folder"], str)
    except (ValueError, KeyError, TypeError):
        whole, stated = False, ("", 0)
    if not whole:
        raise InputError(path, expected="the settings of a data set", found="something else")
    if stated != (_FORMAT, _VERSION):
        raise InputError(path, expected=f"{_FORMAT}, version {_VERSION}", found=f"{stated[0]}, version {stated[1]}")
    return record


def _write_record(out: Path, record: dict[str, Any]) -> None:
    path = out / RECORD
    with naming(path), atomic_path(path, overwrite=True) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def remove_leftovers(out: Path) -> None:
    """Removes files that a killed run had not finished."""
    for path in out.rglob(".*.partial*"):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove_items(out: Path, rows: Iterable[Row]) -> None:
    """Removes the files of these items, the folders that are empty then, and the manifest.

    Raises:
        InputError: a path that leads out of the data set; nothing is removed.
    """
    names = {name for row in rows for name in (row.path, row.flow_path) if name}
    paths = [out / name for name in sorted(names)]
    for path in paths:
        if not path.resolve().is_relative_to(out.resolve()):
            raise InputError(out / JOURNAL, expected="paths within the data set", found=str(path))
    for path in (*paths, out / MANIFEST):
        path.unlink(missing_ok=True)
    inside = {parent for path in paths for parent in path.parents if parent != out and parent.is_relative_to(out)}
    for folder in sorted(inside, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
