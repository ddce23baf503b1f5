"""3x3 convolutions with a quarter of the multiplications, for inference on a CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
2016): a tile of 4x4 outputs is a sum over channels of 36 products of its transformed 6x6 inputs with transformed
weights. All steps are products of matrices. Sums are in another order than in a direct convolution, and the transforms
lose a digit of float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from flownet.model.eager import on_cpu

Matrix = list[list[float]]
_TILE = 4
# Of fewer positions, reading four times the weights costs more than the multiplications saved.
_FEWEST_POSITIONS = 1024
_BLOCK_NUMBERS = 6_000_000
_INPUT: Matrix = [
    [4.0, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHT: Matrix = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
           [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_OUTPUT: Matrix = [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def pays(
    x: Tensor,  # [..., H, W]
) -> bool:
    """Whether this is the faster way for a convolution of this picture, now: of float32, with no gradients to come."""
    plain = not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
    return plain and on_cpu(x) and x.dtype == torch.float32 and x.shape[-2] * x.shape[-1] >= _FEWEST_POSITIONS


def transformed(
    weight: Tensor,  # [O, C, 3, 3]
) -> Tensor:
    """The weights as `convolve` takes them: [36, O, C]."""
    flat = weight.flatten(2).permute(2, 0, 1).flatten(1)
    return (_both_ways(_WEIGHT, weight) @ flat).reshape(36, *weight.shape[:2])


def convolve(
    x: Tensor,  # [N, C, H, W]
    weight: Tensor,  # [36, O, C], of `transformed`
    bias: Tensor | None = None,  # [O]
) -> Tensor:
    """A 3x3 convolution with one pixel of zeros around: [N, O, H, W]."""
    number, channels, height, width = x.shape
    rows, columns, outputs = -(-height // _TILE), -(-width // _TILE), weight.shape[1]
    padded = functional.pad(x, (1, 1 + columns * _TILE - width, 1, 1 + rows * _TILE - height))
    found = x.new_empty(number, outputs, rows, _TILE, columns, _TILE)
    # What lies between the products stays in the cache, block by block.
    most = max(1, _BLOCK_NUMBERS // (36 * (channels + outputs) * columns))
    for sample, out in zip(padded, found, strict=True):
        for top in range(0, rows, most):
            stop = min(top + most, rows)
            seen = sample[:, top * _TILE : stop * _TILE + 2]
            out[:, top:stop] = _block(seen, weight, bias, stop - top, columns)
    return found.reshape(number, outputs, rows * _TILE, columns * _TILE)[..., :height, :width]


def _block(x: Tensor, weight: Tensor, bias: Tensor | None, rows: int, columns: int) -> Tensor:
    """Tiles of a picture [C, 4 rows + 2, 4 columns + 2], convolved: [O, rows, 4, columns, 4]."""
    tall, wide = rows * _TILE, columns * _TILE
    tiles = torch.stack([x[:, i : i + tall : _TILE, j : j + wide : _TILE] for i in range(6) for j in range(6)])
    inputs = (_both_ways(_INPUT, x) @ tiles.flatten(1)).reshape(36, len(x), -1)
    products = torch.bmm(weight, inputs)
    outputs = (_both_ways(_OUTPUT, x) @ products.flatten(1)).reshape(_TILE, _TILE, -1, rows, columns)
    if bias is not None:
        outputs += bias[:, None, None]
    return outputs.permute(2, 3, 0, 4, 1)


def _both_ways(matrix: Matrix, like: Tensor) -> Tensor:
    """A transform of rows and columns as one of the flattened tile."""
    one = torch.tensor(matrix, dtype=like.dtype, device=like.device)
    return torch.kron(one, one)
