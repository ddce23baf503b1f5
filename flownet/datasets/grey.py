"""Grey frames as the photometric loss takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def normalise_grey(
    images: NDArray[Any],  # [..., H, W], whole levels, or between them
) -> NDArray[np.float32]:
    """Grey images, each divided by its own maximum, as in the papers: float32 [..., H, W] in 0..1."""
    brightest = np.maximum(images.max(axis=(-2, -1), keepdims=True), 1)  # a black image stays black
    grey: NDArray[np.float32] = np.divide(images, brightest, dtype=np.float32)
    return grey
