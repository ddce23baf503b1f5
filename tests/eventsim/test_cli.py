"""The `eventsim` command: what it makes; bad input gives one line and exit code 1, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from eventsim import Events, open_events, open_spikes, read_frames, write_events


def made_by_hand(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fails(said: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error that holds the words, exit code 1, no traceback."""
    assert said.returncode == 1, said
    lines = [line for line in said.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, said.stderr
    assert "error:" in lines[0]
    for word in words:
        assert word in lines[0]


def test_spikes_of_a_folder_and_their_provenance(command, pictures, tmp_path):
    out = tmp_path / "out.dat"
    said = command("eventsim", "spikes", pictures, out, "--native", "--fps", 1000, "--seed", 3)
    assert said.returncode == 0, said.stderr
    stream = open_spikes(out, height=48, width=64)
    assert len(stream) == 6 * 20
    record = json.loads((tmp_path / "out.dat.run.json").read_text())
    assert record["settings"]["seed"] == 3
    assert record["versions"]["numpy"] == np.__version__
    assert "commit" in record
    assert made_by_hand(tmp_path) == {"out.dat", "out.dat.run.json"}


def test_spikes_of_a_still_have_the_cameras_size(command, pictures, tmp_path):
    out = tmp_path / "still.dat"
    assert command("eventsim", "spikes", pictures / "frame_0.png", out, "--duration", 0.01).returncode == 0
    assert out.stat().st_size == 200 * 250 * 50


def test_events_of_a_folder(command, pictures, tmp_path):
    out = tmp_path / "out.h5"
    assert command("eventsim", "events", pictures, out, "--size", 48, 64).returncode == 0
    events = open_events(out)
    assert (events.width, events.height) == (64, 48)
    assert len(events) > 1000


@pytest.mark.parametrize("kind", ["spikes", "events"])
def test_same_seed_same_bytes(command, pictures, tmp_path, kind):
    suffix = {"spikes": "dat", "events": "h5"}[kind]
    outs = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for out in outs:
        assert command("eventsim", kind, pictures, out, "--native", "--seed", 5).returncode == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_scene_writes_both_files_of_a_recording(command, pictures, tmp_path):
    options = ["--picture", pictures / "frame_0.png", "--duration", 0.2, "--size", 64, 80, "--quiet"]
    said = command("eventsim", "scene", tmp_path / "walk", *options)
    assert said.returncode == 0, said.stderr
    assert made_by_hand(tmp_path) == {"walk_data.hdf5", "walk_gt.hdf5", "walk.run.json"}
    assert "events" in command("eventsim", "info", tmp_path / "walk_data.hdf5").stdout


def test_scene_without_ground_truth(command, pictures, tmp_path):
    options = ["--picture", pictures / "frame_0.png", "--duration", 0.1, "--size", 40, 50, "--quiet"]
    assert command("eventsim", "scene", tmp_path / "walk", *options).returncode == 0
    fails(command("eventsim", "scene", tmp_path / "walk", *options, "--data-only"), "walk_data.hdf5", "--overwrite")
    said = command("eventsim", "scene", tmp_path / "walk", *options, "--data-only", "--overwrite")
    assert said.returncode == 0, said.stderr
    assert made_by_hand(tmp_path) == {"walk_data.hdf5", "walk.run.json"}
    assert json.loads((tmp_path / "walk.run.json").read_text())["camera"]["width"] == 346


@pytest.mark.parametrize(("option", "field"), [("--frame-hz", "frame_hz"), ("--duration", "duration_us")])
def test_scene_refuses_rates_of_nothing(command, pictures, tmp_path, option, field):
    said = command("eventsim", "scene", tmp_path / "walk", "--picture", pictures / "frame_0.png", option, 0)
    fails(said, f"expected {field} above 0, got 0")


def test_convert_view_info_and_compare(command, pictures, tmp_path):
    assert command("eventsim", "spikes", pictures, tmp_path / "a.dat", "--native", "--fps", 200).returncode == 0
    size = ["--height", 48, "--width", 64]
    assert command("eventsim", "convert", tmp_path / "a.dat", tmp_path / "a.h5", *size).returncode == 0
    np.testing.assert_array_equal(
        open_spikes(tmp_path / "a.h5").planes(), open_spikes(tmp_path / "a.dat", height=48, width=64).planes()
    )
    assert "64x48" in command("eventsim", "info", tmp_path / "a.h5").stdout
    assert command("eventsim", "view", tmp_path / "a.h5", tmp_path / "a.png").returncode == 0
    assert command("eventsim", "view", tmp_path / "a.h5", tmp_path / "a.mp4").returncode == 0
    assert (tmp_path / "a.mp4").stat().st_size > 500
    assert json.loads((tmp_path / "a.mp4.run.json").read_text())["settings"]["window_ms"] == 10
    same = command("eventsim", "compare", tmp_path / "a.h5", tmp_path / "a.h5", "--everywhere")
    assert "two_valued_share" in same.stdout


@pytest.fixture(scope="module")
def three_events(tmp_path_factory) -> Path:
    """A file of events at 1.0, 21.0 and 41.5 ms."""
    path = tmp_path_factory.mktemp("events") / "three.h5"
    x = np.array([1, 2, 3], np.uint16)
    write_events(path, Events(np.array([1000, 21_000, 41_500]), x, x, np.array([True, False, True]), 8, 6))
    return path


def test_view_of_events_starts_at_the_time_asked_for(command, three_events, tmp_path):
    import cv2

    said = command("eventsim", "view", three_events, tmp_path / "a.png", "--start-ms", 15)
    assert said.returncode == 0, said.stderr
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert (picture != 255).any(axis=2).sum() == 1
    assert tuple(picture[2, 2]) == (200, 60, 30)
    assert command("eventsim", "view", three_events, tmp_path / "b.png", "--start-ms", 25).returncode == 0
    assert (cv2.imread(str(tmp_path / "b.png")) == 255).all()
    assert command("eventsim", "view", three_events, tmp_path / "a.mp4", "--quiet").returncode == 0
    assert read_frames(tmp_path / "a.mp4").count == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window-ms", 0], ["--window-ms", "more than 0"]),
        (["--window-ms", -1], ["--window-ms", "more than 0"]),
        (["--start-ms", -1], ["--start-ms", "0 or more"]),
        (["--start-ms", 41], ["three.h5", "beyond 41 ms", "40.5 ms"]),
    ],
)
def test_view_refuses_times_that_are_not_there(command, three_events, tmp_path, options, words):
    fails(command("eventsim", "view", three_events, tmp_path / "a.png", *options), *words)
    assert made_by_hand(tmp_path) == set()


def test_view_looks_at_its_output_before_anything_else(command, tmp_path):
    (tmp_path / "a.png").write_text("mine")
    fails(command("eventsim", "view", tmp_path / "missing.h5", tmp_path / "a.png"), "a.png", "--overwrite")
    fails(command("eventsim", "view", tmp_path / "missing.h5", tmp_path / "a.avi"), "a.avi", ".png", ".mp4")


def test_wrong_usage_is_exit_code_2(command):
    assert command("eventsim", "spikes").returncode == 2
    assert command("eventsim", "no-such-command").returncode == 2


def test_debug_shows_the_traceback(command, tmp_path):
    said = command("eventsim", "info", tmp_path / "missing.h5", "--debug")
    assert said.returncode == 1
    assert "Traceback" in said.stderr


def bad_source(kind: str, pictures: Path, folder: Path) -> Path:
    """A source of pictures with one fault."""
    source = folder / "source"
    if kind == "missing":
        return source
    source.mkdir()
    if kind == "empty":
        return source
    shutil.copytree(pictures, source, dirs_exist_ok=True)
    victim = source / "frame_3.png"
    if kind == "mixed sizes":
        import cv2

        cv2.imwrite(str(victim), np.zeros((20, 30), np.uint8))
    elif kind == "truncated":
        victim.write_bytes(victim.read_bytes()[:-200])
    elif kind == "no picture":
        victim.write_bytes(b"this is no picture")
    return source


@pytest.mark.parametrize("command_name", ["spikes", "events"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["source"]),
        ("empty", ["source"]),
        ("mixed sizes", ["frame_3.png", "20x30"]),
        ("truncated", ["frame_3.png", "truncated"]),
        ("no picture", ["frame_3.png"]),
    ],
)
def test_bad_pictures(command, pictures, tmp_path, command_name, kind, words):
    source = bad_source(kind, pictures, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    said = command(
        "eventsim",
        command_name,
        source,
        out / f"out.{'dat' if command_name == 'spikes' else 'h5'}",
        "--native",
        "--quiet",
    )
    fails(said, *words)
    assert made_by_hand(out) == set()


def test_still_without_duration(command, pictures, tmp_path):
    fails(command("eventsim", "spikes", pictures / "frame_0.png", tmp_path / "out.dat"), "frame_0.png", "--duration")
    assert made_by_hand(tmp_path) == set()


@pytest.mark.parametrize("duration", ["0", "-1", "inf", "nan"])
def test_durations_that_are_none(command, pictures, tmp_path, duration):
    said = command("eventsim", "spikes", pictures / "frame_0.png", tmp_path / "out.dat", "--duration", duration)
    fails(said, "--duration", "above 0", duration)
    assert made_by_hand(tmp_path) == set()


def test_truncated_dat(command, tmp_path):
    path = tmp_path / "short.dat"
    path.write_bytes(bytes(12_500 * 3 + 7))
    fails(command("eventsim", "info", path), "short.dat", "37507", "12500")


def broken_events(path: Path, **columns: np.ndarray) -> None:
    """A good file of three events with some columns replaced."""
    coordinates = np.array([1, 2, 3], np.uint16)
    write_events(path, Events(np.array([10, 20, 30]), coordinates, coordinates, np.array([True, False, True]), 8, 6))
    with h5py.File(path, "r+") as file:
        for name, values in columns.items():
            file[f"events/{name}"][:] = values


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"t": np.array([10, 5, 30])}, ["ascending", "event 1"]),
        ({"x": np.array([1, 2, 8])}, ["x below 8", "x 8", "event 2"]),
        ({"y": np.array([6, 2, 3])}, ["y below 6", "y 6", "event 0"]),
    ],
)
def test_events_that_break_the_conventions(command, tmp_path, columns, words):
    path = tmp_path / "broken.h5"
    broken_events(path, **columns)
    fails(command("eventsim", "info", path), "broken.h5", *words)
    fails(command("eventsim", "convert", path, tmp_path / "copy.h5"), "broken.h5", *words)
    assert made_by_hand(tmp_path) == {"broken.h5"}


def test_hdf5_without_the_expected_key(command, tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["something"] = np.arange(3)
    fails(command("eventsim", "info", path), "other.h5", "events", "something")


def test_existing_output_is_kept_without_overwrite(command, pictures, tmp_path):
    out = tmp_path / "out.dat"
    out.write_bytes(b"precious")
    fails(command("eventsim", "spikes", pictures, out, "--native"), "out.dat", "--overwrite")
    assert out.read_bytes() == b"precious"
    assert command("eventsim", "spikes", pictures, out, "--native", "--overwrite").returncode == 0
    assert out.stat().st_size > 1000


def test_bad_camera_file(command, pictures, tmp_path):
    camera = tmp_path / "mine.yaml"
    camera.write_text("readout_khz: 3\n")
    fails(command("eventsim", "spikes", pictures, tmp_path / "out.dat", "--camera", camera), "mine.yaml", "readout_khz")
    assert made_by_hand(tmp_path) == {"mine.yaml"}


@pytest.mark.parametrize("kind", ["spikes", "events", "scene"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_stops_within_a_second_and_leaves_nothing(pictures, tmp_path, kind, number):
    """A job of minutes is interrupted while it writes."""
    program = str(Path(sys.executable).with_name("eventsim"))
    still, out = str(pictures / "frame_0.png"), str(tmp_path / f"out.{'dat' if kind == 'spikes' else 'h5'}")
    job = {
        "spikes": ["spikes", still, out, "--duration", "1000"],
        "events": ["events", str(pictures), out, "--size", "1500", "2000", "--fps", "1"],
        "scene": ["scene", str(tmp_path / "out"), "--picture", still, "--duration", "600", "--data-only"],
    }[kind]
    if kind == "events":  # enough pictures for minutes of work
        source = tmp_path / "many"
        source.mkdir()
        for index in range(600):
            os.link(pictures / f"frame_{index % 6}.png", source / f"{index}.png")
        job[1] = str(source)
    running = subprocess.Popen([program, *job], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(".partial" in name for name in made_by_hand(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # well into the work
    running.send_signal(number)
    start = time.monotonic()
    _, said = running.communicate(timeout=30)
    # The issue is the second; the rest is what a machine that is busy with other tests may take.
    assert time.monotonic() - start < 1.0 + 2.0
    assert running.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], said
    assert "Traceback" not in said
    assert made_by_hand(tmp_path) <= {"many"}
