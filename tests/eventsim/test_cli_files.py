"""The commands `convert`, `info` and `view` on files that do not state their own conventions, and what `view` shows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsim import Events, SpikeStream, open_spikes, write_events, write_spikes
from eventsim.cli import main
from eventsim.cli.files import Convert, Info, SpikeFile, View
from eventsim.io.vidar import LAYOUTS
from eventsim.light.frames import read_frames


@pytest.fixture(scope="module")
def spikes() -> SpikeStream:
    fired = np.random.default_rng(0).random((400, 26, 33)) < np.linspace(0.05, 0.6, 33)
    return SpikeStream.from_planes(fired, 20_000)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    x = np.array([1, 2, 3], np.uint16)
    write_events(tmp_path / "events.h5", Events(np.array([10, 20, 30]), x, x, np.array([True, False, True]), 8, 6))
    return tmp_path / "events.h5"


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command says in its one line before it leaves with exit code 1."""
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    said = capsys.readouterr().err
    assert end.value.code == 1, said
    assert len(said.strip().splitlines()) == 1, said
    return said


SIZE = ["--height", 26, "--width", 33]


def test_a_stream_comes_back_through_every_format_and_convention(command, spikes: SpikeStream, tmp_path: Path) -> None:
    write_spikes(tmp_path / "0.h5", spikes)
    told = ["--layout", "vidar416", "--orientation", "upright", "--padding", "stream"]
    to = [option.replace("--", "--to-") if isinstance(option, str) else option for option in told]
    chain: list[tuple[str, str, list[object]]] = [
        ("0.h5", "1.npz", []),
        ("1.npz", "2.dat", to),
        ("2.dat", "3.dat", [*SIZE, *told]),
        ("3.dat", "4.npz", SIZE),
        ("4.npz", "5.h5", []),
    ]
    for source, out, options in chain:
        said: subprocess.CompletedProcess[str] = command(
            "eventsim", "convert", tmp_path / source, tmp_path / out, *options
        )
        assert said.returncode == 0, said.stderr
    bits = 26 * (33 + 16)
    assert (tmp_path / "2.dat").stat().st_size == -(-400 * bits // 8)
    assert (tmp_path / "3.dat").stat().st_size == 400 * -(-26 * 33 // 8)
    assert np.array_equal(open_spikes(tmp_path / "5.h5").planes(), spikes.planes())
    record = json.loads((tmp_path / "2.dat.run.json").read_text())
    assert record["settings"]["to_padding"] == "stream"


def test_info_tells_what_it_assumes(spikes: SpikeStream, tmp_path: Path) -> None:
    write_spikes(tmp_path / "a.dat", spikes, layout="vidar416", padding="stream")
    options = {"height": 26, "width": 33, "layout": "vidar416", "padding": "stream", "readout_hz": 40_000.0}
    facts = dict(Info(source=tmp_path / "a.dat", **options).facts())
    assert facts["assumed"] == (
        "rows from the bottom up, 16 status columns dropped, padding 'stream', 40000 Hz (the file does not state it)"
    )
    assert facts["sensor"] == "33x26"
    assert facts["planes"] == "400 at 40000 Hz (0.01 s)"
    write_spikes(tmp_path / "a.npz", spikes)
    assert dict(Info(source=tmp_path / "a.npz").facts())["assumed"] == "20000 Hz (the file does not state it)"
    write_spikes(tmp_path / "a.h5", spikes)
    assert "assumed" not in dict(Info(source=tmp_path / "a.h5").facts())


def test_options_that_a_source_states_itself_are_refused(
    capsys: pytest.CaptureFixture[str], spikes: SpikeStream, events: Path, tmp_path: Path
) -> None:
    write_spikes(tmp_path / "a.h5", spikes)
    out = tmp_path / "out.h5"
    assert "no layout, which RetinaFlow HDF5" in fails(capsys, "info", tmp_path / "a.h5", "--layout", "vidar")
    assert "no readout_hz" in fails(capsys, "convert", tmp_path / "a.h5", out, "--readout-hz", 1)
    assert "no padding" in fails(capsys, "convert", tmp_path / "a.h5", out, "--to-padding", "plane", "--quiet")
    assert "for --orientation, found events" in fails(capsys, "info", events, "--orientation", "upright")
    assert "for --to-layout, found events" in fails(capsys, "convert", events, out, "--to-layout", "vidar")
    assert "for --show, found events" in fails(capsys, "view", events, tmp_path / "a.png", "--show", "tfi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "events.h5"]


def test_options_may_be_meant_for_another_source_of_the_command(spikes: SpikeStream, tmp_path: Path) -> None:
    for name in ("a.h5", "a.npz", "a.dat"):
        write_spikes(tmp_path / name, spikes)
    told = SpikeFile(height=26, width=33, layout="vidar416", orientation="upright", readout_hz=1000.0)
    assert told.open_spikes(tmp_path / "a.h5").readout_hz == 20_000
    assert told.open_spikes(tmp_path / "a.npz").readout_hz == 1000
    found = told.open_spikes(tmp_path / "a.dat")
    assert len(found) * -(-26 * 49 // 8) == (tmp_path / "a.dat").stat().st_size


def test_layouts_are_all_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in LAYOUTS)


@pytest.mark.parametrize("show", ["planes", "tfp", "tfi", "tfstp"])
@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.mp4"])
def test_view_shows_spikes_in_each_way(spikes: SpikeStream, tmp_path: Path, show: str, name: str) -> None:
    write_spikes(tmp_path / "a.h5", spikes)
    View(source=tmp_path / "a.h5", out=tmp_path / name, show=show, window_ms=5.0, quiet=True).run()
    if name == "a.png":
        shown = [cv2.imread(str(tmp_path / name))]
    elif name == "a.gif":
        shown = cv2.imreadanimation(str(tmp_path / name))[1].frames
    else:
        shown = [np.repeat(light[..., None], 3, 2) * 255 for _, light in read_frames(tmp_path / name)]
    assert len(shown) == (1 if name == "a.png" else 4)
    assert shown[0].shape[:2] == (26, 32 if name == "a.mp4" else 33)  # a movie's sides are even
    # The light grows from left to right, to ten times as much; a screen's levels to three times.
    assert shown[0][..., :3][:, 22:].mean() > 1.4 * shown[0][..., :3][:, :11].mean()
    assert json.loads((tmp_path / f"{name}.run.json").read_text())["settings"]["show"] == show


def test_view_refuses_a_gif_that_is_too_large_at_once(
    capsys: pytest.CaptureFixture[str], spikes: SpikeStream, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("eventsim.view._GIF_PIXELS", 26 * 33 * 3)
    write_spikes(tmp_path / "a.h5", spikes)
    said = fails(capsys, "view", tmp_path / "a.h5", tmp_path / "a.gif", "--window-ms", 1, "--quiet")
    assert "a.gif: expected at most 3 pictures of this size in a GIF" in said
    assert "found 20" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_an_interrupted_conversion_leaves_nothing(spikes: SpikeStream, tmp_path: Path, monkeypatch) -> None:
    write_spikes(tmp_path / "a.h5", spikes)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eventsim.io.npz.npy.write_array_header_1_0", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Convert(source=tmp_path / "a.h5", out=tmp_path / "b.npz", quiet=True).run()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
