"""Training samples from simulated spike streams: windows of planes, pictures made of the spikes, and exact flow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsim.errors import InputError
from eventsim.io.formats import open_spikes
from eventsim.io.hdf5_file import Hdf5Input
from eventsim.io.manifest import MANIFEST
from eventsim.io.spike_set import SpikeItem, SpikeSet
from eventsim.streams.reconstruct import reconstruct_tfp
from eventsim.streams.spikes import SpikeStream
from flownet.datasets.augment import Augmentation
from flownet.datasets.cache import describe, open_cache
from flownet.datasets.mvsec import nan_unknown
from flownet.datasets.windows import Opened, Window, Windows
from flownet.ground_truth import flow_between
from flownet.representation import temporal_distribution
from flownet.representation.slices import Weights, check_slices

_SPIKES, _GROUND_TRUTH = "_spikes.h5", "_gt.hdf5"
_MAPS = "davis/left/flow_dist"
_STILL = "none"


class SpikeRecording(ABC):
    """A spike stream and its exact flow; what is read is read as it is asked for.

    Args:
        path: the file of the stream.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: SpikeStream | None = None

    @property
    def stream(self) -> SpikeStream:
        """The spikes."""
        if self._stream is None:
            self._stream = self._open()
        return self._stream

    @abstractmethod
    def _open(self) -> SpikeStream: ...

    @abstractmethod
    def covered_us(self) -> tuple[float, float]:
        """Times between which flow is known.

        Raises:
            InputError: there is none.
        """

    @abstractmethod
    def flow(self, start_us: float, end_us: float) -> NDArray[np.float32]:
        """Displacement of each pixel from one time to the other: float32 [2, H, W], nan where unknown."""

    def close(self) -> None:
        """Closes the files; reading opens them again."""
        self._stream = None  # a stream's file is closed when nothing refers to it

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_stream": None}


class SceneSpikes(SpikeRecording):
    """What `eventsim scene --spikes` writes: NAME_spikes.h5, and NAME_gt.hdf5 beside it.

    Both begin at one moment, the time of the first flow map.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._truth = Hdf5Input(path.with_name(path.name.removesuffix(_SPIKES) + _GROUND_TRUTH))
        self._times: NDArray[np.float64] | None = None

    def _open(self) -> SpikeStream:
        return open_spikes(self.path)

    def covered_us(self) -> tuple[float, float]:
        """As `SpikeRecording`."""
        return 0.0, float(self._flow_seconds()[-1] * 1e6)

    def flow(self, start_us: float, end_us: float) -> NDArray[np.float32]:
        """As `SpikeRecording`."""
        maps = self._truth.dataset(_MAPS)
        return nan_unknown(flow_between(maps, self._flow_seconds(), start_us / 1e6, end_us / 1e6))

    def close(self) -> None:
        """As `SpikeRecording`."""
        super().close()
        self._truth.close()

    def _flow_seconds(self) -> NDArray[np.float64]:
        """Times of the maps after the first; in absolute seconds those of planes would be rounded by 0.2 us."""
        if self._times is None:
            times, shape = np.asarray(self._truth.dataset(f"{_MAPS}_ts")[:]), self._truth.dataset(_MAPS).shape
            size = (self.stream.height, self.stream.width)
            if len(times) < 2 or shape != (len(times), 2, *size):
                expected = f"flow of {size[0]}x{size[1]}, two maps or more, one a time"
                raise InputError(self._truth.path, expected=expected, found=f"{len(times)} times, shape {shape}")
            self._times = np.rint((times - times[0]) * 1e6) / 1e6
        return self._times


class DatasetSpikes(SpikeRecording):
    """An item of spikes that `eventsim dataset` made of a still; its flow is 0 where nothing moved."""

    def __init__(self, item: SpikeItem) -> None:
        super().__init__(item.root / item.row.path)
        self.item = item

    def _open(self) -> SpikeStream:
        return self.item.stream

    def covered_us(self) -> tuple[float, float]:
        """As `SpikeRecording`."""
        table, row = self.item.flow, self.item.row
        if table is not None:
            return float(table.move_t_us[0]), float(table.move_t_us[-1])
        if row.motion != _STILL:
            raise InputError(self.path, expected="items whose flow is known", found=f"the clip {row.item}")
        return 0.0, float(np.ceil(self.stream.duration_us))

    def flow(self, start_us: float, end_us: float) -> NDArray[np.float32]:
        """As `SpikeRecording`."""
        table = self.item.flow
        if table is None:
            return np.zeros((2, self.stream.height, self.stream.width), np.float32)
        return table.between(start_us, end_us)


class SpikeFlow(Windows):
    """Random patches of windows of spikes, with the flow over them.

    An interval is `planes` planes. Its slices have one channel. There is no grey camera: frames are counts of spikes,
    over `exposure` planes around each end of an interval (TFP), so linear in light.

        samples = SpikeFlow([Path("scenes")], planes=400, dt=1, flow=True)   # 20 ms of a 20 kHz camera
        samples[0].slices                                                    # [1, 5, 1, 64, 64]

    Args:
        sources: files NAME_spikes.h5 with NAME_gt.hdf5 beside them, folders of these, or folders that `eventsim
            dataset` made.
        planes: of an interval.
        dt: intervals of a sample.
        step: planes from one window's beginning to the next one's; by default an interval.
        exposure: planes that a frame is counted over.
        flow: give the exact flow from the first frame to each of the others; windows that it does not cover are left
            out.
        crop, patches, augment, seed: as `Windows`.
        slices, weights, every: of the representation of each interval, as `temporal_distribution`.
        cache, memory_mb: as `MvsecPairs`.

    Raises:
        InputError: no spikes; a picture smaller than the crop; no ground truth (with `flow`); no window that fits.
        ValueError: options that cannot be.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        *,
        planes: int = 400,
        dt: int = 1,
        step: int | None = None,
        exposure: int = 64,
        flow: bool = True,
        crop: tuple[int, int] | None = (64, 64),
        patches: int = 1,
        augment: Augmentation | str = "flips",
        slices: int = 5,
        weights: Weights = "float",
        every: int = 1,
        cache: Path | str | None = None,
        memory_mb: float = 512.0,
        seed: int = 0,
    ) -> None:
        super().__init__(crop=crop, patches=patches, augment=augment, seed=seed)
        check_slices(slices, False, weights, "count", every)
        self.planes, self.dt, self.step, self.exposure = planes, dt, planes if step is None else step, exposure
        for name in ("planes", "dt", "step", "exposure"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        self.flow, self.slices, self.weights, self.every = flow, slices, weights, every
        self.recordings = find_spikes(sources)
        firsts = [self._starts(recording) for recording in self.recordings]
        #: Recording and first plane of each window: int64 [windows, 2].
        self.starts = np.concatenate(
            [np.stack([np.full_like(first, number), first], axis=1) for number, first in enumerate(firsts)]
        )
        if not len(self.starts):
            expected = f"{dt * planes + exposure} planes or more" + " with flow" * flow
            raise InputError(self.recordings[0].path, expected=expected, found="less, as in all others")
        self._sources = [self._describe(recording) for recording in self.recordings]
        self._cache, self._opened = open_cache(cache, memory_mb), Opened(self.recordings)

    def __len__(self) -> int:
        return len(self.starts)

    def window(self, number: int) -> Window:
        """Window 0 .. len - 1, whole."""
        which, first = (int(each) for each in self.starts[number])
        recording, edges = self._opened[which], [first + k * self.planes for k in range(self.dt + 1)]
        slices = [self._slices(recording, which, edge) for edge in edges[:-1]]
        frames = [self._frame(recording, which, edge) for edge in edges]
        return Window(torch.cat(slices), torch.from_numpy(np.stack(frames)), self._flow(recording, which, edges))

    def _slices(self, recording: SpikeRecording, which: int, start: int) -> Tensor:
        def make() -> Tensor:
            spikes = recording.stream[start : start + self.planes]
            return temporal_distribution(spikes, self.slices, weights=self.weights, every=self.every)

        return self._cache.slices(self._sources[which], start, make)

    def _frame(self, recording: SpikeRecording, which: int, edge: int) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            return self.exposure * reconstruct_tfp(recording.stream, self.exposure, edge)

        return self._cache.array(self._sources[which], f"frame of {self.exposure}", edge, make)

    def _flow(self, recording: SpikeRecording, which: int, edges: list[int]) -> Tensor | None:
        if not self.flow:
            return None
        readout_us = 1e6 / recording.stream.readout_hz

        def make() -> NDArray[np.float32]:
            return np.stack([recording.flow(edges[0] * readout_us, end * readout_us) for end in edges[1:]])

        return torch.from_numpy(self._cache.array(self._sources[which], f"flow {self.dt}", edges[0], make))

    def _starts(self, recording: SpikeRecording) -> NDArray[np.int64]:
        """First planes of the recording's windows: those whose frames and flow are whole."""
        stream = recording.stream
        if self.crop is not None and (self.crop[0] > stream.height or self.crop[1] > stream.width):
            expected = f"at least {self.crop[0]}x{self.crop[1]} pixels (the crop)"
            raise InputError(recording.path, expected=expected, found=f"{stream.height}x{stream.width}")
        before, after = self.exposure // 2, self.exposure - self.exposure // 2
        starts = np.arange(before, len(stream) - after - self.dt * self.planes + 1, self.step)
        if self.flow:
            begin, end = recording.covered_us()
            readout_us = 1e6 / stream.readout_hz
            stops = (starts + self.dt * self.planes) * readout_us
            starts = starts[(starts * readout_us >= begin) & (stops <= end)]
        recording.close()
        return starts

    def _describe(self, recording: SpikeRecording) -> str:
        settings: dict[str, Any] = {"planes": self.planes, "slices": self.slices, "weights": self.weights}
        if isinstance(recording, DatasetSpikes):
            settings["item"] = recording.item.row.item
        return describe(recording.path, every=self.every, **settings)


def find_spikes(sources: Sequence[Path]) -> list[SpikeRecording]:
    """The spike streams among files, folders of NAME_spikes.h5 and folders that `eventsim dataset` made.

    Raises:
        InputError: a source that is missing, or a folder that holds none.
    """
    found: list[SpikeRecording] = []
    for source in map(Path, sources):
        here: list[SpikeRecording] = []
        if (source / MANIFEST).is_file():
            here = [DatasetSpikes(item) for item in SpikeSet(source) if item.row.kind == "spikes"]
        elif source.is_dir():
            here = [SceneSpikes(path) for path in sorted(source.glob(f"*{_SPIKES}"))]
        elif source.is_file():
            here = [SceneSpikes(source)]
        if not here:
            raise InputError(source, expected="*_spikes.h5, or a data set of spikes", found="none")
        found += here
    return found
