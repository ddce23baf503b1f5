"""Convolutions by Winograd's way, against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from flownet.model import encoder, steflownet, winograd
from flownet.model.gru import ConvGRU
from flownet.model.gru_kernel import go_on, open_gates
from flownet.model.plain import PlainSTEFlowNet
from flownet.model.steflownet import STEFlowNet
from flownet.model.winograd_kernel import LANES, read_tiles


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def direct(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution of pictures [N, H, W, C], in float64."""
    more = None if bias is None else bias.double()
    return functional.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), more, padding=1).permute(0, 2, 3, 1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(params=[0, 10**6], ids=["block by block", "step by step"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both orders of the work, each over several blocks."""
    monkeypatch.setattr(winograd, "_FEW_TILES", 0)
    monkeypatch.setattr(winograd, "_FEWEST_SHARED", request.param)
    monkeypatch.setattr(winograd, "_BLOCK_NUMBERS", 1000)
    monkeypatch.setattr(winograd, "_TOGETHER_NUMBERS", 1000)


@pytest.mark.usefixtures("ways")
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3), st.integers(1, 2 * LANES + 5), st.integers(1, LANES + 6), st.integers(1, 14),
       st.integers(1, 14), st.integers(1, 3))  # fmt: skip
def test_it_is_a_convolution(number: int, channels: int, outputs: int, height: int, width: int, threads: int) -> None:
    x, weight, bias = randn(number, height, width, channels), randn(outputs, channels, 3, 3, seed=1), randn(outputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = winograd.convolve([x], winograd.transformed(weight), bias)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    expected = direct(x, weight, bias)
    assert (found - expected).abs().max() < 2e-5 * max(1, expected.abs().max())


@pytest.mark.usefixtures("ways")
def test_it_fills_some_channels_and_says_which_rows_are_done() -> None:
    x, weight, out = randn(2, 11, 9, 3), randn(4, 3, 3, 3, seed=1), randn(2, 11, 9, 7, seed=2)
    expected, rows, bias = out.double(), [], torch.arange(4.0)
    expected[..., 2:6] = direct(x, weight, bias)

    def then(picture: int, top: int, bottom: int) -> None:
        torch.testing.assert_close(out[picture, top:bottom].double(), expected[picture, top:bottom], atol=2e-5, rtol=0)
        rows.extend((picture, row) for row in range(top, bottom))

    parts = [x[..., :1].contiguous(), x[..., 1:].contiguous()]
    halves = weight[:, :1], weight[:, 1:]
    found = winograd.convolve(parts, winograd.transformed(*halves), bias, out=out, offset=2, then=then)
    assert found is out
    torch.testing.assert_close(out.double(), expected, atol=2e-5, rtol=0)
    assert sorted(rows) == [(picture, row) for picture in range(2) for row in range(11)]


def test_its_errors_are_bounded() -> None:
    """A digit of float32 and two bits of bfloat16, beside a direct convolution's."""
    x, weight = randn(2, 32, 32, 145), randn(64, 145, 3, 3, seed=1)
    exact = direct(x, weight)
    for kind, most in ((torch.float32, 3e-6), (torch.bfloat16, 2e-2)):
        assert relative(winograd.convolve([x], winograd.transformed(weight, kind=kind), torch.zeros(64)), exact) < most


def test_inputs_are_rounded_to_the_nearest_bfloat16() -> None:
    x = randn(1, 8, 8, 5)
    plain, rounded = np.empty((36, 4, 5), np.float32), np.empty((36, 4, 5), np.uint16)
    for out in (plain, rounded):
        read_tiles(x.numpy(), 2, 0, 2, out, 0)
    assert torch.equal(torch.from_numpy(rounded).view(torch.bfloat16), torch.from_numpy(plain).bfloat16())


def test_an_error_leaves_the_threads_as_they_were() -> None:
    def fail(picture: int, top: int, bottom: int) -> None:
        raise RuntimeError("of a band")

    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="of a band"):
        winograd.convolve([randn(1, 40, 40, 2)], winograd.transformed(randn(2, 2, 3, 3)), torch.zeros(2), then=fail)
    assert torch.get_num_threads() == before


def test_it_pays_without_gradients_on_large_pictures_and_weights_that_are_not_too_large() -> None:
    x, weight = torch.rand(1, 2, 8, 8), torch.rand(2, 2, 3, 3)
    large = torch.empty(1024, 768, 3, 3)
    assert not winograd.pays(x, weight)
    with torch.no_grad():
        assert winograd.pays(x, weight)
        assert not winograd.pays(x.double(), weight)
        assert not winograd.pays(x[..., :7], weight)
        assert not winograd.pays(x.to("meta"), weight)
        assert not winograd.pays(x, large)
        with torch.autocast("cpu", torch.bfloat16):
            assert winograd.pays(x, weight)
            assert winograd.pays(x.bfloat16(), large)
        with torch.autocast("cpu", torch.float16):
            assert not winograd.pays(x, weight)


def test_what_is_between_a_gru_s_convolutions() -> None:
    x = torch.linspace(-20, 20, 60_000).view(20, 1000, 3)
    sums, hidden = torch.cat([x, x.flip(0)], dim=2), randn(20, 1000, 3)
    remembered, new = torch.empty_like(hidden), torch.empty_like(hidden)
    z, r = sums.double().chunk(2, dim=2)
    open_gates(sums.numpy(), hidden.numpy(), remembered.numpy())
    go_on(sums.numpy(), hidden.numpy(), new.numpy())
    torch.testing.assert_close(remembered.double(), torch.sigmoid(r) * hidden, rtol=0, atol=1e-6)
    torch.testing.assert_close(new.double(), torch.lerp(hidden.double(), r.tanh(), z.sigmoid()), rtol=0, atol=2e-6)


def test_weights_that_change_are_transformed_again() -> None:
    torch.manual_seed(0)
    gru, x = ConvGRU(in_channels=3, hidden_channels=2), torch.rand(2, 1, 3, 32, 32)
    for _ in range(2):
        expected = gru(x, None).detach()
        with torch.no_grad():
            torch.testing.assert_close(gru(x, None), expected, rtol=1e-4, atol=1e-5)
            with torch.autocast("cpu", torch.bfloat16):
                assert relative(gru(x, None), expected) < 2e-2
            for parameter in gru.parameters():
                parameter.mul_(1.5)


@pytest.mark.parametrize("reference", [False, True])
def test_the_network_computes_the_same_with_it(reference: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = STEFlowNet(width=8, radius=2, iterations=2, reference=reference), 5 * torch.rand(1, 3, 2, 96, 128)
    with torch.no_grad():
        found, expected = model(x, [1, 2]).pyramid, PlainSTEFlowNet(model)(x, [1, 2])
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(x, [1, 2]).pyramid
            monkeypatch.setattr(winograd, "pays", lambda *_: False)
            usual = model(x, [1, 2]).pyramid
        exact = PlainSTEFlowNet(model.double())(x.double(), [1, 2])
    for ours, plain, half, other, true in zip(found, expected, rough, usual, exact, strict=True):
        assert true.abs().max() > 0.1
        assert (ours - true).abs().max() < 3e-5 * true.abs().max()
        assert (plain - true).abs().max() < 3e-5 * true.abs().max()
        assert half.dtype == torch.float32
        assert relative(half, true) < 2 * relative(other, true) < 0.2


@pytest.mark.parametrize("reference", [False, True])
def test_a_part_of_the_slices_at_a_time_is_all_of_them(monkeypatch: pytest.MonkeyPatch, reference: bool) -> None:
    torch.manual_seed(0)
    model, x = STEFlowNet(width=4, radius=1, iterations=2, reference=reference), 5 * torch.rand(2, 5, 2, 64, 48)
    with torch.inference_mode():
        whole = model(x, [1, 4])
        again = model(x, [1, 4], state=whole.state)
        monkeypatch.setattr(encoder, "_CHUNK_NUMBERS", 2 * 2 * 32 * 24 * 13)
        monkeypatch.setattr(steflownet, "_DECODED_POSITIONS", 2 * 32 * 24)
        parts = model(x, [1, 4])
        parts_again = model(x, [1, 4], state=parts.state)
    for found, expected in ((parts, whole), (parts_again, again)):
        for one, other in zip(found.pyramid, expected.pyramid, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
