"""The next item while this one is worked on: reading and computing share the time, and memory holds one item more."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Yields the items of a generator, which makes each in another thread while the one before is worked on.

    What the generator raises is raised here, in its place. When the caller stops early, the generator is closed, once
    the item that it is at is made.
    """
    pool = ThreadPoolExecutor(1, "read-ahead")
    try:
        coming = pool.submit(_next, items)
        while found := coming.result():
            coming = pool.submit(_next, items)
            yield found[0]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        items.close()


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    for item in items:
        return (item,)
    return None
