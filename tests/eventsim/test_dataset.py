"""Data sets from folders: an item depends on nothing but its seed, and is read back as it was made."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsim import EventCamera, SpikeCamera, read_frames
from eventsim.errors import InputError
from eventsim.io.manifest import JOURNAL, MANIFEST, read_manifest, write_manifest
from eventsim.io.spike_set import SpikeSet
from eventsim.light.motions import MotionStyle, moving_frames, still_scene
from eventsim.synthesize import make
from eventsim.synthesize.items import stable_seed
from eventsim.synthesize.light import lasting, light_of
from eventsim.synthesize.make import Made, Unit, make_unit
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings
from eventsim.synthesize.workers import WorkerDied, each_done

SMALL = DatasetSettings(size=(32, 48), duration=0.002, motion=("tremor", "pan", "zoom"), flow_hz=1000.0)


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


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_cameras_of_one_size_share_one_pass_over_the_light(tree, tmp_path, monkeypatch, layout):
    """And each records what it would have recorded alone."""
    lights = []

    def counting(item, *arguments):
        lights.append(item.light)
        return light_of(item, *arguments)

    monkeypatch.setattr(make, "light_of", counting)
    settings = replace(SMALL, kind="both", camera=("vidar", "ideal"), layout=layout)
    finished = make_dataset(tree, tmp_path / "both", settings, workers=1)
    assert (finished.made, len(lights), len(set(lights))) == (27, 9, 9)
    alone = {}
    for name, changes in {"s": {"kind": "spikes"}, "e": {"kind": "events", "camera": ("vidar",)}}.items():
        make_dataset(tree, tmp_path / name, replace(settings, **changes), workers=1)
        alone |= checksums(tmp_path / name)
    assert checksums(tmp_path / "both") == alone
    if layout == "items":
        kept = contents(tmp_path / "both")
        (tmp_path / "both" / read_manifest(tmp_path / "both")[1].path).unlink()
        finished = make_dataset(tree, tmp_path / "both", settings, workers=1)
        assert (finished.made, finished.kept) == (1, 26)
        assert contents(tmp_path / "both") == kept


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

    with pytest.raises(WorkerDied, match="a worker process was ended from outside"):
        list(each_done(end_process, range(4), workers=2))


@pytest.mark.parametrize(
    ("deadly", "said"),
    [
        ("cat/purr 2.png", r"before any item was finished, at cat/purr 2\.png: use fewer workers"),
        ("dog/big/wuff.png", "run the same command again"),
    ],
)
def test_a_crash_is_not_to_be_repeated_for_ever(tree, tmp_path, monkeypatch, deadly, said):
    """Who finished nothing would crash again: what to look at is said instead of to run again."""

    def make_or_die(unit: Unit) -> Made:
        if unit.items[0].source.path == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if deadly.startswith("cat"):
            time.sleep(60)
        return make_unit(unit)

    monkeypatch.setattr("eventsim.synthesize.run.make_unit", make_or_die)
    with pytest.raises(WorkerDied, match=said):
        make_dataset(tree, tmp_path, replace(SMALL, motion=("pan", "zoom", "tremor")), workers=2)


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


@pytest.mark.parametrize("layout", ["items", "shards"])
def test_damage_that_h5py_stumbles_over_is_found_as_any_other(tree, tmp_path, layout):
    make_dataset(tree, tmp_path, replace(SMALL, layout=layout, shard_items=2, motion=("pan",)), workers=1)
    path = tmp_path / SpikeSet(tmp_path).rows[0].path
    path.write_bytes(path.read_bytes().replace(b"HEAP", b"heap"))
    *faults, last = SpikeSet(tmp_path).check()
    assert last is None
    assert ["expected a whole item, found" in str(fault) for fault in faults if fault] == {
        "items": [True],
        "shards": [True, True],
    }[layout]


def test_an_item_is_asked_for_by_its_number(whole):
    with pytest.raises(TypeError, match="expected the number of one item, got slice"):
        _ = SpikeSet(whole)[0:2]
    assert SpikeSet(whole)[np.int64(-1)].row == SpikeSet(whole).rows[-1]


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
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_the_command_does_not_call_an_empty_data_set_whole(command, whole, tmp_path):
    (tmp_path / MANIFEST).write_text((whole / MANIFEST).read_text().splitlines()[0] + "\n")
    said = command("eventsim", "dataset", tmp_path, "--verify")
    assert said.returncode == 1
    assert "expected a data set of one item or more, found none" in said.stderr


def test_the_command_names_options_that_decide_nothing(command, tree, tmp_path):
    options = ["--size", 32, 48, "--duration", 0.002, "--workers", 1, "--speed", 90]
    said = command("eventsim", "dataset", tree, tmp_path / "out", *options)
    assert said.returncode == 0
    assert said.stderr.startswith("--speed decides nothing without --motion\n")
    assert "9 items" not in said.stderr
    assert "3 were there" in command("eventsim", "dataset", tree, tmp_path / "out", *options[:-2]).stderr


def test_the_command_tells_where_the_folder_went(command, tree, tmp_path):
    said = command("eventsim", "dataset", tree, "--camera", "vidar", tmp_path / "out")
    assert said.returncode == 1
    assert "behind --camera, --event-camera or --motion it counts as one of these" in said.stderr


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
