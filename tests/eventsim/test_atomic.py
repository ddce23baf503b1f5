"""Files appear whole or not at all: errors, interrupts, and disks that take no more."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventsim.errors import OutputExistsError
from eventsim.io import hdf5, hdf5_file, mvsec, vidar
from eventsim.io.atomic import atomic_path
from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream


def events(part: int = 0, count: int = 30_000) -> Events:
    rng = np.random.default_rng(part)
    x, y = (rng.integers(0, size, count).astype(np.uint16) for size in (34, 26))
    return Events(part * count + np.arange(count), x, y, x > 17, 34, 26)


def spikes(part: int = 0) -> SpikeStream:
    planes = np.random.default_rng(part).integers(0, 2, (100, 250, 400)).astype(np.uint8)
    return SpikeStream.from_planes(planes, 20000)


def parts(make: Callable[[int], Any], count: int = 4, fails: BaseException | None = None) -> Iterator[Any]:
    for part in range(count):
        yield make(part)
    if fails is not None:
        raise fails


def record(prefix: Path, source: Iterator[Events]) -> None:
    rng = np.random.default_rng(0)
    with mvsec.MvsecWriter(prefix, width=34, height=26) as out:
        for part, piece in enumerate(source):
            out.add_events(piece)
            out.add_image(part, rng.integers(0, 256, (26, 34)).astype(np.uint8))
            out.add_flow(part, rng.random((2, 26, 34)))
            out.add_depth(part, rng.random((26, 34)))
            out.add_pose(part, np.eye(4))


WRITERS: dict[str, Callable[[Path, BaseException | None], None]] = {
    "a.h5": lambda path, fails=None: hdf5.write_events(path, parts(events, fails=fails)),
    "a.hdf5": lambda path, fails=None: hdf5.write_spikes(path, parts(spikes, fails=fails)),
    "a.dat": lambda path, fails=None: vidar.write_spikes(path, parts(spikes, fails=fails)),
    "a_data.hdf5": lambda path, fails=None: record(path.with_name("a"), parts(events, fails=fails)),
}
EAGER: dict[str, Callable[[Path, Iterator[Any]], None]] = {
    "a.h5": hdf5.write_events,
    "a.hdf5": hdf5.write_spikes,
    "a.dat": vidar.write_spikes,
    "a_data.hdf5": lambda path, source: record(path.with_name("a"), source),
}
every_writer = pytest.mark.parametrize("name", WRITERS)


# --- atomic_path


def test_the_file_appears_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "a.txt"
    with atomic_path(final) as partial:
        partial.write_text("whole")
        assert partial.suffix == ".txt"
        assert not final.exists()
    assert final.read_text() == "whole"
    assert list(final.parent.iterdir()) == [final]


def half_written(final: Path, error: type[BaseException]) -> None:
    with atomic_path(final, overwrite=True) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        half_written(tmp_path / "a.txt", error)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_unless_overwritten_by_a_whole_one(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    final.write_text("old")
    with pytest.raises(OutputExistsError, match=r"a\.txt: already exists"), atomic_path(final):
        pass
    with pytest.raises(ValueError):  # noqa: PT011
        half_written(final, ValueError)
    assert final.read_text() == "old"
    with atomic_path(final, overwrite=True) as partial:
        partial.write_text("new")
    assert final.read_text() == "new"


@every_writer
def test_an_existing_output_is_noticed_before_anything_is_pulled(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    pulled = RuntimeError("the source was asked for a piece")
    with pytest.raises(OutputExistsError):
        EAGER[name](tmp_path / name, parts(events, 0, pulled))
    assert [path.name for path in tmp_path.iterdir()] == [name]


# --- interrupts


@every_writer
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_of_the_source_leaves_nothing(tmp_path: Path, name: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        WRITERS[name](tmp_path / name, error())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a_data.hdf5"])
@pytest.mark.parametrize("call", [1, 5, 9])
def test_ctrl_c_while_hdf5_writes_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    calls = 0
    store = hdf5_file._Disk._store

    def interrupted(self: hdf5_file._Disk, view: memoryview) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGINT)
        store(self, view)

    monkeypatch.setattr(hdf5_file._Disk, "_store", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        WRITERS[name](tmp_path / name, None)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before


# --- a full disk


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a_data.hdf5"])
def test_hdf5_on_a_full_disk_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The first write that does not fit raises; where only the last does not, that is while closing."""
    written = 0
    budget = 10**12
    store = hdf5_file._Disk._store

    def limited(self: hdf5_file._Disk, view: memoryview) -> None:
        nonlocal written
        written += len(view)
        if written > budget:
            raise OSError(errno.ENOSPC, "made up")
        store(self, view)

    monkeypatch.setattr(hdf5_file._Disk, "_store", limited)
    WRITERS[name](tmp_path / name, None)
    total = written
    for path in tmp_path.iterdir():
        path.unlink()
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999):
        written, budget = 0, int(total * share)
        with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/a(_gt|_data)?\.") as caught:
            WRITERS[name](tmp_path / name, None)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert list(tmp_path.iterdir()) == []
    budget = total
    written = 0
    WRITERS[name](tmp_path / name, None)
    assert (tmp_path / name).exists()


def test_dat_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "made up")

    monkeypatch.setattr(Path, "open", lambda self, mode: Full())
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.dat'") as caught:
        WRITERS["a.dat"](tmp_path / "a.dat", None)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    for name, write in WRITERS.items():
        with pytest.raises(OSError, match=rf"No space left on device: '{tiny_disk}/a") as caught:
            write(tiny_disk / name, None)
        assert caught.value.errno == errno.ENOSPC
        assert list(tiny_disk.iterdir()) == []


def test_after_a_full_disk_the_process_ends_in_peace(tiny_disk: Path) -> None:
    """HDF5 by itself ends in a segmentation fault here."""
    program = f"""
import numpy as np
from eventsim.io.hdf5 import write_events
from eventsim.streams.events import Events
x = np.random.default_rng(0).integers(0, 300, 10**6).astype(np.uint16)
try:
    write_events({str(tiny_disk / "a.h5")!r}, Events(np.arange(10**6), x, x, x > 150, 300, 300))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("[Errno 28] No space left on device: '")
