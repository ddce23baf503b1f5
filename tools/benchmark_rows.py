"""Lines of the benchmark's table, and what they are measured with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table: a rate, and what it is compared with."""

    job: str
    rate: float
    unit: str
    peer: str = ""
    ratio: float | None = None

    def __str__(self) -> str:
        beside = f"  {self.ratio:8.3g} {self.peer}" if self.ratio is not None else ""
        return f"{self.job:<52}{self.rate:>10.4g} {self.unit:<22}{beside}"


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The median time of a call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def memory_bandwidth() -> float:
    """Bytes a second that one core copies, read and written: the limit of what only moves data."""
    source = np.zeros(1 << 26, np.uint8)
    target = np.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: np.copyto(target, source))
