"""The network and its parts, against forms that read like the equations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from eventsim import Events
from eventsim.errors import InputError
from flownet.model import pretrained
from flownet.model.correlation import correlate
from flownet.model.gru import ConvGRU
from flownet.model.plain import PlainSTEFlowNet
from flownet.model.pretrained import load_pretrained, save_pretrained
from flownet.model.steflownet import (
    BUILDERS,
    State,
    STEFlowNet,
    normalise_rms,
    steflownet,
    steflownet_small,
    steflownet_tiny,
)
from flownet.model.warp import in_view, warp
from flownet.representation import temporal_distribution


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute_force(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Correlation of two maps [C, H, W], product by product."""
    _, height, width = first.shape
    side = 2 * radius + 1
    out = first.new_zeros(side * side, height, width)
    for k in range(side * side):
        for y in range(height):
            for x in range(width):
                v, u = y + k // side - radius, x + k % side - radius
                if 0 <= v < height and 0 <= u < width:
                    out[k, y, x] = (first[:, y, x] * second[:, v, u]).mean()
    return out


def gru_by_the_equations(gru: ConvGRU, x: Tensor, h: Tensor) -> Tensor:
    def gate(index: int, recurrent: Tensor, state: Tensor) -> Tensor:
        rows = slice(index * len(h[0]), (index + 1) * len(h[0]))
        weight = torch.cat([recurrent, gru.input.weight[rows]], dim=1)
        assert gru.input.bias is not None
        return torch.conv2d(torch.cat([state, x], dim=1), weight, gru.input.bias[rows], padding=1)

    w_z, w_r = gru.recurrent_zr.weight.chunk(2)
    z, r = torch.sigmoid(gate(0, w_z, h)), torch.sigmoid(gate(1, w_r, h))
    return (1 - z) * h + z * torch.tanh(gate(2, gru.recurrent_q.weight, r * h))


# --- the parts ---


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_correlation_is_brute_force(radius: int) -> None:
    first, second = randn(2, 2, 3, 5, 6)
    expected = torch.stack([brute_force(*pair, radius) for pair in zip(first, second, strict=True)])
    torch.testing.assert_close(correlate(first, second, radius=radius), expected)


def test_correlation_has_its_gradient() -> None:
    first, second = randn(1, 1, 3, 4, 5).requires_grad_(), randn(2, 1, 3, 4, 5, seed=1).requires_grad_()
    torch.autograd.gradcheck(lambda a, b: correlate(a.expand_as(b), b, radius=2), [first, second])
    with pytest.raises(ValueError, match="one shape"):
        correlate(first, second, radius=1)


def test_warp_reads_where_the_flow_points() -> None:
    image = randn(1, 2, 6, 7)
    flow = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 6, 7)
    warped = warp(image, flow, padding="zeros")
    torch.testing.assert_close(warped[..., 1:, :5], image[..., :5, 2:])
    torch.testing.assert_close(warped[..., 0, :], torch.zeros_like(warped[..., 0, :]))
    torch.testing.assert_close(warp(image, flow)[..., 1:, 5:], image[..., :5, -1:].expand(1, 2, 5, 2))
    assert in_view(flow)[0, 0, 1:, :5].all()
    assert in_view(flow).sum() == 25
    torch.testing.assert_close(warp(image, flow * 0), image)
    assert not torch.allclose(warp(image, flow * 0, aligned=False), image)
    with pytest.raises(ValueError, match=r"\[B, 2, H, W\]"):
        warp(image, flow[..., 1:])


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_warp_passes_gradcheck(aligned: bool, padding: str) -> None:
    image, flow = randn(1, 2, 5, 6).requires_grad_(), (2 * randn(1, 2, 5, 6, seed=3)).requires_grad_()
    torch.autograd.gradcheck(lambda i, f: warp(i, f, aligned=aligned, padding=padding), [image, flow])  # type: ignore[arg-type]


def test_gru_is_the_equations_and_passes_gradcheck() -> None:
    gru = ConvGRU(in_channels=3, hidden_channels=2).double()
    x, start = randn(3, 2, 3, 4, 4), randn(2, 2, 4, 4, seed=1)
    for first in (start, None):
        state, expected = first if first is not None else torch.zeros_like(start), []
        for step in x:
            state = gru_by_the_equations(gru, step, state)
            expected.append(state)
        torch.testing.assert_close(gru(x, first), torch.stack(expected))
    torch.autograd.gradcheck(gru, [x[:2, :1].clone().requires_grad_(), start[:1].clone().requires_grad_()])


# --- the network ---


def test_parameter_counts() -> None:
    expected = {"steflownet": 48_327_216, "steflownet_small": 10_323_148, "steflownet_tiny": 991_980,
                "steflownet_spiking": 991_980}  # fmt: skip
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in build().parameters()) for name, build in BUILDERS.items()}
    assert counts == expected


@pytest.mark.parametrize("hidden", ["input", "width"])
@pytest.mark.parametrize("reference", [False, True])
def test_the_fast_form_is_the_paper_s(hidden: str, reference: bool) -> None:
    model = STEFlowNet(width=4, radius=1, iterations=2, hidden=hidden, reference=reference).double()  # type: ignore[arg-type]
    x, slices = 5 * randn(2, 4, 2, 32, 48).abs(), [1, 2]
    with torch.no_grad():
        found, expected = model(x, slices).pyramid, PlainSTEFlowNet(model)(x, slices)
    for fast, slow in zip(found, expected, strict=True):
        assert slow.abs().max() > 0.05
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(37, 50), (16, 16), (64, 33)])
def test_any_size_is_the_padded_one_cropped(size: tuple[int, int]) -> None:
    model, (height, width) = steflownet_tiny(normalise_input=False), size
    x = torch.rand(1, 3, 2, height, width)
    padded = torch.zeros(1, 3, 2, -(-height // 16) * 16, -(-width // 16) * 16)
    padded[..., :height, :width] = x
    with torch.no_grad():
        flows, whole = model(x, [0, 2]), model(padded, [0, 2])
    for scale, flow in enumerate(flows.pyramid):
        rows, columns = -(-height // 2**scale), -(-width // 2**scale)
        assert flow.shape == (1, 2, 2, rows, columns)
        torch.testing.assert_close(flow, whole.pyramid[scale][..., :rows, :columns])
    assert torch.equal(flows.final, flows.pyramid[0][:, 1])
    assert all(torch.equal(a, b[:, 1]) for a, b in zip(*flows.at(1), flows.pyramid, strict=True))


def test_the_last_slice_is_the_default_and_later_ones_do_not_matter_in_the_last_pass() -> None:
    model, x = steflownet_tiny(), torch.rand(2, 4, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x).final, model(x, [3]).final)
        torch.testing.assert_close(model(x).final, model(x, [0, -1]).pyramid[0][:, 1])


@pytest.mark.parametrize("reference", [False, True])
def test_a_window_in_two_halves_is_the_whole_window(reference: bool) -> None:
    """At one pass, with the hidden states carried on and the same reference slice."""
    model = steflownet_tiny(iterations=1, compensate=False, normalise_input=False, reference=reference).double()
    x = randn(2, 6, 2, 40, 33).abs()
    with torch.no_grad():
        whole, first = model(x, [3, 5]), model(x[:, :3])
        second = model(x[:, 3:], [0, 2], state=first.state, reference=x[:, 0])
        other = model(x[:, 3:], [0, 2], state=first.state)
    for found, expected in zip(second.pyramid, whole.pyramid, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for found, expected in zip(second.state.hidden, whole.state.hidden, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert (other.final - whole.final).abs().max() > 1e-3


def test_a_warm_start_begins_with_the_last_flow() -> None:
    """Without weights, all that is left is the last flow, in equal steps; a network of one pass adds nothing to it."""
    model = steflownet_tiny(compensate=False).double()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    flow = tuple(randn(1, 2, 32 // 2**scale, 48 // 2**scale) for scale in range(4))
    hidden = tuple(torch.zeros_like(each) for each in model(randn(1, 1, 2, 32, 48)).state.hidden)
    found = model(randn(1, 4, 2, 32, 48, seed=1), [0, 3], state=State(hidden, flow)).pyramid
    for scale, expected in zip(found, flow, strict=True):
        torch.testing.assert_close(scale, torch.stack([expected / 4, expected], dim=1))
    model.iterations = 1
    assert not model(randn(1, 4, 2, 32, 48, seed=1), [0, 3], state=State(hidden, flow)).final.any()


def test_states_that_do_not_fit_are_refused() -> None:
    model, x = steflownet_tiny(compensate=False), torch.rand(1, 2, 2, 32, 48)
    state = model(x).state.detach()
    assert not any(each.requires_grad for each in (*state.hidden, *state.flow))
    with pytest.raises(ValueError, match="expected the state of windows like"):
        model(torch.rand(1, 2, 2, 48, 32), state=state)
    with pytest.raises(ValueError, match="expected the state of windows like"):
        model(torch.rand(2, 2, 2, 32, 48), state=state)
    with pytest.raises(ValueError, match="expected a reference slice of a network that does not normalise"):
        model(x, state=state, reference=x[:, 0])
    with pytest.raises(ValueError, match="expected a reference slice"):
        steflownet_tiny(compensate=False, normalise_input=False)(x, state=state, reference=x)


@pytest.mark.parametrize("compensate", [False, True])
def test_samples_of_a_batch_are_independent(compensate: bool) -> None:
    model, x = steflownet_tiny(iterations=2, compensate=compensate).double(), randn(3, 3, 2, 32, 32).abs()
    with torch.no_grad():
        together = model(x).final
        for n in range(3):
            torch.testing.assert_close(model(x[n : n + 1]).final[0], together[n])


def test_weights_and_flows_are_determined() -> None:
    x, models = torch.rand(1, 2, 2, 32, 32), []
    for _ in range(2):
        torch.manual_seed(7)
        models.append(steflownet_tiny())
    with torch.no_grad():
        assert torch.equal(models[0](x).final, models[1](x).final)
        assert torch.equal(models[0](x).final, models[0](x).final)


def test_initial_weights_keep_the_scale() -> None:
    """The variances of the initialisation, seen through the weights themselves."""
    model = steflownet_small(hidden="input", width=16)
    head, gru, bottleneck = model.decoder.heads[3][0], model.encoder.grus[3], model.bottleneck.blocks[0][0][0]  # type: ignore[index]
    gain = 2 / 1.01
    assert bottleneck.weight.var().item() * 128 * 9 == pytest.approx(gain, rel=0.05)
    assert head.weight.var().item() * head.in_channels * 4 == pytest.approx(gain, rel=0.05)
    for weight in (gru.input.weight, gru.recurrent_zr.weight, gru.recurrent_q.weight):
        assert weight.var().item() * 2 * 209 * 9 == pytest.approx(gain, rel=0.05)
    theirs = steflownet_small(hidden="input", width=16, reference=True)
    assert theirs.decoder.heads[3][0].weight.var().item() * head.in_channels * 16 == pytest.approx(3, rel=0.05)  # type: ignore[index]
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))


def test_input_is_normalised_as_a_whole_and_may_be_empty() -> None:
    x = torch.rand(3, 5, 2, 32, 32)
    x[1] = 0
    normal = normalise_rms(x)
    torch.testing.assert_close(normal.square().mean(dim=(1, 2, 3, 4)), torch.tensor([1.0, 0, 1]))
    model = steflownet_tiny()
    with torch.no_grad():
        torch.testing.assert_close(model(x).final, model(100 * x).final)
    assert model(x).final.isfinite().all()


@pytest.mark.parametrize("compensate", [False, True])
def test_what_is_computed_again_gives_the_same_gradients_from_less_memory(compensate: bool) -> None:
    x, found = torch.rand(1, 6, 2, 48, 64, dtype=torch.float64), {}
    for recompute in (False, True):
        torch.manual_seed(0)
        model = steflownet_tiny(iterations=2, compensate=compensate).double()
        model.recompute = recompute
        kept = dict[int, int]()

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            flows = model(x, [2, 5])
        held = sum(kept.values())
        sum(flow.square().mean() for each in (*flows.earlier, flows.pyramid) for flow in each).backward()
        found[recompute] = held, [parameter.grad for parameter in model.parameters()]
    assert found[True][0] < 0.5 * found[False][0]
    for again, at_once in zip(found[True][1], found[False][1], strict=True):
        assert torch.equal(again, at_once)


@pytest.mark.parametrize("compensate", [False, True])
def test_gradients_reach_every_weight(compensate: bool) -> None:
    model = steflownet_tiny(iterations=2, compensate=compensate)
    sum(flow.square().mean() for flow in model(torch.rand(2, 3, 2, 32, 32)).pyramid).backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: STEFlowNet(width=0), "positive"),
        (lambda: STEFlowNet(width=[4, 8, 16]), "widths of four scales"),
        (lambda: STEFlowNet(width=[4, 8, 16, 0]), "positive"),
        (lambda: STEFlowNet(input_every=0), "positive"),
        (lambda: STEFlowNet(hidden="both"), "'input' or 'width'"),  # type: ignore[arg-type]
        (lambda: steflownet_tiny()(torch.rand(1, 5, 2, 15, 32)), "16 or more"),
        (lambda: steflownet_tiny()(torch.rand(1, 5, 1, 32, 32)), r"T, 2, H"),
        (lambda: steflownet_tiny()(torch.rand(1, 5, 2, 32, 32), [5]), r"0\.\.4"),
        (lambda: steflownet_tiny()(torch.rand(1, 5, 2, 32, 32), []), r"0\.\.4"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# --- files, and the package ---


def test_a_width_for_each_scale(tmp_path: Path) -> None:
    doubling, given = STEFlowNet(width=4, radius=1), STEFlowNet(width=(4, 8, 16, 32), radius=1)
    given.load_state_dict(doubling.state_dict())
    save_pretrained(STEFlowNet(width=(8, 8, 12, 16), radius=1, hidden="width"), tmp_path / "even.safetensors")
    even = load_pretrained(tmp_path / "even.safetensors")
    assert [gru.recurrent_q.in_channels for gru in even.encoder.grus] == [8, 8, 12, 16]  # type: ignore[union-attr]
    assert even(torch.rand(1, 2, 2, 32, 48)).final.shape == (1, 2, 32, 48)


def test_a_saved_network_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = steflownet_tiny(in_channels=1, radius=2)
    save_pretrained(model, tmp_path / "spikes.safetensors", {"data": "made up"})
    with pytest.raises(FileExistsError):
        save_pretrained(model, tmp_path / "spikes.safetensors")
    with pytest.raises(ValueError, match="other names"):
        save_pretrained(model, tmp_path / "other.safetensors", {"config": ""})
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    for source in (tmp_path / "spikes.safetensors", "spikes"):
        loaded = load_pretrained(source)
        assert loaded.config == model.config
        assert not loaded.training
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_a_network_sees_events_as_it_was_trained_to(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    xy, polarity = random.integers(0, 16, (2, 130), dtype=np.uint16), random.random(130) < 0.5
    events = Events(np.sort(random.integers(0, 10_000, 130)), *xy, polarity, 16, 16)
    model = steflownet_tiny(input_slices=13, input_weights="ceil", input_every=3)
    save_pretrained(model, tmp_path / "outdoor.safetensors")
    loaded = load_pretrained(tmp_path / "outdoor.safetensors")
    expected = temporal_distribution(events, 13, weights="ceil", every=3)
    assert expected.shape == (5, 2, 16, 16)
    assert torch.equal(loaded.represent(events), expected)
    assert torch.equal(loaded.represent(events, 7), temporal_distribution(events, 7, weights="ceil", every=3))


def test_a_file_from_before_slices_were_left_out_has_all(tmp_path: Path) -> None:
    config = {name: value for name, value in steflownet_tiny().config.items() if name != "input_every"}
    save_file(steflownet_tiny().state_dict(), tmp_path / "old.safetensors",
              {"network": "STEFlowNet", "config": json.dumps(config)})  # fmt: skip
    assert load_pretrained(tmp_path / "old.safetensors").config["input_every"] == 1


def test_files_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    weights, config = steflownet_tiny().state_dict(), json.dumps(steflownet_tiny().config)
    (tmp_path / "text.safetensors").write_text("not weights")
    save_file(weights, tmp_path / "bare.safetensors")
    save_file(weights, tmp_path / "other.safetensors", {"network": "STEFlowNet", "config": '{"depth": 3}'})
    save_file(weights, tmp_path / "broken.safetensors", {"network": "STEFlowNet", "config": "{"})
    less = {name: tensor for name, tensor in weights.items() if name != "encoder.stem.0.bias"}
    save_file(less, tmp_path / "less.safetensors", {"network": "STEFlowNet", "config": config})
    expected = {
        "text": "a safetensors file",
        "bare": "'network' to be one of STEFlowNet",
        "other": "arguments of STEFlowNet",
        "broken": "arguments of STEFlowNet",
        "less": "encoder.stem.0.bias missing",
        "missing": "networks that ship",
    }
    for name, message in expected.items():
        with pytest.raises(InputError, match=message) as error:
            load_pretrained(tmp_path / f"{name}.safetensors")
        assert f"{name}.safetensors" in str(error.value)


def test_torch_is_loaded_when_a_name_is_used() -> None:
    code = (
        "import sys, flownet; assert 'torch' not in sys.modules and 'numba' not in sys.modules; "
        "assert set(flownet.__all__) <= set(dir(flownet)); "
        "assert flownet.steflownet_tiny and 'torch' in sys.modules; "
        "assert not hasattr(flownet, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_whatever_is_imported_first() -> None:
    code = (
        "import flownet.evaluate, flownet; assert not isinstance(flownet.evaluate, type(flownet)); "
        "missing = [name for name in flownet.__all__ if not hasattr(flownet, name)]; assert not missing, missing"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_full_network_has_the_paper_s_form() -> None:
    with torch.device("meta"):
        model = steflownet()
        flows = model(torch.rand(1, 5, 2, 64, 64))
    assert model.config["iterations"] == 3
    assert flows.final.shape == (1, 2, 64, 64)
