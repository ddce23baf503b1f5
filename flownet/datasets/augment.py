"""Augmentation that treats a sample's slices, grey frames and flow alike.

Flips and transposition copy pixels. Rotation and resized crops, as in the training of STE-FlowNet (Ding et al., AAAI
2022) and EV-FlowNet, read the picture between its pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

# Shares of the neighbours' weights that must have a known flow, up to float32 rounding.
_ALL_KNOWN = 1 - 1e-3


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How patches are drawn.

    Args:
        flips: mirror left-right, up-down and along the diagonal (square crops only), each in half of the patches.
        turn_deg: rotate by up to so many degrees to either side.
        area: smallest and largest area of the picture that becomes a patch, in units of the patch's own.
        aspect: stretch one axis against the other by up to this ratio.

    Raises:
        ValueError: a value out of range.
    """

    flips: bool = True
    turn_deg: float = 0.0
    area: tuple[float, float] = (1.0, 1.0)
    aspect: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.turn_deg <= 180:
            raise ValueError(f"expected turn_deg within 0..180, got {self.turn_deg}")
        if not 0 < self.area[0] <= self.area[1] < math.inf:
            raise ValueError(f"expected a smallest and a largest area above 0, got {self.area}")
        if not 1 <= self.aspect < math.inf:
            raise ValueError(f"expected an aspect of 1 or more, got {self.aspect}")

    @property
    def warps(self) -> bool:
        """Whether patches are read between pixels."""
        return self.turn_deg > 0 or self.area != (1.0, 1.0) or self.aspect > 1


#: "paper": the published 256x256 crops show between half and all of a 346x260 picture, which is 0.69 to 1.37 of theirs.
NAMED = {
    "none": Augmentation(flips=False),
    "flips": Augmentation(),
    "paper": Augmentation(turn_deg=30.0, area=(0.69, 1.37), aspect=4 / 3),
}


def named_augmentation(augmentation: Augmentation | str) -> Augmentation:
    """The augmentation of a name, "none", "flips" or "paper".

    Raises:
        ValueError: another name.
    """
    if isinstance(augmentation, Augmentation):
        return augmentation
    if augmentation not in NAMED:
        raise ValueError(f"expected augment {', '.join(map(repr, NAMED))} or an Augmentation, got {augmentation!r}")
    return NAMED[augmentation]


@dataclass(frozen=True)
class Warp:
    """A turned and stretched view of a picture: bilinear, black outside.

    The pixel that lies (dx, dy) from the middle of the view shows the place (x, y) + matrix @ (dx, dy).

    Args:
        x, y: column and row in the middle of the view.
        matrix: rows of the 2x2 matrix.
    """

    x: float
    y: float
    matrix: tuple[tuple[float, float], tuple[float, float]]

    def __call__(self, picture: Tensor, height: int, width: int) -> Tensor:
        """A view [..., height, width] of a picture [..., H, W], as float32."""
        size = picture.shape[-2:]
        flat = picture.to(torch.float32).reshape(1, -1, *size)
        grid = self._places(height, width) * (2 / (torch.tensor([size[1], size[0]]) - 1).clamp(min=1)) - 1
        seen = grid_sample(flat, grid[None].float(), mode="bilinear", padding_mode="zeros", align_corners=True)
        return seen.reshape(*picture.shape[:-2], height, width)

    def flow(self, flow: Tensor, height: int, width: int) -> Tensor:
        """The view of a flow [..., 2, H, W], its vectors in pixels of the view; nan beside unknown ones and outside."""
        known = flow.isfinite().all(dim=-3, keepdim=True)
        seen = self(torch.where(known, flow, 0.0), height, width)
        inverse = torch.linalg.inv(torch.tensor(self.matrix, dtype=torch.float64)).float()
        turned = torch.einsum("ij,...jhw->...ihw", inverse, seen)
        return torch.where(self(known, height, width) > _ALL_KNOWN, turned, torch.nan)

    def _places(self, height: int, width: int) -> Tensor:
        """Column and row in the picture of each pixel: float64 [height, width, 2]."""
        dy = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
        dx = torch.arange(width, dtype=torch.float64)[None] - (width - 1) / 2
        (xx, xy), (yx, yy) = self.matrix
        return torch.stack([self.x + xx * dx + xy * dy, self.y + yx * dx + yy * dy], dim=-1)


@dataclass(frozen=True)
class Patch:
    """A crop and its symmetry: the same for everything of one sample.

    Args:
        top, left: first row and column.
        height, width: size of the crop.
        flip_x, flip_y: mirror left-right, up-down.
        transpose: exchange rows and columns (square crops only).
        warp: what is cropped instead of the rows and columns from top and left on.
    """

    top: int
    left: int
    height: int
    width: int
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False
    warp: Warp | None = None

    def __call__(self, picture: Tensor) -> Tensor:
        """The patch of a tensor [..., H, W]."""
        return self._mirrored(self._cut(picture) if self.warp is None else self.warp(picture, self.height, self.width))

    def flow(self, flow: Tensor) -> Tensor:
        """The patch of a flow [..., 2, H, W] (dx right, dy down, nan unknown), its vectors in pixels of the patch."""
        cut = self._cut(flow) if self.warp is None else self.warp.flow(flow, self.height, self.width)
        dx, dy = self._mirrored(cut).unbind(-3)
        dx, dy = -dx if self.flip_x else dx, -dy if self.flip_y else dy
        return torch.stack([dy, dx] if self.transpose else [dx, dy], dim=-3)

    def _cut(self, picture: Tensor) -> Tensor:
        return picture[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def _mirrored(self, patch: Tensor) -> Tensor:
        axes = [axis for axis, flip in ((-1, self.flip_x), (-2, self.flip_y)) if flip]
        patch = patch.flip(axes) if axes else patch
        return patch.transpose(-1, -2) if self.transpose else patch


def random_patch(
    rng: np.random.Generator,
    *,
    height: int,
    width: int,
    crop: tuple[int, int],
    augment: Augmentation | str = "flips",
) -> Patch:
    """A crop at a random place, augmented at random.

    What a patch shows lies within the picture: where a turned or larger view would not fit, it is made as much smaller
    as it must be. (The published training fills such corners with black.)

    Args:
        rng: where the randomness comes from.
        height, width: of the picture.
        crop: rows and columns of the patch.
        augment: "none", "flips", "paper" or an `Augmentation`.

    Raises:
        ValueError: the crop is larger than the picture, or an unknown augmentation.
    """
    rules, (rows, columns) = named_augmentation(augment), crop
    if rows > height or columns > width:
        raise ValueError(f"expected a crop within {height}x{width} (H x W), got {rows}x{columns}")
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    flip_x, flip_y, transpose = (rng.random(3) < 0.5) & rules.flips
    warp = _random_warp(rng, rules, height, width, crop) if rules.warps else None
    square = rows == columns
    return Patch(int(top), int(left), rows, columns, bool(flip_x), bool(flip_y), bool(transpose) and square, warp)


def _random_warp(rng: np.random.Generator, rules: Augmentation, height: int, width: int, crop: tuple[int, int]) -> Warp:
    turn = math.radians(rng.uniform(-rules.turn_deg, rules.turn_deg))
    area = rng.uniform(*rules.area)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(rules.aspect))
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = turned * np.array([math.sqrt(area * aspect), math.sqrt(area / aspect)])
    # Half the columns and rows of the picture between the outermost pixels of the view.
    half = np.abs(matrix) @ np.array([crop[1] - 1, crop[0] - 1]) / 2
    room = np.array([width - 1, height - 1]) / 2
    shrink = float(np.min(room / np.maximum(half, room)))
    half, matrix = half * shrink, matrix * shrink
    x, y = rng.uniform(half, np.maximum(2 * room - half, half))
    (xx, xy), (yx, yy) = matrix.tolist()
    return Warp(float(x), float(y), ((xx, xy), (yx, yy)))
