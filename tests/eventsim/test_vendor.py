"""Files of cameras' makers, through faery: round trips, windows, plain decoders of our own beside it, and faults."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("faery")

from eventsim.errors import InputError, OutputExistsError
from eventsim.io import vendor_writer
from eventsim.io.vendor import VendorEvents, aedat4_frames, is_vendor, kind_of
from eventsim.streams.events import Events

WRITERS = {
    "a.raw": vendor_writer.write_evt2,
    "a.dat": vendor_writer.write_dat,
    "a.aedat4": vendor_writer.write_aedat4,
    "a.es": vendor_writer.write_es,
}


def events(count: int, seed: int = 0, start: int = 0, span_us: int = 10**6) -> Events:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, size, count).astype(np.uint16) for size in (640, 480))
    return Events(start + np.sort(rng.integers(0, span_us, count)), x, y, rng.random(count) < 0.5, 640, 480)


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t", "x", "y", "p", "width", "height"))


@pytest.mark.parametrize("name", WRITERS)
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 400), st.integers(0, 99), st.integers(0, 3_000_000_000), st.integers(1, 10**8))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, name: str, count: int, seed: int, start: int, span: int
) -> None:
    path = tmp_path_factory.mktemp("vendor") / name
    whole = events(count, seed, start // 100 if name == "a.es" else start, span)
    WRITERS[name](path, (whole[at : at + 37] for at in range(0, max(count, 1), 37)))
    found = VendorEvents(path)
    assert found.assumed is None
    assert same(found.read(), whole)


@pytest.mark.parametrize("name", ["a.raw", "a.dat", "a.aedat4"])
def test_times_since_1970_are_kept(tmp_path: Path, name: str) -> None:
    whole = events(1000, start=1_633_953_690_975_950)
    WRITERS[name](tmp_path / name, whole)
    assert same(VendorEvents(tmp_path / name).read(), whole)


@pytest.mark.parametrize("name", WRITERS)
def test_windows_in_any_order(tmp_path: Path, name: str) -> None:
    whole = events(300_000)
    WRITERS[name](tmp_path / name, whole)
    found = VendorEvents(tmp_path / name)
    rng = np.random.default_rng(0)
    for t0 in [*range(0, 1_000_000, 200_000), *rng.integers(-1000, 1_001_000, 6).tolist()]:
        assert same(found.window(t0, t0 + 5000), whole.window(t0, t0 + 5000))
    assert same(found.read(150_000, 150_010), whole[150_000:150_010])
    assert found.time_span() == (whole.t[0], whole.t[-1])
    assert same(pickle.loads(pickle.dumps(found)).window(500, 900), whole.window(500, 900))


def test_consecutive_windows_decode_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = events(100_000)
    vendor_writer.write_evt2(tmp_path / "a.raw", whole)
    found, begun = VendorEvents(tmp_path / "a.raw"), itertools.count()
    decode = VendorEvents._decode
    monkeypatch.setattr(VendorEvents, "_decode", lambda self: (next(begun), decode(self))[1])
    for t0 in range(0, 1_000_000, 50_000):
        assert same(found.window(t0, t0 + 50_000), whole.window(t0, t0 + 50_000))
    assert next(begun) == 2  # to note where pieces begin, and for all windows


def evt3(times: list[int]) -> bytes:
    """Events at (7, 5), ON, as a sensor writes them: the upper bits of the clock whenever they change."""
    words, upper = [], None
    for t in times:
        if t >> 12 != upper:
            upper = t >> 12
            words.append(0x8000 | upper & 0xFFF)
        words += [0x6000 | t & 0xFFF, 0x0000 | 5, 0x2000 | 0x800 | 7]
    return np.array(words, "<u2").tobytes()


def test_evt3_beyond_the_wrap_of_its_clock(tmp_path: Path) -> None:
    times = list(range(16_700_000, 16_900_000, 700))  # the clock has 24 bits
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% geometry 640x480\n% end\n" + evt3(times))
    found = VendorEvents(tmp_path / "a.raw").read()
    assert found.t.tolist() == times
    assert set(zip(found.x.tolist(), found.y.tolist(), found.p.tolist(), strict=True)) == {(7, 5, True)}


@pytest.mark.parametrize(
    ("header", "size", "assumed"),
    [
        (b"% evt 3.0\n% geometry 640x480\n", (640, 480), None),
        (b"% format EVT3;height=480;width=640\n", (640, 480), None),
        (b"% evt 3.0\n% plugin_name hal_plugin_gen41_evk3\n", (1280, 720), "the sensor that the header names"),
        (b"% evt 3.0\n% sensor_name IMX636\n", (1280, 720), "the sensor that the header names"),
        (b"% evt 3.0\n", (8, 6), "largest coordinates"),
    ],
)
def test_the_size_is_stated_named_or_found(
    tmp_path: Path, header: bytes, size: tuple[int, int], assumed: str | None
) -> None:
    (tmp_path / "a.raw").write_bytes(header + evt3([1, 2, 3]))
    found = VendorEvents(tmp_path / "a.raw")
    assert (found.width, found.height) == size
    assert (found.assumed is None) == (assumed is None)
    assert (assumed or "") in (found.assumed or "")
    if assumed:
        told = VendorEvents(tmp_path / "a.raw", 100, 200)
        assert (told.width, told.height, told.assumed) == (200, 100, None)
    else:
        with pytest.raises(InputError, match="expected width 200, found width 640"):
            VendorEvents(tmp_path / "a.raw", width=200)


def test_faults_of_files(tmp_path: Path) -> None:
    whole = events(5000)
    vendor_writer.write_aedat4(tmp_path / "a.aedat4", whole)
    data = (tmp_path / "a.aedat4").read_bytes()
    (tmp_path / "b.aedat4").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"b\.aedat4: expected a whole recording"):
        VendorEvents(tmp_path / "b.aedat4").read()
    (tmp_path / "c.raw").write_bytes(b"anything")
    with pytest.raises(InputError, match="a header of EVT2, EVT3, DAT, AEDAT4 or ES"):
        VendorEvents(tmp_path / "c.raw")
    with pytest.raises(InputError, match="found nothing there"):
        VendorEvents(tmp_path / "d.raw")
    (tmp_path / "e.raw").write_bytes(b"% evt 2.1\n% geometry 640x480\n")
    with pytest.raises(InputError, match=r"expected EVT2 or EVT3, found EVT2\.1"):
        VendorEvents(tmp_path / "e.raw")
    (tmp_path / "f.raw").write_bytes(b"% evt 3.0\n")
    with pytest.raises(InputError, match="expected events, or the sensor's height and width"):
        VendorEvents(tmp_path / "f.raw")
    (tmp_path / "g.raw").write_bytes(b"% evt 3.0\n% geometry 6x5\n" + evt3([1]))
    with pytest.raises(InputError, match=r"g\.raw: expected .*"):
        VendorEvents(tmp_path / "g.raw").read()


def test_kinds_are_known_by_content(tmp_path: Path) -> None:
    kinds = {"a.raw": "EVT", "a.dat": "DAT", "a.aedat4": "AEDAT4", "a.es": "ES"}
    for name, kind in kinds.items():
        WRITERS[name](tmp_path / name, events(5))
        assert kind_of(tmp_path / name) == kind
    (tmp_path / "b.dat").write_bytes(b"%\n% \n" * 100)
    assert not is_vendor(tmp_path / "b.dat")
    assert not is_vendor(tmp_path / "none.dat")


@pytest.mark.parametrize(
    ("name", "t", "message"),
    [
        ("a.es", [4 * 10**9], "a first event within"),
        ("a.dat", [-1], "a first event within 0"),
        ("a.dat", [0, 2**32], "times within 4294967296 us"),
        ("a.raw", [2**33, 2**33 + 2**34], "times within 17179869184 us"),
    ],
)
def test_times_that_a_format_cannot_hold_are_refused(tmp_path: Path, name: str, t: list[int], message: str) -> None:
    zeros = np.zeros(len(t), np.uint16)
    with pytest.raises(InputError, match=message):
        WRITERS[name](tmp_path / name, Events(np.array(t), zeros, zeros, zeros > 0, 640, 480))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_existing_files_stay_and_interrupted_ones_vanish(tmp_path: Path, name: str) -> None:
    def interrupted():
        yield events(100)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WRITERS[name](tmp_path / name, interrupted())
    assert list(tmp_path.iterdir()) == []
    WRITERS[name](tmp_path / name, events(5))
    with pytest.raises(OutputExistsError):
        WRITERS[name](tmp_path / name, events(6))
    WRITERS[name](tmp_path / name, events(6), overwrite=True)
    assert len(VendorEvents(tmp_path / name)) == 6


def test_frames_are_asked_of_aedat4_only(tmp_path: Path) -> None:
    vendor_writer.write_aedat4(tmp_path / "a.aedat4", events(5))
    assert list(aedat4_frames(tmp_path / "a.aedat4")) == []
    vendor_writer.write_es(tmp_path / "a.es", events(5))
    with pytest.raises(InputError, match="expected an AEDAT4 file, found another"):
        next(aedat4_frames(tmp_path / "a.es"))
    with pytest.raises(InputError, match="found nothing there"):
        next(aedat4_frames(tmp_path / "none.aedat4"))
