"""What decides the content of a data set, as it is kept in `dataset.json` and compared when a run goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eventsim.cameras.event import EventCamera
from eventsim.cameras.spike import SpikeCamera
from eventsim.light.motions import MOTIONS
from eventsim.provenance import plain
from eventsim.settings import require

#: Name of "a camera that stays", beside those in `light.motions.MOTIONS`.
STAYS = "none"
#: Seconds of a still where none are stated.
STILL_SECONDS = 0.05
#: The largest values: times are whole microseconds, and nothing shall go on without end because of a slip.
MOST = {"repeats": 100_000, "duration": 86_400.0, "speed": 50_000.0, "flow_hz": 1e6, "fps": 1e6}
_CHOICES = {"kind": ("spikes", "events", "both"), "layout": ("items", "shards"), "format": ("h5", "dat")}


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """What is made of every source.

    Args:
        seed: of everything random.
        kind: "spikes", "events" or "both".
        camera: spike cameras, names of presets or YAML files.
        event_camera: event cameras, likewise.
        motion: of the camera before stills: "none" or names in `light.motions.MOTIONS`.
        repeats: items of each source, motion and camera, each with randomness of its own; up to 100,000.
        duration: seconds of an item, up to a day; by default 0.05 for stills and all of a clip, whose last frame is
            held if need be.
        speed: mean speed of motions, pixels a second; up to 50,000.
        flow_hz: maps of exact flow a second; up to 1,000,000.
        fps: frames a second of clips, up to 1,000,000; by default a video's own, and 30 for folders.
        size: height and width of every sensor; by default the cameras' own.
        linear: pictures hold linear light already.
        clips: folders of pictures are clips.
        layout: "items" (a file each) or "shards" (files of many items).
        shard_items: items in a shard.
        format: of spikes in a file each: "h5" or "dat".

    Raises:
        ValueError: a value out of range, or a combination that cannot be: a camera of a kind that does not record,
            say. Which settings are `idle` beside others is no error.
    """

    seed: int = 0
    kind: Literal["spikes", "events", "both"] = "spikes"
    camera: tuple[str, ...] = ("vidar",)
    event_camera: tuple[str, ...] = ("davis346",)
    motion: tuple[str, ...] = (STAYS,)
    repeats: int = 1
    duration: float | None = None
    speed: float = 200.0
    flow_hz: float = 200.0
    fps: float | None = None
    size: tuple[int, int] | None = None
    linear: bool = False
    clips: bool = False
    layout: Literal["items", "shards"] = "items"
    shard_items: int = 64
    format: Literal["h5", "dat"] = "h5"

    def __post_init__(self) -> None:
        optional = " ".join(name for name in ("duration", "fps") if getattr(self, name) is not None)
        require(self, above=f"repeats speed flow_hz shard_items {optional}")
        for name, most in MOST.items():
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"expected {name} of at most {most:g}, got {getattr(self, name):g}")
        if self.duration is not None and round(self.duration * 1e6) < 1:
            raise ValueError(f"expected duration of a microsecond or more, got {self.duration} s")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"expected {name} {' or '.join(choices)}, got {getattr(self, name)!r}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"expected size of at least 1x1 pixel (height, width), got {self.size}")
        for motion in self.motion:
            if motion != STAYS and motion not in MOTIONS:
                raise ValueError(f"expected motion among {', '.join((STAYS, *MOTIONS))}, got {motion!r}")
        for name in ("motion", "camera", "event_camera"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"expected {name} to name at least one, and each once, got {' '.join(values) or 'none'}"
                )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        """What was asked for and cannot happen."""
        if self.format == "dat" and self.layout == "shards":
            raise ValueError("expected format h5 for shards, got dat, which holds one stream a file")
        if self.format == "dat" and self.kind == "events":
            raise ValueError("expected format h5 for events, got dat, which holds spikes")
        for name, other in (("camera", "events"), ("event_camera", "spikes")):
            values = tuple(getattr(self, name))
            if self.kind == other and values != getattr(DatasetSettings, name):
                raise ValueError(f"expected no {name} for kind {other}, got {' '.join(values)}")

    @property
    def idle(self) -> tuple[str, ...]:
        """Names of the settings that decide nothing beside the others; their values are free to change."""
        still = ("speed", "flow_hz") if set(self.motion) == {STAYS} else ()
        return (*still, *(() if self.layout == "shards" else ("shard_items",)))


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A camera of a data set.

    Args:
        name: of the camera in names of items and in the manifest.
        kind: what it makes.
        camera: the camera.
    """

    name: str
    kind: Literal["spikes", "events"]
    camera: SpikeCamera | EventCamera


def sensors_of(settings: DatasetSettings) -> list[Sensor]:
    """The cameras that record, spike cameras first.

    Raises:
        InputError: an unknown camera, or a YAML file that is not one.
        ValueError: two cameras of one name.
    """
    overrides = {} if settings.size is None else {"height": settings.size[0], "width": settings.size[1]}
    sensors = list[Sensor]()
    if settings.kind != "events":
        for name in settings.camera:
            sensors.append(Sensor(name=_name(name), kind="spikes", camera=SpikeCamera.preset(name, **overrides)))
    if settings.kind != "spikes":
        for name in settings.event_camera:
            sensors.append(Sensor(name=_name(name), kind="events", camera=EventCamera.preset(name, **overrides)))
    names = [sensor.name for sensor in sensors]
    if len(set(names)) < len(names):
        raise ValueError(f"expected cameras of different names, got {', '.join(names)}")
    return sensors


def resolved(settings: DatasetSettings, sensors: list[Sensor]) -> dict[str, Any]:
    """Settings and cameras as JSON holds them, without idle ones; what names the cameras gives way to what they are."""
    values = dataclasses.asdict(settings)
    for name in ("camera", "event_camera", *settings.idle):
        del values[name]
    values["cameras"] = {sensor.name: {"kind": sensor.kind} | dataclasses.asdict(sensor.camera) for sensor in sensors}
    held: dict[str, Any] = json.loads(json.dumps(values, default=plain))
    return held


def first_difference(begun: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first setting that differs: its name (cameras.vidar.height, say) and both values; None if none does."""
    return next(_differences(begun, now, ""), None)


def _differences(begun: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for name in [*begun, *(name for name in now if name not in begun)]:
        before, after = begun.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}", before, after


def _name(camera: str) -> str:
    return Path(camera).stem if camera.endswith((".yaml", ".yml")) else camera
