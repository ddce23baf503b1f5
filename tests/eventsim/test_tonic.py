"""tonic's own transforms over our events: what they make is what the events say, and what they keep comes back."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim.streams.events import TONIC_DTYPE, Events

tonic = pytest.importorskip("tonic")
transforms = tonic.transforms
WIDTH, HEIGHT = 34, 26
SIZE = (WIDTH, HEIGHT, 2)


@pytest.fixture
def events() -> Events:
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, size, 3000).astype(np.uint16) for size in (WIDTH, HEIGHT))
    return Events(np.sort(rng.integers(0, 100_000, 3000)), x, y, rng.random(3000) < 0.4, WIDTH, HEIGHT)


def back(events: np.ndarray, width: int = WIDTH, height: int = HEIGHT) -> Events:
    return Events.from_tonic(events, width=width, height=height)


def rows(events: Events) -> set[tuple[int, ...]]:
    return set(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_the_array_is_of_tonics_own_kind(events: Events) -> None:
    own = tonic.io.make_structured_array(events.x, events.y, events.t, events.p)
    assert own.dtype.names == TONIC_DTYPE.names
    assert np.array_equal(own.astype(TONIC_DTYPE), events.to_tonic())
    assert rows(back(own)) == rows(events)


def test_frames_and_images_count_our_events(events: Events) -> None:
    image = transforms.ToImage(SIZE)(events.to_tonic())
    expected = np.zeros((2, HEIGHT, WIDTH), int)
    np.add.at(expected, (events.p.astype(int), events.y, events.x), 1)
    assert np.array_equal(image, expected)
    frames = transforms.ToFrame(SIZE, time_window=20_000)(events.to_tonic())
    first = events.window(int(events.t[0]), int(events.t[0]) + 20_000)
    assert frames[0].sum() == len(first)
    assert frames[0, 1].sum() == first.p.sum()


@pytest.mark.parametrize(
    "transform",
    [
        transforms.Denoise(filter_time=5000),
        transforms.RefractoryPeriod(delta=500),
        transforms.DropEvent(p=0.3),
        transforms.DropPixel(coordinates=[[3, 4], [7, 7]]),
        transforms.CropTime(min=20_000, max=50_000),
        transforms.DropEventByArea(SIZE, area_ratio=0.2),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_filters_keep_some_of_our_events_unchanged(events: Events, transform) -> None:
    kept = back(transform(events.to_tonic()))
    assert 0 < len(kept) < len(events)
    assert rows(kept) <= rows(events)


def test_flips_and_crops_move_coordinates(events: Events) -> None:
    mirrored = back(transforms.RandomFlipLR(SIZE, p=1.0)(events.to_tonic()))
    assert np.array_equal(mirrored.x, WIDTH - 1 - events.x)
    turned = back(transforms.RandomFlipUD(SIZE, p=1.0)(events.to_tonic()))
    assert np.array_equal(turned.y, HEIGHT - 1 - events.y)
    swapped = back(transforms.RandomFlipPolarity(p=1.0)(events.to_tonic()))
    assert np.array_equal(swapped.p, ~events.p)
    cropped = back(transforms.CenterCrop(SIZE, (20, 16))(events.to_tonic()), 20, 16)
    within = (events.x >= 7) & (events.x < 27) & (events.y >= 5) & (events.y < 21)
    assert np.array_equal(cropped.t, events.t[within])
    assert np.array_equal(cropped.x, events.x[within] - 7)


def test_times_that_a_transform_leaves_out_of_order_are_put_in_order(events: Events) -> None:
    np.random.seed(0)  # noqa: NPY002  (what tonic draws from)
    jittered = transforms.TimeJitter(std=50, clip_negative=True)(events.to_tonic())
    assert (np.diff(jittered["t"]) < 0).any()
    found = back(jittered)
    assert np.array_equal(found.t, np.sort(jittered["t"]))
    order = np.argsort(jittered["t"], kind="stable")
    assert np.array_equal(found.x, jittered["x"][order])
    skewed = back(transforms.TimeSkew(coefficient=2.0, offset=3)(events.to_tonic()))
    assert np.array_equal(skewed.t, events.t * 2 + 3)


def test_coordinates_that_a_transform_pushes_outside_are_told(events: Events) -> None:
    jittered = events.to_tonic()
    jittered["x"][5] = -1
    with pytest.raises(ValueError, match=r"expected x within 0\.\.33, got -1 at event 5"):
        back(jittered)


def test_a_voxel_grid_needs_signed_polarity(events: Events) -> None:
    """tonic's grid loses OFF events of bool polarity: so OFF is given to it as -1."""
    signed = events.to_tonic().astype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
    signed["p"] = np.where(events.p, 1, -1)
    grid = transforms.ToVoxelGrid(SIZE, n_time_bins=5)
    balance = grid(signed)
    assert balance.shape == (5, 1, HEIGHT, WIDTH)
    assert balance.sum() < 0 < len(events) - 2 * events.p.sum()  # there are more OFF than ON
    assert (grid(events.to_tonic()) >= 0).all()


def test_transforms_leave_our_events_alone(events: Events) -> None:
    before = rows(events)
    given = events.to_tonic()
    transforms.Compose([transforms.TimeSkew(3.0), transforms.ToVoxelGrid(SIZE, n_time_bins=3)])(given)
    assert rows(events) == before
