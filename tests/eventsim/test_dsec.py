"""DSEC's layout: what is written is laid out as theirs, windows are those of the events, maps are applied and found."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io import dsec
from eventsim.io.dsec import DsecEvents, RectifyMap, write_events
from eventsim.streams.events import Events


def events(
    count: int, seed: int = 0, start: int = 0, span_us: int = 50_000, size: tuple[int, int] = (640, 480)
) -> Events:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, length, count).astype(np.uint16) for length in size)
    return Events(start + np.sort(rng.integers(0, span_us, count)), x, y, rng.random(count) < 0.5, *size)


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t", "x", "y", "p", "width", "height"))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 400), st.integers(0, 99), st.integers(0, 2 * 10**15), st.integers(1, 100_000))
def test_round_trip_and_windows(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, start: int, span: int
) -> None:
    path = tmp_path_factory.mktemp("dsec") / "events.h5"
    whole = events(count, seed, start, span)
    write_events(path, (whole[at : at + 37] for at in range(0, max(count, 1), 37)))
    found = DsecEvents(path)
    assert same(found.read(), whole)
    rng = np.random.default_rng(seed)
    for t0, t1 in rng.integers(start - span, start + 2 * span + 2000, (8, 2)).tolist():
        assert same(found.window(t0, t1), whole.window(t0, max(t0, t1)))
    for t in whole.t[::97].tolist():
        assert same(found.window(t, t + 1), whole.window(t, t + 1))
    assert same(pickle.loads(pickle.dumps(found)).read(), whole)


def test_the_layout_is_dsecs(tmp_path: Path) -> None:
    whole = events(500, start=7_012_345)
    write_events(tmp_path / "events.h5", whole)
    with h5py.File(tmp_path / "events.h5") as file:
        kinds = {name: file[f"events/{name}"].dtype.name for name in "txyp"}
        assert kinds == {"t": "uint32", "x": "uint16", "y": "uint16", "p": "uint8"}
        assert file["t_offset"][()] == 7_012_000
        assert file["t_offset"].shape == ()
        t, index = file["events/t"][:].astype(np.int64), file["ms_to_idx"][:]
        assert dict(file.attrs) == {}
    assert index.dtype == np.uint64
    assert np.array_equal(t + 7_012_000, whole.t)
    assert np.array_equal(index, np.searchsorted(t, np.arange(len(index)) * 1000))
    assert len(index) == t[-1] // 1000 + 2


def test_an_index_that_ends_early_still_finds_every_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsec, "_READ_AT_ONCE", 16)
    whole = events(1000, start=5000)
    write_events(tmp_path / "a.h5", whole)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["ms_to_idx"].resize(10, axis=0)
    found = DsecEvents(tmp_path / "a.h5")
    for t0 in range(4000, 60_000, 777):
        assert same(found.window(t0, t0 + 3000), whole.window(t0, t0 + 3000))


def test_another_size_is_stated_in_attributes(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", events(5, size=(346, 260)))
    write_events(tmp_path / "b.h5", events(5))
    found, usual = DsecEvents(tmp_path / "a.h5"), DsecEvents(tmp_path / "b.h5")
    assert (found.width, found.height, found.assumed) == (346, 260, None)
    assert (usual.width, usual.height, usual.assumed) == (640, 480, "a sensor of 640x480")


def test_the_map_beside_the_events_rectifies_them(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:480, :640].astype(np.float32)
    RectifyMap(np.stack([columns * 1.5 - 3, rows + columns / 100], axis=2)).write(tmp_path / "rectify_map.h5")
    with h5py.File(tmp_path / "rectify_map.h5") as file:
        assert file["rectify_map"].shape == (480, 640, 2)
        assert file["rectify_map"].dtype == np.float32
    whole = events(200)
    write_events(tmp_path / "events.h5", whole)
    found = DsecEvents(tmp_path / "events.h5").rectify_map
    assert found is not None
    x, y = found.rectify(whole)
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(x, whole.x * 1.5 - 3, atol=1e-4)
    np.testing.assert_allclose(y, whole.y + whole.x / 100, atol=1e-4)
    with pytest.raises(ValueError, match="a sensor of 640x480, got 346x260"):
        found.rectify(events(3, size=(346, 260)))
    with pytest.raises(OutputExistsError):
        found.write(tmp_path / "rectify_map.h5")


def test_without_a_map_there_is_none_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    write_events(tmp_path / "events.h5", events(5))
    assert DsecEvents(tmp_path / "events.h5").rectify_map is None
    with h5py.File(tmp_path / "rectify_map.h5", "w") as file:
        file["rectify_map"] = np.zeros((480, 640))
    with pytest.raises(InputError, match=r"rectify_map \[H, W, 2\], found shape \(480, 640\)"):
        RectifyMap.read(tmp_path / "rectify_map.h5")
    with pytest.raises(ValueError, match=r"a map \[H, W, 2\]"):
        RectifyMap(np.zeros((3, 4, 3), np.float32))


def test_faults_are_named(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", events(1000))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["events/x"][300] = 640
        file["ms_to_idx"][3] = 5000
    found = DsecEvents(tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"x below 640 and y below 480, found x 640, y \d+ at event 300"):
        found.read(250, 400)
    with pytest.raises(InputError, match="ms_to_idx that ascends from 0 to 1000"):
        found.window(0, 10_000)
    found.close()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["events/p"].resize(999, axis=0)
    with pytest.raises(InputError, match="of one length"):
        DsecEvents(tmp_path / "a.h5")
    late = Events(np.array([0, 2**32]), *np.zeros((2, 2), np.uint16), np.ones(2, bool), 640, 480)
    with pytest.raises(ValueError, match="within 4294967296 us"):
        write_events(tmp_path / "b.h5", late)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]


_WINDOWS = """
import resource, sys
import numpy as np
from eventsim import Events, open_events, write_events
path, format, count, parts = sys.argv[1], sys.argv[2], 1 << 20, 24
def pieces():
    x = (np.arange(count) % 640).astype(np.uint16)
    for part in range(parts):
        yield Events(part * count + np.arange(count), x, x % 480, x % 2 > 0, 640, 480)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
if sys.argv[3] == "write":
    write_events(path, pieces(), format=format)
with open_events(path) as found:
    found.window(0, 10)
    before = peak()
    assert len(found) == parts * count
    for t0 in range(0, parts * count - 10_000, parts * count // 20):
        window = found.window(t0, t0 + 10_000)
        assert np.array_equal(window.t, t0 + np.arange(10_000)), t0
    assert sys.argv[3] == "write" or peak() - before < 60, (before, peak())
"""


@pytest.mark.parametrize("format", ["dsec", "retinaflow", "mvsec"])
def test_windows_of_a_long_recording_take_little_memory(tmp_path: Path, format: str) -> None:
    """25 million events: 327 MB in memory, or 805 MB as MVSEC's rows; windows may take 60 MiB."""
    for action in ("write", "read"):  # reading is measured in a process that has not written
        line = [sys.executable, "-c", _WINDOWS, str(tmp_path / "a_data.hdf5"), format, action]
        said = subprocess.run(line, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
    assert (tmp_path / "a_data.hdf5").stat().st_size < 300e6
