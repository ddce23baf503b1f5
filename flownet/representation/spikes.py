"""The temporal distribution of spikes: all spikes of a plane have one time, so one weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.spikes import SpikeStream
from flownet.representation.slices import ONE, count_edges, kept

_PLANES = 64  # unpacked at a time


def distribute_spikes(
    stream: SpikeStream, slices: int, window: tuple[int, int] | None, ceil: bool, every: int
) -> NDArray[np.float32]:
    """`temporal_distribution` of spikes: float32 [ceil(S / every), 1, H, W]."""
    start, stop = 0, len(stream)
    if window is not None:
        readout_us = np.arange(1, len(stream) + 1) * 1e6 / stream.readout_hz
        start, stop = (int(n) for n in np.searchsorted(readout_us, window, side="left"))
    bounds = start + kept(count_edges(stop - start, slices, drop_remainder=False), every)
    image = np.zeros((len(bounds), 1, stream.height, stream.width), np.float32)
    for k, (first, end) in enumerate(bounds):
        counts = np.bitwise_count(stream.packed[first:end]).sum(axis=(1, 2), dtype=np.int64)
        weights = plane_weights(counts, ceil)
        for n in range(0, len(weights), _PLANES):
            planes = stream.planes(first + n, min(first + n + _PLANES, end))
            image[k, 0] += np.einsum("n,nhw->hw", weights[n : n + _PLANES], planes)
    return image


def plane_weights(counts: NDArray[np.int64], ceil: bool) -> NDArray[np.float32]:
    """The weight of a spike in each plane of a slice, from the number of spikes in each: float32 [n]."""
    occupied = np.flatnonzero(counts)
    if not occupied.size:
        return np.zeros(len(counts), np.float32)
    number = counts.sum()
    time = (np.arange(len(counts)) - occupied[0]) / max(occupied[-1] - occupied[0], 1)
    deviation = time - (counts * time).sum() / number
    sigma = np.sqrt((counts * deviation**2).sum() / max(number - 1, 1)) + 1e-4
    density = np.exp(-0.5 * (deviation / sigma) ** 2)
    weights = number * density / (counts * density).sum()
    return (np.where(weights > ONE, 2, 1) if ceil else weights).astype(np.float32)
