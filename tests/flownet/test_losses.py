"""The losses: against the authors' numbers, by hand, and by their gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eventsim.streams.events import Events
from flownet.datasets.grey import normalise_grey
from flownet.losses import contrast_loss, photometric_loss, smoothness_loss, warp_reference

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(GOLDEN / "steflownet_losses.npz").items()}


def zeros(*sizes: tuple[int, int]) -> list[Tensor]:
    return [torch.zeros(1, 2, *size) for size in sizes]


def texture(height: int = 48, width: int = 56, shift: float = 0.0) -> Tensor:
    """A smooth picture [1, 1, H, W], moved to the right."""
    x = torch.arange(width) - shift
    y = torch.arange(height)[:, None]
    return (0.5 + 0.25 * torch.sin(x / 3) + 0.2 * torch.cos(y / 4))[None, None]


def test_losses_and_gradients_are_the_authors(golden: dict[str, Tensor]) -> None:
    flows = [golden[f"flow{scale}"].clone().requires_grad_() for scale in (1, 2, 3, 4)]
    images = golden["image_first"][:, None], golden["image_second"][:, None]
    photometric = photometric_loss(flows, *images, reference=True)
    smoothness = smoothness_loss(flows)
    total = photometric + 10 * smoothness
    for name, loss in (("photometric", photometric), ("smoothness", smoothness), ("total", total)):
        assert loss.item() == pytest.approx(golden[name].item(), rel=1e-5)
    total.backward()
    for scale, flow in enumerate(flows, start=1):
        assert flow.grad is not None
        # In the norm: near zero difference the penalty is so steep that the last bit of an image moves single
        # elements by 2e-4, in the authors' float32 as in ours (float64 is as far from either).
        expected = golden[f"grad{scale}"]
        assert (flow.grad - expected).norm().item() < 1e-5 * expected.norm().item()


def test_reference_warp_is_the_authors(golden: dict[str, Tensor]) -> None:
    warped = warp_reference(golden["image_second"][:, None], golden["flow1"])
    torch.testing.assert_close(warped, golden["warped1"], rtol=1e-5, atol=1e-5)


def test_the_true_flow_costs_least_and_out_of_view_nothing() -> None:
    first, second = texture(), texture(shift=2)
    costs = [photometric_loss([torch.tensor([dx, 0.0]).view(1, 2, 1, 1).expand(1, 2, 48, 56)], first, second).item()
             for dx in (0, 0.5, 1, 2, 3)]  # fmt: skip
    assert costs[0] > costs[1] > costs[2] > costs[3] < costs[4]
    assert costs[3] == pytest.approx(1e-3**0.9, rel=1e-3)  # the penalty of no difference
    away = torch.full((1, 2, 48, 56), 99.0)
    assert photometric_loss([away], first, second).item() == 0


def test_scales_weigh_alike_and_odd_sizes_fit() -> None:
    first, second = torch.rand(2, 3, 1, 37, 50)
    flows = [torch.zeros(3, 2, -(-37 // 2**s), -(-50 // 2**s), requires_grad=True) for s in range(4)]
    loss = photometric_loss(flows, first, second)
    single = [photometric_loss([flows[0]], first, second)]
    assert loss.item() < single[0].item()  # averaging noise down leaves less of it
    blocks = (first - second)[..., :36, :48].unflatten(3, (12, 4)).unflatten(2, (9, 4)).mean(dim=(3, 5))
    inner = (blocks**2 + 1e-6) ** 0.45
    per_scale = photometric_loss([torch.zeros(3, 2, 36, 48), torch.zeros(3, 2, 18, 24), torch.zeros(3, 2, 9, 12)],
                                 first[..., :36, :48], second[..., :36, :48])  # fmt: skip
    halves = (first - second)[..., :36, :48].unflatten(3, (24, 2)).unflatten(2, (18, 2)).mean(dim=(3, 5))
    whole = (first - second)[..., :36, :48]
    by_hand = inner.mean() + ((halves**2 + 1e-6) ** 0.45).mean() + ((whole**2 + 1e-6) ** 0.45).mean()
    assert per_scale.item() == pytest.approx(by_hand.item() / 3, rel=1e-4)
    loss.backward()
    assert all(flow.grad is not None and flow.grad.isfinite().all() for flow in flows)


def test_smoothness_by_hand() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    affine = torch.stack([2 * x - y + 1, x + 3 * y])[None]
    assert smoothness_loss([affine]).item() == 0
    curved = torch.stack([x**2 + x * y, -(y**2)])[None]  # mean |u_xx| 1, |u_yy| 1, |u_xy| 1/2, counted twice
    assert smoothness_loss([curved, curved]).item() == pytest.approx(1.5 * (1 + 1 + 2 * 0.5))


def test_losses_pass_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 1, 8, 8, generator=generator, dtype=torch.float64)
    flow = (0.3 * torch.randn(1, 2, 8, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: photometric_loss([f], first, second, eps=0.1), [flow])
    assert torch.autograd.gradcheck(lambda f: smoothness_loss([f]), [flow])
    events = torch.rand(20, 4, generator=generator, dtype=torch.float64)
    events[:, 1:3] = (events[:, 1:3] * 8).floor()
    events = events[events[:, 0].argsort()]
    assert torch.autograd.gradcheck(lambda f: contrast_loss(f, events), [flow])


def edge_events(dx: float) -> Events:
    """A vertical bar of random texture that moves by dx pixels within 10 ms."""
    rng = np.random.default_rng(0)
    column, row = rng.integers(8, 24, 60), rng.integers(0, 32, 60)
    t = np.repeat(np.arange(0, 10_001, 500), 60)
    x = np.tile(column, 21) + np.round(dx * t / 10_000).astype(int)
    return Events(t, x, np.tile(row, 21), np.ones(len(t), bool), 32, 32)


def test_contrast_is_best_at_the_true_flow() -> None:
    events = edge_events(6)
    losses = [contrast_loss(torch.tensor([dx, 0.0]).view(1, 2, 1, 1).expand(1, 2, 32, 32), events).item()
              for dx in (0.0, 3.0, 6.0, 9.0, -6.0)]  # fmt: skip
    assert losses[0] == pytest.approx(-1, rel=1e-5)
    assert min(losses) == losses[2] < -2
    rows = torch.from_numpy(np.stack([events.t, events.x, events.y, events.p], axis=1).astype(np.float64))
    flow = torch.rand(2, 2, 32, 32, requires_grad=True)
    both = contrast_loss(flow, [events, rows], window=(0, 10_000))
    alone = [contrast_loss(flow[[n]], events).item() for n in range(2)]
    assert both.item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_contrast_without_events_is_zero() -> None:
    flow = torch.rand(1, 2, 8, 8, requires_grad=True)
    loss = contrast_loss(flow, Events.empty(8, 8))
    loss.backward()
    assert loss.item() == 0
    assert flow.grad is not None
    assert not flow.grad.any()


def test_grey_is_divided_by_its_own_maximum() -> None:
    images = np.array([[[50, 100]], [[0, 0]], [[255, 51]]], np.uint8)
    grey = normalise_grey(images)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, [[[0.5, 1]], [[0, 0]], [[1, 0.2]]])


def test_wrong_shapes_are_refused() -> None:
    image = torch.zeros(1, 1, 16, 16)
    with pytest.raises(ValueError, match="two images"):
        photometric_loss(zeros((16, 16)), image, image[..., :8])
    with pytest.raises(ValueError, match="at scale 1"):
        photometric_loss(zeros((16, 16), (4, 4)), image, image)
    with pytest.raises(ValueError, match="3x3"):
        smoothness_loss(zeros((2, 8)))
    with pytest.raises(ValueError, match="2 samples"):
        contrast_loss(torch.zeros(2, 2, 8, 8), Events.empty(8, 8))
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        contrast_loss(torch.zeros(1, 2, 8, 8), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="ends after"):
        contrast_loss(torch.zeros(1, 2, 8, 8), Events.empty(8, 8), window=(1, 1))
