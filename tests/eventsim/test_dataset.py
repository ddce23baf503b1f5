"""Data sets from folders: an item depends on nothing but its seed; a killed run goes on to the same bytes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsim import EventCamera, SpikeCamera, read_frames
from eventsim.errors import InputError
from eventsim.io.manifest import JOURNAL, MANIFEST, Journal, read_manifest, write_manifest
from eventsim.io.spike_set import SpikeSet
from eventsim.light.motions import MotionStyle, moving_frames, still_scene
from eventsim.synthesize.items import plan_items, stable_seed
from eventsim.synthesize.light import lasting
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings, sensors_of
from eventsim.synthesize.sources import find_sources
from eventsim.synthesize.workers import WorkerDied, each_done

SMALL = DatasetSettings(size=(32, 48), duration=0.002, motion=("tremor", "pan", "zoom"), flow_hz=1000.0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory, texture) -> Path:
    """Three stills of two classes, one of them two folders deep, and what is to be passed over."""
    folder = tmp_path_factory.mktemp("tree")
    for index, name in enumerate(["cat/purr 10.png", "cat/purr 2.png", "dog/big/wuff.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.uint8(255 * texture[10 * index : 10 * index + 60, 5 * index :][:, :90]))
    (folder / "cat/notes.txt").write_text("no picture")
    (folder / "cat/.hidden.png").write_text("no picture")
    (folder / ".git").mkdir()
    (folder / ".git/one.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def whole(tree, tmp_path_factory) -> Path:
    """The data set of the tree, made in one go by one worker."""
    out = tmp_path_factory.mktemp("whole")
    finished = make_dataset(tree, out, SMALL, workers=1)
    assert (finished.made, finished.kept, finished.failed) == (9, 0, {})
    return out


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the journal, whose order is that of the work."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in (JOURNAL, "dataset.json")
    }


def checksums(out: Path) -> dict[str, tuple[str, str]]:
    return {row.item: (row.checksum, row.flow_checksum) for row in read_manifest(out)}


# --- sources


def test_sources_come_in_natural_order_with_their_folders_as_labels(tree):
    found = [(source.path, source.label, source.kind) for source in find_sources(tree)]
    assert found == [
        ("cat/purr 2.png", "cat", "still"),
        ("cat/purr 10.png", "cat", "still"),
        ("dog/big/wuff.png", "dog/big", "still"),
    ]


def test_folders_of_frames_are_clips_when_asked_for(tree):
    found = [(source.path, source.label, source.name, source.kind) for source in find_sources(tree, clips=True)]
    assert found == [("cat", ".", "cat", "clip"), ("dog/big", "dog", "big", "clip")]


def test_the_folder_itself_may_be_the_clip(pictures):
    (source,) = find_sources(pictures, clips=True)
    assert (source.path, source.label, source.name) == (".", ".", pictures.name)


def test_names_stay_apart_and_circles_of_links_end(tmp_path):
    for name in ("a.png", "a.jpg", "b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    assert [(source.name, source.kind) for source in find_sources(tmp_path)] == [
        ("a_jpg", "still"),
        ("a_png", "still"),
        ("b", "clip"),
    ]


@pytest.mark.parametrize("make", [False, True])
def test_an_empty_tree_and_a_missing_one_are_refused(tmp_path, make):
    folder = tmp_path / "none"
    if make:
        (folder / "deep").mkdir(parents=True)
    with pytest.raises(InputError, match="none, however deep" if make else "found nothing there"):
        find_sources(folder)


# --- seeds


def test_seeds_are_stable_and_depend_on_every_part():
    assert stable_seed(0, "a.png", "pan", 0, "vidar") == 6266819685149822468
    parts = [(0, "a", "pan", 0), (1, "a", "pan", 0), (0, "b", "pan", 0), (0, "a", "zoom", 0), (0, "a", "pan", 1)]
    assert len({stable_seed(*part) for part in parts}) == len(parts)
    assert all(0 <= stable_seed(*part) < 2**63 for part in parts)


def test_other_sources_and_cameras_change_no_item(tree):
    sources = find_sources(tree)
    settings = replace(SMALL, kind="both", repeats=2)
    sensors = sensors_of(settings)
    (few,) = plan_items(sources[1:2], sensors[:1], replace(SMALL, motion=("pan",)))
    many = [item for (item,) in plan_items(sources, sensors, settings)]
    same = [item for item in many if item.identity == few[0].identity]
    assert same == few
    twins = [item for item in many if (item.source, item.motion, item.repeat) == (few[0].source, "pan", 0)]
    assert len(twins) == 2
    assert len({item.motion_seed for item in twins}) == 1
    assert len({item.seed for item in many}) == len(many)


# --- what is made


def test_an_item_is_what_its_camera_makes_of_its_scene(tree, whole):
    item = SpikeSet(whole)[1]
    assert (item.row.item, item.label, item.class_index) == ("cat/purr 2_pan_0_vidar", "cat", 0)
    _, picture = next(iter(read_frames(tree / item.row.source)))
    seed = stable_seed(0, item.row.source, "pan", 0)
    scene = still_scene(picture, "pan", MotionStyle(height=32, width=48), seed)
    frames = moving_frames(scene, "pan", duration_us=2000)
    camera = SpikeCamera.preset("vidar", height=32, width=48)
    expected = camera.simulate(frames, duration_us=2000, seed=item.row.seed)
    np.testing.assert_array_equal(item.stream.packed[:], expected.packed)
    assert item.row.mean_rate == pytest.approx(expected.rate().mean(), abs=1e-6)
    assert (item.row.planes, item.row.duration_us) == (40, 2000)


def test_flow_is_the_scenes(tree, whole):
    for item in SpikeSet(whole):
        _, picture = next(iter(read_frames(tree / item.row.source)))
        seed = stable_seed(0, item.row.source, item.row.motion, 0)
        scene = still_scene(picture, item.row.motion, MotionStyle(height=32, width=48), seed)
        flow = item.flow
        assert flow.t_us.tolist() == [0, 1000, 2000]
        np.testing.assert_allclose(flow.maps[1], scene.flow(1000, 2000), atol=1e-4)
        np.testing.assert_allclose(flow.between(0, 2000), scene.flow(0, 2000), atol=1e-4)
        np.testing.assert_allclose(
            flow.between(130, 1710), scene.flow(130, 1710), atol=5e-3
        )  # linear between the light's frames
        with pytest.raises(ValueError, match=r"expected times within 0 \.\. 2000 us"):
            flow.between(0, 2001)


def test_still_light_has_no_flow_file(tree, tmp_path):
    make_dataset(tree, tmp_path, replace(SMALL, motion=("none",)), workers=1)
    items = SpikeSet(tmp_path)
    assert [item.flow for item in items] == [None] * 3
    _, picture = next(iter(read_frames(tree / items[0].row.source, size=(32, 48))))
    expected = SpikeCamera.preset("vidar", height=32, width=48).simulate(
        picture, duration_us=2000, seed=items[0].row.seed
    )
    np.testing.assert_array_equal(items[0].stream.packed[:], expected.packed)


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_both_kinds_of_camera_see_the_same_light(tree, tmp_path, layout):
    settings = replace(SMALL, kind="both", motion=("pan",), duration=0.02, layout=layout)
    make_dataset(tree, tmp_path, settings, workers=1)
    spikes, events = list(SpikeSet(tmp_path))[:2]
    assert [spikes.row.kind, events.row.kind] == ["spikes", "events"]
    np.testing.assert_array_equal(spikes.flow.maps[:], events.flow.maps[:])
    _, picture = next(iter(read_frames(tree / events.row.source)))
    scene = still_scene(picture, "pan", MotionStyle(height=32, width=48), stable_seed(0, events.row.source, "pan", 0))
    camera = EventCamera.preset("davis346", height=32, width=48)
    expected = camera.simulate(moving_frames(scene, "pan", duration_us=20_000), seed=events.row.seed)
    found = events.events.read()
    for name in ("t", "x", "y", "p"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert len(events.events.window(5_000, 9_000)) == len(expected.window(5_000, 9_000)) > 0
    assert events.row.mean_rate == pytest.approx(len(expected) / (32 * 48 * 0.02))
    with pytest.raises(ValueError, match="expected an item of spikes"):
        _ = events.stream
    with pytest.raises(ValueError, match="expected an item of events"):
        _ = spikes.events


def test_clips_of_frames_and_videos_keep_labels_and_times(pictures, tmp_path):
    folder = tmp_path / "clips"
    (folder / "run/one").mkdir(parents=True)
    for path in pictures.iterdir():
        (folder / "run/one" / path.name).write_bytes(path.read_bytes())
    writer = cv2.VideoWriter(str(folder / "run/two.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 100, (64, 48))
    for path in sorted(pictures.iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    settings = DatasetSettings(size=(32, 48), clips=True, kind="both", fps=100.0)
    make_dataset(folder, tmp_path / "out", settings, workers=1)
    rows = read_manifest(tmp_path / "out")
    assert [(row.source, row.label, row.motion, row.kind) for row in rows] == [
        ("run/two.avi", "run", "clip", "spikes"),
        ("run/two.avi", "run", "clip", "events"),
        ("run/one", "run", "clip", "spikes"),
        ("run/one", "run", "clip", "events"),
    ]
    assert {row.duration_us for row in rows} == {60_000}
    assert [row.planes for row in rows if row.kind == "spikes"] == [1200, 1200]
    assert all(item.flow is None for item in SpikeSet(tmp_path / "out"))


def test_light_lasts_as_long_as_stated(pictures):
    frames = read_frames(pictures, fps=100)
    cut, held = lasting(frames, 25_000), lasting(frames, 80_000)
    (*_, (_, second), (_, third)), _ = list(frames)[:4], None
    *_, (end, last) = cut
    assert end == 25_000
    np.testing.assert_allclose(last, 0.5 * (second + third), atol=1e-6)
    assert [t for t, _ in held][-2:] == [50_000, 80_000]
    assert [t for t, _ in lasting(frames, None)][-2:] == [50_000, 60_000]


# --- layouts, formats, workers


def test_shards_raw_files_and_files_hold_the_same(tree, whole, tmp_path):
    for name, changes in {"s": {"layout": "shards", "shard_items": 4}, "d": {"format": "dat"}}.items():
        make_dataset(tree, tmp_path / name, replace(SMALL, **changes), workers=1)
        assert checksums(tmp_path / name) == checksums(whole)
        for one, other in zip(SpikeSet(whole), SpikeSet(tmp_path / name), strict=True):
            np.testing.assert_array_equal(one.stream.planes(), other.stream.planes())
            assert other.stream.readout_hz == one.stream.readout_hz
            np.testing.assert_array_equal(one.flow.maps[:], other.flow.maps[:])
        assert list(SpikeSet(tmp_path / name).check()) == [None] * 9
    assert sorted(path.name for path in (tmp_path / "s").glob("shard*")) == [f"shard-0000{n}.h5" for n in range(3)]
    assert (tmp_path / "d/cat/purr 2_pan_0_vidar.dat").stat().st_size == 40 * 32 * 48 // 8


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_two_workers_write_the_same_bytes_as_one(tree, tmp_path, layout):
    settings = replace(SMALL, layout=layout, shard_items=4, kind="both")
    for workers in (1, 2):
        make_dataset(tree, tmp_path / str(workers), settings, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same_bytes(tree, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        make_dataset(tree, tmp_path / "dask", SMALL, dask=cluster.scheduler_address)
        assert contents(tmp_path / "dask") == contents(whole)


def test_dask_without_a_scheduler_or_without_dask_says_what_to_do(tree, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install retinaflow\[dask\]"):
        make_dataset(tree, tmp_path, SMALL, dask="tcp://127.0.0.1:1")


def test_a_worker_that_dies_gives_one_clear_error():
    def end_process(job: int) -> int:  # in here, so that it is sent whole: workers need not find this file
        if job == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    with pytest.raises(WorkerDied, match="run the same command again"):
        list(each_done(end_process, range(4), workers=2))


# --- going on


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
    with pytest.raises(InputError, match=r"cat/one\.png, which the data set was begun with"):
        make_dataset(folder, out, SMALL, workers=1)


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
    folder, out = tmp_path / "in", tmp_path / "out"
    for source in find_sources(tree):
        (folder / source.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / source.path).write_bytes((tree / source.path).read_bytes())
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


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_damage_is_found(tree, tmp_path, layout):
    make_dataset(tree, tmp_path, replace(SMALL, layout=layout, motion=("pan",)), workers=1)
    rows = [
        replace(row, flow_checksum="0" * 64) if row.item.endswith("10_pan_0_vidar") else row
        for row in read_manifest(tmp_path)
    ]
    write_manifest(tmp_path, rows)
    faults = [error for error in SpikeSet(tmp_path).check() if error]
    assert len(faults) == 1
    assert "expected checksum 0000" in str(faults[0])


def test_manifests_are_checked(whole, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv: expected the manifest of a finished data set"):
        SpikeSet(tmp_path)
    text = (whole / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace(",40,", ",forty,", 1))
    with pytest.raises(InputError, match="forty' at line 2"):
        SpikeSet(tmp_path)
    (tmp_path / MANIFEST).write_text("a,b\n")
    with pytest.raises(InputError, match="at line 1"):
        SpikeSet(tmp_path)


def test_a_set_can_be_sent_to_other_processes(whole):
    items = SpikeSet(whole)
    item, flow = items[4], items[4].flow
    _ = flow.maps[0]
    again = pickle.loads(pickle.dumps((items, item.stream, flow)))
    np.testing.assert_array_equal(again[1].planes(), item.stream.planes())
    np.testing.assert_array_equal(again[2].maps[1], flow.maps[1])
    assert [row.label for row in again[0].rows] == [row.label for row in items.rows]
    assert items.labels == ["cat", "dog/big"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": 0.0}, "expected duration above 0"),
        ({"speed": -1.0}, "expected speed above 0"),
        ({"repeats": 0}, "expected repeats above 0"),
        ({"motion": ("jump",)}, "expected motion among none, tremor"),
        ({"motion": ("pan", "pan")}, "each once"),
        ({"camera": ()}, "at least one"),
        ({"format": "dat", "layout": "shards"}, "expected format h5 for shards"),
        ({"size": (0, 4)}, "at least 1x1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_two_cameras_of_one_name_are_refused(tmp_path):
    (tmp_path / "vidar.yaml").write_text("height: 10\n")
    with pytest.raises(ValueError, match="cameras of different names, got vidar, vidar"):
        sensors_of(DatasetSettings(camera=("vidar", str(tmp_path / "vidar.yaml"))))


# --- the command


def test_the_command_makes_goes_on_and_verifies(command, tree, tmp_path):
    options = ["--size", 32, 48, "--duration", 0.002, "--motion", "pan", "--workers", 1, "--quiet"]
    assert command("eventsim", "dataset", tree, tmp_path / "out", *options, "--verify").returncode == 0
    record = json.loads((tmp_path / "out/dataset.json").read_text())
    assert record["settings"]["cameras"]["vidar"]["width"] == 48
    assert record["versions"]["numpy"] == np.__version__
    checked = command("eventsim", "dataset", tmp_path / "out", "--verify")
    assert (checked.returncode, "verify: 3 items" in checked.stderr) == (0, True)
    (tmp_path / "out/cat/purr 2_pan_0_vidar.h5").write_text("rubbish")
    damaged = command("eventsim", "dataset", tmp_path / "out", "--verify", "--quiet")
    assert damaged.returncode == 1
    assert "1 damaged" in damaged.stderr


def test_the_command_names_sources_that_it_left_out(command, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.png").write_bytes(b"no picture")
    said = command("eventsim", "dataset", tmp_path / "in", tmp_path / "out", "--workers", 1, "--quiet")
    assert said.returncode == 1
    lines = said.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("left out: ")
    assert "bad.png" in lines[0]
    assert "found 1 that could not be used" in lines[1]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--workers", 0], "--workers"),
        (["--workers", 2, "--dask", "tcp://x:1"], "--dask"),
        (["--repeats", 0], "repeats"),
    ],
)
def test_the_command_refuses_what_cannot_be(command, tree, tmp_path, options, word):
    said = command("eventsim", "dataset", tree, tmp_path / "out", *options)
    assert said.returncode == 1
    assert word in said.stderr
    assert len(said.stderr.splitlines()) == 1
