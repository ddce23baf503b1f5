"""The items of a data set: every source under every motion, as often as asked for, before every camera.

An item's randomness comes from seeds of its own, hashes of the data set's seed and of what the item is. So neither
other sources and cameras nor the number and order of workers can change it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath

from eventsim.io.spike_set import shard_name
from eventsim.synthesize.settings import STAYS, DatasetSettings, Sensor
from eventsim.synthesize.sources import Source

#: What the manifest names the motion of clips, which is their own.
OWN_MOTION = "clip"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A source under a motion before a camera.

    Args:
        name: `<label>/<source>_<motion>_<repeat>_<camera>`.
        path, flow_path: files that hold it and its flow, from the data set's folder (posix).
        source: what is seen.
        motion: "none", a name in `light.motions.MOTIONS`, or "clip".
        repeat: number of the repeat.
        sensor: what sees it.
        seed: of the camera's noise.
        motion_seed: of the motion: the same for all cameras.
    """

    name: str
    path: str
    flow_path: str
    source: Source
    motion: str
    repeat: int
    sensor: Sensor
    seed: int
    motion_seed: int

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """What tells an item from all others, as in `Row.identity`."""
        return self.source.path, self.motion, self.repeat, self.sensor.name

    @property
    def light(self) -> tuple[str, str, int, tuple[int, int]]:
        """What tells its light from other items': cameras of one size see the same."""
        return self.source.path, self.motion, self.repeat, (self.sensor.camera.height, self.sensor.camera.width)

    @property
    def moves(self) -> bool:
        """Whether it is a still under motion, with exact flow."""
        return self.motion not in (STAYS, OWN_MOTION)

    @property
    def sharded(self) -> bool:
        """Whether it is one of many in its file."""
        return self.path == self.flow_path


def plan_items(sources: Sequence[Source], sensors: Sequence[Sensor], settings: DatasetSettings) -> list[list[Item]]:
    """All items, in the order of sources, motions, repeats and cameras, in units of work: the items of one light, or
    of one shard.

    Raises:
        ValueError: two items of one name or in one file, be it only where upper and lower case are the same.
    """
    items = [
        _item(source, motion, repeat, sensor, settings)
        for source in sources
        for motion in ([OWN_MOTION] if source.kind == "clip" else settings.motion)
        for repeat in range(settings.repeats)
        for sensor in sensors
    ]
    names = set[str]()
    for item in items:
        if item.name in names:
            raise ValueError(f"expected items of different names, got {item.name} twice, also for {item.source.path}")
        names.add(item.name)
    if settings.layout == "items":
        _refuse_shared_files(items)
        return [list(same) for _, same in groupby(items, lambda item: item.light)]
    size = settings.shard_items
    starts = range(0, len(items), size)
    return [[_in_shard(item, number) for item in items[at : at + size]] for number, at in enumerate(starts)]


def stable_seed(*parts: str | int) -> int:
    """A whole number of 63 bits that depends on these parts alone, on any machine."""
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _refuse_shared_files(items: Sequence[Item]) -> None:
    taken = dict[str, Item]()
    for item in items:
        for path in (item.path, item.flow_path) if item.moves else (item.path,):
            other = taken.setdefault(path.casefold(), item)
            if other is not item:
                pair = f"{other.name} and {item.name}"
                raise ValueError(f"expected a file for each item, upper and lower case alike, got {path} for {pair}")


def _item(source: Source, motion: str, repeat: int, sensor: Sensor, settings: DatasetSettings) -> Item:
    name = str(PurePosixPath(source.label) / f"{source.name}_{motion}_{repeat}_{sensor.name}")
    suffix = settings.format if sensor.kind == "spikes" else "h5"
    scene = (settings.seed, source.path, motion, repeat)
    return Item(
        name=name,
        path=f"{name}.{suffix}",
        flow_path=f"{name}_flow.h5",
        source=source,
        motion=motion,
        repeat=repeat,
        sensor=sensor,
        seed=stable_seed(*scene, sensor.name),
        motion_seed=stable_seed(*scene),
    )


def _in_shard(item: Item, number: int) -> Item:
    return replace(item, path=shard_name(number), flow_path=shard_name(number))
