"""Vidar .dat: the bits where the camera puts them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.vidar import open_spikes, write_spikes
from eventsim.streams.spikes import SpikeStream


def stream(count: int, height: int, width: int, seed: int = 0) -> SpikeStream:
    planes = np.random.default_rng(seed).integers(0, 2, (count, height, width)).astype(np.uint8)
    return SpikeStream.from_planes(planes, 20000)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 30), st.booleans(), st.integers(0, 2**32 - 1))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, count: int, height: int, width: int, flipped: bool, seed: int
) -> None:
    path = tmp_path_factory.mktemp("dat") / "a.dat"
    original = stream(count, height, width, seed)
    write_spikes(path, original, flipped=flipped)
    found = open_spikes(path, height, width, 20000, flipped=flipped)
    assert path.stat().st_size == count * -(-height * width // 8)
    assert np.array_equal(found.planes(), original.planes())
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


def test_unaligned_rows_are_read_in_slices_like_an_array(tmp_path: Path) -> None:
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
