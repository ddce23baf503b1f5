"""Progress in a log: how much is done, of how much, and the time that is left."""

from __future__ import annotations

import time

import pytest

from eventsim import progress
from eventsim.progress import track


@pytest.fixture
def lines(monkeypatch, capsys):
    """The lines that are written for items, when one may be written after each."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)

    def written(items, **options):
        for item in track(items, "job", **options):
            assert item in items
            time.sleep(0.001)
        return capsys.readouterr().err.splitlines()

    return written


def test_with_a_total_the_time_left_is_told(lines):
    first, second, last = lines(["a", "b"], total=2, unit="frames")
    assert first.startswith("job: 1/2 frames, ")
    assert first.endswith(" s left")
    assert second.endswith(", 0 s left")
    assert last.startswith("job: 2 frames in ")


def test_items_may_tell_how_far_they_reach(lines):
    first, second, *_ = lines([0, 500], total=1000, unit="ms", reached=lambda t: t)
    assert first.startswith("job: 0/1000 ms, 0/s")
    assert "left" not in first
    assert second.startswith("job: 500/1000 ms, ")


def test_without_a_total_no_time_is_made_up(lines):
    assert "left" not in "".join(lines([1, 2]))


def test_quiet_is_quiet(lines):
    assert lines([1, 2], quiet=True) == []


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(track([3, 10], "job", total=10, unit="ms", reached=lambda t: t)) == [3, 10]
    assert "10/10" in capsys.readouterr().err
