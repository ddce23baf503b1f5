"""A data set from a folder: planned, made, gone on with after a kill, and finished with a manifest.

While it is made, `journal.jsonl` says what is done; only this process writes it. The manifest lists the items in the
order of the plan, so that neither the order nor the number of workers shows in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eventsim.errors import InputError
from eventsim.io.manifest import Journal, Row, write_manifest
from eventsim.progress import track
from eventsim.rows import usable_cores
from eventsim.synthesize.begun import begin_or_compare, refuse_strangers, remove_items, remove_leftovers
from eventsim.synthesize.items import Item, plan_items
from eventsim.synthesize.make import Made, Unit, make_unit
from eventsim.synthesize.settings import DatasetSettings, resolved, sensors_of
from eventsim.synthesize.sources import find_sources
from eventsim.synthesize.workers import each_done

Identity = tuple[str, str, int, str]
Plan = Sequence[Sequence[Item]]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run did.

    Args:
        made: items made now.
        kept: items that were there already.
        left_out: items that could not be made.
        failed: source -> why it could not be used.
    """

    made: int
    kept: int
    left_out: int
    failed: dict[str, str]


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
        InputError: no sources; the data set there was begun with other settings or sources, or is being made by
            another process; `out` holds other files.
        WorkerDied: a worker ended by itself; run again to go on.
        OSError: the disk takes no more.
    """
    folder, out = Path(folder).resolve(), Path(out).resolve()
    sensors = sensors_of(settings)
    plan = plan_items(find_sources(folder, clips=settings.clips), sensors, settings)
    out.mkdir(parents=True, exist_ok=True)
    refuse_strangers(out)
    with Journal(out) as journal:
        if overwrite:
            remove_items(out, journal.rows)
            journal.clear()
        begin_or_compare(out, resolved(settings, sensors), folder)
        remove_leftovers(out)
        done = _on_disk(out, journal.rows, plan)
        left = [items for items in plan if not all(item.identity in done for item in items)]
        count = min(usable_cores() if workers is None else workers, len(left))
        threads = None if count == 1 and dask is None else 1
        units = [Unit(items=items, folder=folder, out=out, settings=settings, threads=threads) for items in left]
        results = each_done(make_unit, units, workers=count, dask=dask) if units else iter(())
        total = sum(map(len, left))
        kept_rows = _each_item(results, journal, done)
        shown = track(kept_rows, "dataset", total=total, unit="items", quiet=quiet)
        failed = [result for result in shown if not isinstance(result, Row)]
        remove_leftovers(out)  # of workers that outlived a kill by a moment
        write_manifest(out, _numbered(done[item.identity] for items in plan for item in items if item.identity in done))
    kept = sum(map(len, plan)) - total
    return Finished(made=total - len(failed), kept=kept, left_out=len(failed), failed=dict(failed))


def _on_disk(out: Path, rows: Iterable[Row], plan: Plan) -> dict[Identity, Row]:
    """The items of the journal whose files are there.

    Raises:
        InputError: the data set was begun with a source that is gone, or shards with other sources.
    """
    planned = {item.identity: item for items in plan for item in items}
    done = dict[Identity, Row]()
    for row in rows:
        item = planned.get(row.identity)
        if item is None:
            expected = f"{row.source}, which the data set was begun with, among the sources (or --overwrite)"
            raise InputError(out, expected=expected, found="it gone")
        if item.sharded and item.path != row.path:
            expected = f"the sources with which shards were begun (or --overwrite), {row.source} in {row.path}"
            raise InputError(out, expected=expected, found=f"others, by which it is in {item.path}")
        done[row.identity] = row
    return {
        identity: row
        for identity, row in done.items()
        if all((out / name).is_file() for name in (row.path, row.flow_path) if name)
    }


def _each_item(results: Iterator[Made], journal: Journal, done: dict[Identity, Row]) -> Iterator[Row | tuple[str, str]]:
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
