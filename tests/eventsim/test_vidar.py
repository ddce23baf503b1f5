"""Vidar .dat: the bits where the camera puts them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.vidar import LAYOUTS, DatLayout, dat_layout, open_spikes, write_spikes
from eventsim.streams.spikes import SpikeStream


def stream(count: int, height: int, width: int, seed: int = 0) -> SpikeStream:
    planes = np.random.default_rng(seed).integers(0, 2, (count, height, width)).astype(np.uint8)
    return SpikeStream.from_planes(planes, 20000)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(8, 30),
    flipped=st.booleans(),
    padding=st.sampled_from(["plane", "stream"]),
    status_columns=st.sampled_from([0, 0, 3, 16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    height: int,
    width: int,
    flipped: bool,
    padding: str,
    status_columns: int,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("dat") / "a.dat"
    original = stream(count, height, width, seed)
    layout = DatLayout(
        height=height, width=width, flipped=flipped, padding=padding, status_columns=status_columns
    )  # fmt: skip
    write_spikes(path, (original[i : i + 2] for i in range(0, count, 2)), layout=layout)
    found = open_spikes(path, layout=layout)
    bits = height * (width + status_columns)
    assert path.stat().st_size == (count * -(-bits // 8) if padding == "plane" else -(-count * bits // 8))
    assert np.array_equal(found.planes(), original.planes())
    assert np.array_equal(found.planes(count - 1), original.planes(count - 1))
    assert np.array_equal(np.asarray(found.packed), original.packed)


@pytest.mark.parametrize(("height", "width"), [(3, 8), (4, 10)])
def test_bits_run_along_rows_from_the_least_significant_and_the_last_row_comes_first(
    tmp_path: Path, height: int, width: int
) -> None:
    planes = np.zeros((2, height, width), np.uint8)
    planes[1, 0, 1] = 1
    write_spikes(tmp_path / "a.dat", SpikeStream.from_planes(planes, 20000))
    bit = (height - 1) * width + 1
    expected = bytearray(2 * height * width // 8)
    expected[height * width // 8 + bit // 8] = 1 << bit % 8
    assert (tmp_path / "a.dat").read_bytes() == bytes(expected)


def test_the_camera_is_the_default_and_its_planes_are_a_view_of_the_file(tmp_path: Path) -> None:
    original = stream(3, 250, 400)
    write_spikes(tmp_path / "a.dat", original)
    found = open_spikes(tmp_path / "a.dat")
    assert (found.height, found.width, found.readout_hz, len(found)) == (250, 400, 20000, 3)
    assert isinstance(found.packed, np.memmap)
    assert np.array_equal(found.planes(1, 2), original.planes(1, 2))


@pytest.mark.parametrize("block_bytes", [1, 20, 1 << 20])
def test_unaligned_rows_are_read_in_slices_like_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr("eventsim.io.packed._CHUNK_BYTES", block_bytes)
    original = stream(7, 4, 10)
    write_spikes(tmp_path / "a.dat", original)
    packed = open_spikes(tmp_path / "a.dat", 4, 10).packed
    rows, columns = np.array([0, 3, 2]), np.array([1, 0, 1])
    for key in (
        slice(2, 5),
        slice(None, None, -2),
        slice(6, 1, -3),
        slice(5, 5),
        3,
        -1,
        (slice(1, 4), rows, columns),
        (2, 1),
    ):
        assert np.array_equal(packed[key], original.packed[key])
    with pytest.raises(IndexError):
        packed[7]
    assert np.array_equal(np.asarray(packed), original.packed)


def test_pieces_give_the_same_file(tmp_path: Path) -> None:
    original = stream(9, 4, 10)
    write_spikes(tmp_path / "a.dat", original)
    write_spikes(tmp_path / "b.dat", (original[i : i + 4] for i in range(0, 9, 4)))
    assert (tmp_path / "a.dat").read_bytes() == (tmp_path / "b.dat").read_bytes()


def test_truncated_file_tells_size_plane_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(bytes(3 * 12500 - 7))
    message = r"expected whole planes of 12500 bytes for 400x250, found 37493 bytes, 3.00 planes at byte 25000"
    with pytest.raises(InputError, match=re.escape(str(path)) + ": " + message):
        open_spikes(path)


@pytest.mark.parametrize(("written", "other"), [("plane", "stream"), ("stream", "plane")])
def test_a_size_that_fits_the_other_padding_names_it(tmp_path: Path, written: str, other: str) -> None:
    """Planes of 37 bits: 11 of them are 55 bytes with padding, or 407 bits."""
    write_spikes(tmp_path / "a.dat", stream(11, 1, 37), padding=written)
    size = {"plane": 55, "stream": 51}[written]
    unit = {"plane": "5 bytes", "stream": "37 bits"}[other]
    message = rf"expected whole planes of {unit} for 37x1, found {size} bytes, .*; the size fits padding '{written}'$"
    with pytest.raises(InputError, match=message):
        open_spikes(tmp_path / "a.dat", 1, 37, padding=other)


def test_status_columns_are_dropped_and_come_from_the_writer_as_zeros(tmp_path: Path) -> None:
    original = stream(3, 250, 400)
    write_spikes(tmp_path / "a.dat", original, layout="vidar416")
    raw = np.fromfile(tmp_path / "a.dat", np.uint8).reshape(3, 250, 52)
    assert not raw[:, :, 50:].any()
    assert np.array_equal(raw[:, ::-1, :50], original.packed)
    (raw | np.repeat(np.uint8([0, 255]), [50, 2])).tofile(tmp_path / "b.dat")
    found = open_spikes(tmp_path / "b.dat", layout="vidar416")
    assert isinstance(found.packed, np.memmap)
    assert np.array_equal(found.planes(), original.planes())
    with pytest.raises(InputError, match="the size fits layout 'vidar416'"):
        open_spikes(tmp_path / "b.dat")


def test_layouts_are_named_and_changed_by_what_is_told(tmp_path: Path) -> None:
    assert dat_layout("vidar416", width=8, padding=None, flipped=False) == DatLayout(
        height=250, width=8, status_columns=16, flipped=False
    )
    assert all(each == dat_layout(name) for name, each in LAYOUTS.items())
    assert str(dat_layout("vidar", height=1, width=3)) == "rows from the bottom up, padding 'plane', 20000 Hz"
    for call in (lambda: open_spikes(tmp_path / "a.dat", layout="vidur"), lambda: dat_layout("vidur")):
        with pytest.raises(ValueError, match="expected a layout of vidar, vidar416, spift, sps100, got 'vidur'"):
            call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "a height of at least 1 pixel, got 0"),
        ({"width": -3}, "a width of at least 1 pixel, got -3"),
        ({"padding": "none"}, "a padding of plane or stream, got 'none'"),
        ({"layout": "sps100", "height": 500}, "1000x1000 pixels for lines with tags, got 1000x500"),
    ],
)
def test_layouts_that_cannot_be(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(12500))
    with pytest.raises(ValueError, match=f"expected {message}"):
        open_spikes(tmp_path / "a.dat", **changes)


def test_empty_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"")
    with pytest.raises(InputError, match="found 0 bytes"):
        open_spikes(tmp_path / "a.dat")
    with pytest.raises(InputError, match="nothing there"):
        open_spikes(tmp_path / "b.dat")


def test_writing_refuses_mixtures_nothing_and_existing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pieces of one stream"):
        write_spikes(tmp_path / "a.dat", [stream(2, 4, 8), stream(2, 4, 9)])
    with pytest.raises(ValueError, match="got none"):
        write_spikes(tmp_path / "a.dat", [])
    assert list(tmp_path.iterdir()) == []
    write_spikes(tmp_path / "a.dat", stream(2, 4, 8))
    with pytest.raises(OutputExistsError):
        write_spikes(tmp_path / "a.dat", stream(2, 4, 8))
    write_spikes(tmp_path / "a.dat", stream(3, 4, 8), overwrite=True)
    assert len(open_spikes(tmp_path / "a.dat", 4, 8)) == 3


# --- lines with tags

FRAME = 128_000


@pytest.fixture(scope="module")
def megapixel() -> SpikeStream:
    return stream(3, 1000, 1000)


@pytest.fixture(scope="module")
def tagged(megapixel: SpikeStream, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sps100") / "a.dat"
    write_spikes(path, megapixel, layout="sps100")
    return path.read_bytes()


def test_tagged_lines_hold_pixels_and_numbers_where_the_camera_has_them(megapixel: SpikeStream, tagged: bytes) -> None:
    bits = np.unpackbits(np.frombuffer(tagged, np.uint8), bitorder="little").reshape(3, 1000, 1024)
    # As public readers decode it: of 1024 columns 500..511 are dropped, then 1000..1011.
    assert np.array_equal(np.delete(bits, [*range(500, 512), *range(1012, 1024)], axis=2), megapixel.planes())
    ends = np.frombuffer(tagged, "<u2")[31::32].reshape(3, 2000)
    lines, channels = ends >> 4 & 0x3FF, ends >> 14
    assert (lines[:, 0] == 500).all()
    assert (channels[:, 0] == 0).all()
    assert (lines[0, -1], channels[0, -1]) == (500, 3)
    assert len(set(zip(lines[0].tolist(), channels[0].tolist(), strict=True))) == 2000
    assert (lines.min(), lines.max()) == (1, 500)


@pytest.mark.parametrize("missing", [0, 16, 64 * 7, FRAME - 48])
def test_a_recording_that_is_cut_anywhere_begins_at_its_first_whole_frame(
    tmp_path: Path, megapixel: SpikeStream, tagged: bytes, missing: int
) -> None:
    (tmp_path / "a.dat").write_bytes(tagged[missing : len(tagged) - 5])
    found = open_spikes(tmp_path / "a.dat", layout="sps100")
    first = 1 if missing else 0
    assert (len(found), found.height, found.width) == (2 - first, 1000, 1000)
    assert np.array_equal(found.planes(), megapixel.planes(first, 2))
    flipped = open_spikes(tmp_path / "a.dat", layout="sps100", flipped=True)
    assert np.array_equal(flipped.planes(), megapixel.planes(first, 2)[:, ::-1])


def test_another_order_of_lines_is_taken_from_the_first_frame(
    tmp_path: Path, megapixel: SpikeStream, tagged: bytes
) -> None:
    raw = np.frombuffer(tagged, np.uint8).reshape(3, 2000, 64).copy()
    tags = raw[:, :, 62:] & np.uint8([0xF0, 0xFF])
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(1999)])
    raw[:, :, 62:] = raw[:, :, 62:] & np.uint8([0x0F, 0]) | tags[:, order]
    raw.tofile(tmp_path / "a.dat")
    assert np.array_equal(open_spikes(tmp_path / "a.dat", layout="sps100").planes(), megapixel.planes())


def test_a_line_out_of_order_is_told_when_it_is_read(tmp_path: Path, tagged: bytes) -> None:
    lost = FRAME + 64 * 6  # the half rows of line 497 in the second plane
    (tmp_path / "a.dat").write_bytes(tagged[:lost] + tagged[lost + 64 :])
    found = open_spikes(tmp_path / "a.dat", layout="sps100")
    assert found.planes(0, 1).any()
    message = rf"expected line 497 of channel 0, found line 497 of channel 1 at plane 1, byte {lost}$"
    with pytest.raises(InputError, match=message):
        found.planes(0, 2)


def test_a_first_frame_with_a_fault_names_the_line(tmp_path: Path, tagged: bytes) -> None:
    raw = bytearray(tagged[:FRAME])
    raw[64 * 9 - 2 : 64 * 9] = (600 << 4).to_bytes(2, "little")
    (tmp_path / "a.dat").write_bytes(raw)
    with pytest.raises(InputError, match=r"each line .*, found line 600 of channel 0 at plane 0, byte 512$"):
        open_spikes(tmp_path / "a.dat", layout="sps100")


@pytest.mark.parametrize(("size", "message"), [(0, "frames of 128000 bytes, found 0 bytes"), (FRAME + 99, "none")])
def test_files_without_a_frame(tmp_path: Path, size: int, message: str) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(size))
    with pytest.raises(InputError, match=message):
        open_spikes(tmp_path / "a.dat", layout="sps100")


def test_tagged_lines_take_no_other_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1000x1000 pixels for lines with tags, got 400x250"):
        write_spikes(tmp_path / "a.dat", stream(1, 250, 400), layout="sps100")
    assert list(tmp_path.iterdir()) == []
