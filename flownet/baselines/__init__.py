"""Flow without learning, as peers of the networks: contrast maximisation, DIS and Lucas-Kanade on images of events.

Each sees the events of a window, not slices of them, so it offers `from_events(events, window)` in place of a
network's `represent` and call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events
from flownet.baselines.contrast import contrast_maximisation
from flownet.baselines.halves import dis_flow, lucas_kanade

__all__ = ["BASELINES", "Baseline", "contrast_maximisation", "dis_flow", "lucas_kanade"]

Flow = NDArray[np.float32]
Window = tuple[int, int]


@dataclass(frozen=True)
class Baseline:
    """A method that takes flow from events, with what `flownet.infer.estimator` asks of a model.

    Args:
        name: of the method.
        method: takes the events of a window and the window [t0, t1), microseconds; returns float32 [2, H, W], pixels.
    """

    name: str
    method: Callable[[Events, Window], Flow]

    def from_events(self, events: Events, window: Window) -> Flow:
        """The flow over a window [t0, t1), microseconds: float32 [2, H, W], (dx, dy) in pixels."""
        return self.method(events, window)


def _still(events: Events, window: Window) -> Flow:
    return np.zeros((2, events.height, events.width), np.float32)


#: By name, as `flownet infer --model` takes them.
BASELINES = {
    each.name: each
    for each in (
        Baseline("zero", _still),
        Baseline("contrast", contrast_maximisation),
        Baseline("dis", dis_flow),
        Baseline("lucas_kanade", lucas_kanade),
    )
}
