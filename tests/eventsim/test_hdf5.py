"""Our own HDF5: round trips, windows, equal bytes, and every fault by name."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io import hdf5
from eventsim.io.hdf5 import EventsFile, open_spikes, write_events, write_spikes
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream


def events(count: int, seed: int = 0, start: int = 0, span_us: int = 50_000) -> Events:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, size, count).astype(np.uint16) for size in (346, 260))
    t = start + np.sort(rng.integers(0, span_us, count))
    return Events(t, x, y, rng.integers(0, 2, count).astype(bool), 346, 260)


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t", "x", "y", "p", "width", "height"))


def pieces(whole: Events, size: int) -> list[Events]:
    return [whole[i : i + size] for i in range(0, len(whole), size)]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_EVENTS_PER_CHUNK", 64)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 400), st.integers(0, 99), st.integers(-(10**15), 2 * 10**15), st.integers(1, 100_000))
def test_round_trip_and_windows(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, start: int, span: int
) -> None:
    path = tmp_path_factory.mktemp("events") / "a.hdf5"
    whole = events(count, seed, start, span)
    write_events(path, whole)
    with EventsFile(path) as found:
        assert (len(found), found.width, found.height) == (count, 346, 260)
        assert same(found.read(), whole)
        rng = np.random.default_rng(seed)
        for t0, t1 in rng.integers(start - span, start + 2 * span + 2000, (8, 2)).tolist():
            assert same(found.window(t0, t1), whole.window(t0, max(t0, t1)))
        for t in whole.t[::97].tolist():  # at the very time of an event, and at whole milliseconds
            assert same(found.window(t, t + 1), whole.window(t, t + 1))
            assert same(found.window(t // 1000 * 1000, t), whole.window(t // 1000 * 1000, t))


def test_slices_and_iteration(tmp_path: Path) -> None:
    whole = events(1000)
    write_events(tmp_path / "a.h5", whole)
    found = EventsFile(tmp_path / "a.h5")
    assert same(found.read(10, 20), whole[10:20])
    assert same(found.read(-5), whole[-5:])
    assert same(Events.concatenate(list(found.chunks(300))), whole)
    assert same(Events.concatenate(list(found)), whole)


def test_no_events_at_all(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", Events.empty(346, 260))
    found = EventsFile(tmp_path / "a.h5")
    assert len(found) == len(found.window(0, 10**9)) == 0
    assert [(len(piece), piece.width) for piece in found] == [(0, 346)]


def test_layout_is_that_of_dsec(tmp_path: Path, small_chunks: None) -> None:
    whole = events(500, start=12_345)
    write_events(tmp_path / "a.h5", iter(pieces(whole, 77)))
    with h5py.File(tmp_path / "a.h5") as file:
        group = file["events"]
        assert {name: item.dtype.name for name, item in group.items()} == {
            "t": "int64", "x": "uint16", "y": "uint16", "p": "uint8", "ms_to_idx": "uint64",
        }  # fmt: skip
        assert dict(file.attrs) == {"format": "retinaflow events", "version": 1, "width": 346, "height": 260}
        index, first_ms = group["ms_to_idx"][:], group.attrs["first_ms"]
    assert first_ms == whole.t[0] // 1000
    assert len(index) == whole.t[-1] // 1000 - first_ms + 2
    for k, entry in enumerate(index[:-1]):
        assert entry == np.searchsorted(whole.t, (first_ms + k) * 1000)
    assert index[-1] == len(whole)


def test_same_content_gives_same_bytes_whenever_and_in_whatever_pieces(tmp_path: Path, small_chunks: None) -> None:
    whole = events(1000)
    stream = SpikeStream.from_planes(np.random.default_rng(0).integers(0, 2, (50, 20, 30)).astype(np.uint8), 20000)
    for name, size in (("a", 1000), ("b", 37), ("c", 1)):
        write_events(tmp_path / f"{name}.h5", pieces(whole, size))
        write_spikes(tmp_path / f"{name}.hdf5", (stream[i : i + size] for i in range(0, 50, size)))
        time.sleep(0.6)
    assert len({path.read_bytes() for path in tmp_path.glob("*.h5")}) == 1
    assert len({path.read_bytes() for path in tmp_path.glob("*.hdf5")}) == 1


def test_reading_is_lazy_and_survives_workers(tmp_path: Path) -> None:
    whole = events(1000)
    write_events(tmp_path / "a.h5", whole)
    found = EventsFile(tmp_path / "a.h5")
    assert same(found.window(0, 9000), whole.window(0, 9000))  # opens a handle, which must not be sent
    assert same(pickle.loads(pickle.dumps(found)).read(), whole)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.starmap(found.read, [(0, 500), (500, 1000)])
    assert same(Events.concatenate(parts), whole)


# --- spikes


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 20), st.integers(1, 9), st.integers(1, 30), st.integers(0, 99))
def test_spikes_round_trip(
    tmp_path_factory: pytest.TempPathFactory, count: int, height: int, width: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("spikes") / "a.h5"
    planes = np.random.default_rng(seed).integers(0, 2, (count, height, width)).astype(np.uint8)
    write_spikes(path, SpikeStream.from_planes(planes, 12_345.5))
    found = open_spikes(path)
    assert (len(found), found.height, found.width, found.readout_hz) == (count, height, width, 12_345.5)
    assert np.array_equal(found.planes(), planes)
    assert np.array_equal(found[2:7].planes(), planes[2:7])
    assert np.array_equal(pickle.loads(pickle.dumps(found)).planes(), planes)


# --- faults


def broken(path: Path, change: str) -> Path:
    write_events(path, events(1000))
    with h5py.File(path, "r+") as file:
        group = file["events"]
        if change == "order":
            t = group["t"][:]
            t[700] = t[699] - 5
            group["t"][:] = t
        elif change == "x":
            group["x"][300] = 346
        elif change == "missing":
            del group["x"]
        elif change == "length":
            group["p"].resize(999, axis=0)
        elif change == "format":
            file.attrs["format"] = "something else"
        elif change == "version":
            file.attrs["version"] = 99
        elif change == "size":
            del file.attrs["width"]
        elif change == "index":
            group["ms_to_idx"][3] = 10**6
    return path


def read_all_ways(path: Path) -> None:
    found = EventsFile(path)
    found.read(250, 1000)
    found.window(0, 10_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("order", r"expected ascending times, found \d+ us after \d+ us at event 700"),
        ("x", r"expected x below 346 and y below 260, found x 346, y \d+ at event 300"),
        ("missing", "expected data set events/x, found events/ms_to_idx, events/p, events/t, events/y"),
        ("length", "expected events/t, x, y and p of one length, found .*'p': 999"),
        ("format", "expected format 'retinaflow events', found format 'something else'"),
        ("version", "expected version 1, found version 99"),
        ("size", "expected attribute width of /, found"),
        ("index", "expected events/ms_to_idx that ascends to 1000"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, change: str, message: str) -> None:
    path = broken(tmp_path / "a.h5", change)
    with pytest.raises(InputError, match=rf"a\.h5: {message}"):
        read_all_ways(path)


def test_not_hdf5_truncated_or_missing(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("not this")
    with pytest.raises(InputError, match=r"a\.h5: expected an HDF5 file, found one that cannot be opened"):
        EventsFile(tmp_path / "a.h5")
    write_events(tmp_path / "b.h5", events(100_000))
    (tmp_path / "b.h5").write_bytes((tmp_path / "b.h5").read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"b\.h5: expected an HDF5 file, found .*truncated"):
        EventsFile(tmp_path / "b.h5")
    with pytest.raises(InputError, match="found nothing there"):
        EventsFile(tmp_path / "c.h5")


def test_a_damaged_chunk_is_told_with_key_and_row(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", events(200_000))
    with h5py.File(tmp_path / "a.h5") as file:
        chunk = file["events/t"].id.get_chunk_info(1)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(InputError, match=r"expected readable data, found .* at events/t, row 40000"):
        EventsFile(tmp_path / "a.h5").read(40_000, 60_000)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one piece"),
        ([events(5), Events.empty(10, 10)], "a sensor of 346x260, got 10x10"),
        ([events(5, start=10**6), events(5)], "pieces in order of time"),
        ([events(5), events(5, start=10**14)], "pause of more than a day"),
    ],
)
def test_writing_refuses(tmp_path: Path, parts: list[Events], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_events(tmp_path / "a.h5", parts)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_stay_unless_told(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", events(5))
    with pytest.raises(OutputExistsError):
        write_events(tmp_path / "a.h5", events(6))
    write_events(tmp_path / "a.h5", events(6), overwrite=True)
    assert len(EventsFile(tmp_path / "a.h5")) == 6


def test_spikes_of_a_wrong_size(tmp_path: Path) -> None:
    write_spikes(tmp_path / "a.h5", SpikeStream(np.zeros((3, 4, 2), np.uint8), 4, 16, 100))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["width"] = 17
    with pytest.raises(InputError, match=r"expected packed spikes of 17x4, found uint8 \(3, 4, 2\)"):
        open_spikes(tmp_path / "a.h5")
    with pytest.raises(InputError, match="expected format 'retinaflow events', found format 'retinaflow spikes'"):
        EventsFile(tmp_path / "a.h5")
