"""Events as NumPy keeps them: round trips, what others write, and what may mean several things or nothing."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.event_npz import NpzEvents, is_events, write_events
from eventsim.streams.events import Events


def events(count: int, seed: int = 0, start: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, size, count).astype(np.uint16) for size in (34, 26))
    return Events(start + np.sort(rng.integers(0, 10**6, count)), x, y, rng.random(count) < 0.5, 34, 26)


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t", "x", "y", "p", "width", "height"))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 300), st.integers(0, 99), st.integers(-(10**15), 2 * 10**15))
def test_round_trip_and_windows(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, start: int) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    whole = events(count, seed, start)
    write_events(path, (whole[at : at + 37] for at in range(0, max(count, 1), 37)))
    found = NpzEvents(path)
    assert found.assumed is None
    assert same(found.read(), whole)
    rng = np.random.default_rng(seed)
    for t0, t1 in rng.integers(start - 1000, start + 10**6 + 1000, (8, 2)).tolist():
        assert same(found.window(t0, t1), whole.window(t0, max(t0, t1)))
    assert same(pickle.loads(pickle.dumps(found)).read(), whole)
    found.close()
    assert same(found.read(3, 7), whole[3:7])


def test_numpy_reads_what_is_written_and_pieces_do_not_matter(tmp_path: Path) -> None:
    whole = events(500)
    write_events(tmp_path / "a.npz", whole)
    write_events(tmp_path / "b.npz", iter([whole[:100], whole[100:]]))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as arrays:
        assert {name: array.dtype.name for name, array in arrays.items()} == {
            "t": "int64", "x": "uint16", "y": "uint16", "p": "uint8", "width": "int64", "height": "int64",
        }  # fmt: skip
        assert np.array_equal(arrays["t"], whole.t)
        assert np.array_equal(arrays["p"], whole.p)
    with pytest.raises(OutputExistsError):
        write_events(tmp_path / "a.npz", whole)


def test_arrays_that_are_not_compressed_are_mapped(tmp_path: Path) -> None:
    write_events(tmp_path / "a.npz", events(500))
    assert all(isinstance(column.base, np.memmap) for column in NpzEvents(tmp_path / "a.npz")._open().values())


def spellings(whole: Events) -> dict[str, dict[str, np.ndarray]]:
    t, x, y, p = whole.t, whole.x, whole.y, whole.p
    signed = np.where(p, 1, -1)
    return {
        "long names": {"timestamps": t, "X": x, "Y": y, "polarity": signed},
        "tonic": {"events": whole.to_tonic()},
        "t x y p": {"arr_0": np.stack([t, x, y, p], axis=1)},
        "x y t p in float": {"data": np.stack([x, y, t, signed], axis=1).astype(np.float64)},
        "x y p t": {"arr_0": np.asfortranarray(np.stack([x, y, p, t], axis=1))},
        "seconds": {"t": t / 1e6, "x": x.astype(float), "y": y, "p": p.astype(float)},
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", spellings(events(3)))
def test_what_others_write_is_read(tmp_path: Path, name: str, save) -> None:
    whole = events(400, start=123_456)
    save(tmp_path / "a.npz", **spellings(whole)[name])
    unit = "seconds" if name == "seconds" else "microseconds"
    assert is_events(tmp_path / "a.npz")
    assert same(NpzEvents(tmp_path / "a.npz", 26, 34).read(), whole)
    found = NpzEvents(tmp_path / "a.npz")
    assert found.assumed == f"times in {unit}, the size from the largest coordinates"
    assert (found.width, found.height) == (34, 26)
    assert NpzEvents(tmp_path / "a.npz", width=99).width == 99


def test_a_single_array_of_its_own(tmp_path: Path) -> None:
    whole = events(400)
    np.save(tmp_path / "a.npy", whole.to_tonic())
    np.save(tmp_path / "b.npy", np.stack([whole.t / 1e6, whole.x, whole.y, whole.p], axis=1))
    for name in ("a.npy", "b.npy"):
        assert same(NpzEvents(tmp_path / name, 26, 34).read(), whole)


def test_the_unit_can_be_told(tmp_path: Path) -> None:
    ones = np.array([1])
    np.savez(tmp_path / "a.npz", t=np.array([2]), x=ones, y=ones, p=ones)
    assert NpzEvents(tmp_path / "a.npz", time_unit="s").read().t.tolist() == [2_000_000]
    np.savez(tmp_path / "a.npz", t=np.array([2.4]), x=ones, y=ones, p=ones)
    assert NpzEvents(tmp_path / "a.npz", time_unit="us").read().t.tolist() == [2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": np.arange(3), "x": np.arange(3)}, r"expected arrays t, x, y, p, .*found t int64 \[3\], x int64 \[3\]"),
        ({"t": np.arange(3), "x": np.arange(3), "y": np.arange(3), "p": np.ones(2, bool)}, "of one length"),
        ({"a": np.zeros((5, 3))}, r"found a float64 \[5, 3\]"),
        ({"a": np.zeros((5, 4), int)}, "found 3 of them that may be"),
        ({"a": np.full((5, 4), 0.5)}, "found none that can be"),
        ({"t": np.arange(2), "ts": np.arange(2), "x": np.ones(2), "y": np.ones(2), "p": np.ones(2)}, "expected arrays"),
        ({"t": np.arange(2), "x": np.array(["a", "b"]), "y": np.ones(2), "p": np.ones(2)}, "numbers for x"),
        ({"t": np.arange(2), "x": np.array([0.5, 1]), "y": np.ones(2), "p": np.ones(2)}, "whole numbers for x"),
        ({"t": np.array([0, np.nan]), "x": np.ones(2), "y": np.ones(2), "p": np.ones(2)}, "finite times, found nan"),
        ({"t": np.arange(0), "x": np.ones(0), "y": np.ones(0), "p": np.ones(0)}, "height and width, found neither"),
    ],
)
def test_what_is_no_events_or_may_be_several(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        NpzEvents(tmp_path / "a.npz")


def test_faults_of_events_are_named_by_their_index(tmp_path: Path) -> None:
    t, ones = np.arange(100), np.ones(100, int)
    np.savez(tmp_path / "a.npz", t=np.where(t == 70, 3, t), x=ones, y=ones, p=ones)
    with pytest.raises(InputError, match=r"ascending times, found 3 us after 69 us at event 70"):
        NpzEvents(tmp_path / "a.npz").read(50)
    np.savez(tmp_path / "b.npz", t=t, x=ones, y=ones, p=np.where(t == 60, 7, 1))
    with pytest.raises(InputError, match=r"polarity 0 or 1, or -1 or 1, found 7 at event 60"):
        NpzEvents(tmp_path / "b.npz").read(50)
    with pytest.raises(InputError, match=r"x below 34 and y below 1, found x 1, y 1 at event 0"):
        NpzEvents(tmp_path / "b.npz", 1, 34).read(0, 50)
    write_events(tmp_path / "c.npz", events(5))
    with pytest.raises(InputError, match="expected width 35, found width 34"):
        NpzEvents(tmp_path / "c.npz", width=35)


def test_damaged_or_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing there"):
        NpzEvents(tmp_path / "a.npz")
    write_events(tmp_path / "b.npz", events(500))
    data = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"b\.npz: expected a whole \.npz"):
        NpzEvents(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("t.npy", b"no array")
    assert not is_events(tmp_path / "c.npz")
    assert not is_events(tmp_path / "none.npz")
    np.savez(tmp_path / "spikes.npz", np.zeros((3, 4, 5), np.uint8))
    assert not is_events(tmp_path / "spikes.npz")
