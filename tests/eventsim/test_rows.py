"""Rows shared out over threads: every row once, errors told, and no more work after an interrupt."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from eventsim.rows import over_rows


@pytest.mark.parametrize("height", [1, 3, 64, 260, 1500])
@pytest.mark.parametrize("threads", [None, 1, 2, 20])
def test_every_row_once_in_small_bands(height, threads):
    seen, longest = np.zeros(height, int), []

    def work(top, end):
        seen[top:end] += 1
        longest.append(end - top)

    over_rows(work, height, threads)
    assert (seen == 1).all()
    assert max(longest) <= 64


def test_no_more_threads_than_asked_for():
    running, most, lock = 0, 0, threading.Lock()

    def work(top, end):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    over_rows(work, 640, threads=2)
    assert most == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, IndexError])
def test_after_an_error_no_band_is_begun(error):
    begun = []

    def work(top, end):
        begun.append(top)
        if len(begun) <= 2:
            raise error
        time.sleep(0.01)

    with pytest.raises(error):
        over_rows(work, 64 * 100, threads=2)
    time.sleep(0.05)
    assert len(begun) < 50


@pytest.mark.parametrize("threads", [0, -1])
def test_numbers_of_threads_that_cannot_be(threads):
    with pytest.raises(ValueError, match=f"threads of 1 or more, got {threads}"):
        over_rows(lambda top, end: None, 8, threads)
