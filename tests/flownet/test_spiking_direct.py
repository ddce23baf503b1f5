"""Networks that are trained as spiking ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flownet.costs import costs
from flownet.datasets.batch import Batch
from flownet.spiking.direct import KINDS, DirectNetwork, Kind, OverTime, neuron
from flownet.spiking.direct_flow import DirectSTEFlowNet, steflownet_spiking
from flownet.spiking.ledger import Row, count
from flownet.spiking.neurons import IF, LIF, SRIF
from flownet.spiking.norm import ThresholdBatchNorm2d
from flownet.train import TrainConfig, training_step
from flownet.train.optimizers import optimizer_of


def small(kind: Kind = "srif_mpr", **options: int) -> DirectNetwork:
    torch.manual_seed(0)
    layers = OverTime(nn.Conv2d(1, 8, 3, padding=1), ThresholdBatchNorm2d(8), neuron(kind), nn.AvgPool2d(2),
                      nn.Flatten(), nn.Linear(32, 16), neuron(kind), nn.Linear(16, 2))  # fmt: skip
    return DirectNetwork(layers, **options)


def pictures(number: int = 64) -> tuple[Tensor, Tensor]:
    """Bright above or bright below, [N, 1, 4, 4], and which."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.rand(number, 1, 4, 4, generator=generator), torch.arange(number) % 2
    x[labels == 0, :, :2] += 0.3
    x[labels == 1, :, 2:] += 0.3
    return x, labels


def test_neurons_are_what_their_names_say() -> None:
    assert isinstance(neuron("lif", leak=0.8), LIF)
    assert isinstance(neuron("srif"), SRIF)
    assert type(neuron("if")) is IF
    assert [neuron(kind).reset for kind in KINDS] == ["hard", "hard", "soft", "soft"]
    assert [neuron(kind).surrogate for kind in KINDS] == ["straight", "straight", "straight", "mpr"]
    with pytest.raises(ValueError, match="expected a kind of neuron of if, lif"):
        neuron("glif")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected 1 or more steps"):
        small(steps=0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns(kind: Kind) -> None:
    x, labels = pictures()
    model = small(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_a_picture_is_shown_as_often_as_asked_for() -> None:
    x, _ = pictures(3)
    model = small(steps=5).eval()
    with torch.no_grad():
        assert torch.equal(model(x), model(x[:, None].expand(3, 5, 1, 4, 4)))
        assert model.over_time(x).shape == (5, 3, 2)
        # Nothing is kept from call to call; but the order of slices matters.
        slices, model = torch.arange(1, 5).reshape(1, 4, 1, 1, 1) * x[:, None], small("lif").eval()
        assert torch.equal(model(slices), model(slices))
        assert not torch.equal(model(slices), model(slices.flip(1)))


def test_normalisation_takes_the_whole_window() -> None:
    model = OverTime(ThresholdBatchNorm2d(3, threshold=0.5))
    x = torch.randn(4, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 7 + 3
    y = model(x)
    assert y.mean(dim=(0, 1, 3, 4)).abs().max() < 1e-5
    assert torch.allclose(y.std(dim=(0, 1, 3, 4)), torch.tensor(0.5), atol=0.01)


def test_operations_are_counted_by_hand() -> None:
    layers = OverTime(nn.Conv2d(1, 1, 1, bias=False), neuron("if"), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        layers[0].weight.fill_(1)  # type: ignore[union-attr, operator]
    x = torch.tensor([[1.0, 0.25], [0.0, 0.0]])[None, None]
    rows = count(DirectNetwork(layers, steps=4).eval(), x)
    assert rows["layers.0"] == Row(graded_macs=2)  # the picture stays on the line
    # 1 fires at each of four steps; 0.25 reaches a half at every other.
    assert rows["layers.1"] == Row(updates=16, spikes=4 + 2, neurons=4)
    assert rows["layers.3"] == Row(additions=6 * 3)
    slices = count(DirectNetwork(layers).eval(), x[:, None].expand(1, 3, 1, 2, 2))
    assert slices["layers.0"] == Row(graded_macs=6)  # slices are new


# --- flow


def moving(number: int = 4) -> Batch:
    """Dots that move one pixel a slice to the right, seen in five slices."""
    dots = (torch.rand(number, 32, 44, generator=torch.Generator().manual_seed(0)) < 0.15).float()
    slices = torch.stack([dots[..., 10 - n : 42 - n] for n in range(5)], dim=1)[:, :, None].repeat(1, 1, 2, 1, 1)
    flow = torch.zeros(number, 1, 2, 32, 32)
    flow[:, :, 0] = 4.0
    return Batch(slices, torch.zeros(number, 2, 32, 32), flow)


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_leave_the_encoder_s_convolutions(kind: Kind) -> None:
    torch.manual_seed(0)
    model = steflownet_spiking(neuron=kind, iterations=2)
    x = moving().slices.transpose(0, 1)
    for level in model.encoder.features(x):
        assert set(level.unique().tolist()) == {0.0, 1.0}
    flows = model(moving().slices, [2, 4])
    assert flows.final.shape == (4, 2, 32, 32)
    gradients = torch.autograd.grad(sum(flow.square().mean() for flow in flows.pyramid), list(model.parameters()))  # type: ignore[arg-type]
    assert all(bool(each.isfinite().all()) and bool(each.any()) for each in gradients)


def test_the_order_of_slices_reaches_the_features() -> None:
    torch.manual_seed(0)
    model = steflownet_spiking(neuron="lif")
    x = moving().slices.transpose(0, 1)
    with torch.no_grad():
        forth, back = model.encoder.features(x)[0][-1], model.encoder.features(x[[3, 2, 1, 0, 4]])[0][-1]
    assert not torch.equal(forth, back)


@pytest.mark.parametrize("kind", ["lif", "srif_mpr"])
def test_a_short_training_lowers_the_error(kind: Kind) -> None:
    torch.manual_seed(0)
    model, batch = steflownet_spiking(neuron=kind), moving()
    config = TrainConfig(data=("unused",), batch_size=4, patches=1, supervised=1.0, photometric=0.0, smoothness=0.0,
                         contrast=0.0)  # fmt: skip
    optimizer = optimizer_of(config, model)
    losses = [training_step(config, model, optimizer, batch, 5e-3)["loss"] for _ in range(15)]
    assert losses[-1] < 0.6 * losses[0]


def test_what_a_spiking_encoder_costs() -> None:
    torch.manual_seed(0)
    model = steflownet_spiking().eval()
    rows = count(model, moving(1).slices)
    assert rows["encoder.matching.0.0"].additions > 0
    assert rows["encoder.matching.0.0"].analog_macs == 0
    spiked = rows["encoder.stem.1"]
    assert spiked.neurons == spiked.updates == 5 * 16 * 16 * 16
    assert 0 < spiked.spikes < spiked.neurons
    assert costs(model, height=32, width=32, slices=5).parameters == sum(each.numel() for each in model.parameters())


def test_only_the_form_without_the_authors_departures() -> None:
    with pytest.raises(ValueError, match="expected reference=False"):
        DirectSTEFlowNet(width=4, reference=True)
    with pytest.raises(ValueError, match="expected a kind of neuron"):
        DirectSTEFlowNet(width=4, neuron="glif")  # type: ignore[arg-type]
