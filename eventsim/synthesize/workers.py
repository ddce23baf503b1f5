"""Units of work done by this process, by several on this machine (joblib), or by a Dask cluster: one work function."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

from eventsim.errors import InputError

Job = TypeVar("Job")
Done = TypeVar("Done")
_WATCH_SECONDS = 0.25
_WAIT_SECONDS = 10.0
_LEAST_AHEAD = 64


class WorkerDied(OSError):
    """A worker process ended by itself, as when memory ran out. What was finished before is kept."""


def each_done(
    work: Callable[[Job], Done], jobs: Sequence[Job], *, workers: int = 1, dask: str | None = None
) -> Iterator[Done]:
    """The results of `work(job)` for every job, each as soon as it is done, in no particular order.

    Args:
        work: a function that can be sent to other processes.
        jobs: what it is called with.
        workers: processes on this machine; with one, all is done in this process.
        dask: address of a Dask scheduler, whose workers do all instead. They must see the same files.

    Raises:
        WorkerDied: a worker ended by itself.
        InputError: Dask is not installed, or there is no scheduler or no worker at the address.
    """
    if dask is not None:
        return _by_dask(work, jobs, dask)
    return _by_processes(work, jobs, workers) if workers > 1 else map(work, jobs)


def _by_processes(work: Callable[[Job], Done], jobs: Sequence[Job], workers: int) -> Iterator[Done]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    guarded = delayed(partial(_while_parent_lives, work, os.getpid()))
    parallel = Parallel(n_jobs=workers, backend="loky", batch_size=1, return_as="generator_unordered")
    try:
        yield from parallel(guarded(job) for job in jobs)
    except TerminatedWorkerError:
        raise WorkerDied("a worker process was ended from outside or crashed (out of memory?)") from None


def _while_parent_lives(work: Callable[[Job], Done], parent: int, job: Job) -> Done:
    _end_with(parent)
    return work(job)


@cache
def _end_with(parent: int) -> None:
    """Once in a worker: ends it when its parent is gone, which loky's workers would survive by minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _by_dask(work: Callable[[Job], Done], jobs: Sequence[Job], address: str) -> Iterator[Done]:
    """By Dask's own futures rather than by joblib's backend for Dask, which waits for ever when a worker dies."""
    client, distributed = _connected(address)
    try:
        waiting = (client.submit(work, job, pure=False) for job in jobs)
        ahead = max(_LEAST_AHEAD, 4 * sum(client.ncores().values()))  # of many jobs, a few at a time are sent
        going = distributed.as_completed(list(islice(waiting, ahead)), loop=client.loop, with_results=True)
        for _, done in going:
            going.update(islice(waiting, 1))
            yield done
    except (distributed.scheduler.KilledWorker, distributed.client.FutureCancelledError):
        raise WorkerDied(f"{address}: the cluster lost workers (out of memory?)") from None
    finally:
        client.close()  # what was not done yet is cancelled with it


def _connected(address: str) -> tuple[Any, Any]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise InputError(
            "--dask", expected="Dask, which `pip install retinaflow[dask]` installs", found="none"
        ) from None
    try:
        distributed.comm.resolve_address(address)  # a client that fails on an unknown scheme takes 20 s to go
        client = distributed.Client(address, timeout=_WAIT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError("--dask", expected=f"a Dask scheduler at {address}", found=reason) from None
    try:
        client.wait_for_workers(1, timeout=_WAIT_SECONDS)
    except TimeoutError:
        client.close()
        raise InputError("--dask", expected=f"workers of the scheduler at {address}", found="none") from None
    return client, distributed
