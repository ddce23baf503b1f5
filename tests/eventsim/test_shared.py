"""Frames that several consumers take at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.light.frames import Frames
from eventsim.light.shared import beside


def counted(count, made):
    """Frames that leave their times in `made`."""

    def source():
        for index in range(count):
            made.append(index)
            yield index, np.full((2, 3), index, np.float32)

    return Frames(2, 3, 30.0, source, count)


def times_of(frames):
    times = []
    for t_us, picture in frames:
        assert picture[0, 0] == t_us
        times.append(t_us)
    return times


@given(st.integers(0, 40), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_everybody_gets_all_frames_and_each_is_made_once(count, jobs):
    made, taken = [], [[] for _ in range(jobs)]
    with beside(counted(count, made), *(lambda f, k=k: taken[k].extend(times_of(f)) for k in range(jobs))) as own:
        mine = times_of(own)
    assert made == list(range(count))
    assert mine == made
    assert taken == [made] * jobs


def test_all_go_in_step_and_in_the_same_order():
    order = []

    def job(name):
        def take(frames):
            order.append(f"{name} begins")
            for t_us, _ in frames:
                order.append(f"{name} {t_us}")

        return take

    with beside(counted(3, []), job("a"), job("b")) as own:
        for t_us, _ in own:
            order.append(f"own {t_us}")
    rounds = [f"{name} {t_us}" for t_us in range(3) for name in ("own", "a", "b")]
    assert order == ["a begins", "b begins", *rounds]


def test_who_leaves_early_is_not_waited_for():
    def takes_two(frames):
        for t_us, _ in frames:
            if t_us == 1:
                return

    with beside(counted(50, []), takes_two, lambda _: None) as own:
        assert times_of(own) == list(range(50))
    taken = []
    with beside(counted(50, []), lambda _: None, lambda frames: taken.extend(times_of(frames))):
        pass
    assert taken == list(range(50))


def test_an_error_of_a_job_reaches_the_body():
    def fails(frames):
        next(iter(frames))
        raise ValueError("no such luck")

    with pytest.raises(ValueError, match="no such luck"), beside(counted(10**9, []), fails) as own:
        times_of(own)


def test_an_error_of_the_body_ends_the_jobs():
    ended = []

    def job(frames):
        try:
            times_of(frames)
        finally:
            ended.append(True)

    def body():
        with beside(counted(10**9, []), job) as own:
            next(iter(own))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body()
    assert ended == [True]


def test_an_error_of_the_light_reaches_everybody():
    def source():
        yield 0, np.zeros((2, 3), np.float32)
        raise OSError("dark")

    ends = []

    def job(frames):
        try:
            times_of(frames)
        except OSError as error:
            ends.append(str(error))
            raise

    with pytest.raises(OSError, match="dark"), beside(Frames(2, 3, 30.0, source), job) as own:
        times_of(own)
    assert ends == ["dark"]
