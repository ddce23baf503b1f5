"""What of a data set that is gone on with need not be made again."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from eventsim.errors import InputError
from eventsim.io.manifest import Entry
from eventsim.synthesize.fingerprint import source_checksum, source_stamp
from eventsim.synthesize.items import Item

Identity = tuple[str, str, int, str]


def kept_rows(
    rows: Iterable[Entry], plan: Iterable[Iterable[Item]], *, out: Path, folder: Path, begun_from: Path
) -> dict[Identity, Entry]:
    """The rows of the items whose sources are unchanged and whose files are there, as long as they were.

    Args:
        rows: of the journal; the last of an item counts.
        plan: the items that the data set shall have.
        out: folder of the data set.
        folder: of the sources.
        begun_from: where they were before. In another folder they must have the same content.

    Raises:
        InputError: a source of the data set is gone or, in another folder, differs, or is to come into another shard.
    """
    planned = {item.identity: item for items in plan for item in items}
    last = {row.identity: row for row in rows}
    for row in last.values():
        _refuse_other_plan(out, row, planned.get(row.identity))
    unchanged = _unchanged(last, folder, begun_from)
    return {identity: row for identity, row in unchanged.items() if _on_disk(out, row)}


def _refuse_other_plan(out: Path, row: Entry, item: Item | None) -> None:
    if item is None:
        expected = f"{row.source} among the sources, as when the data set was begun"
        raise InputError(out, expected=expected, found="it gone: put it back, or begin anew with --overwrite")
    if item.sharded and item.path != row.path:
        expected = f"{row.source} in {row.path}, as new sources may only come after all others of shards"
        raise InputError(out, expected=expected, found=f"it in {item.path}: begin anew with --overwrite")


def _unchanged(rows: dict[Identity, Entry], folder: Path, begun_from: Path) -> dict[Identity, Entry]:
    moved = folder != begun_from

    @cache
    def stamp(source: str) -> str:
        return source_stamp(folder / source)

    @cache
    def checksum(source: str) -> str:
        return source_checksum(folder / source)

    def same(row: Entry) -> bool:
        return (not moved and row.source_stamp == stamp(row.source)) or row.source_checksum == checksum(row.source)

    found = {identity: row for identity, row in rows.items() if same(row)}
    if moved and len(found) < len(rows):
        other = next(row.source for identity, row in rows.items() if identity not in found)
        expected = f"the sources that the data set was begun with, those of {begun_from} (or --overwrite to begin anew)"
        raise InputError(folder, expected=expected, found=f"another {other}")
    return found


def _on_disk(out: Path, row: Entry) -> bool:
    files = ((out / name, size) for name, size in ((row.path, row.path_bytes), (row.flow_path, row.flow_bytes)) if name)
    return all(path.is_file() and path.stat().st_size == size for path, size in files)
