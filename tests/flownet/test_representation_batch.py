"""The temporal distribution of a batch in torch: the one of each recording by the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.streams.events import Events
from flownet.representation import EventBatch, temporal_distribution, temporal_distributions

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]
START = 1_600_000_000_000_000


def random_events(seed: int, number: int, span: int, width: int = 7, height: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, span, number)) + START
    x, y = rng.integers(0, width, number), rng.integers(0, height, number)
    return Events(t, x, y, rng.random(number) < 0.4, width, height)


def each_by_the_kernel(recordings: Sequence[Events], windows: Sequence[Any] | None = None, **arguments: Any) -> Any:
    windows = windows or [None] * len(recordings)
    images = [temporal_distribution(r, window=w, **arguments) for r, w in zip(recordings, windows, strict=True)]
    return torch.stack(images).numpy()


def assert_same(found: torch.Tensor, expected: Any, weights: str) -> None:
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.cpu(), expected, rtol=0 if weights == "ceil" else 1e-6, atol=0)


@st.composite
def recordings(draw: st.DrawFn) -> list[Events]:
    number = st.one_of(st.integers(0, 3), st.integers(0, 60))
    parts = st.tuples(st.integers(0, 99), number, st.sampled_from([1, 3, 50, 10**6]))
    return [random_events(*each) for each in draw(st.lists(parts, min_size=1, max_size=4))]


@settings(max_examples=100, deadline=None)
@given(recordings(), st.integers(1, 14), st.sampled_from(["float", "ceil"]), st.integers(1, 4))
def test_batch_is_each_recording_by_itself(events: list[Events], slices: int, weights: Any, every: int) -> None:
    found = temporal_distributions(EventBatch.of(events), slices, weights=weights, every=every)
    assert_same(found, each_by_the_kernel(events, slices=slices, weights=weights, every=every), weights)


@settings(max_examples=60, deadline=None)
@given(recordings(), st.integers(1, 7), st.sampled_from(["float", "ceil"]), st.sampled_from(["count", "time"]))
def test_windows_choose_the_events(events: list[Events], slices: int, weights: Any, by: Any) -> None:
    arguments = {"slices": slices, "weights": weights, "by": by}
    one = (START + 1, START + 41)
    batch = EventBatch.of(events)
    expected = each_by_the_kernel(events, [one] * len(events), **arguments)
    assert_same(temporal_distributions(batch, window=one, **arguments), expected, weights)
    windows = [(START + 3 * k, START + 300_000 * k) for k in range(len(events))]
    found = temporal_distributions(batch, window=torch.tensor(windows), **arguments)
    assert_same(found, each_by_the_kernel(events, windows, **arguments), weights)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weights", ["float", "ceil"])
def test_many_events_on_any_device(device: str, weights: Any) -> None:
    events = [random_events(seed, number, 90_000, 80, 60) for seed, number in ((1, 40_000), (2, 0), (3, 17_003))]
    batch = EventBatch.of(events).to(device)
    found = temporal_distributions(batch, 5, weights=weights)
    assert found.device.type == device
    assert found.shape == (3, 5, 2, 60, 80)
    # More sums of float32 on a pixel than above, in another order where the device chooses it.
    tolerance = 0 if weights == "ceil" else 1e-5
    np.testing.assert_allclose(found.cpu(), each_by_the_kernel(events, slices=5, weights=weights), rtol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_ceil_is_the_authors(device: str) -> None:
    golden = np.load(Path(__file__).parent.parent / "golden" / "steflownet_representation.npz")
    x, y, t, p = golden["events"].T
    ticks = ((t - t[0]) * 2**22).astype(np.int64)  # see test_representation.py
    events = Events(ticks, x.astype(int), y.astype(int), p > 0, 346, 260)
    found = temporal_distributions(EventBatch.of([events[:7], events], device), 5, weights="ceil")
    np.testing.assert_array_equal(found[1].cpu(), golden["representation"])


def test_zero_of_time_does_not_matter() -> None:
    events = [random_events(seed, 200, 10_000) for seed in (5, 6)]
    expected = temporal_distributions(EventBatch.of(events))
    for shift in (-START - 5_000, -START - 20_000):
        shifted = [Events(each.t + shift, each.x, each.y, each.p, 7, 5) for each in events]
        np.testing.assert_array_equal(temporal_distributions(EventBatch.of(shifted)), expected)
        np.testing.assert_array_equal(temporal_distribution(shifted[0]), temporal_distribution(events[0]))


def test_events_without_any_are_zero() -> None:
    found = temporal_distributions(EventBatch.of([Events.empty(4, 3), Events.empty(4, 3)]), 5)
    assert found.shape == (2, 5, 2, 3, 4)
    assert not found.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": torch.tensor([5, 4, 9])}, "ascending times"),
        ({"t": torch.tensor([1.0, 2.0, 3.0])}, "int64"),
        ({"t": torch.tensor([1, 2])}, "one length"),
        ({"x": torch.tensor([0, 4, 0])}, r"x within 0\.\.3"),
        ({"y": torch.tensor([0, -1, 0])}, r"y within 0\.\.2"),
        ({"p": torch.tensor([1, -1, 1])}, "p as bool"),
        ({"sample": torch.tensor([0, 1, 0])}, "ascending samples"),
        ({"sample": torch.tensor([0, 0, 2])}, r"samples within 0\.\.1"),
        ({"size": 0}, "one sample and pixel or more"),
    ],
)
def test_wrong_batches_are_refused(changes: dict[str, Any], message: str) -> None:
    events = Events(np.array([7, 8]), np.array([0, 3]), np.array([2, 0]), np.array([True, False]), 4, 3)
    batch = EventBatch.of([events, events[:1]])
    with pytest.raises(ValueError, match=message):
        replace(batch, **changes)


def test_wrong_arguments_are_refused() -> None:
    batch = EventBatch.of([random_events(0, 10, 50)])
    with pytest.raises(ValueError, match="sensors of one size"):
        EventBatch.of([])
    with pytest.raises(ValueError, match="sensors of one size"):
        EventBatch.of([Events.empty(4, 3), Events.empty(3, 4)])
    with pytest.raises(ValueError, match="a window"):
        temporal_distributions(batch, by="time")
    with pytest.raises(ValueError, match=r"int64 \[1, 2\]"):
        temporal_distributions(batch, window=torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="end after"):
        temporal_distributions(batch, window=(5, 4))
