"""Data sets that are gone on with: killed runs come to the same bytes, and nothing of anybody else's is touched."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from eventsim.errors import InputError
from eventsim.io.manifest import JOURNAL, MANIFEST, Journal, read_manifest
from eventsim.io.spike_set import SpikeSet
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings
from eventsim.synthesize.sources import find_sources

SMALL = DatasetSettings(size=(32, 48), duration=0.002, motion=("tremor", "pan", "zoom"), flow_hz=1000.0)


@pytest.fixture(scope="module")
def whole(tree, tmp_path_factory) -> Path:
    """The data set of the tree, made in one go by one worker."""
    out = tmp_path_factory.mktemp("whole")
    make_dataset(tree, out, SMALL, workers=1)
    return out


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the journal, whose order is that of the work."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in (JOURNAL, "dataset.json")
    }


def copied(tree: Path, folder: Path) -> Path:
    """The sources of a tree in another folder."""
    for source in find_sources(tree):
        (folder / source.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / source.path).write_bytes((tree / source.path).read_bytes())
    return folder


def checksums(out: Path) -> dict[str, tuple[str, str]]:
    return {row.item: (row.checksum, row.flow_checksum) for row in read_manifest(out)}


REPEATED = replace(SMALL, repeats=5, duration=0.01)


def dataset_command(tree: Path, out: Path, *more: object) -> list[str]:
    """The command for a data set of 45 items, as `REPEATED` has it."""
    program = str(Path(sys.executable).with_name("eventsim"))
    options = "--motion tremor pan zoom --repeats 5 --duration 0.01 --size 32 48 --flow-hz 1000 --quiet"
    return [program, "dataset", str(tree), str(out), *options.split(), *map(str, more)]


def kill_after(command: list[str], journal: Path, lines: int) -> int:
    """Starts a command, kills it once the journal has so many lines, and returns how many it had."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return journal.read_bytes().count(b"\n")


@pytest.mark.parametrize(("layout", "workers"), [pytest.param("items", 2, marks=pytest.mark.slow), ("shards", 1)])
def test_a_run_that_was_killed_twice_goes_on_to_the_same_bytes(tree, tmp_path, layout, workers):
    out, undisturbed = tmp_path / "killed", tmp_path / "whole"
    command = dataset_command(tree, out, "--workers", workers, "--layout", layout, "--shard-items", 3)
    counts = [kill_after(command, out / JOURNAL, lines) for lines in (3, 12)]
    assert 3 <= counts[0] < counts[1] < 45
    assert not (out / MANIFEST).exists()
    settings = replace(REPEATED, layout=layout, shard_items=3)
    assert make_dataset(tree, out, settings, workers=1).kept == counts[1]
    make_dataset(tree, undisturbed, settings, workers=1)
    assert len(checksums(out)) == 45
    assert contents(out) == contents(undisturbed)
    assert not list(out.rglob(".*.partial*"))


def test_what_is_missing_or_torn_is_made_again(tree, whole, tmp_path):
    make_dataset(tree, tmp_path, SMALL, workers=1)
    (tmp_path / "cat/purr 2_pan_0_vidar.h5").unlink()
    (tmp_path / "cat/purr 2_zoom_0_vidar_flow.h5").unlink()
    (tmp_path / "cat/.purr 2_pan_0_vidar.77.partial.h5").write_text("half")
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-20])
    finished = make_dataset(tree, tmp_path, SMALL, workers=1)
    assert (finished.made, finished.kept) == (3, 6)
    assert contents(tmp_path) == contents(whole)
    assert make_dataset(tree, tmp_path, SMALL, workers=2).made == 0


def test_new_sources_are_added_and_lost_ones_told(tree, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat/one.png").write_bytes((tree / "cat/purr 2.png").read_bytes())
    make_dataset(folder, out, SMALL, workers=1)
    before = checksums(out)
    (folder / "cat/another.png").write_bytes((tree / "cat/purr 10.png").read_bytes())
    assert (make_dataset(folder, out, SMALL, workers=1).kept, len(checksums(out))) == (3, 6)
    assert before.items() <= checksums(out).items()
    (folder / "cat/one.png").unlink()
    with pytest.raises(InputError, match=r"expected cat/one\.png among the sources.*put it back, or begin anew"):
        make_dataset(folder, out, SMALL, workers=1)


def test_shards_take_new_sources_after_all_others_alone(tree, whole, tmp_path):
    folder, out = copied(tree, tmp_path / "in"), tmp_path / "out"
    last = folder / "dog/big/wuff.png"
    last.rename(tmp_path / "wuff.png")
    settings = replace(SMALL, layout="shards", shard_items=4)
    make_dataset(folder, out, settings, workers=1)
    (tmp_path / "wuff.png").rename(last)
    make_dataset(folder, out, settings, workers=1)
    assert checksums(out) == checksums(whole)
    (folder / "cat/a.png").write_bytes(last.read_bytes())
    with pytest.raises(InputError, match="new sources may only come after all others of shards"):
        make_dataset(folder, out, settings, workers=1)


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_files_that_were_cut_off_are_made_again(tree, tmp_path, layout):
    settings = replace(SMALL, layout=layout, shard_items=3)
    make_dataset(tree, tmp_path, settings, workers=1)
    before = contents(tmp_path)
    for name in {SpikeSet(tmp_path).rows[0].path, SpikeSet(tmp_path).rows[8].flow_path}:
        (tmp_path / name).write_bytes(b"")
    assert make_dataset(tree, tmp_path, settings, workers=1).made == {"items": 2, "shards": 6}[layout]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_an_edited_picture_is_made_again(tree, whole, tmp_path, layout):
    folder, out = copied(tree, tmp_path / "in"), tmp_path / "out"
    edited, original = folder / "cat/purr 2.png", (tree / "cat/purr 2.png").read_bytes()
    edited.write_bytes((tree / "dog/big/wuff.png").read_bytes())
    settings = replace(SMALL, layout=layout, shard_items=3)
    make_dataset(folder, out, settings, workers=1)
    assert checksums(out) != checksums(whole)
    edited.write_bytes(original)
    finished = make_dataset(folder, out, settings, workers=1)
    assert (finished.made, finished.kept) == (3, 6)
    assert checksums(out) == checksums(whole)
    os.utime(edited, (1, 1))
    assert make_dataset(folder, out, settings, workers=1).made == 0
    assert {row.source_checksum for row in read_manifest(out)[:3]} == {hashlib.sha256(original).hexdigest()}


def test_an_edited_frame_of_a_clip_counts_and_a_copy_does_not(pictures, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for path in pictures.iterdir():
        (folder / "clip").mkdir(parents=True, exist_ok=True)
        (folder / "clip" / path.name).write_bytes(path.read_bytes())
    settings = DatasetSettings(size=(32, 48), clips=True, fps=1000.0)
    make_dataset(folder, out, settings, workers=1)
    (folder / "clip/notes.txt").write_text("no frame")
    os.utime(folder / "clip/frame_0.png", (1, 1))
    assert make_dataset(folder, out, settings, workers=1).made == 0
    (folder / "clip/frame_5.png").rename(folder / "clip/frame_6.png")
    (folder / "clip/frame_0.png").rename(folder / "clip/frame_5.png")
    assert make_dataset(folder, out, settings, workers=1).made == 1


def test_a_tree_may_move_but_not_be_another(tree, whole, tmp_path):
    first, second, out = copied(tree, tmp_path / "one"), copied(tree, tmp_path / "two"), tmp_path / "out"
    make_dataset(first, out, replace(SMALL, motion=("pan",)), workers=1)
    (out / "cat/purr 2_pan_0_vidar.h5").unlink()
    finished = make_dataset(second, out, replace(SMALL, motion=("pan",)), workers=1)
    assert (finished.made, finished.kept, finished.moved_from) == (1, 2, first)
    assert json.loads((out / "dataset.json").read_text())["folder"] == str(second)
    other = first / "cat/purr 10.png"
    times, size = (second / "cat/purr 10.png").stat(), other.stat().st_size
    other.write_bytes(other.read_bytes()[:-1] + b"x")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert other.stat().st_size == size
    with pytest.raises(InputError, match=r"those of .*two.*found another cat/purr 10\.png"):
        make_dataset(first, out, replace(SMALL, motion=("pan",)), workers=1)


def test_other_settings_are_refused_by_name_unless_begun_anew(tree, tmp_path):
    make_dataset(tree, tmp_path, SMALL, workers=1)
    (tmp_path / "mine.txt").write_text("not the data set's")
    other = replace(SMALL, flow_hz=500.0, motion=("pan",))
    with pytest.raises(InputError, match=r'expected motion \["tremor", "pan", "zoom"\].*found motion \["pan"\]'):
        make_dataset(tree, tmp_path, other, workers=1)
    with pytest.raises(InputError, match=r"expected size \[32, 48\] .*found size \[16, 48\]"):
        make_dataset(tree, tmp_path, replace(SMALL, size=(16, 48)), workers=1)
    make_dataset(tree, tmp_path, replace(other, layout="shards"), workers=1, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset.json", "journal.jsonl", "manifest.csv", "mine.txt", "shard-00000.h5"
    ]  # fmt: skip


def test_a_folder_of_other_things_is_left_alone(tree, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"expected an empty folder.*found thesis\.tex"):
        make_dataset(tree, tmp_path, SMALL, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"journal.jsonl": "my own notes\nof years"},
        {"journal.jsonl": '{"format": "another"}\n', "manifest.csv": "a,b\n"},
        {"dataset.json": '{"name": "somebody else\'s"}', "manifest.csv": "a,b\n"},
        {"dataset.json": "[]", "journal.jsonl": ""},
        {"dataset.json": '{"format": "retinaflow data set", "version": 99, "settings": {}, "folder": "x"}'},
    ],
)
def test_files_of_others_with_our_names_are_left_alone(tree, tmp_path, files, overwrite):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="expected"):
        make_dataset(tree, tmp_path, SMALL, workers=1, overwrite=overwrite)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("text", ["my own notes", "my own notes\n", '{"item": 3}\n{"item": "'])
def test_a_journal_without_a_row_of_ours_stays_as_it_is(tmp_path, text):
    (tmp_path / JOURNAL).write_text(text)
    with pytest.raises(InputError, match=r"expected a row of a data set .* at line 1"):
        Journal(tmp_path)
    assert (tmp_path / JOURNAL).read_text() == text


def test_a_bad_line_amid_the_journal_is_told_and_its_items_are_made_once_it_is_gone(tree, whole, tmp_path):
    make_dataset(tree, tmp_path, SMALL, workers=1)
    journal = tmp_path / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], "x" + lines[3], *lines[4:]]))
    with pytest.raises(InputError, match=r"journal\.jsonl: expected a row of a data set \(remove the line.*at line 4"):
        make_dataset(tree, tmp_path, SMALL, workers=1)
    journal.write_text("".join([*lines[:3], *lines[4:]]))
    assert make_dataset(tree, tmp_path, SMALL, workers=1).made == 1
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("torn", ["", '{"it', '{"item": "cat/pu'])
def test_a_run_that_was_killed_at_once_goes_on(tree, whole, tmp_path, torn):
    make_dataset(tree, tmp_path, SMALL, workers=1)
    (tmp_path / JOURNAL).write_text(torn)
    assert make_dataset(tree, tmp_path, SMALL, workers=1).made == 9
    assert contents(tmp_path) == contents(whole)


def test_a_run_that_was_killed_before_its_settings_were_written_goes_on(tree, tmp_path):
    (tmp_path / JOURNAL).touch()
    assert make_dataset(tree, tmp_path, SMALL, workers=1).made == 9


def test_a_journal_that_leads_elsewhere_removes_nothing(tree, tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious.h5"
    make_dataset(tree, out, SMALL, workers=1)
    precious.write_text("not the data set's")
    with Journal(out) as journal:
        journal.add([replace(journal.rows[0], path="../precious.h5")])
    with pytest.raises(InputError, match="expected paths within the data set"):
        make_dataset(tree, out, SMALL, workers=1, overwrite=True)
    assert precious.exists()


def test_only_one_process_makes_a_data_set(tree, tmp_path):
    pytest.importorskip("fcntl")
    with Journal(tmp_path), pytest.raises(InputError, match="another process is making"):
        make_dataset(tree, tmp_path, SMALL, workers=1)


# --- faults


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_a_corrupt_picture_is_left_out_and_made_once_it_is_whole(tree, whole, tmp_path, layout):
    folder, out = copied(tree, tmp_path / "in"), tmp_path / "out"
    broken = folder / "cat/purr 10.png"
    broken.write_bytes(broken.read_bytes()[:300])
    settings = replace(SMALL, layout=layout)
    finished = make_dataset(folder, out, settings, workers=1)
    assert (finished.made, finished.left_out, list(finished.failed)) == (6, 3, ["cat/purr 10.png"])
    assert f"{broken.resolve()}: expected a whole picture" in finished.failed["cat/purr 10.png"]
    assert checksums(out).items() < checksums(whole).items()
    broken.write_bytes((tree / "cat/purr 10.png").read_bytes())
    assert make_dataset(folder, out, settings, workers=1).left_out == 0
    assert checksums(out) == checksums(whole)


def test_a_full_disk_ends_the_run_and_is_no_fault_of_a_source(tree, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "out.h5")

    monkeypatch.setattr("eventsim.synthesize.sinks.write_spikes", full)
    with pytest.raises(OSError, match="No space left"):
        make_dataset(tree, tmp_path, SMALL, workers=1)
    assert not list(tmp_path.rglob("*.h5"))  # nor the flow of what could not be finished


def test_while_it_is_made_and_when_nothing_could_be_there_is_no_manifest(tree, tmp_path):
    folder, out = copied(tree, tmp_path / "in"), tmp_path / "out"
    make_dataset(folder, out, SMALL, workers=1)
    (out / MANIFEST).unlink()
    make_dataset(folder, out, SMALL, workers=1)
    assert len(read_manifest(out)) == 9
    for source in find_sources(folder):
        (folder / source.path).write_bytes(b"no picture any more")
    finished = make_dataset(folder, out, SMALL, workers=1)
    assert (finished.made, finished.kept, len(finished.failed)) == (0, 0, 3)
    assert not (out / MANIFEST).exists()
