"""SpikingSIM's .npz: the array that its own tools read and write, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io import npz
from eventsim.io.npz import open_spikes, write_spikes
from eventsim.streams.spikes import SpikeStream


def stream(count: int = 50, height: int = 6, width: int = 13, seed: int = 0) -> SpikeStream:
    planes = np.random.default_rng(seed).integers(0, 2, (count, height, width)).astype(np.uint8)
    return SpikeStream.from_planes(planes, 20000)


def array(spikes: SpikeStream) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(spikes.planes(), 0, 2))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 20), st.integers(1, 200), st.integers(1, 9))
def test_round_trip_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, count: int, height: int, width: int, block: int, piece: int
) -> None:
    folder = tmp_path_factory.mktemp("npz")
    original = stream(count, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npz, "_BLOCK_BYTES", block)
        write_spikes(folder / "a.npz", original)
        write_spikes(folder / "b.npz", (original[i : i + piece] for i in range(0, max(count, 1), piece)))
        found = open_spikes(folder / "a.npz")
    assert np.array_equal(np.load(folder / "a.npz")["arr_0"], array(original))
    assert np.array_equal(found.packed, original.packed)
    assert (found.height, found.width, found.readout_hz) == (height, width, 20000)
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("kind", [np.uint8, np.bool_])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_saves(tmp_path: Path, kind: type, save, order: str) -> None:
    original = stream()
    save(tmp_path / "a.npz", np.asarray(array(original).astype(kind), order=order))
    found = open_spikes(tmp_path / "a.npz", readout_hz=40000)
    assert isinstance(found.packed, np.ndarray) is (save is np.savez_compressed)
    assert found.readout_hz == 40000
    assert np.array_equal(found.planes(), original.planes())
    assert np.array_equal(found.planes(20, 31), original.planes(20, 31))


def test_an_array_that_is_not_compressed_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    values = array(stream())
    values[2, 3, 40] = 7
    np.savez(tmp_path / "a.npz", values)
    found = open_spikes(tmp_path / "a.npz")
    assert found.planes(0, 40).any()
    with pytest.raises(InputError, match=r"a\.npz: expected 0 and 1, found 7 at the block from plane 38"):
        found.planes(38, 42)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"spikes": np.zeros((2, 3, 4), np.uint8)}, "expected one array arr_0, found spikes"),
        ({}, "expected one array arr_0, found none"),
        (
            {"arr_0": np.zeros((2, 3, 4), np.uint8), "more": np.zeros(1)},
            "expected one array arr_0, found arr_0, more",
        ),
        ({"arr_0": np.zeros((2, 3, 4))}, r"expected arr_0 as uint8 or bool \[H, W, T\], found float64 \[2, 3, 4\]"),
        ({"arr_0": np.zeros((2, 3), np.uint8)}, r"found uint8 \[2, 3\]"),
        ({"arr_0": np.zeros((0, 3, 9), np.uint8)}, r"found uint8 \[0, 3, 9\]"),
        ({"arr_0": np.array([[[None]]])}, r"found object \[1, 1, 1\]"),
        ({"arr_0": np.full((2, 3, 4), 2, np.uint8)}, "expected 0 and 1, found 2 at the block from row 0"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=r"a\.npz: .*" + message):
        open_spikes(tmp_path / "a.npz")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match="found nothing there"):
        open_spikes(path)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"expected a whole \.npz file"):
        open_spikes(path)
    write_spikes(path, stream(2000), overwrite=True)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"expected a whole \.npz file"):
        open_spikes(path)
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npz: expected"):
        open_spikes(path)


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_of_other_length_than_its_header_says(tmp_path: Path, change: int, method: int) -> None:
    held = io.BytesIO()
    np.save(held, array(stream()))
    data = held.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("arr_0.npy", data[:-1] if change < 0 else data + b"\0")
    with pytest.raises(InputError, match=rf"expected 3900 bytes of arr_0, found {3900 + change}$"):
        open_spikes(tmp_path / "a.npz")


def test_writing_refuses_mixtures_nothing_and_existing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pieces of one stream"):
        write_spikes(tmp_path / "a.npz", [stream(), stream(width=14)])
    with pytest.raises(ValueError, match="got none"):
        write_spikes(tmp_path / "a.npz", [])
    assert list(tmp_path.iterdir()) == []
    write_spikes(tmp_path / "a.npz", stream())
    with pytest.raises(OutputExistsError):
        write_spikes(tmp_path / "a.npz", stream())
