"""A data set from a folder: planned, made, gone on with after a kill, and finished with a manifest.

While it is made, `journal.jsonl` says what is done; only this process writes it. The manifest lists the items in the
order of the plan, so that neither the order nor the number of workers shows in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eventsim.io.manifest import MANIFEST, Entry, Journal, Row, write_manifest
from eventsim.progress import track
from eventsim.rows import usable_cores
from eventsim.synthesize.begun import (
    begin,
    begin_or_compare,
    note_folder,
    refuse_strangers,
    remove_items,
    remove_leftovers,
)
from eventsim.synthesize.items import Item, plan_items
from eventsim.synthesize.kept import Identity, kept_rows
from eventsim.synthesize.make import Made, Unit, make_unit
from eventsim.synthesize.settings import DatasetSettings, resolved, sensors_of
from eventsim.synthesize.sources import find_sources
from eventsim.synthesize.trial import try_out
from eventsim.synthesize.workers import WorkerDied, each_done

Plan = Sequence[list[Item]]
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run did.

    Args:
        made: items made now.
        kept: items that were there already.
        left_out: items that could not be made.
        failed: source -> why it could not be used.
        moved_from: where the sources were in the run before, if they are somewhere else now.
    """

    made: int
    kept: int
    left_out: int
    failed: dict[str, str]
    moved_from: Path | None = None


def make_dataset(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: DatasetSettings,
    *,
    workers: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> Finished:
    """Makes a data set, or goes on with one that was begun with the same settings.

    Going on, items are made whose files are missing or not as long as they were, or whose sources have changed. The
    manifest is there when all is done, and only if there is an item to list.

    Args:
        folder: the tree of pictures and videos.
        out: folder of the data set.
        settings: what is made of every source.
        workers: processes on this machine, by default one a core.
        dask: address of a Dask scheduler to use instead; its workers must see both folders under the same names.
            Neither changes anything in the data set.
        overwrite: begin anew; removes the files that the data set there lists, and no others.
        quiet: show no progress.

    Raises:
        InputError: no sources; a camera or settings that cannot be used with them; the data set there was begun with
            other settings or sources, or is being made by another process; `out` holds other files.
        ValueError: several items of one name.
        WorkerDied: a worker ended by itself; says whether to run again, or what to look at.
        OSError: the disk takes no more.
    """
    folder, out = Path(folder).resolve(), Path(out).resolve()
    sensors = sensors_of(settings)
    sources = find_sources(folder, clips=settings.clips)
    plan = plan_items(sources, sensors, settings)
    try_out(folder, sources, sensors, settings)
    out.mkdir(parents=True, exist_ok=True)
    refuse_strangers(out)
    with Journal(out) as journal:
        if overwrite:
            _begin_anew(out, journal, resolved(settings, sensors), folder)
        begun_from = begin_or_compare(out, resolved(settings, sensors), folder)
        done = kept_rows(journal.rows, plan, out=out, folder=folder, begun_from=begun_from)
        if folder != begun_from:
            note_folder(out, folder)
        left = [_to_make(items, done) for items in plan if not all(item.identity in done for item in items)]
        count = min(usable_cores() if workers is None else workers, len(left))
        threads = None if count == 1 and dask is None else 1
        units = [Unit(items=items, folder=folder, out=out, settings=settings, threads=threads) for items in left]
        total = sum(map(len, left))
        with _manifest_at_the_end(out, plan, done):
            results = _each_item(_each_made(units, count, dask), journal, done)
            shown = track(results, "dataset", total=total, unit="items", quiet=quiet)
            failed = [result for result in shown if not isinstance(result, Row)]
    return Finished(
        made=total - len(failed),
        kept=sum(map(len, plan)) - total,
        left_out=len(failed),
        failed=dict(failed),
        moved_from=None if folder == begun_from else begun_from,
    )


def _to_make(items: list[Item], done: dict[Identity, Entry]) -> list[Item]:
    """What is missing of a unit, or all of a shard: it is one file."""
    return items if items[0].sharded else [item for item in items if item.identity not in done]


def _begin_anew(out: Path, journal: Journal, settings: dict[str, Any], folder: Path) -> None:
    """In an order that may break off anywhere: what is left is a data set to go on with."""
    remove_items(out, journal.rows)
    journal.clear()
    begin(out, settings, folder)


@contextmanager
def _manifest_at_the_end(out: Path, plan: Plan, done: dict[Identity, Entry]) -> Iterator[None]:
    """Lists what is done when all is; until then there is no manifest, and none of nothing."""
    remove_leftovers(out)
    identities = [item.identity for items in plan for item in items]
    if not done.keys() >= set(identities):
        (out / MANIFEST).unlink(missing_ok=True)
    yield
    remove_leftovers(out)  # of workers that outlived a kill by a moment
    if done:
        write_manifest(out, _numbered(done[identity] for identity in identities if identity in done))


def _each_made(units: Sequence[Unit], workers: int, dask: str | None) -> Iterator[Made]:
    """What becomes of the units, in no particular order.

    Raises:
        WorkerDied: as `each_done`. Where no item at all was finished, another run would come to the same end: then it
            names the sources that were being made.
    """
    finished, failed = 0, set[str]()
    try:
        for made in each_done(make_unit, units, workers=workers, dask=dask) if units else ():
            finished += len(made.rows)
            failed |= {source for source, _ in made.failed}
            yield made
    except WorkerDied as error:
        if finished:
            advice = "run the same command again to go on (with fewer workers if memory is short)"
            raise WorkerDied(f"{error}; {advice}") from None
        begun = [unit for unit in units if failed.isdisjoint(item.source.path for item in unit.items)]
        names = list(dict.fromkeys(item.source.path for unit in begun[:workers] for item in unit.items))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        where = f"before any item was finished, at {', '.join(names[:_SHOWN])}{more}"
        advice = "use fewer workers if memory is short; if it is not, take these sources away"
        raise WorkerDied(f"{error} {where}: {advice}") from None


def _each_item(
    results: Iterator[Made], journal: Journal, done: dict[Identity, Entry]
) -> Iterator[Row | tuple[str, str]]:
    """Puts what was made into the journal and gives it on, item by item, with what could not be made."""
    for made in results:
        journal.add(made.rows)
        done.update({row.identity: row for row in made.rows})
        yield from made.rows
        yield from made.failed


def _numbered(rows: Iterable[Row]) -> list[Row]:
    """The rows with the index of their class: the place of the label among all of them, sorted."""
    rows = list(rows)
    index = {label: place for place, label in enumerate(sorted({row.label for row in rows}))}
    return [replace(row, class_index=index[row.label]) for row in rows]
