"""Events as text: every way of writing them down, units and sizes that are not stated, and faults by their line."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError
from eventsim.io import text
from eventsim.io.text import TextEvents, write_events
from eventsim.streams.events import Events


def events(count: int, seed: int = 0, start: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, size, count).astype(np.uint16) for size in (34, 26))
    return Events(start + np.sort(rng.integers(0, 10**6, count)), x, y, rng.random(count) < 0.5, 34, 26)


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t", "x", "y", "p", "width", "height"))


def written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 400), st.integers(0, 99), st.integers(-(10**7), 2 * 10**15), st.sampled_from(["s", "us"]))
def test_round_trip_and_windows_in_small_blocks(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, start: int, unit: text.TimeUnit
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    whole = events(count, seed, start)
    write_events(path, (whole[at : at + 37] for at in range(0, max(count, 1), 37)), time_unit=unit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK_BYTES", 300)
        found = TextEvents(path)
        assert found.assumed is None
        assert same(found.read(), whole)
        rng = np.random.default_rng(seed)
        for t0, t1 in rng.integers(start - 1000, start + 10**6 + 1000, (8, 2)).tolist():
            assert same(found.window(t0, t1), whole.window(t0, max(t0, t1)))
        for low, high in rng.integers(0, count + 1, (8, 2)).tolist():
            assert same(found.read(low, high), whole[low:high])
        assert same(Events.concatenate(list(found.chunks(50))), whole)
        assert same(pickle.loads(pickle.dumps(found)).read(), whole)
        if count:
            assert found.time_span() == (whole.t[0], whole.t[-1])


@pytest.mark.parametrize(
    "content",
    [
        "0.000010 1 2 1\n0.000020 3 0 0\n",
        "10 1 2 1\n20 3 0 -1\n",
        "1.0e-5\t1\t2\t1\r\n2.0e-5\t3\t0\t0\r\n",
        "# a comment\n\n10 1 2 1 # ON\n   \n20 3 0 0",
        "t,x,y,p\n10,1,2,1\n20,3,0,0\n",
        "x, y, timestamp, polarity\n1, 2, 10, 1\n3, 0, 20, 0\n",
        "1.0000000000e-05 1.0000000e+00 2.000e+00 1.0e+00\n2e-05 3e+00 0e+00 0e+00\n",
    ],
)
def test_ways_of_writing_the_same_events_down(tmp_path: Path, content: str) -> None:
    found = TextEvents(written(tmp_path / "a.txt", content)).read()
    assert (found.width, found.height) == (4, 3)
    assert [getattr(found, name).tolist() for name in "txyp"] == [[10, 20], [1, 3], [2, 0], [True, False]]


def test_units_and_sizes_are_those_stated_told_or_assumed(tmp_path: Path) -> None:
    found = TextEvents(written(tmp_path / "a.txt", "10 1 2 1\n"))
    assert found.assumed == "times in microseconds, the size from the largest coordinates"
    found = TextEvents(tmp_path / "a.txt", 260, 346, time_unit="s")
    assert (found.width, found.height, found.assumed) == (346, 260, None)
    assert found.read().t.tolist() == [10_000_000]
    assert TextEvents(tmp_path / "a.txt", height=9).read().width == 2
    found = TextEvents(written(tmp_path / "b.txt", "346 260\n0.5 1 2 1\n"))
    assert (found.width, found.height, found.assumed) == (346, 260, "times in seconds")
    with pytest.raises(InputError, match="expected width 240, found width 346"):
        TextEvents(tmp_path / "b.txt", width=240)


def test_times_of_nanoseconds_are_rounded(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "13.582595999 1 1 1\n1633953691.123456 0 0 0\n")
    assert TextEvents(path).read().t.tolist() == [13_582_596, 1_633_953_691_123_456]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("12 1 2 1\n13 1 2\n", r"expected a line of four numbers, found '13 1 2' at line 3"),
        ("12 1 2 1 5\n13 2 1\n", r"expected a line of four numbers, found '12 1 2 1 5' at line 2"),
        ("\n# x\n12 1 b 1\n", r"expected a line of four numbers, found '12 1 b 1' at line 4"),
        ("12 1 nan 1\n", r"expected a line of four numbers, found '12 1 nan 1' at line 2"),
        ("12 1 2 1\n\n9 1 2 1\n", r"expected ascending times, found 9 at line 4"),
        ("12 34 2 1\n", r"expected whole x below 34 and y below 26, found 34 at line 2"),
        ("12 1 -2 1\n", r"expected whole x below 34 and y below 26, found -2 at line 2"),
        ("12 1.5 2 1\n", r"expected whole x below 34 and y below 26, found 1.5 at line 2"),
        ("12 1 2 3\n", r"expected polarity 0 or 1, or -1 or 1, found 3 at line 2"),
        ("12.5 1 2 1\n", r"expected whole microseconds \(or time_unit 's'\), found 12.5 at line 2"),
    ],
)
def test_faults_are_named_by_their_line(tmp_path: Path, lines: str, message: str) -> None:
    path = written(tmp_path / "a.txt", "10 1 2 1\n" + lines)
    with pytest.raises(InputError, match=message):
        TextEvents(path, 26, 34).read()


def test_lines_are_counted_and_times_compared_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_BLOCK_BYTES", 40)
    rows = [f"{t} 1 2 1" for t in range(100)]
    path = written(tmp_path / "a.txt", "\n".join([*rows[:70], "70 1 2", *rows[71:]]))
    with pytest.raises(InputError, match="found '70 1 2' at line 71"):
        TextEvents(path)
    path = written(tmp_path / "b.txt", "".join(f"{t} 1 2 1\n" for t in [*range(10, 58), 3]))
    with pytest.raises(InputError, match=r"ascending times, found 3 .*at (event|line)"):
        TextEvents(path)


def test_what_is_no_text_of_events(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing there"):
        TextEvents(tmp_path / "none.txt")
    with pytest.raises(InputError, match="expected events, or the sensor's height and width, found neither"):
        TextEvents(written(tmp_path / "a.txt", "# nothing\n"))
    assert len(TextEvents(tmp_path / "a.txt", 5, 6)) == 0
    assert [len(piece) for piece in TextEvents(tmp_path / "a.txt", 5, 6)] == [0]
    (tmp_path / "b.txt").write_bytes(bytes(range(1, 10)) * 400_000)
    with pytest.raises(InputError, match=r"b\.txt: expected a line"):
        TextEvents(tmp_path / "b.txt")


_LONG = """
import resource, sys
from eventsim import open_events
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
path = sys.argv[1]
with open(path, "w") as file:
    for block in range(100):
        file.write("".join(f"{t} {t % 300} {t % 200} {t % 2}\\n" for t in range(block * 20000, block * 20000 + 20000)))
open_events(path, 200, 300).read  # loads what reading needs
before = peak()
found = open_events(path)
assert len(found) == 2_000_000
for t0 in range(0, 2_000_000, 200_000):
    assert found.window(t0, t0 + 500).t.tolist() == list(range(t0, t0 + 500))
assert peak() - before < 40, (before, peak())
"""


def test_windows_of_a_long_text_take_little_memory(tmp_path: Path) -> None:
    """Two million lines, 64 MB as numbers and 26 MB as events besides: windows may take 40 MiB."""
    line = [sys.executable, "-c", _LONG, str(tmp_path / "a.txt")]
    said = subprocess.run(line, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
