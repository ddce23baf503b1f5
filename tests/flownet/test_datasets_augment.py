"""Augmentation: slices, frames and flow change alike, and the flow's vectors with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample

from flownet.datasets.augment import NAMED, Augmentation, Patch, Warp, random_patch

HEIGHT, WIDTH = 60, 80


def waves(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A smooth picture at any places: 1 to 3."""
    return 2 + 0.5 * torch.sin(0.21 * x + 0.1 * y) + 0.5 * torch.cos(0.17 * y - 0.08 * x)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames [2, H, W] of a picture that turns, grows and moves, and the flow [2, H, W] between them."""
    y, x = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    matrix = torch.tensor([[1.02, -0.04], [0.05, 0.99]], dtype=torch.float64)
    shift = torch.tensor([1.7, -2.3], dtype=torch.float64)
    moved = torch.einsum("ij,jhw->ihw", matrix, torch.stack([x, y])) + shift[:, None, None]
    # The point (x, y) of the first frame is at `moved` in the second.
    back = torch.einsum("ij,jhw->ihw", torch.linalg.inv(matrix), torch.stack([x, y]) - shift[:, None, None])
    return torch.stack([waves(x, y), waves(*back)]).float(), (moved - torch.stack([x, y])).float()


def warped_back(second: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The second frame [h, w] read where the flow [2, h, w] leads, and where that is within it."""
    height, width = second.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = x + flow[0], y + flow[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    return grid_sample(second[None, None], grid[None], align_corners=True)[0, 0], inside


PATCHES = {
    "plain": Patch(5, 9, 40, 40),
    "flip_x": Patch(5, 9, 40, 30, flip_x=True),
    "flip_y": Patch(5, 9, 40, 30, flip_y=True),
    "transpose": Patch(5, 9, 40, 40, transpose=True),
    "all": Patch(5, 9, 40, 40, flip_x=True, flip_y=True, transpose=True),
    "turned": Patch(0, 0, 30, 30, warp=Warp(40, 30, ((0.8, -0.6), (0.6, 0.8)))),
    "zoomed": Patch(0, 0, 40, 30, warp=Warp(38.3, 29.6, ((0.7, 0), (0, 0.9)))),
    "turned, zoomed, mirrored": Patch(0, 0, 30, 30, True, False, True, Warp(40, 30, ((0.9, -0.5), (0.4, 1.1)))),
}


@pytest.mark.parametrize("name", PATCHES)
def test_the_patchs_flow_still_leads_from_one_frame_to_the_next(name):
    patch, (frames, flow) = PATCHES[name], scene()
    first, second = patch(frames)
    found, inside = warped_back(second, patch.flow(flow))
    assert inside.sum() > 500
    error = (found - first)[inside].abs()
    # Waves of 30 px are read between pixels to about a hundredth; unmoved, they are off by far more.
    assert error.max() < 0.02
    assert (second - first)[inside].abs().mean() > 0.05


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(8, 60),
    columns=st.integers(8, 80),
    augment=st.sampled_from(["none", "flips", "paper", Augmentation(turn_deg=180, area=(0.2, 3), aspect=2)]),
)
def test_any_patch_treats_slices_frames_and_flow_alike(seed, rows, columns, augment):
    frames, flow = scene()
    rng = np.random.default_rng(seed)
    patch = random_patch(rng, height=HEIGHT, width=WIDTH, crop=(rows, columns), augment=augment)
    cut = patch(frames)
    assert cut.shape == (2, rows, columns)
    torch.testing.assert_close(patch(frames[0].expand(5, 2, HEIGHT, WIDTH))[3, 1], cut[0])
    assert cut.min() > 0.9  # nothing from outside, which is black
    moved = patch.flow(flow)
    assert moved.isfinite().all()
    found, inside = warped_back(cut[1], moved)
    assert bool((((found - cut[0]).abs() < 0.06) | ~inside).all())


def test_a_turn_by_a_right_angle_is_exact():
    picture = torch.rand(3, 41, 41)
    turned = Warp(20, 20, ((0.0, -1.0), (1.0, 0.0)))
    torch.testing.assert_close(turned(picture, 41, 41), picture.rot90(1, (-2, -1)), rtol=0, atol=1e-4)
    right = torch.zeros(2, 41, 41)
    right[0] = 1.0
    # What pointed to the right points up.
    assert turned.flow(right, 41, 41)[:, 20, 20].tolist() == pytest.approx([0, -1])


def test_scale_multiplies_vectors():
    flow = torch.full((2, 20, 20), 3.0)
    halved = Warp(9.5, 9.5, ((2.0, 0.0), (0.0, 2.0))).flow(flow, 8, 8)
    torch.testing.assert_close(halved, torch.full((2, 8, 8), 1.5))


def test_flips_change_signs_and_transposition_swaps():
    flow = torch.stack([torch.full((4, 4), 2.0), torch.full((4, 4), 5.0)])
    for options, expected in (({"flip_x": True}, [-2, 5]), ({"flip_y": True}, [2, -5]), ({"transpose": True}, [5, 2])):
        assert Patch(0, 0, 4, 4, **options).flow(flow)[:, 0, 0].tolist() == expected


def test_unknown_flow_stays_unknown_and_spreads_no_further_than_a_pixel():
    flow = torch.full((2, 21, 21), 4.0)
    flow[:, 5:8, 10] = math.nan
    cut = Patch(2, 3, 10, 10, flip_x=True).flow(flow)
    assert torch.equal(cut.isnan().any(0).nonzero(), torch.tensor([[3, 2], [4, 2], [5, 2]]))
    seen = Warp(10.3, 10.2, ((1.0, 0.0), (0.0, 1.0))).flow(flow, 15, 15)
    unknown = seen.isnan().any(0)
    assert 3 <= int(unknown.sum()) <= 8
    torch.testing.assert_close(seen[:, ~unknown], torch.full((2, int((~unknown).sum())), 4.0))
    assert Warp(0, 0, ((1.0, 0.0), (0.0, 1.0))).flow(flow, 9, 9).isnan().all(0).any()


def test_an_event_image_of_several_slices_keeps_its_shape():
    patch = random_patch(np.random.default_rng(3), height=HEIGHT, width=WIDTH, crop=(32, 32), augment="paper")
    assert patch.warp is not None
    assert patch(torch.rand(20, 2, HEIGHT, WIDTH)).shape == (20, 2, 32, 32)
    assert patch(torch.randint(0, 255, (5, HEIGHT, WIDTH), dtype=torch.uint8)).dtype == torch.float32


def test_a_crop_as_large_as_the_picture_is_turned_within_it():
    rng = np.random.default_rng(0)
    for _ in range(20):
        patch = random_patch(rng, height=HEIGHT, width=WIDTH, crop=(HEIGHT, WIDTH), augment="paper")
        assert patch(torch.ones(1, HEIGHT, WIDTH)).min() > 1 - 1e-4


def test_flips_draw_as_they_always_did():
    """Runs of one seed give the same patches from version to version."""
    patches = [random_patch(np.random.default_rng([0, n]), height=80, width=96, crop=(32, 32)) for n in range(3)]
    assert patches == [
        Patch(41, 41, 32, 32, True, True, True),
        Patch(25, 57, 32, 32),
        Patch(47, 5, 32, 32, True, False, True),
    ]


@pytest.mark.parametrize(
    "options", [{"turn_deg": -1}, {"turn_deg": 200}, {"area": (0, 1)}, {"area": (2, 1)}, {"aspect": 0.5}]
)
def test_augmentation_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options)) if "area" not in options else "area"):
        Augmentation(**options)


def test_the_names():
    assert list(NAMED) == ["none", "flips", "paper"]
    assert [rules.warps for rules in NAMED.values()] == [False, False, True]
