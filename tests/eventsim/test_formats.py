"""Which file is read and written by which module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from eventsim.cli.files import Convert, Info, View
from eventsim.errors import InputError
from eventsim.io.formats import (
    assumed_conventions,
    event_format,
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
        InputError, match="expected events as RetinaFlow HDF5 or MVSEC or DSEC, found an HDF5 file with some/thing"
    ):
        open_events(tmp_path / "a.h5")
    write_spikes(tmp_path / "b.h5", spikes())
    with pytest.raises(InputError, match="found format 'retinaflow spikes'"):
        open_events(tmp_path / "b.h5")
    (tmp_path / "c.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="expected an HDF5 file"):
        open_events(tmp_path / "c.h5")


# --- formats of events besides our own


def has_faery() -> bool:
    return importlib.util.find_spec("faery") is not None


vendor = pytest.mark.skipif(not has_faery(), reason="the extra formats is not installed")
NAMES = {
    "a.txt": "text",
    "a.csv": "text",
    "a.npz": "NumPy arrays",
    **{name: name.partition(".")[2].upper() for name in ("a.dat", "a.aedat4", "a.es")},
    "a.raw": "EVT",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=vendor if NAMES[name].isupper() else ()) for name in NAMES])
def test_events_come_back_through_every_suffix(tmp_path: Path, name: str) -> None:
    write_events(tmp_path / name, events())
    found = open_events(tmp_path / name)
    assert (found.width, found.height, len(found), found.assumed) == (9, 8, 50, None)
    for column in "txyp":
        assert np.array_equal(getattr(found.read(), column), getattr(events(), column))
    assert len(found.window(0, 1000)) == 10
    assert not holds_spikes(tmp_path / name)
    assert event_format(tmp_path / name) == NAMES[name]
    assert len(open_events(tmp_path / name, 8, 9)) == 50
    with pytest.raises(InputError, match=r"expected .*width 10.*, found .*width 9"):
        open_events(tmp_path / name, 8, 10)


@pytest.mark.parametrize(("name", "key"), [("a.h5", "dsec"), ("a_data.hdf5", "mvsec"), ("a.h5", "retinaflow")])
def test_hdf5_is_written_in_the_layout_asked_for_and_known_by_its_content(tmp_path: Path, name: str, key: str) -> None:
    write_events(tmp_path / name, iter([events()[:20], events()[20:]]), format=key)
    assert event_format(tmp_path / name).lower().startswith(key)
    assert np.array_equal(open_events(tmp_path / name, 8, 9).read().t, events().t)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected format retinaflow or mvsec or dsec, found aedat"):
        write_events(tmp_path / "a.h5", events(), format="aedat")
    with pytest.raises(InputError, match=r"a name that ends in _data\.hdf5, as MVSEC's do, found a\.h5"):
        write_events(tmp_path / "a.h5", events(), format="mvsec")
    with pytest.raises(InputError, match=r"expected another suffix, .*only read, found \.npy"):
        write_events(tmp_path / "a.npy", events())
    with pytest.raises(InputError, match="no time_unit, which DSEC settles itself"):
        write_events(tmp_path / "a.h5", events(), format="dsec", time_unit="s")
    assert list(tmp_path.iterdir()) == []


def test_the_unit_is_told_only_where_it_is_open(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3 1\n")
    assert open_events(tmp_path / "a.txt", time_unit="s").read().t.tolist() == [1_000_000]
    write_events(tmp_path / "b.txt", events(), time_unit="us")
    assert (tmp_path / "b.txt").read_text().splitlines()[2] == "100 1 1 0"
    write_events(tmp_path / "a.h5", events())
    with pytest.raises(InputError, match="no time_unit, which RetinaFlow HDF5 settles itself"):
        open_events(tmp_path / "a.h5", time_unit="us")
    with pytest.raises(ValueError, match="a width of at least 1 pixel, got 0"):
        open_events(tmp_path / "a.txt", width=0)


def test_suffixes_that_spikes_and_events_share_are_told_apart_by_content(tmp_path: Path) -> None:
    header = b"% Data file containing Event2D events.\n% Version 2\n\x00\x08"
    (tmp_path / "a.dat").write_bytes(header + np.array([[100, 2 | 3 << 14 | 1 << 28]], "<u4").tobytes())
    write_events(tmp_path / "a.npz", events())
    for name, kind, other in (("a.dat", "Vidar", "DAT"), ("a.npz", "SpikingSIM", "NumPy arrays")):
        assert not holds_spikes(tmp_path / name)
        with pytest.raises(InputError, match=f"expected spikes as {kind}, found events as {other}"):
            open_spikes(tmp_path / name)
    write_spikes(tmp_path / "b.dat", spikes())
    write_spikes(tmp_path / "b.npz", spikes())
    for name in ("b.dat", "b.npz"):
        assert holds_spikes(tmp_path / name)
        with pytest.raises(InputError, match=r"expected events as .*, found another content"):
            open_events(tmp_path / name)


@pytest.mark.parametrize("name", ["a.raw", "a.dat", "a.aedat4", "a.es"])
def test_without_faery_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    starts = {
        "a.raw": b"% evt 2.0\n",
        "a.dat": b"% Version 2\n",
        "a.aedat4": b"#!AER-DAT4.0\r\n",
        "a.es": b"Event Stream\2",
    }
    (tmp_path / name).write_bytes(starts[name])
    monkeypatch.setitem(sys.modules, "faery", None)
    with pytest.raises(InputError, match=r"pip install retinaflow\[formats\]"):
        open_events(tmp_path / name)
    with pytest.raises(InputError, match=r"pip install retinaflow\[formats\]"):
        write_events(tmp_path / f"b{name}", events())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_command_takes_every_format(tmp_path: Path) -> None:
    write_events(tmp_path / "0.h5", events())
    chain: list[tuple[str, dict[str, object]]] = [
        ("1.h5", {"to_format": "dsec"}),
        ("2.txt", {"to_time_unit": "us"}),
        ("3.npz", {}),
        ("4_data.hdf5", {"to_format": "mvsec"}),
        ("5.csv", {}),
    ]
    source = tmp_path / "0.h5"
    for name, options in chain:
        Convert(source=source, out=tmp_path / name, quiet=True, **options).run()
        source = tmp_path / name
    found = open_events(source)
    assert all(np.array_equal(getattr(found.read(), name), getattr(events(), name)) for name in "txyp")
    facts = dict(Info(source=source).facts())
    assert (facts["format"], facts["sensor"], facts["events"]) == ("text", "9x8", "50 (24 ON, 26 OFF)")
    (tmp_path / "6.txt").write_text("1 2 3 1\n")
    facts = dict(Info(source=tmp_path / "6.txt", height=8, time_unit="s").facts())
    assert facts["assumed"] == "the size from the largest coordinates (the file does not state it)"
    assert (facts["sensor"], facts["time"]) == ("3x8", "1000000 to 1000000 us (0 s)")
    View(source=tmp_path / "5.csv", out=tmp_path / "a.png", quiet=True).run()
    assert (tmp_path / "a.png").stat().st_size > 100


def test_options_that_are_not_for_this_kind_are_refused(tmp_path: Path) -> None:
    write_events(tmp_path / "a.h5", events())
    write_spikes(tmp_path / "b.h5", spikes())
    with pytest.raises(InputError, match="no time_unit, which RetinaFlow HDF5"):
        Info(source=tmp_path / "a.h5", time_unit="s").run()
    for options in ({"time_unit": "s"}, {"to_format": "dsec"}, {"to_time_unit": "us"}):
        with pytest.raises(InputError, match=r"expected events, for --.*, found spikes"):
            Convert(source=tmp_path / "b.h5", out=tmp_path / "c.h5", quiet=True, **options).run()
