"""Real recordings of event cameras in their makers' formats: set RETINAFLOW_REAL_DATA to the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventsim import Events, open_events, write_events
from eventsim.io.vendor import aedat4_frames

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")
ROOT = Path(DATA or ".")
EVENTS, TEXT = ROOT / "events_real", ROOT / "flow_real"
RECORDINGS = {
    "prophesee/dat_sample.dat": (4407, 54, 61),
    "prophesee/evt2_sample.raw": (539_481, 640, 480),
    "prophesee/evt3_sample.raw": (219_596, 1280, 720),
    "aedat4/davis346.aedat4": (117_667, 346, 260),
    "aedat4/dvxplorer.aedat4": (111_954, 320, 240),
}


@pytest.fixture(autouse=True)
def _faery(request: pytest.FixtureRequest) -> None:
    if "text" not in request.node.name:
        pytest.importorskip("faery")


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "txyp")


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_are_read_and_come_back_from_our_formats(name: str, tmp_path: Path) -> None:
    source = open_events(EVENTS / name)
    assert (len(source), source.width, source.height) == RECORDINGS[name]
    whole = source.read()
    middle = int(whole.t[len(whole) // 2])
    assert same(source.window(middle, middle + 2000), whole.window(middle, middle + 2000))
    for out, options in (("a.h5", {}), ("b.h5", {"format": "dsec"}), ("c.npz", {}), ("d.txt", {}), ("e.aedat4", {})):
        write_events(tmp_path / out, source, **options)
        assert same(open_events(tmp_path / out).read(), whole), out


def test_dat_is_decoded_as_by_another_decoder() -> None:
    found, other = (open_events(EVENTS / f"prophesee/dat_sample.{suffix}").read() for suffix in ("dat", "npy"))
    assert same(found, other)


def words_of(path: Path, dtype: str) -> np.ndarray:
    """The words behind a Prophesee file's header."""
    data = path.read_bytes()
    begin = 0
    while data.startswith(b"% ", begin):
        begin = data.index(b"\n", begin) + 1
    return np.frombuffer(data[begin : len(data) - (len(data) - begin) % np.dtype(dtype).itemsize], dtype)


def latest(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """At every word the value of the last one that is chosen; 0 before the first."""
    at = np.maximum.accumulate(np.where(chosen, np.arange(len(values)), -1))
    return np.where(at >= 0, values[at], 0)


def evt3_times(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times of the events of an EVT3 file, by the format's description: an upper and a lower half of 12 bits each. As
    the clock stands at every event, and as its latest time up to there."""
    words = words_of(path, "<u2")
    kinds, values = words >> 12, (words & 0xFFF).astype(np.int64)
    ones = np.array([value.bit_count() for value in range(1 << 12)])
    counts = np.select([kinds == 2, kinds == 4, kinds == 5], [1, ones[values], ones[values & 0xFF]], 0)
    clock = latest(latest(values, kinds == 8) << 12 | values, kinds == 6)  # a lower half completes it
    return np.repeat(clock, counts), np.repeat(np.maximum.accumulate(clock), counts)


def test_evt3_is_decoded_as_its_description_says() -> None:
    """The sensor's clock falls back by up to 11 us once a millisecond, over which faery keeps the later time. The
    decoder of the array beside the file takes that for a wrap, and adds 4096 us each time: its times are wrong.
    """
    found = open_events(EVENTS / "prophesee/evt3_sample.raw").read()
    times, latest_times = evt3_times(EVENTS / "prophesee/evt3_sample.raw")
    assert np.array_equal(found.t, latest_times)
    assert (found.t - times).max() == 11
    other = np.load(EVENTS / "prophesee/evt3_sample.npy")
    assert all(np.array_equal(getattr(found, name), other[name]) for name in "xyp")
    jump = int(np.argmax(np.diff(other["t"]) > 4000)) + 1
    assert jump > 20_000
    assert np.array_equal(found.t[:jump], other["t"][:jump])


def test_evt2_is_decoded_as_its_description_says() -> None:
    words = words_of(EVENTS / "prophesee/evt2_sample.raw", "<u4").astype(np.int64)
    kinds = words >> 28
    upper = latest(words & 0xFFFFFFF, kinds == 8)
    events = kinds <= 1
    found = open_events(EVENTS / "prophesee/evt2_sample.raw").read()
    assert np.array_equal(found.t, (upper << 6 | words >> 22 & 0x3F)[events])
    assert np.array_equal(found.x, (words >> 11 & 0x7FF)[events])
    assert np.array_equal(found.y, (words & 0x7FF)[events])
    assert np.array_equal(found.p, kinds[events] == 1)


def test_frames_of_a_davis() -> None:
    frames = list(aedat4_frames(EVENTS / "aedat4/davis346.aedat4"))
    assert [t for t, _ in frames] == [1_633_953_690_978_904, 1_633_953_691_018_904, 1_633_953_691_058_904]
    assert all(picture.shape == (260, 346) and picture.dtype == np.uint8 for _, picture in frames)
    assert all(40 < picture.mean() < 60 and picture.std() > 10 for _, picture in frames)
    assert list(aedat4_frames(EVENTS / "aedat4/dvxplorer.aedat4")) == []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ecd_rotation/boxes_rotation/events.txt", 30_000),
        ("ecd_rotation/poster_rotation/events.txt", 30_000),
        ("ecd_slider_depth/events_chunk.txt", 50_000),
    ],
)
def test_text_of_the_event_camera_dataset(name: str, count: int, tmp_path: Path) -> None:
    source = open_events(TEXT / name)
    assert (len(source), source.width, source.height) == (count, 240, 180)
    table = np.loadtxt(TEXT / name)
    found = source.read()
    assert np.array_equal(found.t, np.rint(table[:, 0] * 1e6).astype(np.int64))
    assert np.array_equal(np.stack([found.x, found.y, found.p], axis=1), table[:, 1:])
    write_events(tmp_path / "a.txt", source)
    assert same(open_events(tmp_path / "a.txt").read(), found)
