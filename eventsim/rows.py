"""Rows of a picture shared out over threads, for kernels that release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def over_rows(work: Callable[[int, int], None], height: int, threads: int | None = None) -> None:
    """Calls `work(first_row, last_row + 1)` for bands of rows that together cover 0 .. height - 1.

    A plain thread pool rather than Numba's own parallel loops: nothing to fork-proof, nothing extra to compile, and
    no band can depend on another, so that results are the same for any number of threads.

    Args:
        work: must only touch its own rows.
        height: number of rows.
        threads: how many bands; by default the cores this process may use.
    """
    count = min(threads or usable_cores(), height)
    if count == 1:
        work(0, height)
        return
    edges = [height * band // count for band in range(count + 1)]
    # list() waits for every band and raises the first error.
    list(_pool(os.getpid()).map(work, edges[:-1], edges[1:]))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked data-loader worker must not inherit a pool whose threads stayed behind.
    return ThreadPoolExecutor(max_workers=max(usable_cores(), 8), thread_name_prefix="rows")
