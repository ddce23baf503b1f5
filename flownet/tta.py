"""Test-time augmentation: the mean of the flows that mirror images and transposes of the events give, turned back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events

Flow = NDArray[np.float32]
#: Flow float32 [2, H, W] over a window [t0, t1) (microseconds) from its events.
Estimator = Callable[[Events, tuple[int, int]], Flow]


@dataclass(frozen=True)
class Mirror:
    """A symmetry of the square: columns and rows are mirrored where asked for, then exchanged.

    Args:
        x, y: mirror the columns, the rows.
        transpose: exchange columns and rows afterwards.
    """

    x: bool = False
    y: bool = False
    transpose: bool = False

    def events(self, events: Events) -> Events:
        """Events as the mirrored sensor sees them."""
        x = events.width - 1 - events.x if self.x else events.x
        y = events.height - 1 - events.y if self.y else events.y
        if self.transpose:
            return Events(events.t, y, x, events.p, events.height, events.width)
        return Events(events.t, x, y, events.p, events.width, events.height)

    def flow(self, flow: NDArray[Any]) -> NDArray[Any]:
        """Flow [2, H, W] as the mirrored sensor sees it: vectors change their signs and components too."""
        mirrored = self._mirrored(flow)
        return mirrored[::-1].transpose(0, 2, 1) if self.transpose else mirrored

    def undone(self, flow: NDArray[Any]) -> NDArray[Any]:
        """Flow [2, H', W'] of the mirrored sensor as the sensor itself sees it: `flow` the other way."""
        return self._mirrored(flow[::-1].transpose(0, 2, 1) if self.transpose else flow)

    def _mirrored(self, flow: NDArray[Any]) -> NDArray[Any]:
        dx, dy = flow
        for mirror, axis in ((self.x, 1), (self.y, 0)):
            if mirror:
                dx, dy = np.flip(dx, axis), np.flip(dy, axis)
        return np.stack([-dx if self.x else dx, -dy if self.y else dy])


#: All eight: a group, so that the mean over it turns as the events do, whatever the network.
MIRRORS = tuple(Mirror(*each) for each in product((False, True), repeat=3))


class Augmented:
    """The mean over all eight mirrors of what an estimator finds.

    Args:
        make: gives an estimator; each mirror has its own, so that warm starts go on from the same mirror.
    """

    def __init__(self, make: Callable[[], Estimator]) -> None:
        self._estimators = [make() for _ in MIRRORS]

    def __call__(self, events: Events, window: tuple[int, int]) -> Flow:
        """The flow of a window's events: float32 [2, H, W], pixels over the window."""
        total = np.zeros((2, events.height, events.width))
        for mirror, estimate in zip(MIRRORS, self._estimators, strict=True):
            total += mirror.undone(estimate(mirror.events(events), window))
        return (total / len(MIRRORS)).astype(np.float32)
