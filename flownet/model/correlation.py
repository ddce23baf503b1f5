"""Local correlation of two feature maps: on a CPU by a kernel, elsewhere, and where gradients flow back, in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from flownet.model.eager import on_cpu

#: Halves are multiplied and summed as float32.
_KERNEL_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def correlate(
    first: Tensor,  # [..., C, H, W]
    second: Tensor,  # [..., C, H, W], the same shape
    *,
    radius: int,
) -> Tensor:
    """Mean product over channels of each position in `first` with those within `radius` of it in `second`.

    out[k](y, x) = 1 / C sum_c first[c](y, x) second[c](y + dy, x + dx), with zeros outside, for the displacements
    in order of rows: k = (dy + r) (2 r + 1) + (dx + r).

    Returns:
        [..., (2 r + 1)^2, H, W].

    Raises:
        ValueError: the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected two maps of one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        volume: Tensor = _Correlation.apply(first, second, radius)  # type: ignore[no-untyped-call]
        return volume
    return _correlate(first, second, radius)


def _correlate(first: Tensor, second: Tensor, radius: int) -> Tensor:
    if on_cpu(first) and first.dtype in _KERNEL_TYPES:
        return _by_kernel(first, second, radius)
    products = [(first * shifted).sum(dim=-3) for shifted in _shifts(_padded(second, radius), first, radius)]
    return torch.stack(products, dim=-3) / first.shape[-3]


def _by_kernel(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """The same by `correlation_kernel`: it reads each map from the nearer caches, torch 81 times from far away."""
    one, other = (each.detach().reshape(-1, *each.shape[-3:]) for each in (first, second))
    out = torch.empty((len(one), (2 * radius + 1) ** 2, *first.shape[-2:]))
    correlate_into(one, other, radius=radius, out=out)
    return out.to(first.dtype).reshape(*first.shape[:-3], *out.shape[1:])


def correlate_into(
    first: Tensor,  # [M, C, H, W]
    second: Tensor,  # [N, C, H, W], for N a multiple of M: `first` in turn for each M of these
    *,
    radius: int,
    out: Tensor,  # float32 [N, (2 r + 1)^2, H, W], the result, in any order of axes
    slope: float = 1.0,
) -> None:
    """`correlate` and a LeakyReLU of that slope by the kernel, for inference on a CPU."""
    from eventsim.rows import over_rows
    from flownet.model.correlation_kernel import correlate_rows

    one, other = (each.float().contiguous().numpy() for each in (first, second))

    def rows(start: int, stop: int) -> None:
        correlate_rows(one, other, radius, slope, out.numpy(), start, stop)

    over_rows(rows, len(out) * out.shape[2], torch.get_num_threads())


class _Correlation(torch.autograd.Function):
    """The same with its gradient written out: autograd would fill one padded map with zeros per displacement."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.radius = radius
        return _correlate(first, second, radius)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        first, second = ctx.saved_tensors
        kind = first.dtype
        # Halves are summed as float32 here, too, which is also faster.
        first, second, grad = (each.to(torch.promote_types(kind, torch.float32)) for each in (first, second, grad))
        grad_first = torch.zeros_like(first, memory_format=torch.contiguous_format)
        padded = _padded(second, ctx.radius)
        grad_padded = torch.zeros_like(padded)
        shifts = zip(_shifts(padded, first, ctx.radius), _shifts(grad_padded, first, ctx.radius), strict=True)
        for k, (shifted, grad_shifted) in enumerate(shifts):
            share = grad[..., k, None, :, :] / first.shape[-3]
            grad_first.addcmul_(share, shifted)
            grad_shifted.addcmul_(share, first)
        r, (height, width) = ctx.radius, first.shape[-2:]
        return grad_first.to(kind), grad_padded[..., r : r + height, r : r + width].to(kind), None


def _padded(features: Tensor, radius: int) -> Tensor:
    return functional.pad(features, (radius, radius, radius, radius))


def _shifts(padded: Tensor, like: Tensor, radius: int) -> Iterator[Tensor]:
    """Views of a padded map, one per displacement, in order of rows."""
    height, width = like.shape[-2:]
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            yield padded[..., dy : dy + height, dx : dx + width]
