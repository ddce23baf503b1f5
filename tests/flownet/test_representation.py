"""The temporal distribution against the authors' numbers, and against itself written as the equations."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream
from flownet.representation import temporal_distribution

GOLDEN = Path(__file__).parent.parent / "golden"


def weights_by_the_equations(t: list[int], p: list[bool], ceil: bool) -> list[float]:
    """The weights of one slice's events."""
    weights = [0.0] * len(t)
    for polarity in (True, False):
        chosen = [n for n in range(len(t)) if p[n] == polarity]
        if not chosen:
            continue
        span = max(t) - min(t)
        time = [(t[n] - min(t)) / span if span else 0.0 for n in chosen]
        mu = sum(time) / len(time)
        sigma = math.sqrt(sum((s - mu) ** 2 for s in time) / (len(time) - 1)) + 1e-4 if len(time) > 1 else 1.0
        g = [math.exp(-((s - mu) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma) for s in time]
        for n, density in zip(chosen, g, strict=True):
            weight = len(g) / sum(g) * density
            weights[n] = (2 if weight > 1 + 1e-9 else 1) if ceil else weight
    return weights


def by_the_equations(events: Events, edges: list[int], ceil: bool) -> NDArray[np.float64]:
    image = np.zeros((len(edges) - 1, 2, events.height, events.width))
    for k, (start, stop) in enumerate(pairwise(edges)):
        part = events[start:stop]
        for n, weight in enumerate(weights_by_the_equations(part.t.tolist(), part.p.tolist(), ceil)):
            image[k, 0 if part.p[n] else 1, part.y[n], part.x[n]] += weight
    return image


def plain_torch(events: Events, slices: int, every: int, ceil: bool) -> torch.Tensor:
    """The equations a slice and polarity at a time, as the authors' code goes about it: float64 [kept, 2, H, W]."""
    t, x, y = (torch.from_numpy(column.astype(np.int64)) for column in (events.t, events.x, events.y))
    p = torch.from_numpy(np.where(events.p, 1, -1))
    number = len(t) // slices
    images = []
    for k in range(0, slices, every):
        part = slice(k * number, (k + 1) * number)
        time = (t[part] - t[part].min()).double() / (t[part].max() - t[part].min())
        for polarity in (1, -1):
            chosen = p[part] == polarity
            s = time[chosen]
            sigma = s.std() + 1e-4
            g = torch.exp(-((s - s.mean()) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
            weight = len(s) / g.sum() * g
            image = torch.zeros(events.height, events.width, dtype=torch.float64)
            image.index_put_((y[part][chosen], x[part][chosen]), weight.ceil() if ceil else weight, accumulate=True)
            images.append(image)
    return torch.stack(images).view(-1, 2, events.height, events.width)


def random_events(seed: int, number: int, span: int = 10_000, width: int = 7, height: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, span, number)) + 1_600_000_000_000_000
    x, y = rng.integers(0, width, number), rng.integers(0, height, number)
    return Events(t, x, y, rng.random(number) < 0.4, width, height)


@st.composite
def any_events(draw: st.DrawFn) -> Events:
    return random_events(draw(st.integers(0, 99)), draw(st.integers(0, 60)), draw(st.sampled_from([1, 3, 50, 10**6])))


def test_ceil_is_the_authors() -> None:
    golden = np.load(GOLDEN / "steflownet_representation.npz")
    x, y, t, p = golden["events"].T
    # Their times are seconds in float64, whose grid at this epoch is 2^-22 s: as integers of that grid they are exact.
    # On whole microseconds, three of the 20,000 events change sides between the weights 1 and 2.
    ticks = (t - t[0]) * 2**22
    assert (ticks == np.round(ticks)).all()
    events = Events(ticks.astype(np.int64), x.astype(int), y.astype(int), p > 0, 346, 260)
    found = temporal_distribution(events, 5, weights="ceil").numpy()
    np.testing.assert_array_equal(found, golden["representation"])


@pytest.mark.parametrize("ceil", [True, False])
def test_outdoor_form_keeps_five_of_thirteen_slices(ceil: bool) -> None:
    # A multiple of 13: with a remainder, "float" would give some slices an event more.
    events = random_events(3, 13 * 3_000, span=20_000_000, width=40, height=30)
    found = temporal_distribution(events, 13, weights="ceil" if ceil else "float", every=3).numpy()
    assert found.shape == (5, 2, 30, 40)
    np.testing.assert_allclose(found, plain_torch(events, 13, 3, ceil), rtol=0 if ceil else 1e-5)
    # And by the equations of the slices 0, 3, 6, 9 and 12 alone.
    few = random_events(4, 13 * 30 + 7)
    edges = [k * 30 for k in range(14)]
    expected = by_the_equations(few, edges, True)[[0, 3, 6, 9, 12]]
    np.testing.assert_array_equal(temporal_distribution(few, 13, weights="ceil", every=3), expected)


@settings(max_examples=30, deadline=None)
@given(any_events(), st.integers(1, 14), st.integers(1, 15), st.sampled_from(["count", "time"]))
def test_every_keeps_slices_as_they_are(events: Events, slices: int, every: int, by: Literal["count", "time"]) -> None:
    start = 1_600_000_000_000_000
    arguments = {"slices": slices, "window": (start, start + 60), "by": by}
    whole = temporal_distribution(events, **arguments)  # type: ignore[arg-type]
    some = temporal_distribution(events, every=every, **arguments)  # type: ignore[arg-type]
    np.testing.assert_array_equal(some, whole[::every])


@pytest.mark.parametrize("ceil", [True, False])
def test_kernel_is_the_plain_transcription(ceil: bool) -> None:
    events = random_events(5, 50_000, span=100_000, width=60, height=40)
    found = temporal_distribution(events, 5, weights="ceil" if ceil else "float")
    np.testing.assert_allclose(found, plain_torch(events, 5, 1, ceil), rtol=0 if ceil else 1e-6)


def test_short_bursts_in_a_long_slice_keep_their_weights() -> None:
    """One polarity within microseconds, the other over an hour: sums of squares would lose the former."""
    rare = np.array([1_800_000_000, 1_800_000_001, 1_800_000_004])
    t = np.concatenate([np.linspace(0, 3_600_000_000, 400).astype(np.int64), rare])
    order = np.argsort(t)
    p = np.arange(403) < 400
    events = Events(t[order], np.arange(403) % 31, np.arange(403) // 31, p[order], 31, 13)
    found = temporal_distribution(events, 1).numpy()
    np.testing.assert_allclose(found, by_the_equations(events, [0, 403], False), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(any_events(), st.integers(1, 6), st.booleans())
def test_kernel_is_the_equations(events: Events, slices: int, ceil: bool) -> None:
    number = len(events)
    edges = [k * (number // slices) if ceil else k * number // slices for k in range(slices + 1)]
    found = temporal_distribution(events, slices, weights="ceil" if ceil else "float").numpy()
    np.testing.assert_allclose(found, by_the_equations(events, edges, ceil), rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(any_events(), st.integers(1, 6))
def test_float_weights_sum_to_the_count(events: Events, slices: int) -> None:
    sums = temporal_distribution(events, slices).sum(dim=(2, 3)).numpy()
    assert sums.sum() == pytest.approx(len(events), rel=1e-5)
    edges = [k * len(events) // slices for k in range(slices + 1)]
    for k, (start, stop) in enumerate(pairwise(edges)):
        on = int(events.p[start:stop].sum())
        np.testing.assert_allclose(sums[k], [on, stop - start - on], rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(any_events())
def test_ceil_weights_are_one_or_two(events: Events) -> None:
    sums = temporal_distribution(events, 1, weights="ceil").numpy()
    counts = np.zeros((2, events.height, events.width))
    np.add.at(counts, (1 - events.p.astype(int), events.y, events.x), 1)
    assert ((sums[0] >= counts) & (sums[0] <= 2 * counts)).all()


def test_window_and_equal_times_choose_the_events() -> None:
    events = random_events(1, 500)
    t0, t1 = int(events.t[0]) + 2_000, int(events.t[0]) + 7_001
    inside = events.window(t0, t1)
    np.testing.assert_array_equal(temporal_distribution(events, window=(t0, t1)), temporal_distribution(inside))
    slice_of = (inside.t - t0) * 4 // (t1 - t0)
    edges = np.searchsorted(slice_of, np.arange(5)).tolist()
    by_time = temporal_distribution(events, 4, (t0, t1), by="time").numpy()
    np.testing.assert_allclose(by_time, by_the_equations(inside, edges, False), rtol=1e-5)


@pytest.mark.parametrize("weights", ["float", "ceil"])
def test_slices_without_spread_are_defined(weights: str) -> None:
    empty = temporal_distribution(Events.empty(4, 3), weights=weights)  # type: ignore[arg-type]
    assert empty.shape == (5, 2, 3, 4)
    assert not empty.any()
    together = Events(np.full(6, 9), np.arange(6) % 4, np.zeros(6, int), np.arange(6) < 2, 4, 3)
    for events in (together, together[:2], together[:1]):
        image = temporal_distribution(events, 1, weights=weights)  # type: ignore[arg-type]
        assert image.sum() == len(events)
        assert set(np.unique(image)) <= {0, 1, 2}


def test_spikes_weigh_as_events_at_their_readout() -> None:
    planes = (np.random.default_rng(2).random((23, 6, 11)) < 0.3).astype(np.uint8)
    planes[:2] = 0
    stream = SpikeStream.from_planes(planes, readout_hz=20_000)
    found = temporal_distribution(stream, 4).numpy()
    assert found.shape == (4, 1, 6, 11)
    n, y, x = np.nonzero(planes)
    events = Events((n + 1) * 50, x, y, np.ones(len(n), bool), 11, 6)
    edges = np.searchsorted(n, np.arange(5) * 23 // 4).tolist()
    np.testing.assert_allclose(found[:, 0], by_the_equations(events, edges, False)[:, 0], rtol=1e-5)
    ceil = temporal_distribution(stream, 4, weights="ceil").numpy()
    np.testing.assert_array_equal(ceil[:, 0], by_the_equations(events, edges, True)[:, 0])
    np.testing.assert_array_equal(temporal_distribution(stream, 4, every=3).numpy(), found[[0, 3]])
    part = temporal_distribution(stream, 2, window=(250, 1000)).numpy()  # planes 4 to 18
    np.testing.assert_array_equal(part, temporal_distribution(stream[4:19], 2).numpy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slices": 0}, "at least one slice"),
        ({"every": 0}, "every to be 1 or more"),
        ({"weights": "round"}, "'float' or 'ceil'"),
        ({"by": "size"}, "'count' or 'time'"),
        ({"by": "time"}, "a window"),
        ({"window": (5, 4)}, "ends after"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        temporal_distribution(random_events(0, 10), **arguments)  # type: ignore[arg-type]
