"""Rows of a picture shared out over threads, for kernels that release the interpreter lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

_MOST_ROWS = 64


def over_rows(
    work: Callable[[int, int], None], height: int, threads: int | None = None, *, most_rows: int = _MOST_ROWS
) -> None:
    """Calls `work(first_row, last_row + 1)` for bands of rows that together cover 0 .. height - 1.

    A plain thread pool rather than Numba's own parallel loops: nothing to fork-proof, nothing extra to compile, and
    no band can depend on another, so that results are the same for any number of threads.

    Args:
        work: must only touch its own rows.
        height: number of rows.
        threads: how many bands at a time; by default the cores this process may use.
        most_rows: of a band.

    Raises:
        ValueError: `threads` below 1.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"expected threads of 1 or more, got {threads}")
    count = min(threads or usable_cores(), height)
    bands = deque(_bands(height, count, most_rows))

    def take_bands() -> None:
        while (band := _next(bands)) is not None:
            work(*band)

    if count == 1:
        take_bands()
        return
    tasks = [_pool(os.getpid()).submit(take_bands) for _ in range(count)]
    try:
        for task in tasks:
            task.result()
    finally:
        bands.clear()  # after an error or an interrupt, no more are begun


def _bands(height: int, threads: int, most_rows: int) -> Iterator[tuple[int, int]]:
    """As many equal bands for every thread as keep them small: an interrupt waits for those that were begun."""
    count = threads * -(-height // (threads * most_rows))
    return pairwise(height * band // count for band in range(count + 1))


def _next(bands: deque[tuple[int, int]]) -> tuple[int, int] | None:
    # Asking first whether one is left would leave room for another thread to take it.
    try:
        return bands.popleft()
    except IndexError:
        return None


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked data-loader worker must not inherit a pool whose threads stayed behind.
    return ThreadPoolExecutor(max_workers=max(usable_cores(), 8), thread_name_prefix="rows")
