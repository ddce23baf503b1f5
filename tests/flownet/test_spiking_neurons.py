"""Spiking neurons against their equations, the activations that they stand for, and worked examples."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from flownet.spiking.neurons import IF, LIF, SRIF, Neuron, spikes_of_constant
from flownet.spiking.norm import ThresholdBatchNorm2d
from flownet.spiking.pooling import LIPool2d
from flownet.spiking.quantise import (
    QCFS,
    HardSigmoidQ,
    HardTanhQ,
    QuantisedLeakyReLU,
    Quantiser,
    Staircase,
)
from flownet.spiking.signed import STBIF, CalibratedIF
from flownet.spiking.surrogate import Surrogate, fire, rectify_potential

STEPS = [2, 4, 8, 16]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_ties(threshold: float) -> Tensor:
    """A grid from below 0 to above the threshold, on which every tie of up to 64 levels lies: [1, n]."""
    return torch.arange(-512, 1536, dtype=torch.float64)[None] * threshold / 1024


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("threshold", [1.0, 0.75, 3.0])
def test_if_from_half_the_threshold_is_qcfs(steps: int, threshold: float) -> None:
    grid = with_ties(threshold)
    neuron = IF(threshold, initial=0.5).double()
    spikes = neuron(grid.expand(steps, *grid.shape))
    qcfs = QCFS(steps).double()
    expected = threshold * (grid * steps / threshold + 0.5).floor().clamp(0, steps) / steps
    assert torch.equal(spikes.mean(0), expected)
    assert torch.equal(threshold * spikes_of_constant(grid, steps, threshold=threshold) / steps, expected)
    qcfs.threshold = threshold
    # softplus of its own inverse is the threshold up to rounding, which moves ties.
    apart = (grid * steps / threshold + 0.5) % 1 != 0
    assert torch.allclose(qcfs(grid)[apart], expected[apart], rtol=1e-14, atol=0)


def test_neurons_go_on_where_they_stopped() -> None:
    currents = randn(12, 2, 3, 4, 4)
    pool = LIPool2d(2)
    neurons: list[Neuron] = [IF(0.7, initial=0.5), IF(0.7, burst=3), LIF(), SRIF(), STBIF(QCFS(4)), pool,
                             CalibratedIF(0.5, allowance=1)]  # fmt: skip
    for neuron in (each.double() for each in neurons):
        whole = neuron(currents)
        state, parts = neuron.start(currents[0]), []
        for part in currents.split(5):
            spikes, state = neuron.advance(part, state)
            parts.append(spikes)
        assert torch.allclose(torch.cat(parts), whole, atol=1e-12)


def test_thresholds_per_channel_are_along_axis_one() -> None:
    currents = randn(6, 2, 3, 4).abs()
    thresholds = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    together = IF(thresholds, initial=0.5)(currents)
    for channel, threshold in enumerate(thresholds):
        alone = IF(float(threshold), initial=0.5).double()(currents[:, :, channel : channel + 1])
        assert torch.equal(together[:, :, channel : channel + 1], alone)


def test_bursts_catch_up() -> None:
    currents = torch.tensor([[3.5], [0.0], [0.0]])
    assert IF(1.0, burst=2)(currents).flatten().tolist() == [2, 1, 0]
    assert IF(1.0)(currents).flatten().tolist() == [1, 1, 1]


def test_a_hard_reset_forgets_what_is_left() -> None:
    currents = torch.full((4, 1), 1.5)
    assert IF(1.0)(torch.full((4, 1), 1.25)).sum() == 4
    assert IF(1.0, reset="hard")(torch.full((4, 1), 0.75)).sum() == 2
    assert IF(1.0)(torch.full((4, 1), 0.75)).sum() == 3
    assert IF(1.0, reset="hard")(currents).sum() == 4


def test_a_leak_forgets() -> None:
    assert LIF(1.0, leak=0.5)(torch.tensor([[0.75], [0.5], [0.75]])).flatten().tolist() == [0, 0, 1]
    assert IF(1.0)(torch.tensor([[0.75], [0.5], [0.75]])).flatten().tolist() == [0, 1, 1]


def test_the_papers_srif_example() -> None:
    currents = torch.tensor([1.5, 1.2, 1.5, 0.9, 1.4], dtype=torch.float64)[:, None] * 0.5
    assert SRIF().double()(currents).sum() == 3
    assert IF(0.5, reset="hard", amplitude=1.0).double()(currents).sum() == 4
    assert IF(0.5, amplitude=1.0).double()(currents).sum() == 5


def test_the_rectifier_moves_no_spike() -> None:
    u = torch.cat([torch.linspace(-3, 4, 70001, dtype=torch.float64), torch.tensor([0.5, math.nextafter(0.5, 0)])])
    assert torch.equal(rectify_potential(u) >= 0.5, u >= 0.5)
    currents = randn(8, 5, 7)
    plain, rectified = SRIF(surrogate="straight"), SRIF(surrogate="mpr")
    assert torch.equal(plain(currents), rectified(currents))


def test_the_rectifiers_gradient_is_that_of_its_clamp() -> None:
    u = torch.linspace(-0.5, 1.5, 101, dtype=torch.float64, requires_grad=True)
    rectify_potential(u).clamp(0, 1).sum().backward()
    assert u.grad is not None
    # Beyond 0 and 1 the clamp stops it.
    expected = u.grad * ((u > 0) & (u < 1))
    v = u.detach().clone().requires_grad_()
    fire(v, torch.tensor(0.5, dtype=torch.float64), "mpr").sum().backward()
    assert v.grad is not None
    assert torch.allclose(v.grad, expected, atol=1e-12)
    assert v.grad.max() == pytest.approx(3 / (2 * math.tanh(1.5)))


@pytest.mark.parametrize("surrogate", ["straight", "mpr", "arctan"])
def test_surrogates_train(surrogate: Surrogate) -> None:
    currents = randn(4, 2, 3).mul(0.5).add(0.4).requires_grad_()
    for neuron in (IF(1.0, surrogate=surrogate), LIF(surrogate=surrogate), SRIF(surrogate=surrogate)):
        (grad,) = torch.autograd.grad(neuron.double()(currents).sum(), currents)
        assert grad.isfinite().all()
        assert grad.abs().sum() > 0


QUANTISERS = [QCFS(4, 1.5), QCFS(8, torch.tensor([0.5, 1.0, 2.0])), QuantisedLeakyReLU(8, 0.1, 1.0), HardSigmoidQ(16),
              HardTanhQ(10), QuantisedLeakyReLU(5, 0.0, 0.7)]  # fmt: skip


@pytest.mark.parametrize("quantiser", QUANTISERS, ids=lambda each: str(each))
@pytest.mark.parametrize("seed", [0, 1])
def test_stbif_sums_to_the_quantiser_of_its_sum(quantiser: Quantiser, seed: int) -> None:
    """Of inputs of either sign in any order, some of them far beyond the clip on the way."""
    quantiser = quantiser.double()
    stream = randn(20, 64, 3, 5, seed=seed) * 0.8
    settling = torch.zeros(40, *stream.shape[1:], dtype=torch.float64)
    neuron = STBIF(quantiser)
    with torch.no_grad():
        spikes, state = neuron.advance(torch.cat([stream, settling]), neuron.start(stream[0]))
        expected = quantiser(stream.cumsum(0)[-1])
        assert neuron.settled(state)
        assert torch.allclose(spikes.sum(0), expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=30), st.integers(1, 8), st.booleans())
def test_stbif_is_its_published_form(inputs: list[int], levels: int, signed: bool) -> None:
    """v += x; fires +1 if v >= q and count < high, -1 if v < 0 and count > low: on numbers without rounding."""
    quantum, low = 0.5, -levels if signed else 0
    quantiser = QuantisedLeakyReLU(levels, 1.0) if signed else QCFS(levels)
    neuron = STBIF(_Exact(quantum, low, levels))
    assert (quantiser.low, quantiser.high) == (low, levels)
    currents = torch.tensor(inputs, dtype=torch.float64)[:, None] / 16
    found = neuron(currents).flatten().tolist()
    v, count, expected = quantum / 2, 0, []
    for x in currents.flatten().tolist():
        v += x
        k = 1 if v >= quantum and count < levels else -1 if v < 0 and count > low else 0
        v, count = v - k * quantum, count + k
        expected.append(k * quantum)
    assert found == expected


class _Exact(Quantiser):
    def __init__(self, quantum: float, low: int, high: int) -> None:
        super().__init__(low, high)
        self._quantum = torch.tensor(quantum, dtype=torch.float64)

    @property
    def quantum(self) -> Tensor:
        return self._quantum

    def drive(self, x: Tensor) -> Tensor:
        return x / self._quantum


def test_plain_neurons_do_hang_on_the_order() -> None:
    """Why sums need signed neurons: what came early and was belied later stays fired."""
    stream = torch.tensor([[2.0], [-2.0], [0.0], [0.0]])
    assert IF(1.0, initial=0.5)(stream).sum() == 1
    assert STBIF(Staircase(1.0))(stream).sum() == 0


def test_an_unclipped_staircase_is_a_leaky_rate() -> None:
    z = torch.tensor([[0.6, -0.8, 0.05, -2.0]])
    mean = STBIF(Staircase(1.0, 0.1))(z.expand(1000, 1, 4)).mean(0)
    assert torch.allclose(mean, functional.leaky_relu(z, 0.1), atol=1e-3)


def test_spike_calibration_takes_back_and_keeps_the_charge() -> None:
    stream = torch.cat([torch.full((2, 1), 1.0), torch.full((18, 1), -0.5)]).double()
    neuron = CalibratedIF(1.0, allowance=4).double()
    spikes, state = neuron.advance(stream, neuron.start(stream[0]))
    # Spikes at 1 and 2: mean interval 1, so silent for too long after more than 5 steps.
    assert spikes.flatten().nonzero().flatten().tolist() == [0, 1, 7, 8]
    assert spikes.sum() == 0
    assert state[0] + spikes.sum() == stream.sum() + 0.5
    assert IF(1.0, initial=0.5).double()(stream).sum() == 2


def test_spike_calibration_leaves_steady_neurons_alone() -> None:
    stream = torch.full((40, 1), 0.1).double()
    assert torch.equal(CalibratedIF(1.0, allowance=2).double()(stream), IF(1.0, initial=0.5).double()(stream))


@pytest.mark.parametrize(
    "window",
    [(2, None, 0, 1, False), (3, 2, 1, 1, False), (3, 2, 1, 1, True), (2, 2, 0, 1, True), (3, 1, 1, 2, False),
     ((3, 2), (2, 1), (1, 0), 1, False)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("signed", [False, True])
def test_lateral_inhibition_sums_to_the_maximum_of_sums(window: tuple[int, ...], signed: bool) -> None:
    pool = nn.MaxPool2d(*window[:4], False, bool(window[4]))  # type: ignore[arg-type]
    stream = randn(9, 2, 3, 7, 8).sign() if signed else (randn(9, 2, 3, 7, 8) > 0.5).double()
    out = LIPool2d.of(pool)(stream)
    for step in range(len(stream)):
        assert torch.equal(out[: step + 1].sum(0), pool(stream[: step + 1].sum(0)))


def test_lateral_inhibition_is_its_published_form() -> None:
    """r += x; out = max r; r -= out, for every member of a window that does not overlap."""
    stream = randn(6, 2, 3, 6, 8)
    members = functional.unfold(stream.flatten(0, 1), 2, stride=2).reshape(6, 2, 3, 4, 3, 4)
    r, expected = torch.zeros_like(members[0]), []
    for x in members:
        r = r + x
        most = r.amax(dim=2)
        r = r - most[:, :, None]
        expected.append(most)
    assert torch.allclose(LIPool2d(2)(stream), torch.stack(expected), atol=1e-12)


def test_tdbn_brings_currents_to_the_thresholds_scale() -> None:
    norm = ThresholdBatchNorm2d(3, threshold=0.5, scale=2**-0.5).double()
    out = norm(randn(4, 8, 3, 5, 5) * 7 + 3)
    assert out.shape == (4, 8, 3, 5, 5)
    assert torch.allclose(out.mean((0, 1, 3, 4)), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(out.std((0, 1, 3, 4), correction=0), torch.full((3,), 0.5 * 2**-0.5).double(), rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: IF(0.0), lambda: IF(-1.0), lambda: IF(1.0, burst=0), lambda: IF(1.0, leak=0),
        lambda: IF(1.0, reset="none"), lambda: IF(torch.ones(2, 2)), lambda: STBIF(QCFS(), burst=0),
        lambda: CalibratedIF(1.0, allowance=-1), lambda: ThresholdBatchNorm2d(3, threshold=0),
        lambda: fire(torch.ones(1), torch.ones(1), "sine"), lambda: LIPool2d.of(nn.MaxPool2d(2, return_indices=True)),
        lambda: spikes_of_constant(torch.ones(1, 1), 0, threshold=1.0),
    ],
)  # fmt: skip
def test_misuse_is_named(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("leak", [1.0, 0.75, 0.5])
def test_neurons_agree_with_spikingjelly(reset: Literal["soft", "hard"], leak: float) -> None:
    # `pip install --no-deps spikingjelly loguru` is enough to run this.
    oracle = pytest.importorskip("spikingjelly.activation_based.neuron")
    currents = randn(16, 4, 5).float() + 0.2
    shared = {"v_threshold": 1.0, "v_reset": None if reset == "soft" else 0.0, "step_mode": "m"}
    node = oracle.IFNode(**shared) if leak == 1 else oracle.LIFNode(1 / (1 - leak), False, **shared)
    spikes = IF(1.0, reset=reset, leak=leak)(currents)
    assert spikes.sum() > 20
    assert torch.equal(spikes, node(currents))
