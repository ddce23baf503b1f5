"""Ground-truth flow over any interval, from maps at a fixed rate.

Zhu et al., "EV-FlowNet: Self-Supervised Optical Flow Estimation for Event-based Cameras", RSS 2018; on MVSEC nearly
every published error rests on this interpolation, so it is kept to the letter.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: What is taken for a known ground truth. All: finite. "norm": not zero in both components; "components": zero in
#: neither; "bounded": as "norm", and each component shorter than 1000 px.
Validity = Literal["norm", "components", "bounded"]
_BOUND_PX = 1000.0
_BLOCK_BYTES = 64 << 20


def known(
    ground_truth: NDArray[Any],  # [2, H, W], pixels
    validity: Validity = "norm",
) -> NDArray[np.bool_]:
    """Where a ground truth says anything, by default finite and not zero in both components: bool [H, W]."""
    there = ground_truth != 0
    mask: NDArray[np.bool_] = there.all(axis=0) if validity == "components" else there.any(axis=0)
    mask &= np.isfinite(ground_truth).all(axis=0)
    if validity == "bounded":
        mask &= (np.abs(ground_truth) < _BOUND_PX).all(axis=0)
    return mask


class FlowMaps(Protocol):
    """An array [F, 2, H, W], or an HDF5 data set of that shape: only the maps that are needed are read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class RecentMaps:
    """Flow maps of a file, of which the last few that were read stay in memory.

    Consecutive intervals need the same maps again. Files whose chunks span several maps are read by whole chunks:
    HDF5 would otherwise decompress a chunk once for each map in it.

    Args:
        maps: [F, 2, H, W], as an HDF5 data set.
        keep: how many maps stay (or chunks, where these hold several; at most 64 MiB are read at once).
    """

    def __init__(self, maps: FlowMaps, keep: int = 8) -> None:
        self._maps = maps
        chunks = getattr(maps, "chunks", None)
        size = max(int(np.prod(maps.shape[1:])) * np.dtype(getattr(maps, "dtype", np.float64)).itemsize, 1)
        self._block = max(min(chunks[0] if chunks else 1, _BLOCK_BYTES // size), 1)
        self._keep = keep if self._block == 1 else 2
        self._recent: OrderedDict[int, NDArray[Any]] = OrderedDict()

    @property
    def shape(self) -> tuple[int, ...]:
        """[F, 2, H, W]."""
        return self._maps.shape

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Map number `index`, [2, H, W].

        Raises:
            IndexError: there is no such map; negative numbers do not count from the end.
        """
        if not 0 <= index < self.shape[0]:
            raise IndexError(f"expected a map within 0..{self.shape[0] - 1}, got {index}")
        block, place = divmod(index, self._block)
        if block not in self._recent:
            start = block * self._block
            self._recent[block] = np.asarray(self._maps[start : min(start + self._block, self.shape[0])])
            if len(self._recent) > self._keep:
                self._recent.popitem(last=False)
        self._recent.move_to_end(block)
        found: NDArray[Any] = self._recent[block][place]
        return found


def flow_between(
    flow_maps: FlowMaps,
    timestamps: ArrayLike,
    start: float,
    end: float,
) -> NDArray[np.float32]:
    """The displacement of each pixel from `start` to `end`.

    Within one step of the maps, the map in force at `start` is scaled to the interval; the part of the interval that
    lies past the next map is ignored. Over a longer interval, pixels are carried along from map to map, each read at
    the nearest pixel. Where a pixel meets a zero component (no ground truth) or leaves the image on its way, that
    component of its displacement is 0.

    Args:
        flow_maps: [F, 2, H, W], pixels from the time of a map to the time of the next; 0 (or nan) is unknown.
        timestamps: [F], seconds in float64 (float32 cannot hold absolute times), ascending.
        start: seconds, on the same clock.
        end: seconds.

    Returns:
        float32 [2, H, W], pixels over the interval.

    Raises:
        ValueError: the interval is not within the times of the maps, does not end after it starts, or the shapes
            do not fit.
    """
    times = np.asarray(timestamps, np.float64)
    if len(flow_maps.shape) != 4 or flow_maps.shape[:2] != (len(times), 2):
        raise ValueError(f"expected flow maps [{len(times)}, 2, H, W], one per timestamp, got {flow_maps.shape}")
    if not start < end:
        raise ValueError(f"expected an interval that ends after it starts, got {start} to {end} s")
    if not (len(times) > 1 and times[0] <= start and end <= times[-1]):
        covered = f"{times[0]} to {times[-1]} s" if len(times) else "nothing"
        raise ValueError(f"expected an interval within the ground truth, {covered}, got {start} to {end} s")
    # After the last map nothing starts: an interval from exactly there would be empty.
    first = int(np.searchsorted(times, start, side="right")) - 1
    step = times[first + 1] - times[first]
    if step > end - start:
        scaled: NDArray[Any] = np.asarray(flow_maps[first]) * (end - start) / step
        return scaled.astype(np.float32)
    return _carried(flow_maps, times, first, start, end)


def _carried(maps: FlowMaps, times: NDArray[np.float64], first: int, start: float, end: float) -> NDArray[np.float32]:
    """Pixels carried over several maps, from within map `first` on."""
    height, width = maps.shape[2:]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    grid = np.stack([columns, rows])
    points, valid = grid.copy(), np.ones(grid.shape, bool)
    last = int(np.searchsorted(times, end, side="left")) - 1  # the map in force just before the end
    for k in range(first, last + 1):
        share = (min(end, times[k + 1]) - max(start, times[k])) / (times[k + 1] - times[k])
        flow = _read_nearest(np.asarray(maps[k]), points)
        valid &= flow != 0
        points += share * flow
    return np.where(valid, points - grid, np.float32(0))


def _read_nearest(flow: NDArray[Any], points: NDArray[np.float32]) -> NDArray[Any]:
    """A flow map [2, H, W] at the pixels nearest to points [2, H, W] (columns, rows), 0 outside or if unknown."""
    height, width = flow.shape[1:]
    columns, rows = np.rint(points).astype(np.int64)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    read: NDArray[Any] = flow[:, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.where(inside & np.isfinite(read).all(axis=0), read, 0)
