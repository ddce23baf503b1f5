"""Progress of a long job: a bar with rate and time left on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 10.0


def track(
    items: Iterable[Item], label: str, *, total: int | None = None, unit: str = "items", quiet: bool = False
) -> Iterator[Item]:
    """Yields the items and shows on standard error how many have gone by.

    Args:
        items: what is worked on.
        label: what the job is.
        total: how many there will be, where that is known.
        unit: what one item is called.
        quiet: show nothing.
    """
    if quiet:
        yield from items
    elif sys.stderr.isatty():
        yield from _bar(items, label, total, unit)
    else:
        yield from _lines(items, label, total, unit)


def _bar(items: Iterable[Item], label: str, total: int | None, unit: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")
        start = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            progress.update(task, completed=count, rate=f"{count / (time.monotonic() - start):.3g} {unit}/s")


def _lines(items: Iterable[Item], label: str, total: int | None, unit: str) -> Iterator[Item]:
    start = said = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            rate = count / (now - start)
            left = f", {(total - count) / rate:.0f} s left" if total else ""
            print(
                f"{label}: {count}{f'/{total}' if total else ''} {unit}, {rate:.3g}/s{left}",
                file=sys.stderr,
                flush=True,
            )
            said = now
    print(f"{label}: {count} {unit} in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
