"""Flow of any file of events: windows, test-time augmentation, and what is written."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim import Events, write_events
from eventsim.errors import InputError, OutputExistsError
from eventsim.io.flo import read_flo
from eventsim.io.flow_png import read_flow_png
from flownet import windows as windows_module
from flownet.baselines import BASELINES
from flownet.infer import Outputs, Window, estimator, infer, load_model, write_windows
from flownet.model.steflownet import steflownet_tiny
from flownet.tta import MIRRORS, Augmented, Mirror
from flownet.windows import Windowing, Windows

HEIGHT, WIDTH = 24, 40


def some_events(number: int = 4000, seed: int = 0, span_us: int = 100_000) -> Events:
    draws = np.random.default_rng(seed)
    t = 5_000_000 + np.sort(draws.integers(0, span_us, number))
    x, y = (draws.integers(0, side, number).astype(np.uint16) for side in (WIDTH, HEIGHT))
    return Events(t, x, y, draws.random(number) > 0.5, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return steflownet_tiny().eval()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "some.h5"
    write_events(path, some_events())
    return path


# --- windows


def same(first: Events, second: Events) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in "txyp")


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.integers(1, 120),
    st.integers(1, 150),
    st.integers(1, 60),
    st.integers(0, 5),
    st.sampled_from("hn"),
)
def test_windows_are_those_of_the_events_in_memory(tmp_path_factory, by_time, length, stride, chunk, seed, suffix):
    """Whatever the pieces in which a file is read; with many equal times, overlaps and gaps."""
    draws = np.random.default_rng(seed)
    t = np.sort(draws.integers(0, 90, 200)) + 7
    zeros = np.zeros(200, np.uint16)
    events = Events(t, np.arange(200, dtype=np.uint16), zeros, zeros > 0, 200, 1)
    path = tmp_path_factory.mktemp("cut") / {"h": "a.h5", "n": "a.npz"}[suffix]
    write_events(path, events)
    first, end = int(t[0]), int(t[-1]) + 1
    held = end - first if by_time else 200
    unit = "us" if by_time else "events"
    windowing = Windowing(**{f"window_{unit}": length, f"stride_{unit}": stride})
    if held < length:
        with pytest.raises(InputError, match=f"{length} {unit}"):
            Windows(path, windowing)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_module, "_EVENTS_PER_CHUNK", chunk)
        made = Windows(path, windowing)
        found = list(made)
    begins = range(0, held - length + 1, stride)
    assert len(made) == len(found) == len(begins)
    for begin, cut in zip(begins, found, strict=True):
        if by_time:
            assert (cut.start_us, cut.stop_us) == (first + begin, first + begin + length)
            assert same(cut.events, events.window(cut.start_us, cut.stop_us))
        else:
            assert same(cut.events, events[begin : begin + length])
            assert (cut.start_us, cut.stop_us) == (cut.events.t[0], cut.events.t[-1] + 1)


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"window_us": 5, "window_events": 5},
        {"window_us": 0},
        {"window_events": 5, "stride_us": 5},
        {"window_us": 5, "stride_events": 5},
        {"window_us": 5, "stride_us": 0},
        {"window_events": -1},
    ],
)
def test_windows_that_cannot_be_are_refused(given_):
    with pytest.raises(ValueError, match="expected"):
        Windowing(**given_)


def test_windows_in_milliseconds():
    assert Windowing.of_ms() == Windowing(window_us=31_250)
    assert Windowing.of_ms(10, stride_ms=2.5) == Windowing(window_us=10_000, stride_us=2_500)
    assert Windowing.of_ms(window_events=7, stride_events=3) == Windowing(window_events=7, stride_events=3)
    with pytest.raises(ValueError, match="in the other measure"):
        Windowing.of_ms(window_events=7, stride_ms=3)


def test_files_without_events_or_a_whole_window_are_refused(tmp_path, recording):
    write_events(tmp_path / "none.h5", Events.empty(4, 4))
    for path, windowing in (
        (tmp_path / "none.h5", Windowing(window_us=5)),
        (recording, Windowing(window_us=100_001)),
        (recording, Windowing(window_events=4001)),
        (tmp_path / "missing.h5", Windowing(window_us=5)),
    ):
        with pytest.raises(InputError):
            Windows(path, windowing)


# --- mirrors


@pytest.mark.parametrize("mirror", MIRRORS)
def test_mirrored_flow_follows_the_mirrored_events(mirror):
    """An event at x and one at x + flow(x) are mirrored to an event and one at its mirrored flow from it."""
    flow = np.random.default_rng(0).integers(-3, 4, (2, HEIGHT, WIDTH)).astype(np.float32)
    rows, columns = (axis.ravel() for axis in np.mgrid[4 : HEIGHT - 4, 4 : WIDTH - 4])
    dx, dy = flow[:, rows, columns].astype(int)

    def at(x: np.ndarray, y: np.ndarray) -> Events:
        zeros = np.zeros(len(x), np.int64)
        return mirror.events(Events(zeros, x.astype(np.uint16), y.astype(np.uint16), zeros > 0, WIDTH, HEIGHT))

    before, after, mirrored = at(columns, rows), at(columns + dx, rows + dy), mirror.flow(flow)
    assert mirrored.shape == (2, before.height, before.width)
    moved = mirrored[:, before.y, before.x]
    assert np.array_equal(before.x + moved[0], after.x)
    assert np.array_equal(before.y + moved[1], after.y)
    assert np.array_equal(mirror.undone(mirrored), flow)


@pytest.mark.parametrize("mirror", MIRRORS)
def test_augmented_flow_turns_with_the_events(model, mirror):
    """Of a network with random weights, whose own flow does not; the sensor is no multiple of its coarsest grid."""
    events, window = some_events(), (5_000_000, 5_100_000)
    plain, augmented = estimator(model), estimator(model, tta=True)
    turned = mirror.events(events)
    expected = augmented(events, window)
    np.testing.assert_allclose(mirror.undone(augmented(turned, window)), expected, atol=1e-5 * np.abs(expected).max())
    assert expected.shape == (2, HEIGHT, WIDTH)
    if mirror != Mirror():
        own = plain(events, window)
        assert np.abs(mirror.undone(plain(turned, window)) - own).max() > 0.05 * np.abs(own).max()


def test_augmentation_is_the_mean_over_mirrors():
    """Of a method that sees the same flow to the right and down whatever the events: all but the signs cancel out."""
    constant = np.float32([[[3]], [[1]]])
    augmented = Augmented(lambda: lambda events, _: np.broadcast_to(constant, (2, events.height, events.width)))
    assert not augmented(some_events(), (0, 1)).any()


# --- models


def test_anything_with_from_events_is_a_model(recording):
    made = Windows(recording, Windowing(window_us=30_000))
    found = list(infer(BASELINES["zero"], made))
    assert len(found) == 3
    assert not any(window.flow.any() for window in found)
    assert load_model("contrast") is BASELINES["contrast"]
    with pytest.raises(InputError):
        load_model("nonesuch")
    with pytest.raises(ValueError, match="warm start"):
        next(infer(BASELINES["zero"], made, warm_start=True))


def test_warm_start_goes_on_and_refuses_overlaps(model, recording):
    made = Windows(recording, Windowing(window_us=30_000))
    cold, warm = (list(infer(model, made, warm_start=start)) for start in (False, True))
    assert np.array_equal(cold[0].flow, warm[0].flow)
    assert not np.array_equal(cold[1].flow, warm[1].flow)
    for windowing in (Windowing(window_us=30_000, stride_us=10_000), Windowing(window_events=100, stride_events=200)):
        with pytest.raises(ValueError, match="end to end"):
            next(infer(model, Windows(recording, windowing), warm_start=True))


def test_overlapping_windows_are_inferred_each_by_itself(model, recording):
    step, whole = (
        {
            window.start_us: window
            for window in infer(model, Windows(recording, Windowing(window_us=40_000, stride_us=s)))
        }
        for s in (10_000, 20_000)
    )
    assert len(step) == 6
    assert set(whole) < set(step)
    assert all(np.array_equal(step[start].flow, window.flow) for start, window in whole.items())
    assert all(second - first == 10_000 for first, second in pairwise(step))


# --- files


def made_windows(number: int = 3) -> list[Window]:
    draws, events = np.random.default_rng(0), some_events(200)
    return [
        Window(1000 * k, 1000 * k + 1500, draws.normal(scale=1 + k, size=(2, HEIGHT, WIDTH)).astype(np.float32), events)
        for k in range(number)
    ]


def test_every_output_holds_the_flow(tmp_path):
    found = made_windows()
    outputs = Outputs(write=("flo", "npz", "kitti", "png", "quiver", "mp4"))
    assert write_windows(found, tmp_path, outputs, total=3) == 3
    kinds = ("flow_*.flo", "flow_*.png", "kitti_*.png", "quiver_*.png", "flow.npz", "flow.mp4")
    assert [len(list(tmp_path.glob(kind))) for kind in kinds] == [3, 3, 3, 3, 1, 1]
    assert len(list(tmp_path.iterdir())) == 14
    archive = np.load(tmp_path / "flow.npz")
    for index, window in enumerate(found):
        name = f"{window.start_us:016d}_{window.stop_us:016d}"
        assert np.array_equal(read_flo(tmp_path / f"flow_{name}.flo"), window.flow)
        assert np.abs(read_flow_png(tmp_path / f"kitti_{name}.png") - window.flow).max() < 0.01
        assert np.array_equal(archive["flow"][index], window.flow)
        assert cv2.imread(str(tmp_path / f"quiver_{name}.png")).shape == (3 * HEIGHT, 3 * WIDTH, 3)
    assert archive["t0_us"].tolist() == [0, 1000, 2000]
    movie = cv2.VideoCapture(str(tmp_path / "flow.mp4"))
    assert (movie.get(cv2.CAP_PROP_FRAME_COUNT), movie.get(cv2.CAP_PROP_FPS)) == (3, 20)


def test_one_scale_is_the_largest_flow_of_all(tmp_path):
    found = made_windows()
    largest = float(max(np.hypot(*window.flow).max() for window in found))
    write_windows(found, tmp_path / "one", Outputs(write=("png", "quiver"), one_scale=True), total=3)
    write_windows(found, tmp_path / "given", Outputs(write=("png", "quiver"), largest_px=largest), total=3)
    write_windows(found, tmp_path / "each", Outputs(write=("png",)), total=3)
    one, given_, each = (sorted((tmp_path / name).iterdir()) for name in ("one", "given", "each"))
    assert [path.name for path in one] == [path.name for path in given_]
    assert all(first.read_bytes() == second.read_bytes() for first, second in zip(one, given_, strict=True))
    assert each[0].read_bytes() != one[0].read_bytes()
    assert each[2].read_bytes() == one[2].read_bytes()  # the last window has the largest flow


@pytest.mark.parametrize("one_scale", [False, True])
def test_an_interrupted_run_leaves_only_whole_files(tmp_path, one_scale):
    def interrupted():
        yield from made_windows(2)
        raise KeyboardInterrupt

    outputs = Outputs(write=("flo", "npz", "png", "mp4"), one_scale=one_scale)
    with pytest.raises(KeyboardInterrupt):
        write_windows(interrupted(), tmp_path, outputs, total=3)
    names = sorted(path.suffix for path in tmp_path.iterdir())
    assert names == ([".flo"] * 2 if one_scale else [".flo"] * 2 + [".png"] * 2)
    assert all(read_flo(path).shape == (2, HEIGHT, WIDTH) for path in tmp_path.glob("*.flo"))


def test_what_an_earlier_run_wrote_is_replaced_only_when_asked(tmp_path):
    outputs = Outputs(write=("flo", "npz", "kitti"))
    write_windows(made_windows(3), tmp_path, outputs, total=3)
    (tmp_path / "mine.txt").write_text("stays")
    with pytest.raises(OutputExistsError):
        write_windows(made_windows(1), tmp_path, Outputs(write=("mp4",)), total=1)
    assert write_windows(made_windows(1), tmp_path, outputs, total=1, overwrite=True) == 1
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(ValueError, match="expected 2 flows"):
        write_windows(made_windows(1), tmp_path / "other", outputs, total=2)


@pytest.mark.parametrize(
    "given_", [{"write": ()}, {"write": ("gif",)}, {"largest_px": 0}, {"fps": -1}, {"one_scale": True, "largest_px": 3}]
)
def test_outputs_that_cannot_be_are_refused(given_):
    with pytest.raises(ValueError, match="expected"):
        Outputs(**given_)
