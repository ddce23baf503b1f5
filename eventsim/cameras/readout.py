"""What the way out of an event camera does to its events: latency and jitter, scanned rows, a bus of limited rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsim.cameras.random import GAMMA, Purpose, mix64, normals, stream_key
from eventsim.streams.events import Events

if TYPE_CHECKING:
    from eventsim.cameras.event import EventCamera

#: t (float64, us), x, y, p.
Columns = tuple[NDArray[np.float64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]


class Readout:
    """A camera's readout: takes events in order of time, piece by piece, and gives them back as they are read out.

    Each event waits for its latency, then for its row's turn in the scan, then for the bus. What becomes of it depends
    on the events before it alone, so that pieces of any size give the same.

    Args:
        camera: its latency, scan and bus.
        height, width: of the sensor.
        seed: of the jitter.
    """

    def __init__(self, camera: EventCamera, height: int, width: int, seed: int) -> None:
        self.camera, self.height, self.width = camera, height, width
        self.key = stream_key(seed, Purpose.LATENCY)
        self.direct = not (camera.latency_us or camera.latency_jitter_us or camera.scan_hz or camera.bus_rate_hz)
        self.held = _columns(Events.empty(width, height))
        self.last_scan = np.full(height * width, np.iinfo(np.int64).min)
        self.leaving = np.full(camera.bus_queue, -np.inf)
        self.carried = 0

    def read(self, events: Events) -> Events:
        """The events that have been read out by the time of the last of these."""
        if self.direct or not len(events):
            return events
        return self._leave(self._delayed(_columns(events)), float(events.t[-1]))

    def rest(self) -> Events:
        """What still waits when the light ends."""
        return self._leave(_columns(Events.empty(self.width, self.height)), np.inf)

    def _delayed(self, events: Columns) -> Columns:
        """The events at the times at which they reach the bus, in the order in which they happened."""
        camera, (t, x, y, p) = self.camera, events
        delay = np.full(len(t), camera.latency_us)
        if camera.latency_jitter_us:
            pixel = y.astype(np.uint64) * np.uint64(self.width) + x
            bits = mix64(mix64(self.key + t.astype(np.uint64) * GAMMA) + pixel * GAMMA)
            delay += camera.latency_jitter_us * normals(bits)[0]
        reached = t + np.maximum(delay, 0.0)
        if not camera.scan_hz:
            return reached, x, y, p
        turn = y / self.height
        scan = np.ceil(reached * camera.scan_hz * 1e-6 - turn).astype(np.int64)
        first = self._first_of_scan(y.astype(np.int64) * self.width + x, scan)
        return ((scan + turn) * 1e6 / camera.scan_hz)[first], x[first], y[first], p[first]

    def _first_of_scan(self, pixel: NDArray[np.int64], scan: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which events are the first of their pixel in a scan: a pixel holds one until it is read."""
        order = np.argsort(pixel, kind="stable")
        latest = np.concatenate([scan[order][:1], scan[order][:-1]])
        new_pixel = np.diff(pixel[order], prepend=-1) != 0
        latest[new_pixel] = self.last_scan[pixel[order][new_pixel]]
        keep = np.zeros(len(pixel), bool)
        keep[order] = scan[order] > latest
        np.maximum.at(self.last_scan, pixel, scan)
        return keep

    def _leave(self, more: Columns, until: float) -> Events:
        """Those of the waiting and of the new events that reach the bus before a time, as they leave it. Delays are
        never negative: what happens later cannot come before them."""
        waiting: list[NDArray[Any]] = [np.concatenate([self.held[k], more[k]]) for k in range(4)]
        order = np.argsort(waiting[0], kind="stable")
        ready, later = np.split(order, [np.searchsorted(waiting[0][order], until)])
        t, x, y, p = (column[ready] for column in waiting)
        held = [column[later] for column in waiting]
        self.held = (held[0], held[1], held[2], held[3])
        if self.camera.bus_rate_hz:
            from eventsim.cameras.kernels.readout import through_bus

            t, carried, self.carried = through_bus(t, 1e6 / self.camera.bus_rate_hz, self.leaving, self.carried)
            t, x, y, p = t[carried], x[carried], y[carried], p[carried]
        return Events(np.ceil(t).astype(np.int64), x, y, p, self.width, self.height)


def _columns(events: Events) -> Columns:
    return events.t.astype(np.float64), events.x, events.y, events.p
