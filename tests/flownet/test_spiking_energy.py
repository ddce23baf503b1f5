"""Operations of spiking networks, counted by hand and by brute force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flownet.costs import costs
from flownet.model.steflownet import STEFlowNet
from flownet.spiking.arrivals import Spikes, mark
from flownet.spiking.calibrate import Calibration, thresholds
from flownet.spiking.convert import convert
from flownet.spiking.energy import FLOAT_45NM, INT8_45NM, compare, energy_uj, traffic_bytes
from flownet.spiking.flow import quantised
from flownet.spiking.ledger import Ledger, Row, count
from flownet.spiking.neurons import IF
from flownet.spiking.quantise import QCFS


def two_layers(activation: nn.Module) -> nn.Sequential:
    """One input pixel to two maps of 2x2, and these to three outputs."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False), activation, nn.Flatten(),
                          nn.Linear(8, 3, bias=False))  # fmt: skip
    with torch.no_grad():
        model[0].weight.zero_()  # type: ignore[operator, union-attr]
        model[0].weight[0, 0, 1, 1] = 1.0  # type: ignore[index, union-attr]
        model[0].weight[1, 0, 1, 1] = 0.5  # type: ignore[index, union-attr]
    return model


def picture() -> Tensor:
    """4x4, with values at (0, 0), read by one output position, and at (1, 1), read by four."""
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0] = 1.0
    x[0, 0, 1, 1] = 0.25
    return x


def test_a_network_of_two_layers_by_hand() -> None:
    model = two_layers(nn.ReLU())
    spiking = convert(model, steps=4, thresholds={"1": 1.0})
    rows = count(spiking, picture())
    # The input stays on the line, so each value is multiplied once: (1 + 4) positions, 2 maps.
    assert rows["0"] == Row(graded_macs=10)
    # Map 0 at (0, 0) gets 1 and fires four times; map 1 there gets 0.5, fires twice from half the threshold on.
    assert rows["1"] == Row(updates=4 * 8, spikes=6, neurons=8)
    assert rows["3"] == Row(additions=6 * 3)
    ordinary = count(model, picture())
    assert ordinary == {"0": Row(analog_macs=8 * 9), "3": Row(analog_macs=8 * 3)}
    report = compare(model, spiking, picture())
    assert report.spikes_per_neuron == 6 / 8
    dense, sparse = report.energy_uj(FLOAT_45NM)
    assert dense * 1e6 == pytest.approx((72 + 24) * 4.6)
    assert sparse * 1e6 == pytest.approx(10 * 4.6 + (18 + 32) * 0.9)
    assert report.energy_uj(INT8_45NM)[1] * 1e6 == pytest.approx(10 * 0.23 + (18 + 32) * 0.03)
    assert traffic_bytes(rows["3"], FLOAT_45NM) == 18 * 3 * 4
    assert energy_uj(rows["0"], FLOAT_45NM) * 1e6 == pytest.approx(46)


def test_a_lossless_network_of_two_layers_by_hand() -> None:
    spiking = convert(two_layers(QCFS(4, 1.0)), mode="lossless")
    rows = count(spiking, picture())
    assert rows["0"] == Row(graded_macs=10)
    # Counts of 4 and 2; everything has settled after four micro-steps.
    assert rows["1"] == Row(updates=4 * 8, spikes=6, neurons=8)
    assert rows["3"] == Row(additions=6 * 3)


def test_pooling_is_multiplied_and_has_no_neurons() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3)).eval()
    rows = count(convert(model, steps=4, thresholds={"0": 1.0}), picture())
    # One spike each at (0, 0), every micro-step, and at (1, 1), the second: the sums' maximum steps at the former's.
    assert rows["0"] == Row(updates=4 * 16, spikes=5, neurons=16)
    assert rows["1"] == Row(updates=4 * 4)
    assert rows["3"] == Row(graded_macs=4 * 3)


def test_the_table_says_it_all() -> None:
    model = two_layers(nn.ReLU())
    report = compare(model, convert(model, steps=4, thresholds={"1": 1.0}), picture())
    text = str(report)
    assert "break-even 5.1" in text
    assert "45 nm, int8" in text
    assert "0.75 spikes per neuron" in text
    rows = report.rows()
    assert [row["layer"] for row in rows] == ["0", "1", "3", "total"]
    assert rows[-1]["additions"] == 18
    assert rows[-1]["macs"] == 96
    assert FLOAT_45NM.break_even == pytest.approx(5.11, abs=0.01)


LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 3), padding=(2, 0), groups=2),
    lambda: nn.Conv2d(4, 6, 3, stride=3, dilation=2),
    lambda: nn.Conv2d(4, 6, 4, padding="same"),
    lambda: nn.Conv2d(4, 6, 2, stride=4),
    lambda: nn.ConvTranspose2d(4, 6, 4, 2, 1),
    lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    lambda: nn.ConvTranspose2d(4, 6, 3, stride=1, padding=2, dilation=2),
    lambda: nn.Linear(9, 5),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("make", LAYERS)
def test_a_spike_counts_as_many_additions_as_outputs_it_reaches(make: Callable[[], nn.Module]) -> None:
    layer: Any = make().requires_grad_(False)
    layer.weight.fill_(1)
    layer.bias.zero_()
    x = torch.zeros(1, 4, 7, 9)
    for index in range(x.numel()):
        x.zero_()
        x.view(-1)[index] = 1
        with Ledger(layer) as ledger:
            layer(mark(x.clone(), Spikes(torch.tensor(1.0))))
        (row,) = ledger.rows.values()
        assert row.additions == int((layer(x) != 0).sum())
        assert row.analog_macs == 0


def ways() -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "moved": lambda x: x.flatten(0, 1)[:2].reshape(1, 2, 4, 4).contiguous().chunk(1, 1)[0],
        "summed": lambda x: x + x,
        "written": lambda x: x.add_(x),
        "pooled": nn.AvgPool2d(2),
        "shrunk": nn.AdaptiveAvgPool2d(1),
        "padded": nn.ZeroPad2d(1),
        "repeated": nn.Upsample(scale_factor=2),
        "joined": lambda x: torch.cat([x, x], dim=1),
    }


@pytest.mark.parametrize(
    ("way", "spikes"),
    [("moved", 3), ("summed", 6), ("written", 6), ("pooled", 3), ("shrunk", 3), ("padded", 3), ("repeated", 12),
     ("joined", 6)],
)  # fmt: skip
def test_spikes_are_followed_where_values_only_move(way: str, spikes: int) -> None:
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 1, 1], x[0, 1, 0, 1] = 1.0, -0.5 * 4  # one spike, and two of the other sign
    x = mark(x, Spikes(torch.tensor(1.0)))
    layer = nn.Conv2d(4 if way == "joined" else 2, 5, 1, bias=False).requires_grad_(False)
    with Ledger(layer) as ledger:
        layer(ways()[way](x))
    assert ledger.rows["weight" if "weight" in ledger.rows else ""].additions == spikes * 5


def test_what_is_not_followed_is_multiplied() -> None:
    x = mark(torch.eye(4).reshape(1, 1, 4, 4), Spikes(torch.tensor(1.0)))
    layer = nn.Conv2d(1, 5, 1).requires_grad_(False)
    with Ledger(layer) as ledger:
        layer(x * 2)
        layer(nn.Upsample(scale_factor=2, mode="bilinear")(x))
    (row,) = ledger.rows.values()
    assert row == Row(analog_macs=5 * 16 + 5 * 64)


def test_bursts_count_each_spike() -> None:
    neuron = IF(0.5, burst=4)
    out = mark(neuron(torch.tensor([[[1.7]]])).flatten(0, 1), neuron.mark())
    layer = nn.Linear(1, 7).requires_grad_(False)
    with Ledger(layer) as ledger:
        layer(out)
    (row,) = ledger.rows.values()
    assert row.additions == 3 * 7


def test_an_ordinary_flow_network_costs_what_costs_says() -> None:
    model = STEFlowNet(width=4, radius=1, iterations=2, hidden="width").eval()
    rows = count(model, torch.rand(1, 3, 2, 64, 64))
    expected = costs(model, height=64, width=64, slices=3).macs
    assert sum(row.analog_macs for row in rows.values()) == expected.total
    assert rows["correlation"].analog_macs == expected.correlation
    assert rows["warp"].analog_macs == expected.warp
    assert sum(row.additions + row.graded_macs + row.updates for row in rows.values()) == 0


def test_flow_networks_are_counted_layer_by_layer() -> None:
    torch.manual_seed(0)
    model = STEFlowNet(width=4, radius=1, iterations=1, hidden="width").eval()
    x = torch.poisson(torch.full((1, 2, 2, 32, 32), 0.2))
    found = thresholds(model, [x])
    hybrid = compare(model, convert(model, steps=4, thresholds=found), x)
    lossless = compare(model, convert(quantised(model, thresholds=found), mode="lossless"), x)
    rows = {str(row["layer"]): row for row in hybrid.rows()}
    for name in ("encoder.grus.0.input", "encoder.grus.0.recurrent_zr", "correlation"):
        assert rows[name]["analog_macs"] == rows[name]["macs"]
    assert rows["encoder.matching.0.0"]["additions"] > 0
    assert rows["encoder.matching.0.0"]["analog_macs"] == 0
    # Two slices, 8 x 8 positions and 8 channels of matching at 1/4, four micro-steps.
    assert rows["encoder.matching.0.1"]["updates"] == 2 * 8 * 8 * 8 * 4
    rows = {str(row["layer"]): row for row in lossless.rows()}
    assert rows["encoder.grus.0.recurrent_zr"]["additions"] > 0
    assert rows["encoder.grus.0.recurrent_zr"]["analog_macs"] == 0
    # z q of two slices; r h and (1 - z) h of the second.
    assert rows["encoder.grus.0"]["products"] == (2 + 2) * 4 * 16 * 16


def test_spike_counts_of_two_layers_agree_with_spikingjelly() -> None:
    oracle = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3)).double().eval()
    x, steps = torch.rand(8, 6, dtype=torch.float64), 16
    levels = thresholds(model, [x], Calibration(method="maximum", per_channel=False))
    rows = count(convert(model, steps=steps, thresholds=levels), x)
    current = x.expand(steps, *x.shape)
    for place in (0, 2):
        layer, level = model[place], float(levels[str(place + 1)])
        assert isinstance(layer, nn.Linear)
        node = oracle.IFNode(v_threshold=level, v_reset=None, step_mode="m")
        node.v = torch.full((8, layer.out_features), level / 2, dtype=x.dtype)
        with torch.no_grad():
            spikes = node(layer(current))
        assert rows[str(place + 1)].spikes == spikes.sum() > 100
        current = spikes * level
    assert rows["4"].additions == spikes.sum() * 3
