"""Frames in between: known motions are reproduced, hidden light stays hidden, originals stay; steps follow motion."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import EventCamera, Frames, SpikeCamera, read_frames
from eventsim.errors import InputError
from eventsim.light.frames import linear_to_srgb, srgb_to_linear
from eventsim.light.interpolate import (
    DisInterpolator,
    LinearInterpolator,
    NoInterpolator,
    OnnxInterpolator,
    interpolated,
    interpolator_of,
)
from eventsim.light.optical_flow import along_flow, flow_pair

Picture = np.ndarray


def big_texture(seed: int = 0, size: tuple[int, int] = (240, 320)) -> Picture:
    """A smooth random picture, linear luminance 0.05 .. 0.95."""
    noise = np.random.default_rng(seed).random(size).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return 0.05 + 0.9 * (smooth - smooth.min()) / np.ptp(smooth)


def moved(picture: Picture, dx: float, dy: float, size: tuple[int, int], zoom: float = 1.0) -> Picture:
    """The middle of a picture, moved by (dx, dy) pixels to the right and down, and zoomed about the middle."""
    middle = (size[1] / 2, size[0] / 2)
    shift = ((picture.shape[1] - size[1]) / 2, (picture.shape[0] - size[0]) / 2)
    offset = [s + m - (m + d) / zoom for s, m, d in zip(shift, middle, (dx, dy), strict=True)]
    matrix = np.array([[1 / zoom, 0, offset[0]], [0, 1 / zoom, offset[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.clip(cv2.warpAffine(picture, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT), 0, 1)


def rms(found: Picture, wanted: Picture, border: int = 0) -> float:
    inner = (slice(border, -border or None),) * 2
    return float(np.sqrt(np.mean((found[inner] - wanted[inner]) ** 2)))


def two(first: Picture, second: Picture, interval_us: int = 10_000) -> Frames:
    return read_frames(np.stack([first, second]), fps=1e6 / interval_us)


class Counting:
    """A user's own interpolator: so many pixels of motion, and frames that say at which share they were asked for."""

    def __init__(self, motion_px: float) -> None:
        self.asked: list[list[float]] = []
        self.motion = motion_px

    def motion_px(self, first: Picture, second: Picture) -> float:
        return self.motion

    def between(self, first: Picture, second: Picture, shares: Sequence[float]) -> list[Picture]:
        self.asked.append(list(shares))
        return [np.full_like(first, share) for share in shares]


# --- motion


@pytest.mark.parametrize(("dx", "dy", "zoom"), [(6, 0, 1), (-9.5, 4.25, 1), (0, 0, 1.06), (12, -7, 0.97)])
def test_known_motion_is_reproduced(dx: float, dy: float, zoom: float) -> None:
    size, texture = (180, 240), big_texture()
    first, second = moved(texture, 0, 0, size), moved(texture, dx, dy, size, zoom)
    shares = [0.25, 0.5, 0.75]
    along = DisInterpolator().between(first, second, shares)
    faded = LinearInterpolator().between(first, second, shares)
    for share, ours, theirs in zip(shares, along, faded, strict=True):
        wanted = moved(texture, share * dx, share * dy, size, 1 + share * (zoom - 1))
        assert rms(ours, wanted, 16) < 0.02
        assert rms(ours, wanted, 16) < 0.2 * rms(theirs, wanted, 16)


def test_motion_is_measured_in_pixels() -> None:
    size, texture = (180, 240), big_texture()
    first = moved(texture, 0, 0, size)
    for dx, dy in ((3.0, 4.0), (-8.0, 6.0)):
        second = moved(texture, dx, dy, size)
        for interpolator in (DisInterpolator(), LinearInterpolator()):
            assert interpolator.motion_px(first, second) == pytest.approx(np.hypot(dx, dy), abs=0.5)


def square_over(background: Picture, left: float, square: Picture, top: int = 60) -> Picture:
    """A textured square at a whole number of pixels from the left."""
    picture = background.copy()
    height, width = square.shape
    picture[top : top + height, int(left) : int(left) + width] = square
    return picture


def test_a_moving_square_leaves_no_ghost() -> None:
    """The background is still: where the square is not, nothing of it may show, ahead of it or behind."""
    background = 0.3 * big_texture(1, (180, 240))
    square = 0.6 + 0.4 * big_texture(2, (60, 60))
    first, second = square_over(background, 60, square), square_over(background, 80, square)
    (half,) = DisInterpolator().between(first, second, [0.5])
    (faded,) = LinearInterpolator().between(first, second, [0.5])
    wanted = square_over(background, 70, square)
    # Strips that only one of the two frames shows: a cross-fade has half the square's light in them.
    for strip in (slice(60, 69), slice(131, 140)):
        ghost = np.abs(half - wanted)[60:120, strip].mean()
        assert ghost < 0.05
        assert ghost < 0.25 * np.abs(faded - wanted)[60:120, strip].mean()
    assert rms(half, wanted) < 0.3 * rms(faded, wanted)


def test_light_at_the_ends_is_the_frames_own() -> None:
    """Frames between run into the frames they lie between: nothing jumps at an original frame."""
    size, texture = (120, 160), big_texture()
    first, second = moved(texture, 0, 0, size), moved(texture, 5, 2, size)
    begin, end = DisInterpolator().between(first, second, [1e-4, 1 - 1e-4])
    assert np.abs(begin - first).max() < 0.01
    assert np.abs(end - second).max() < 0.01


def test_nothing_is_made_up_beyond_the_frames_range() -> None:
    size, texture = (120, 160), big_texture()
    first, second = moved(texture, 0, 0, size), moved(texture, 9, 2, size, 1.1)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    for frame in DisInterpolator().between(first, second, [0.2, 0.5, 0.9]):
        assert frame.dtype == np.float32
        assert low - 1e-6 <= frame.min()
        assert frame.max() <= high + 1e-6


def test_unrelated_frames_have_no_motion() -> None:
    """A cut: frames along a flow that is not there would be worse than none."""
    first, second = big_texture(1), big_texture(2)
    assert DisInterpolator().motion_px(first, second) == 0
    assert len(list(interpolated(two(first, second), DisInterpolator()))) == 2


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (9, 9), (17, 5)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    first, second = np.full(size, 0.25, np.float32), np.full(size, 0.75, np.float32)
    (half,) = DisInterpolator().between(first, second, [0.5])
    assert half.shape == size
    assert half == pytest.approx(np.full(size, 0.5), abs=1e-5)


@pytest.mark.parametrize("quality", ["ultrafast", "fast", "medium"])
def test_the_same_for_any_number_of_threads(quality: str) -> None:
    size, texture = (150, 200), big_texture()
    first, second = moved(texture, 0, 0, size), moved(texture, 7, -3, size)
    shares = [0.1, 0.3, 0.5, 0.7, 0.9]
    own = cv2.getNumThreads()
    made = []
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            made.append(np.stack(DisInterpolator(quality=quality, threads=threads).between(first, second, shares)))
    finally:
        cv2.setNumThreads(own)
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])


def test_flow_is_to_the_right_and_down() -> None:
    size, texture = (120, 160), big_texture()
    forward, backward = flow_pair(moved(texture, 0, 0, size), moved(texture, 4, -2, size))
    assert forward.pixels.shape == (2, *size)
    assert np.median(forward.pixels, axis=(1, 2)) == pytest.approx([4, -2], abs=0.1)
    assert np.median(backward.pixels, axis=(1, 2)) == pytest.approx([-4, 2], abs=0.1)
    assert forward.seen.mean() > 0.9


def test_flow_refuses_what_it_cannot_compare() -> None:
    picture = np.zeros((20, 30), np.float32)
    with pytest.raises(ValueError, match="one size"):
        flow_pair(picture, picture[1:])
    with pytest.raises(ValueError, match="medium"):
        flow_pair(picture, picture, "best")
    assert along_flow(picture, picture, flow_pair(picture, picture), []) == []


# --- steps


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    st.floats(0, 300),
    st.floats(0.1, 5),
    st.integers(1, 100),
)
@settings(max_examples=60, deadline=None)
def test_steps_follow_motion(gaps: list[int], motion_px: float, largest: float, most: int) -> None:
    times = np.concatenate([[7], 7 + np.cumsum(gaps)]).tolist()
    originals = [np.full((2, 3), index, np.float32) for index in range(len(times))]
    source = Frames(2, 3, 100.0, lambda: iter(zip(times, originals, strict=True)))
    own = Counting(motion_px)
    made = list(interpolated(source, own, largest_step_px=largest, most=most))
    assert [t for t, _ in made] == sorted({t for t, _ in made})
    steps = [sum(begin < t <= end for t, _ in made) for begin, end in pairwise(times)]
    wanted = max(1, min(int(np.ceil(motion_px / largest)), most))
    assert steps == [min(wanted, gap) for gap in gaps]
    kept = dict(made)
    assert all(kept[t] is original for t, original in zip(times, originals, strict=True))
    for begin, end in pairwise(times):
        inner = [(t, picture) for t, picture in made if begin < t < end]
        assert all(picture[0, 0] == pytest.approx((t - begin) / (end - begin), rel=1e-6) for t, picture in inner)
        even = [begin + k * (end - begin) / (len(inner) + 1) for k in range(1, len(inner) + 1)]
        assert np.all(np.abs(np.array([t for t, _ in inner]) - even) <= 0.5 + 1e-9)


def test_a_step_moves_by_no_more_than_a_pixel() -> None:
    size, texture = (150, 200), big_texture()
    counts = []
    for dx in (0, 4.5, 9.0):
        frames = two(moved(texture, 0, 0, size), moved(texture, dx, 0, size))
        made = list(interpolated(frames, DisInterpolator()))
        counts.append(len(made) - 1)
        if dx:
            assert DisInterpolator().motion_px(made[0][1], made[1][1]) < 1.1
    assert counts[0] == 1
    assert counts[1:] == [pytest.approx(5, abs=1), pytest.approx(9, abs=1)]


def test_none_gives_the_frames_as_they_are() -> None:
    array = np.random.default_rng(0).random((3, 10, 12)).astype(np.float32)
    made = list(interpolated(read_frames(array, fps=100), interpolator_of("none")))
    assert [t for t, _ in made] == [0, 10_000, 20_000]
    assert all(np.array_equal(picture, original) for (_, picture), original in zip(made, array, strict=True))
    assert NoInterpolator().between(array[0], array[1], [0.5])[0] == pytest.approx((array[0] + array[1]) / 2)


def test_linear_frames_change_nothing_for_the_spike_camera() -> None:
    size, texture = (60, 80), big_texture()
    frames = two(moved(texture, 0, 0, size), moved(texture, 6, 0, size))
    camera = SpikeCamera.preset("ideal")
    denser = interpolated(frames, LinearInterpolator())
    assert len(list(denser)) > 4
    plain, dense = (camera.simulate(each, seed=1).planes() for each in (frames, denser))
    assert (plain != dense).mean() < 1e-3


def test_linear_frames_move_the_events_of_the_event_camera_but_not_their_number() -> None:
    """Luminance that rises evenly rises in log luminance at first."""
    first, second = np.full((4, 5), 0.05, np.float32), np.full((4, 5), 0.9, np.float32)
    frames, camera = two(first, second), EventCamera.preset("clean", threshold_mismatch=0.0)

    class Always(LinearInterpolator):
        def motion_px(self, first: Picture, second: Picture) -> float:
            return 50

    plain, dense = camera.simulate(frames), camera.simulate(interpolated(frames, Always()))
    assert len(plain) == len(dense)
    assert dense.t.mean() < 0.7 * plain.t.mean()


def test_frames_along_flow_restore_events_of_fast_motion() -> None:
    size, texture, speed = (100, 140), big_texture(), 1.0
    all_frames = np.stack([moved(texture, speed * index, 0, size) for index in range(17)])
    camera = EventCamera.preset("clean")
    full = camera.simulate(read_frames(all_frames, fps=1000))
    few = read_frames(all_frames[::8], fps=125)
    plain, along = camera.simulate(few), camera.simulate(interpolated(few, DisInterpolator()))
    assert abs(len(along) / len(full) - 1) < 0.1
    assert len(plain) / len(full) < 0.8


# --- laziness


def test_frames_are_made_one_interval_at_a_time() -> None:
    """A source of endless frames; at most a few of them are alive at any time."""
    alive: list[weakref.ref[Picture]] = []

    def endless() -> Iterator[tuple[int, Picture]]:
        index = 0
        while True:
            picture = np.full((4, 5), index % 2, np.float32)
            alive.append(weakref.ref(picture))
            yield 1000 * index, picture
            del picture
            index += 1

    made = iter(interpolated(Frames(4, 5, 1000.0, endless), Counting(10)))
    for _ in range(205):
        next(made)
        assert sum(reference() is not None for reference in alive) <= 3
    assert len(alive) == 22


def test_large_frames_are_asked_for_in_small_batches() -> None:
    own = Counting(60)
    picture = np.broadcast_to(np.float32(0.5), (1500, 1500))
    source = Frames(1500, 1500, 1000.0, lambda: iter([(0, picture), (1000, picture)]))
    made = sum(1 for _ in interpolated(source, own, most=10))
    assert made == 11
    assert max(map(len, own.asked)) * picture.size <= 1 << 22
    assert [share for shares in own.asked for share in shares] == pytest.approx([step / 10 for step in range(1, 10)])


def test_iterating_again_gives_the_same() -> None:
    size, texture = (60, 80), big_texture()
    frames = interpolated(two(moved(texture, 0, 0, size), moved(texture, 5, 0, size)), DisInterpolator())
    once, again = list(frames), list(frames)
    assert [t for t, _ in once] == [t for t, _ in again]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(once, again, strict=True))


# --- faults


@pytest.mark.parametrize("bad", [{"largest_step_px": 0.0}, {"largest_step_px": np.inf}, {"most": 0}])
def test_settings_out_of_range(bad: dict[str, float]) -> None:
    frames = two(big_texture(), big_texture())
    with pytest.raises(ValueError, match="above 0 px and at least 1 step"):
        interpolated(frames, NoInterpolator(), **bad)


def test_an_interpolator_of_ones_own_is_held_to_its_word() -> None:
    frames = two(np.zeros((3, 5), np.float32), np.ones((3, 5), np.float32))
    own = Counting(3)
    own.between = lambda first, second, shares: [first]
    with pytest.raises(ValueError, match="expected 2 frames of Counting, got 1"):
        list(interpolated(frames, own))
    own.between = lambda first, second, shares: [np.full_like(first, np.nan) for _ in shares]
    with pytest.raises(ValueError, match="finite luminance"):
        list(interpolated(frames, own))
    for motion_px in (np.nan, -1.0, np.inf):
        with pytest.raises(ValueError, match="expected a motion"):
            list(interpolated(frames, Counting(motion_px)))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"none, linear, dis or an \.onnx file"):
        interpolator_of("rife")


# --- networks


def entry(name: str, *shape: int | str, kind: str = "tensor(float)") -> SimpleNamespace:
    return SimpleNamespace(name=name, shape=list(shape), type=kind)


def stub_runtime(monkeypatch: pytest.MonkeyPatch, inputs: list[SimpleNamespace]) -> list[dict[str, np.ndarray]]:
    """In place of onnxruntime, a network that mixes its two frames by the share; returns what it is given."""
    given: list[dict[str, np.ndarray]] = []

    class Session:
        def __init__(self, path: str, options: object, providers: list[str]) -> None:
            assert providers == ["CPUExecutionProvider"]

        def get_inputs(self) -> list[SimpleNamespace]:
            return inputs

        def run(self, _names: None, values: dict[str, np.ndarray]) -> list[np.ndarray]:
            given.append(values)
            arrays = list(values.values())
            if len(arrays) == 1:
                stacked = arrays[0]
                channels = stacked.shape[1] // 2
                arrays = [stacked[:, :channels], stacked[:, channels : 2 * channels], stacked[:, -1:]]
            share = arrays[2].reshape(-1)[0]
            return [arrays[0] * (1 - share) + arrays[1] * share]

    runtime = SimpleNamespace(InferenceSession=Session, SessionOptions=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    return given


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ([entry("a", 1, 3, "h", "w"), entry("b", 1, 3, "h", "w"), entry("t")], [(1, 3, 32, 64), (1, 3, 32, 64), ()]),
        ([entry("a", 1, 1, "h", "w"), entry("b", 1, 1, "h", "w"), entry("t", 1)], [(1, 1, 32, 64)] * 2 + [(1,)]),
        (
            [entry("a", 1, "c", "h", "w"), entry("b", 1, "c", "h", "w"), entry("t", 1, 1, "h", "w")],
            [(1, 3, 32, 64), (1, 3, 32, 64), (1, 1, 32, 64)],
        ),
        ([entry("x", 1, 7, "h", "w")], [(1, 7, 32, 64)]),
        ([entry("x", 1, 3, "h", "w", kind="tensor(float16)")], [(1, 3, 32, 64)]),
    ],
)
def test_networks_of_several_signatures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inputs: list[SimpleNamespace], shapes: list[tuple[int, ...]]
) -> None:
    given = stub_runtime(monkeypatch, inputs)
    path = tmp_path / "mine.onnx"
    path.touch()
    first, second = (2 * moved(big_texture(), dx, 0, (30, 50)) for dx in (0, 4))
    (made,) = interpolator_of(str(path)).between(first, second, [0.25])
    assert [value.shape for value in given[0].values()] == shapes
    white = max(first.max(), second.max())
    codes = [linear_to_srgb(frame / white) for frame in (first, second)]
    wanted = white * srgb_to_linear(0.75 * codes[0] + 0.25 * codes[1])
    assert made == pytest.approx(wanted, abs=2e-2 if "float16" in inputs[0].type else 1e-5)
    assert made.dtype == np.float32


@pytest.mark.parametrize(
    "inputs",
    [
        [entry("a", 1, 3, 8, 8)] * 2,
        [entry("a", 1, 2, 8, 8), entry("b", 1, 2, 8, 8), entry("t")],
        [entry("a", 1, 3, 8, 8), entry("b", 1, 1, 8, 8), entry("t")],
        [entry("x", 1, 6, 8, 8)],
        [entry("x", 1, 7, 8, 8, kind="tensor(int64)")],
    ],
)
def test_networks_of_other_signatures_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inputs: list[SimpleNamespace]
) -> None:
    stub_runtime(monkeypatch, inputs)
    path = tmp_path / "mine.onnx"
    path.touch()
    with pytest.raises(InputError, match=r"mine.onnx: expected float inputs first and second .* found [ax] \["):
        OnnxInterpolator(path)


def test_networks_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"mine.onnx: expected onnxruntime .*retinaflow\[export\]"):
        OnnxInterpolator(tmp_path / "mine.onnx")
    stub_runtime(monkeypatch, [])
    with pytest.raises(InputError, match=r"mine.onnx: expected an ONNX file, found nothing there"):
        OnnxInterpolator(tmp_path / "mine.onnx")


def test_a_network_that_mixes(tmp_path: Path) -> None:
    """A real ONNX file, where onnx and onnxruntime are installed."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    frames = [helper.make_tensor_value_info(name, kind, [1, 1, "h", "w"]) for name in ("first", "second")]
    share = helper.make_tensor_value_info("share", kind, [])
    nodes = [
        helper.make_node("Sub", ["second", "first"], ["change"]),
        helper.make_node("Mul", ["change", "share"], ["part"]),
        helper.make_node("Add", ["first", "part"], ["between"]),
    ]
    out = helper.make_tensor_value_info("between", kind, [1, 1, "h", "w"])
    graph = helper.make_graph(nodes, "mix", [*frames, share], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "mix.onnx"))
    first, second = (moved(big_texture(), dx, 0, (30, 50)) for dx in (0, 4))
    (made,) = OnnxInterpolator(tmp_path / "mix.onnx").between(first, second, [0.5])
    wanted = srgb_to_linear((linear_to_srgb(first) + linear_to_srgb(second)) / 2)
    assert made == pytest.approx(wanted, abs=1e-5)


# --- the command


@pytest.mark.parametrize(("kind", "suffix"), [("events", "h5"), ("spikes", "dat")])
def test_commands_interpolate(command, pictures: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    """The picture moves by one pixel a frame: half a pixel a step asks for frames between."""
    outs = [tmp_path / f"{name}.{suffix}" for name in ("none", "dis")]
    for out in outs:
        options = ["--native", "--fps", 1000, "--interpolate", out.stem, "--largest-step-px", 0.5]
        said = command("eventsim", kind, pictures, out, *options)
        assert said.returncode == 0, said.stderr
    assert outs[0].read_bytes() != outs[1].read_bytes()
    assert json.loads((tmp_path / f"dis.{suffix}.run.json").read_text())["settings"]["interpolate"] == "dis"


def test_command_refuses_other_interpolators(command, pictures: Path, tmp_path: Path) -> None:
    said = command("eventsim", "events", pictures, tmp_path / "out.h5", "--native", "--interpolate", "rife")
    assert said.returncode == 1
    assert "none, linear, dis or an .onnx file, found 'rife'" in said.stderr
    assert list(tmp_path.iterdir()) == []
