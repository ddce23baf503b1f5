"""Frames that several cameras see at once: each is made once, and given to one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from eventsim.light.frames import Frames, Picture


@contextmanager
def beside(frames: Frames, *jobs: Callable[[Frames], object]) -> Iterator[Frames]:
    """Runs jobs on the same frames as the body of the `with`, in step with it: light is made once for all.

    They take turns: each runs until it asks for its next frame, so that only one runs at a time and what they write,
    even to one file, comes in the same order every time. Cameras use all cores in their turn.

    Args:
        frames: iterated once.
        jobs: each is given frames that it may iterate once, as the body is.

    Yields:
        The frames of the body. At its end the jobs go on by themselves, and are waited for.

    Raises:
        The first error of a job, also in the body when it asks for its next frame; an error of the body ends the jobs.
    """
    turns = _Turns(frames, 1 + len(jobs))
    threads = [threading.Thread(target=turns.run, args=job, daemon=True) for job in enumerate(jobs, 1)]
    for thread in threads:
        thread.start()
    try:
        yield turns.frames(0)
        turns.leave(0)
        _join(threads)
    except BaseException as error:  # also an interrupt while the jobs are waited for
        turns.fail(error)
        _join(threads)
        raise
    if turns.error is not None:
        raise turns.error


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


class _Turns:
    """The frame that is being given round, and whose turn it is."""

    def __init__(self, frames: Frames, seats: int) -> None:
        self._all, self._source = frames, iter(frames)
        self._frame: tuple[int, Picture] | None = None
        self._made = 0
        self._taken = [0] * seats
        self._present = list(range(seats))
        self._turn = 0
        self._change = threading.Condition()
        self.error: BaseException | None = None

    def frames(self, seat: int) -> Frames:
        """The frames as one consumer takes them."""
        return replace(self._all, source=lambda: iter(lambda: self._take(seat), None))

    def run(self, seat: int, job: Callable[[Frames], object]) -> None:
        """A job, from its first turn to its end."""
        try:
            with self._change:
                self._wait(seat)
            job(self.frames(seat))
        except BaseException as error:
            self.fail(error)
        finally:
            self.leave(seat)

    def fail(self, error: BaseException) -> None:
        """Ends all with an error, the first of several."""
        with self._change:
            self.error = self.error or error
            self._change.notify_all()

    def leave(self, seat: int) -> None:
        """A consumer takes no more."""
        with self._change:
            self._pass_on(seat)
            self._present.remove(seat)

    def _take(self, seat: int) -> tuple[int, Picture] | None:
        """The consumer's next frame, when it is its turn again; None after the last."""
        with self._change:
            self._pass_on(seat)
            self._wait(seat)
            if self._taken[seat] == self._made:
                self._frame = next(self._source, None)
                self._made += 1
            self._taken[seat] += 1
            return self._frame

    def _wait(self, seat: int) -> None:
        self._change.wait_for(lambda: self._turn == seat or self.error is not None)
        if self.error is not None:
            raise self.error

    def _pass_on(self, seat: int) -> None:
        if self._turn == seat:
            place = self._present.index(seat) + 1
            self._turn = self._present[place % len(self._present)]
            self._change.notify_all()
