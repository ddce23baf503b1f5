"""Networks whose later passes see what motion is left."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flownet import steflownet_tiny
from flownet.datasets.batch import Batch
from flownet.model.compensation import flow_at, moved_back
from flownet.model.plain import PlainSTEFlowNet
from flownet.model.steflownet import State, STEFlowNet
from flownet.train import TrainConfig
from flownet.train.objective import objective

MIDDLES = [n + 0.5 for n in range(10)]


def network(iterations: int) -> STEFlowNet:
    torch.manual_seed(0)
    return steflownet_tiny(width=(4, 6, 8, 8), iterations=iterations, compensate=True, normalise_input=False).double()


def slices(number: int = 5, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, number, 2, 32, 48, generator=generator, dtype=torch.float64) * 3


def test_slices_that_move_are_brought_to_rest() -> None:
    """A wave over two intervals of four slices, first to the right, then down."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    paths = [(0.5 * (n + 0.5), 0.0) if n < 4 else (2.0, 0.75 * (n - 4 + 0.5)) for n in range(8)]
    x = torch.stack([torch.sin((columns - dx) / 5) + torch.cos((rows - dy) / 6) for dx, dy in paths])[:, None, None]
    flow = torch.tensor([[2.0, 0.0], [2.0, 3.0]]).view(2, 1, 2, 1, 1).expand(2, 1, 2, 40, 60)
    still = torch.sin(columns / 5) + torch.cos(rows / 6)
    found = moved_back(x, flow, [3, 7], MIDDLES[:8])[:, 0, 0]
    torch.testing.assert_close(found[:, :36, :56], still[:36, :56].expand(8, -1, -1), rtol=0, atol=0.01)
    assert (x[:, 0, 0] - still).abs().amax(dim=(1, 2))[1:].min() > 0.1
    assert not found[7, 39].any()  # read from below the picture


def test_a_pass_adds_the_flow_of_what_motion_is_left() -> None:
    one, two, x = network(1), network(2), slices()
    with torch.no_grad():
        before = one(x, [4]).pyramid
        moved = moved_back(x.transpose(0, 1), before[0].transpose(0, 1), [4], MIDDLES[:5]).transpose(0, 1)
        left, found = one(moved, [1, 4]), two(x, [1, 4])
    assert left.final.abs().max() > 0.05
    for scale in range(4):
        shares = torch.tensor([0.4, 1.0]).view(1, 2, 1, 1, 1)
        torch.testing.assert_close(found.pyramid[scale], shares * before[scale] + left.pyramid[scale])
    torch.testing.assert_close(found.state.flow[0], found.final)
    assert found.earlier == ()


def test_one_pass_is_the_plain_form() -> None:
    model, x = network(1), slices()
    with torch.no_grad():
        for found, expected in zip(model(x, [2, 4]).pyramid, PlainSTEFlowNet(model)(x, [2, 4]), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="compensates motion"):
        PlainSTEFlowNet(network(2))


def test_over_several_intervals_the_motion_may_change() -> None:
    """A later pass knows the flow to the end of every interval, whichever flows are asked for."""
    one, two, x = network(1), network(2), slices(10)
    with torch.no_grad():
        before = one(x, [4, 9]).pyramid[0]
        moved = moved_back(x.transpose(0, 1), before.transpose(0, 1), [4, 9], MIDDLES).transpose(0, 1)
        expected = before[:, 1] + one(moved).final
        for wanted in ([9], [4, 9], [1, 2, 9]):
            torch.testing.assert_close(two(x, wanted).final, expected)
        torch.testing.assert_close(two(x, [6]).final, two(x, [1, 6, 9]).pyramid[0][:, 1])
        torch.testing.assert_close(two(x, [9, 4]).pyramid[0].flip(1), two(x, [4, 9]).pyramid[0])
    flow = torch.arange(1.0, 3.0).view(2, 1, 1, 1, 1)
    assert flow_at(flow, [4, 9], [0, 2.5, 5, 6, 10]).flatten().tolist() == pytest.approx([0, 0.5, 1, 1.2, 2])


def test_every_pass_is_trained_and_none_through_the_one_before() -> None:
    model, x = network(3), slices()
    batch = Batch(x, torch.rand(2, 2, 32, 48).double(), torch.randn(2, 1, 2, 32, 48).double())
    flows = model(x, [4])
    assert len(flows.earlier) == 2
    assert [len(passes) for passes in (flows.at(0), flows.at(0)[0])] == [3, 4]
    config = TrainConfig(photometric=0, smoothness=0, supervised=1)
    losses = []
    for iterations in (1, 2, 3):
        model.iterations = iterations
        losses.append(objective(config, model, batch)["loss"])
    alone = 3 * losses[2] - 2 * losses[1]  # of the third pass
    one, before = network(1), network(2)(x).state.detach()
    torch.testing.assert_close(alone, objective_from(one, x, batch, before, config))
    gradients = torch.autograd.grad(alone, list(model.parameters()))
    expected = torch.autograd.grad(objective_from(one, x, batch, before, config), list(one.parameters()))
    for found, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, other)


def objective_from(model: STEFlowNet, x: Tensor, batch: Batch, state: State, config: TrainConfig) -> Tensor:
    """The loss of one pass from a state."""

    class Started(STEFlowNet):
        def forward(self, given: Tensor, wanted: list[int]) -> object:  # type: ignore[override]
            return model(given, wanted, state=state)

    started = Started(width=1)
    return objective(config, started, batch)["loss"]


def test_a_warm_start_begins_with_the_last_flow() -> None:
    model, x = network(1), slices()
    state = network(1)(x).state.detach()
    with torch.no_grad():
        torch.testing.assert_close(model(x, state=state).final, network(2)(x).final)
    with pytest.raises(ValueError, match="does not compensate motion"):
        model(x, state=state, reference=x[:, 0])
