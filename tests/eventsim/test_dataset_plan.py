"""What a data set is going to hold: sources, seeds, files, and what is refused before anything is made."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eventsim
from eventsim.errors import InputError
from eventsim.io.manifest import read_manifest
from eventsim.synthesize.items import plan_items, stable_seed
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings, first_difference, resolved, sensors_of
from eventsim.synthesize.sources import Source, find_sources

SMALL = DatasetSettings(size=(32, 48), duration=0.002, motion=("tremor", "pan", "zoom"), flow_hz=1000.0)


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


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"caf\xe9/one.png", b"two\rlines.png"])
def test_names_that_no_manifest_could_hold_are_refused(tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    try:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    except OSError:
        pytest.skip("this file system does not take such names")
    with pytest.raises(InputError, match=r"expected names in UTF-8 and of one line, found b'(caf\\xe9|two\\r)"):
        find_sources(tmp_path)


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
    many = [item for unit in plan_items(sources, sensors, settings) for item in unit]
    same = [item for item in many if item.identity == few[0].identity]
    assert same == few
    twins = [item for item in many if (item.source, item.motion, item.repeat) == (few[0].source, "pan", 0)]
    assert len(twins) == 2
    assert len({item.motion_seed for item in twins}) == 1
    assert len({item.seed for item in many}) == len(many)


# --- files


def test_no_two_items_share_a_file(tree, tmp_path):
    preset = Path(eventsim.__file__).with_name("cameras") / "presets/spike/vidar.yaml"
    (tmp_path / "vidar_flow.yaml").write_bytes(preset.read_bytes())
    settings = replace(SMALL, camera=("vidar", str(tmp_path / "vidar_flow.yaml")))
    sources, sensors = find_sources(tree), sensors_of(settings)
    with pytest.raises(ValueError, match=r"expected a file for each item.*_tremor_0_vidar_flow\.h5 for"):
        plan_items(sources, sensors, settings)
    assert sum(map(len, plan_items(sources, sensors, replace(settings, motion=("none",))))) == 6
    assert len(plan_items(sources, sensors, replace(settings, layout="shards"))) == 1


def test_files_differ_for_systems_that_know_one_case_only():
    sources = [Source(path=f"{name}.png", label=".", name=name, kind="still") for name in ("Cat", "cat")]
    with pytest.raises(ValueError, match="upper and lower case alike, got cat_tremor_0_vidar"):
        plan_items(sources, sensors_of(SMALL), SMALL)
    assert len(plan_items(sources, sensors_of(SMALL), replace(SMALL, layout="shards"))) == 1


# --- settings


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
        ({"format": "dat", "kind": "events"}, "expected format h5 for events"),
        ({"kind": "events", "camera": ("scsim",)}, "expected no camera for kind events, got scsim"),
        ({"event_camera": ("mine.yaml",)}, r"expected no event_camera for kind spikes, got mine\.yaml"),
        ({"speed": 1e9}, "expected speed of at most 50000, got 1e"),
        ({"flow_hz": 1e8}, "expected flow_hz of at most 1e"),
        ({"fps": 1e7}, "expected fps of at most 1e"),
        ({"duration": 1e6}, "expected duration of at most 86400"),
        ({"repeats": 10**9}, "expected repeats of at most 100000"),
        ({"size": (0, 4)}, "at least 1x1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_settings_that_decide_nothing_do_not_count():
    settings = DatasetSettings()
    other = replace(settings, speed=5.0, flow_hz=50.0, shard_items=3)
    assert resolved(settings, sensors_of(settings)) == resolved(other, sensors_of(other))
    begun, now = (resolved(each, []) for each in (SMALL, replace(SMALL, speed=5.0)))
    assert first_difference(begun, now) == ("speed", 200.0, 5.0)
    begun, now = (resolved(replace(SMALL, layout="shards", shard_items=count), []) for count in (3, 4))
    assert first_difference(begun, now) == ("shard_items", 3, 4)


def test_two_cameras_of_one_name_are_refused(tmp_path):
    (tmp_path / "vidar.yaml").write_text("height: 10\n")
    with pytest.raises(ValueError, match="cameras of different names, got vidar, vidar"):
        sensors_of(DatasetSettings(camera=("vidar", str(tmp_path / "vidar.yaml"))))


# --- what is tried out before anything is made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": 1e-5}, "camera vidar: expected at least one readout of 50 us"),
        ({"motion": ("zoom",), "speed": 5e4, "duration": 1.0}, "camera vidar: expected a zoom of at most 1000 times"),
        ({"motion": ("tremor",), "duration": 1e4}, "camera vidar: expected at most 1,000,000 frames of light an item"),
        ({"motion": ("pan",), "duration": 2.0, "flow_hz": 1e6}, "expected at most 1,000,000 maps of flow an item"),
        ({"fps": 100.0}, "expected clips for 100 frames a second, found stills alone"),
        ({"clips": True}, "expected pictures for motion tremor pan zoom, found clips alone"),
    ],
)
def test_what_cannot_be_made_of_any_source_is_said_once(tree, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        make_dataset(tree, tmp_path / "out", replace(SMALL, **changes), workers=1)
    assert not (tmp_path / "out").exists()


def test_maps_of_another_size_are_the_cameras_fault(tree, tmp_path):
    np.savez(tmp_path / "maps.npz", response=np.ones((40, 50), np.float32))
    camera = tmp_path / "mine.yaml"
    camera.write_text("height: 40\nwidth: 50\nresponse: {file: maps.npz, key: response}\n")
    settings = replace(SMALL, camera=(str(camera),))
    with pytest.raises(InputError, match=r"maps.*32x48.*mine.*40x50"):
        make_dataset(tree, tmp_path / "out", settings, workers=1)
    assert not (tmp_path / "out").exists()
    make_dataset(tree, tmp_path / "out", replace(settings, size=None, motion=("none",)), workers=1)
    assert len(read_manifest(tmp_path / "out")) == 3


def test_a_clip_of_less_than_a_readout_is_left_out_alone(pictures, tmp_path):
    for name, count in (("short", 1), ("whole", 6)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for path in sorted(pictures.iterdir())[:count]:
            (tmp_path / "in" / name / path.name).write_bytes(path.read_bytes())
    settings = DatasetSettings(size=(32, 48), clips=True, fps=30_000.0)
    finished = make_dataset(tmp_path / "in", tmp_path / "out", settings, workers=1)
    assert (finished.made, list(finished.failed)) == (1, ["short"])
    assert "expected a clip of one readout, 5e-05 s, or more" in finished.failed["short"]
