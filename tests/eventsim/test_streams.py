"""Events and SpikeStream: what they refuse, windows, and the round trips to tonic and to planes."""

from __future__ import annotations

import numpy as np
import pytest
import tonic
from hypothesis import given
from hypothesis import strategies as st

from eventsim.streams.events import TONIC_DTYPE, Events
from eventsim.streams.spikes import SpikeStream


def events(count: int = 100, width: int = 12, height: int = 7, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(-50, 1000, count))
    x, y = (rng.integers(0, size, count).astype(np.uint16) for size in (width, height))
    return Events(t, x, y, rng.integers(0, 2, count).astype(bool), width, height)


def same(a: Events, b: Events) -> bool:
    alike = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "txyp")
    return alike and (a.width, a.height) == (b.width, b.height)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"t": [3, 2, 1]}, ValueError, "got 2 us after 3 us at event 1"),
        ({"t": [1.0, 2.0, 3.0]}, TypeError, "expected t as integers, got float64"),
        ({"x": [0, 12, 1]}, ValueError, r"expected x within 0..11, got 12 at event 1"),
        ({"x": [0, -1, 1]}, ValueError, "got -1 at event 1"),
        ({"y": [0, 0, 7]}, ValueError, "got 7 at event 2"),
        ({"y": [0.0, 0.0, 1.0]}, TypeError, "expected y as integers"),
        ({"p": [1, -1, 1]}, TypeError, "expected p as bool"),
        ({"p": [True]}, ValueError, "one length"),
        ({"t": [[1, 2, 3]]}, ValueError, "one axis"),
        ({"width": 0}, ValueError, "at least 1x1 pixel"),
    ],
)
def test_events_refuse(change: dict[str, object], kind: type[Exception], message: str) -> None:
    arrays = {"t": [1, 2, 3], "x": [0, 1, 2], "y": [0, 1, 2], "p": [True, False, True], "width": 12, "height": 7}
    arguments = {name: np.asarray(v) if isinstance(v, list) else v for name, v in (arrays | change).items()}
    with pytest.raises(kind, match=message):
        Events(**arguments)


@given(st.lists(st.integers(-100, 100), max_size=60), st.integers(-120, 120), st.integers(-120, 120))
def test_window_is_from_t0_up_to_and_without_t1(times: list[int], t0: int, t1: int) -> None:
    t = np.sort(np.array(times, np.int64))
    zeros = np.zeros(len(t), np.uint16)
    window = Events(t, zeros, zeros, zeros > 0, 1, 1).window(t0, t1)
    assert window.t.tolist() == [value for value in t.tolist() if t0 <= value < t1]


def test_windows_partition() -> None:
    whole = events()
    assert same(Events.concatenate([whole.window(-1000, 300), whole.window(300, 5000)]), whole)


def test_slices_and_masks() -> None:
    whole = events()
    assert same(Events.concatenate([whole[:40], whole[40:]]), whole)
    assert len(whole[whole.p]) == int(whole.p.sum())


def test_concatenate_refuses_other_sensors_and_nothing() -> None:
    with pytest.raises(ValueError, match="one sensor"):
        Events.concatenate([events(width=12), events(width=13)])
    with pytest.raises(ValueError, match="at least one part"):
        Events.concatenate([])


def test_the_layout_is_tonics() -> None:
    assert tonic.io.make_structured_array([1], [2], [3], [True]).dtype == TONIC_DTYPE


@given(st.integers(0, 80), st.integers(0, 2**32 - 1))
def test_to_tonic_and_back(count: int, seed: int) -> None:
    whole = events(count, seed=seed)
    assert same(Events.from_tonic(whole.to_tonic(), width=12, height=7), whole)


def test_tonics_transforms_run_over_our_events() -> None:
    whole = events(500)
    to_frame = tonic.transforms.ToFrame(sensor_size=(12, 7, 2), n_event_bins=1)
    frames = to_frame(whole.to_tonic())
    counts = np.zeros((2, 7, 12), int)
    np.add.at(counts, (whole.p.astype(int), whole.y, whole.x), 1)
    assert np.array_equal(frames[0], counts)
    flipped = tonic.transforms.RandomFlipLR(sensor_size=(12, 7, 2), p=1)(whole.to_tonic())
    assert np.array_equal(Events.from_tonic(flipped, width=12, height=7).x, 11 - whole.x)


def test_from_tonic_takes_signed_polarity_and_names_missing_fields() -> None:
    signed = np.array([(1, 2, 3, -1), (1, 2, 4, 1)], [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i2")])
    assert Events.from_tonic(signed, width=12, height=7).p.tolist() == [False, True]
    with pytest.raises(ValueError, match="expected fields x, y, t, p"):
        Events.from_tonic(signed[["x", "y", "t"]], width=12, height=7)


# --- spikes


@given(st.integers(0, 6), st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_planes_and_back(count: int, height: int, width: int, seed: int) -> None:
    planes = np.random.default_rng(seed).integers(0, 2, (count, height, width)).astype(np.uint8)
    stream = SpikeStream.from_planes(planes, 20000)
    assert stream.packed.shape == (count, height, -(-width // 8))
    assert np.array_equal(stream.planes(), planes)
    assert np.array_equal(stream[1:3].planes(), planes[1:3])


def test_a_step_would_be_another_clock() -> None:
    stream = SpikeStream.from_planes(np.zeros((9, 2, 3), np.uint8), 20000)
    assert len(stream[1:7:1]) == 6
    for step in (2, -1):
        with pytest.raises(ValueError, match=f"got a step of {step}"):
            stream[::step]


def test_the_least_significant_bit_is_the_leftmost_pixel() -> None:
    planes = np.zeros((1, 1, 10), np.uint8)
    planes[0, 0, [0, 9]] = 1
    assert SpikeStream.from_planes(planes, 1).packed.tolist() == [[[1, 2]]]


def test_rate_and_duration() -> None:
    planes = np.random.default_rng(0).integers(0, 2, (600, 3, 5)).astype(np.uint8)
    stream = SpikeStream.from_planes(planes, 20000)
    assert stream.rate() == pytest.approx(planes.mean(axis=0))
    assert stream.rate(10, 20) == pytest.approx(planes[10:20].mean(axis=0))
    assert stream.duration_us == pytest.approx(30_000)
    with pytest.raises(ValueError, match="at least one plane"):
        stream.rate(5, 5)


@pytest.mark.parametrize(
    ("packed", "readout_hz", "kind", "message"),
    [
        (np.zeros((2, 3, 2), np.int64), 1, TypeError, "uint8"),
        (np.zeros((2, 3, 1), np.uint8), 1, ValueError, r"shape \(T, 3, 2\) for a sensor of 10x3"),
        (np.zeros((3, 2), np.uint8), 1, ValueError, "shape"),
        (np.zeros((2, 3, 2), np.uint8), 0, ValueError, "positive readout_hz"),
    ],
)
def test_streams_refuse(packed: np.ndarray, readout_hz: float, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        SpikeStream(packed, 3, 10, readout_hz)
    with pytest.raises(ValueError, match="expected planes of shape"):
        SpikeStream.from_planes(np.zeros((2, 2), np.uint8), 1)
