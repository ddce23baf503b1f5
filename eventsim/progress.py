"""Progress of a long job: a bar with rate and time left on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 10.0


def track(
    items: Iterable[Item],
    label: str,
    *,
    total: int | None = None,
    unit: str = "items",
    quiet: bool = False,
    reached: Callable[[Item], int] | None = None,
) -> Iterator[Item]:
    """Yields the items and shows on standard error how much of the work has gone by.

    Args:
        items: what is worked on.
        label: what the job is.
        total: how many units there will be, where that is known; then the time left is shown too.
        unit: what is counted.
        quiet: show nothing.
        reached: how many units are done with an item; by default every item is one.
    """
    if quiet:
        yield from items
        return
    show = _bar if sys.stderr.isatty() else _lines
    counted = ((index if reached is None else reached(item), item) for index, item in enumerate(items, 1))
    yield from show(counted, label, total, unit)


def _bar(items: Iterable[tuple[int, Item]], label: str, total: int | None, unit: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")
        start = time.monotonic()
        for done, item in items:
            yield item
            progress.update(task, completed=done, rate=f"{done / (time.monotonic() - start):.3g} {unit}/s")


def _lines(items: Iterable[tuple[int, Item]], label: str, total: int | None, unit: str) -> Iterator[Item]:
    start = said = time.monotonic()
    done = 0
    for done, item in items:
        yield item
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if total and rate > 0 else ""
            of = f"/{total}" if total else ""
            print(f"{label}: {done}{of} {unit}, {rate:.3g}/s{left}", file=sys.stderr, flush=True)
            said = now
    print(f"{label}: {done} {unit} in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
