"""Losses beside the published ones: each is least where it should be, and its gradient leads there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flownet.losses import (
    backwards,
    consistent,
    end_point_loss,
    photometric_loss,
    slice_contrast_loss,
    smoothness_loss,
)


def texture(shift: float = 0.0, height: int = 48, width: int = 56) -> Tensor:
    """A smooth picture [1, 1, H, W], moved to the right."""
    x = torch.arange(width) - shift
    y = torch.arange(height)[:, None]
    return (0.5 + 0.25 * torch.sin(x / 3) + 0.2 * torch.cos(y / 4))[None, None]


def constant(dx: float, dy: float = 0.0, height: int = 48, width: int = 56) -> Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height, width).clone()


@pytest.mark.parametrize("kind", ["charbonnier", "census", "ssim"])
def test_photometric_kinds_are_least_at_the_true_flow(kind):
    first, second = texture(), texture(2.0)
    costs = [photometric_loss([constant(dx)], first, second, kind=kind).item() for dx in (0.0, 1.0, 2.0, 3.0)]
    assert costs[0] > costs[1] > costs[2] < costs[3]


def test_census_and_ssim_forgive_what_light_does():
    """A gain that the Charbonnier penalty pays for."""
    first, brighter = texture(), 0.8 * texture()
    rises = {}
    for kind in ("charbonnier", "census", "ssim"):
        same = photometric_loss([constant(0)], first, first, kind=kind).item()
        rises[kind] = photometric_loss([constant(0)], first, brighter, kind=kind).item() - same
    assert rises["census"] < 0.2 * rises["charbonnier"]
    assert rises["ssim"] < 0.2 * rises["charbonnier"]


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"charbonnier, census, ssim.*'l2'"):
        photometric_loss([constant(0)], texture(), texture(), kind="l2")  # type: ignore[arg-type]


def test_hidden_pixels_do_not_count():
    first = texture()
    second = first.clone()
    second[..., :20] = 0
    visible = torch.ones_like(first)
    visible[..., :20] = 0
    flow = [constant(0)]
    clean = photometric_loss(flow, first, first)
    torch.testing.assert_close(photometric_loss(flow, first, second, visible=visible), clean)
    assert photometric_loss(flow, first, second) > 2 * clean


def test_flow_may_break_at_an_edge_of_the_picture():
    flow, image = constant(0.0), torch.zeros(1, 1, 48, 56)
    flow[..., 28:] = 3
    along, across = image.clone(), image.clone()
    along[..., 28:] = 1
    across[..., 24:, :] = 1
    free = smoothness_loss([flow]).item()
    assert smoothness_loss([flow], along).item() < 0.3 * free
    assert smoothness_loss([flow], across).item() == pytest.approx(free, rel=0.05)
    assert smoothness_loss([flow], image).item() == pytest.approx(free, rel=1e-6)


def test_contrast_of_slices_is_least_at_the_true_flow():
    """A dotted line that moves by two pixels a slice."""
    slices = torch.zeros(1, 5, 2, 40, 60)
    for k in range(5):
        slices[0, k, 0, 4:36:3, 11 + 2 * k] = 3.0
        slices[0, k, 1, 5:36:3, 31 + 2 * k] = 2.0
    costs = {dx: slice_contrast_loss(constant(dx, height=40, width=60), slices).item() for dx in (0, 5, 10, 15)}
    assert costs[0] == pytest.approx(-1)
    assert min(costs, key=costs.__getitem__) == 10
    flow = constant(8.0, height=40, width=60).requires_grad_()
    slice_contrast_loss(flow, slices).backward()
    assert flow.grad is not None
    assert flow.grad[:, 0].sum() < 0  # more to the right is sharper


def test_no_events_no_contrast():
    flow = constant(1.0).requires_grad_()
    loss = slice_contrast_loss(flow, torch.zeros(1, 5, 2, 48, 56))
    assert loss.item() == 0
    loss.backward()


def test_time_runs_backwards_in_order_and_polarity():
    slices = torch.rand(2, 5, 2, 8, 8)
    turned = backwards(slices)
    assert torch.equal(turned[:, 0, 0], slices[:, 4, 1])
    assert torch.equal(backwards(turned), slices)
    spikes = torch.rand(2, 5, 1, 8, 8)
    assert torch.equal(backwards(spikes), spikes.flip(1))


def test_what_comes_back_is_seen():
    assert consistent(constant(2), constant(-2))[..., :-2].all()
    assert not consistent(constant(2), constant(-2))[..., -2:].any()  # leaves the picture
    assert not consistent(constant(2), constant(2)).any()


def test_end_point_error_by_hand():
    truth = constant(3.0, 4.0, 16, 16)
    flows = [constant(0, 0, 16 // 2**s, 16 // 2**s) for s in range(4)]
    assert end_point_loss(flows[:1], truth).item() == pytest.approx(5, rel=1e-4)
    assert end_point_loss(flows, truth).item() == pytest.approx(5 * (1 + 0.5 + 0.25 + 0.125), rel=1e-4)
    exact = [constant(3 / 2**s, 4 / 2**s, 16 // 2**s, 16 // 2**s) for s in range(4)]
    assert end_point_loss(exact, truth).item() < 0.03
    assert end_point_loss(flows[:1], truth, relative=True).item() == pytest.approx(5 / 6, rel=1e-4)


def test_unknown_flow_is_left_out():
    truth = constant(3.0, 4.0, 16, 16)
    truth[..., :8] = float("nan")
    flow = constant(0.0, 0.0, 16, 16)
    flow[..., :8] = 100
    flow.requires_grad_()
    loss = end_point_loss([flow], truth)
    assert loss.item() == pytest.approx(5, rel=1e-4)
    loss.backward()
    assert flow.grad is not None
    assert not flow.grad[..., :8].any()
    nothing = torch.full_like(truth, float("nan"))
    assert end_point_loss([constant(1.0, 0.0, 16, 16)], nothing, relative=True).item() == 0


def test_pixels_without_events_weigh_less():
    truth, counts = constant(3.0, 4.0, 16, 16), torch.zeros(1, 1, 16, 16)
    counts[..., :8] = 2
    flow = constant(3.0, 4.0, 16, 16)
    flow[..., 8:] = 0
    full = end_point_loss([flow], truth, counts).item()
    assert end_point_loss([flow], truth, counts, elsewhere=0.2).item() == pytest.approx(0.2 * full, rel=0.02)
