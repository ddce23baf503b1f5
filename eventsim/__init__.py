"""From pictures to what a retina-like sensor would have seen: spike streams and events.

Names are loaded when they are first used: `import eventsim` alone is quick and loads no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsim.cameras.event import EventCamera as EventCamera
    from eventsim.cameras.spike import SpikeCamera as SpikeCamera
    from eventsim.io.formats import open_events as open_events
    from eventsim.io.formats import open_spikes as open_spikes
    from eventsim.io.formats import write_events as write_events
    from eventsim.io.formats import write_spikes as write_spikes
    from eventsim.light.frames import Frames as Frames
    from eventsim.light.frames import read_frames as read_frames
    from eventsim.light.scenes import Scene as Scene
    from eventsim.light.scenes import render_scene as render_scene
    from eventsim.streams.events import Events as Events
    from eventsim.streams.realism import Realism as Realism
    from eventsim.streams.realism import compare_streams as compare_streams
    from eventsim.streams.reconstruct import reconstruct_tfi as reconstruct_tfi
    from eventsim.streams.reconstruct import reconstruct_tfp as reconstruct_tfp
    from eventsim.streams.reconstruct import reconstruct_tfstp as reconstruct_tfstp
    from eventsim.streams.spikes import SpikeStream as SpikeStream

_HOMES = {
    "EventCamera": "eventsim.cameras.event",
    "Events": "eventsim.streams.events",
    "Frames": "eventsim.light.frames",
    "Realism": "eventsim.streams.realism",
    "Scene": "eventsim.light.scenes",
    "SpikeCamera": "eventsim.cameras.spike",
    "SpikeStream": "eventsim.streams.spikes",
    "compare_streams": "eventsim.streams.realism",
    "open_events": "eventsim.io.formats",
    "open_spikes": "eventsim.io.formats",
    "read_frames": "eventsim.light.frames",
    "reconstruct_tfi": "eventsim.streams.reconstruct",
    "reconstruct_tfp": "eventsim.streams.reconstruct",
    "reconstruct_tfstp": "eventsim.streams.reconstruct",
    "render_scene": "eventsim.light.scenes",
    "write_events": "eventsim.io.formats",
    "write_spikes": "eventsim.io.formats",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eventsim' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
