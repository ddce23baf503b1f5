"""3x3 convolutions with a quarter of the multiplications, for inference on a CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
2016): a tile of 4x4 outputs is a sum over channels of 36 products of its transformed 6x6 inputs with transformed
weights. The points, 0, +-1 / sqrt(2), +-sqrt(2) and infinity, lose half as much as the usual 0, +-1, +-2 (compare
Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", TOMS
2020): a digit of float32, and two bits where the products are of bfloat16. Pictures are channels-last throughout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from flownet.model.eager import on_cpu

_TILE = 4
_PRODUCTS = 36
# Of fewer positions, reading four times the weights costs more than the multiplications saved.
_FEWEST_POSITIONS = 64
# Transformed weights are held beside the others, so those of one convolution may be no more bytes than this. In float32
# that keeps the full network near its plain form's memory at 256x256 (with 80 MB, too, it were a tenth faster and took
# 100 MB more); in bfloat16 it leaves out nothing of that network.
_MOST_WEIGHT_BYTES = {torch.float32: 40_000_000, torch.bfloat16: 80_000_000}
# Between the products of a block, and of so many tiles at least: fewer leave a product of matrices waiting for memory.
_BLOCK_NUMBERS = 3_000_000
_TOGETHER_NUMBERS = 5_000_000
_FEW_TILES = _FEWEST_SHARED = 48
_POINTS = (0.0, 2**-0.5, -(2**-0.5), 2**0.5, -(2**0.5))

_held = threading.local()

#: What comes after a band of an output is done: its picture, its first row and its last + 1.
Then = Callable[[int, int, int], None]


def kind() -> torch.dtype:
    """What products are taken of now: bfloat16 where that is asked for by autocast."""
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return torch.bfloat16 if half else torch.float32


def pays(
    x: Tensor,  # [..., H, W]
    weight: Tensor,  # [O, C, 3, 3]
) -> bool:
    """Whether this is the better way for a convolution of this picture, now, with no gradients to come."""
    if torch.is_grad_enabled() or not on_cpu(x) or x.shape[-2] * x.shape[-1] < _FEWEST_POSITIONS:
        return False
    if _PRODUCTS * weight.shape[0] * weight.shape[1] * kind().itemsize > _MOST_WEIGHT_BYTES[kind()]:
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16 and x.dtype in (torch.float32, torch.bfloat16)
    return x.dtype == torch.float32


def transformed(
    *weights: Tensor,  # [O, c, 3, 3], over the C channels of the input, one part after the other
    kind: torch.dtype = torch.float32,
) -> Tensor:
    """The weights as `convolve` takes them, G g G^T: [36, C, O], rounded to bfloat16 only at the end."""
    divisors = [1.0, -1.5, -1.5, 6.0, 6.0]
    rows = [[1 / d, p / d, p * p / d] for p, d in zip(_POINTS, divisors, strict=True)] + [[0.0, 0.0, 1.0]]
    both = torch.kron(torch.tensor(rows), torch.tensor(rows))
    out = torch.empty(_PRODUCTS, sum(weight.shape[1] for weight in weights), len(weights[0]), dtype=kind)
    first = 0
    for weight in weights:
        flat = weight.detach().float().flatten(2).permute(2, 1, 0).flatten(1)
        stop = first + weight.shape[1]
        for some in range(0, _PRODUCTS, 6):  # in between there is less than the weights themselves
            out[some : some + 6, first:stop] = (both[some : some + 6] @ flat).view(6, stop - first, -1)
        first = stop
    return out


def channels_last(x: Tensor) -> Tensor:
    """A picture [N, C, H, W] as float32 [N, H, W, C], without a copy where it lies like that."""
    return x.float().permute(0, 2, 3, 1).contiguous()


def convolve(
    parts: Sequence[Tensor],  # float32 [N, H, W, c], the C channels of the input, one part after the other
    weight: Tensor,  # [36, C, O], of `transformed`
    bias: Tensor,  # float32 [O]
    *,
    out: Tensor | None = None,  # float32 [N, H, W, O and more]
    offset: int = 0,
    then: Then | None = None,
) -> Tensor:
    """A 3x3 convolution with one pixel of zeros around: `out`, or a new [N, H, W, O].

    Args:
        parts: of the input, contiguous, as `out`.
        weight: its type is that of the products; sums within a product are float32.
        bias: is added.
        out: receives the result.
        offset: of the first of the O channels of `out`.
        then: called for every band of rows that is done, from whichever thread, with torch on that thread alone.
    """
    out = torch.empty(*parts[0].shape[:3], weight.shape[2]) if out is None else out
    work = _Work(parts, weight, bias, out, offset, then)
    threads = torch.get_num_threads()
    if work.rows * work.columns >= threads * _FEWEST_SHARED:
        _shared(work.block, work.rows, threads, most=work.most(_BLOCK_NUMBERS))
    else:
        work.together(threads)
    return out


class _Work:
    """One convolution, in rows of tiles counted through all pictures. Args: as of `convolve`."""

    def __init__(
        self, parts: Sequence[Tensor], weight: Tensor, bias: Tensor, out: Tensor, offset: int, then: Then | None
    ) -> None:
        self.parts, self.weight, self.out, self.offset, self.then = parts, weight, out, offset, then
        self.bias = bias.detach()
        number, self.height, width = out.shape[:3]
        self.per_picture, self.columns = -(-self.height // _TILE), -(-width // _TILE)
        self.rows = number * self.per_picture

    def most(self, numbers: int) -> int:
        """How many rows have no more numbers than that between input and output, if they are enough tiles."""
        each = _PRODUCTS * self.columns * sum(self.weight.shape[1:])
        return max(1, -(-_FEW_TILES // self.columns), numbers // each)

    def buffers(self, rows: int) -> tuple[Tensor, Tensor]:
        """Room of this thread for the transformed inputs [36, P, C] and the products [36, P, O] of so many rows."""
        sizes = [_PRODUCTS * rows * self.columns * channels for channels in self.weight.shape[1:]]
        held: Tensor | None = getattr(_held, "bytes", None)
        if held is None or len(held) < sum(sizes) * self.weight.itemsize:
            held = _held.bytes = torch.empty(sum(sizes) * self.weight.itemsize, dtype=torch.uint8)
        numbers = held[: len(held) // 4 * 4].view(self.weight.dtype)
        return (numbers[: sizes[0]].view(_PRODUCTS, rows * self.columns, -1),
                numbers[sizes[0] : sum(sizes)].view(_PRODUCTS, rows * self.columns, -1))  # fmt: skip

    def block(self, start: int, stop: int) -> None:
        """All steps for some rows: what lies between stays in the cache."""
        inputs, products = self.buffers(stop - start)
        self.read(start, stop, inputs)
        torch.bmm(inputs, self.weight, out=products)
        self.write(start, stop, products)

    def together(self, threads: int) -> None:
        """All steps where there are few tiles: step by step, for which the threads share tiles, or the 36 products."""
        most = self.most(_TOGETHER_NUMBERS)
        for first in range(0, self.rows, most):
            number = min(most, self.rows - first)
            inputs, products = self.buffers(number)
            _shared(partial(self._part, self.read, first, inputs), number, threads)
            _shared(partial(self._products, inputs, products), _PRODUCTS, threads)
            _shared(partial(self._part, self.write, first, products), number, threads)

    def _part(self, step: Callable[[int, int, Tensor], None], first: int, tiles: Tensor, start: int, stop: int) -> None:
        step(first + start, first + stop, tiles[:, start * self.columns : stop * self.columns])

    def _products(self, inputs: Tensor, products: Tensor, start: int, stop: int) -> None:
        torch.bmm(inputs[start:stop], self.weight[start:stop], out=products[start:stop])

    def read(self, start: int, stop: int, inputs: Tensor) -> None:
        from flownet.model.winograd_kernel import read_tiles

        first = 0
        for part in self.parts:
            read_tiles(part.numpy(), self.columns, start, stop, _numbers(inputs), first)
            first += part.shape[3]

    def write(self, start: int, stop: int, products: Tensor) -> None:
        from flownet.model.winograd_kernel import write_tiles

        write_tiles(_numbers(products), self.columns, start, stop, self.bias.numpy(), self.out.numpy(), self.offset)
        while self.then is not None and start < stop:
            picture, row = divmod(start, self.per_picture)
            rows = min(stop - start, self.per_picture - row)
            self.then(picture, row * _TILE, min((row + rows) * _TILE, self.height))
            start += rows


def _numbers(x: Tensor) -> NDArray[Any]:
    """As NumPy sees it, bfloat16 by its bits."""
    numbers: NDArray[Any] = (x if x.dtype == torch.float32 else x.view(torch.uint16)).numpy()
    return numbers


def _shared(work: Callable[[int, int], object], number: int, threads: int, most: int = 64) -> None:
    """`over_rows`, within which torch does not take threads of its own."""
    from eventsim.rows import over_rows

    def alone(start: int, stop: int) -> None:
        if start == stop:  # fewer rows than bands
            return
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        with torch.inference_mode():
            work(start, stop)

    try:
        over_rows(alone, number, threads, most_rows=most)
    finally:
        torch.set_num_threads(threads)
