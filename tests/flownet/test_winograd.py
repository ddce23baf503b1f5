"""Convolutions by Winograd's way, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from flownet.model import winograd
from flownet.model.gru import ConvGRU
from flownet.model.plain import PlainSTEFlowNet
from flownet.model.steflownet import STEFlowNet


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 14), st.integers(1, 14), st.booleans())
def test_it_is_a_convolution(number: int, channels: int, outputs: int, height: int, width: int, biased: bool) -> None:
    x, weight = randn(number, channels, height, width), randn(outputs, channels, 3, 3, seed=1)
    bias = randn(outputs, seed=2) if biased else None
    found = winograd.convolve(x, winograd.transformed(weight), bias)
    torch.testing.assert_close(found, functional.conv2d(x, weight, bias, padding=1), rtol=1e-11, atol=1e-11)


def test_float32_loses_a_digit_at_most() -> None:
    x, weight = randn(2, 145, 32, 32, dtype=torch.float32), randn(64, 145, 3, 3, seed=1, dtype=torch.float32)
    exact = functional.conv2d(x.double(), weight.double(), padding=1)
    found = winograd.convolve(x, winograd.transformed(weight))
    direct = functional.conv2d(x, weight, padding=1)
    errors = [float((each - exact).norm() / exact.norm()) for each in (found, direct)]
    assert errors[0] < 1e-5
    assert errors[1] < 1e-6


def test_it_pays_without_gradients_on_large_pictures_of_float32() -> None:
    x = torch.rand(1, 2, 32, 32)
    assert not winograd.pays(x)
    with torch.no_grad():
        assert winograd.pays(x)
        assert not winograd.pays(x.double())
        assert not winograd.pays(x[..., :31])
        assert not winograd.pays(x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not winograd.pays(x)


def test_weights_that_change_are_transformed_again() -> None:
    torch.manual_seed(0)
    gru, x = ConvGRU(in_channels=3, hidden_channels=2), torch.rand(2, 1, 3, 32, 32)
    for _ in range(2):
        direct = gru(x, None)
        with torch.no_grad():
            torch.testing.assert_close(gru(x, None), direct.detach(), rtol=1e-4, atol=1e-5)
            for parameter in gru.parameters():
                parameter.mul_(1.5)


@pytest.mark.parametrize("reference", [False, True])
def test_the_network_computes_the_same_with_it(reference: bool) -> None:
    torch.manual_seed(0)
    model, x = STEFlowNet(width=8, radius=2, iterations=2, reference=reference), 5 * torch.rand(1, 3, 2, 96, 128)
    with torch.no_grad():
        found, expected = model(x, [1, 2]).pyramid, PlainSTEFlowNet(model)(x, [1, 2])
        exact = PlainSTEFlowNet(model.double())(x.double(), [1, 2])
    for ours, plain, true in zip(found, expected, exact, strict=True):
        assert true.abs().max() > 0.1
        assert (ours - true).abs().max() < 3e-5 * true.abs().max()
        assert (plain - true).abs().max() < 3e-5 * true.abs().max()
