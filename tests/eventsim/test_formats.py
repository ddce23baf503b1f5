"""Which file is read and written by which module."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from eventsim.errors import InputError
from eventsim.io.formats import (
    assumed_conventions,
    holds_spikes,
    open_events,
    open_spikes,
    reading_options,
    write_events,
    write_spikes,
)
from eventsim.io.mvsec import MvsecWriter
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream


def events(count: int = 50) -> Events:
    x = np.arange(count, dtype=np.uint16) % 8
    return Events(np.arange(count) * 100, x, x, x > 3, 9, 8)


def spikes(height: int = 250, width: int = 400) -> SpikeStream:
    planes = np.random.default_rng(0).integers(0, 2, (3, height, width)).astype(np.uint8)
    return SpikeStream.from_planes(planes, 20000)


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.HDF5"])
def test_events_round_trip(tmp_path: Path, name: str) -> None:
    write_events(tmp_path / name, events())
    found = open_events(tmp_path / name)
    assert np.array_equal(found.read().t, events().t)
    assert len(found.window(0, 1000)) == 10
    assert not holds_spikes(tmp_path / name)


def test_mvsec_is_known_by_its_content(tmp_path: Path) -> None:
    with MvsecWriter(tmp_path / "a", width=9, height=8) as out:
        out.add_events(events())
    found = open_events(tmp_path / "a_data.hdf5")
    assert (len(found), found.width, found.height) == (50, 9, 8)
    assert np.array_equal(found.read(10, 20).t, events().t[10:20])
    assert len(found.window(0, 1000)) == 10
    assert sum(map(len, found)) == 50
    found.close()
    assert not holds_spikes(tmp_path / "a_data.hdf5")


@pytest.mark.parametrize("name", ["a.h5", "a.dat", "a.npz"])
def test_spikes_round_trip(tmp_path: Path, name: str) -> None:
    write_spikes(tmp_path / name, spikes())
    assert np.array_equal(open_spikes(tmp_path / name).planes(), spikes().planes())
    assert np.array_equal(open_spikes(tmp_path / name, height=250, width=400).planes(), spikes().planes())
    assert holds_spikes(tmp_path / name)


def test_the_size_of_a_dat_is_told_and_that_of_hdf5_must_agree(tmp_path: Path) -> None:
    small = spikes(26, 34)
    write_spikes(tmp_path / "a.dat", small)
    write_spikes(tmp_path / "a.h5", small)
    assert np.array_equal(open_spikes(tmp_path / "a.dat", 26, 34).planes(), small.planes())
    write_spikes(tmp_path / "a.npz", small)
    for name in ("a.h5", "a.npz"):
        with pytest.raises(InputError, match="expected height 26, width 35, found height 26, width 34"):
            open_spikes(tmp_path / name, 26, 35)


def test_what_a_file_does_not_state_is_told(tmp_path: Path) -> None:
    small = spikes(26, 33)
    write_spikes(tmp_path / "a.dat", small, layout="vidar416", flipped=False, padding="stream")
    told = {"layout": "vidar416", "flipped": False, "padding": "stream", "readout_hz": 40000}
    found = open_spikes(tmp_path / "a.dat", 26, 33, **told)
    assert np.array_equal(found.planes(), small.planes())
    assert found.readout_hz == 40000
    assert set(reading_options("a.dat")) == set(told)
    write_spikes(tmp_path / "a.npz", small)
    assert open_spikes(tmp_path / "a.npz", readout_hz=1000).readout_hz == 1000
    assert reading_options("a.npz") == ("readout_hz",)
    assert reading_options("a.h5") == ()


def test_what_is_assumed_of_a_file_is_told() -> None:
    words = "rows from the bottom up, 16 status columns dropped, padding 'stream', 20000 Hz"
    options = {"height": 1, "width": 3, "layout": "vidar416", "padding": "stream", "readout_hz": None}
    assert assumed_conventions("a.dat", **options) == words
    assert assumed_conventions("a.npz", height=3) == "20000 Hz"
    assert assumed_conventions("a.npz", readout_hz=5) == "5 Hz"
    assert assumed_conventions("a.h5") is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.h5", {"layout": "vidar"}, "no layout, which RetinaFlow HDF5 settles itself, found layout vidar"),
        (
            "a.h5",
            {"flipped": False, "readout_hz": 1.0},
            "no flipped or readout_hz, .*, found flipped False, readout_hz 1.0",
        ),
        ("a.npz", {"padding": "plane"}, "no padding, which SpikingSIM settles itself, found padding plane"),
    ],
)
def test_what_a_file_states_itself_is_not_to_be_told(
    tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    write_spikes(tmp_path / name, spikes())
    with pytest.raises(InputError, match=rf"{name}: expected {message}"):
        open_spikes(tmp_path / name, **options)
    if "readout_hz" not in options:
        with pytest.raises(InputError, match=message):
            write_spikes(tmp_path / name, spikes(), overwrite=True, **options)


@pytest.mark.parametrize("name", ["a.dat", "a.h5", "a.npz"])
@pytest.mark.parametrize("size", [{"height": 0}, {"width": 0}, {"height": -250}])
def test_a_size_of_nothing_is_refused(tmp_path: Path, name: str, size: dict[str, int]) -> None:
    write_spikes(tmp_path / name, spikes())
    with pytest.raises(ValueError, match=f"{next(iter(size))} of at least 1 pixel"):
        open_spikes(tmp_path / name, **size)


@pytest.mark.parametrize("call", [open_events, open_spikes, holds_spikes, lambda path: write_events(path, events())])
@pytest.mark.parametrize("name", ["a.xyz", "noname"])
def test_unknown_suffixes_list_what_is_known(tmp_path: Path, call: object, name: str) -> None:
    with pytest.raises(
        InputError, match=r"expected a known format: RetinaFlow HDF5 \(\.h5, \.hdf5\).*, found suffix '"
    ):
        call(tmp_path / name)


@pytest.mark.parametrize("call", [open_events, open_spikes, holds_spikes])
def test_missing_files(tmp_path: Path, call: object) -> None:
    with pytest.raises(InputError, match=r"a\.h5: expected .*, found nothing there"):
        call(tmp_path / "a.h5")


def test_hdf5_of_another_kind_tells_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["some/thing"] = [1]
    with pytest.raises(
        InputError, match="expected events as RetinaFlow HDF5 or MVSEC, found an HDF5 file with some/thing"
    ):
        open_events(tmp_path / "a.h5")
    write_spikes(tmp_path / "b.h5", spikes())
    with pytest.raises(InputError, match="found format 'retinaflow spikes'"):
        open_events(tmp_path / "b.h5")
    (tmp_path / "c.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="expected an HDF5 file"):
        open_events(tmp_path / "c.h5")
