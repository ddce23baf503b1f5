"""Batch normalisation folded into the layer before it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

#: What a batch normalisation can be folded into.
Affine = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def fold_into(layer: Affine, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Affine:
    """A copy of a layer that does what it and the normalisation after it do in evaluation mode.

    w' = w s and b' = (b - mean) s + beta with s = gamma / sqrt(var + eps), per output channel: axis 0 of the weights;
    of a transposed convolution with g groups, axis 1 within each g-th of axis 0.

    Raises:
        ValueError: channels differ, or the normalisation has no running statistics.
    """
    channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if norm.running_mean is None or norm.running_var is None or norm.num_features != channels:
        raise ValueError(f"expected a normalisation of {channels} channels with running statistics, got {norm}")
    scale, shift = norm_as_affine(norm)
    folded = copy.deepcopy(layer)
    with torch.no_grad():
        if isinstance(layer, nn.ConvTranspose2d):
            grouped = layer.weight.reshape(layer.groups, -1, *layer.weight.shape[1:])  # [g, C / g, O / g, k, k]
            weight = (grouped * scale.reshape(layer.groups, 1, -1, 1, 1)).flatten(0, 1)
        else:
            weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        bias = shift if layer.bias is None else layer.bias * scale + shift
    folded.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
    folded.bias = nn.Parameter(bias.clone(), requires_grad=layer.weight.requires_grad)
    return folded


def norm_as_affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift [C] of a batch normalisation in evaluation mode.

    Raises:
        ValueError: it has no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("expected a batch normalisation with running statistics, got one without")
    with torch.no_grad():
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        return scale, shift if norm.bias is None else shift + norm.bias


def fold_batch_norm(model: nn.Module, pairs: Iterable[tuple[str, str]] = ()) -> nn.Module:
    """A copy of a network without the batch normalisations that follow a layer in the same `nn.Sequential`.

    Args:
        model: the network; folding assumes evaluation mode, in which the copy is.
        pairs: qualified names (layer, normalisation) of more pairs, which a forward of their own joins.

    Raises:
        ValueError: a named pair is not a layer and a normalisation that fit.
    """
    folded = copy.deepcopy(model).eval()
    for parent in folded.modules():
        if isinstance(parent, nn.Sequential):
            _fold_neighbours(parent)
    for layer_name, norm_name in pairs:
        layer, norm = folded.get_submodule(layer_name), folded.get_submodule(norm_name)
        if not isinstance(layer, Affine) or not isinstance(norm, _Norm):
            raise ValueError(f"expected a convolution or linear layer and a batch normalisation, got {layer_name} "
                             f"({type(layer).__name__}) and {norm_name} ({type(norm).__name__})")  # fmt: skip
        _put(folded, layer_name, fold_into(layer, norm))
        _put(folded, norm_name, nn.Identity())
    return folded


def _fold_neighbours(sequence: nn.Sequential) -> None:
    for index in range(len(sequence) - 1):
        layer, norm = sequence[index], sequence[index + 1]
        if isinstance(layer, Affine) and isinstance(norm, _Norm) and norm.running_mean is not None:
            sequence[index] = fold_into(layer, norm)
            sequence[index + 1] = nn.Identity()


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
