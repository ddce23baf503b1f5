"""Augmentation that treats a sample's slices and grey frames alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Patch:
    """A crop and its symmetry: the same for everything of one sample.

    Args:
        top, left: first row and column.
        height, width: size of the crop.
        flip_x, flip_y: mirror left-right, up-down.
        transpose: exchange rows and columns (square crops only).
    """

    top: int
    left: int
    height: int
    width: int
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False

    def __call__(self, picture: Tensor) -> Tensor:
        """The patch of a tensor [..., H, W]."""
        patch = picture[..., self.top : self.top + self.height, self.left : self.left + self.width]
        axes = [axis for axis, flip in ((-1, self.flip_x), (-2, self.flip_y)) if flip]
        patch = patch.flip(axes) if axes else patch
        return patch.transpose(-1, -2) if self.transpose else patch


def random_patch(rng: np.random.Generator, *, height: int, width: int, crop: tuple[int, int]) -> Patch:
    """A crop at a random place, flipped and transposed at random.

    Args:
        rng: where the randomness comes from.
        height, width: of the picture.
        crop: rows and columns of the patch.

    Raises:
        ValueError: the crop is larger than the picture.
    """
    rows, columns = crop
    if rows > height or columns > width:
        raise ValueError(f"expected a crop within {height}x{width} (H x W), got {rows}x{columns}")
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    flip_x, flip_y, transpose = rng.random(3) < 0.5
    return Patch(int(top), int(left), rows, columns, bool(flip_x), bool(flip_y), bool(transpose) and rows == columns)
