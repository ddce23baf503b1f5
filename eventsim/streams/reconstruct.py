"""Intensity from spikes, in spikes per readout: by counting (TFP) or by the interval around a moment (TFI).

Zhu, Dong, Huang and Tian, "A retina-inspired sampling method for visual texture reconstruction", ICME 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.spikes import SpikeStream


def reconstruct_tfp(stream: SpikeStream, window: int, plane: int | None = None) -> NDArray[np.float32]:
    """Texture from playback: each pixel's share of spikes among `window` planes.

    Args:
        stream: the spikes.
        window: number of planes to count over.
        plane: the plane in their middle; by default the stream's. At the ends the window is moved inwards.

    Returns:
        Spikes per readout, float32 [H, W] in [0, 1].

    Raises:
        ValueError: the window is longer than the stream, or the plane outside it.
    """
    if not 1 <= window <= len(stream):
        raise ValueError(f"expected a window of 1..{len(stream)} planes, got {window}")
    middle = _plane(stream, plane)
    start = min(max(middle - window // 2, 0), len(stream) - window)
    return stream.rate(start, start + window)


def reconstruct_tfi(stream: SpikeStream, plane: int | None = None, longest: int = 256) -> NDArray[np.float32]:
    """Texture from interval: the reciprocal of the interval between the spikes before and after a moment.

    Args:
        stream: the spikes.
        plane: the moment; a spike at this very plane ends the interval. By default the stream's middle.
        longest: intervals longer than this many readouts count as dark.

    Returns:
        Spikes per readout, float32 [H, W]: 1 / interval, and 0 where no interval is found.

    Raises:
        ValueError: the plane lies outside the stream.
    """
    middle = _plane(stream, plane)
    before = stream.planes(max(middle - longest, 0), middle)[::-1].astype(bool)
    after = stream.planes(middle, min(middle + longest, len(stream))).astype(bool)
    found = before.any(axis=0) & after.any(axis=0) if len(before) else np.zeros(after.shape[1:], bool)
    interval = (before.argmax(axis=0) if len(before) else 0) + after.argmax(axis=0) + 1
    intensity: NDArray[np.float32] = np.where(found & (interval <= longest), 1.0 / interval, 0.0).astype(np.float32)
    return intensity


def _plane(stream: SpikeStream, plane: int | None) -> int:
    middle = len(stream) // 2 if plane is None else plane
    if not 0 <= middle < len(stream):
        raise ValueError(f"expected a plane within 0..{len(stream) - 1}, got {middle}")
    return middle
