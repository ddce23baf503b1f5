"""At which pixels a protocol compares flows: those where its picture of the events is above zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.events import Events
from flownet.protocols import Protocol
from flownet.representation.slices import count_edges

Picture = NDArray[np.float32]


def event_picture(
    steps: Sequence[Events],
    rules: Protocol,
    crop: tuple[slice, slice],
) -> Picture:
    """The picture of an interval's events whose pixels above zero a protocol compares: float32 [h, w].

    "none" and "events": the number of events. "input": the number of those in the equal-count slices that the
    network of the protocol's owners sees, remainders dropped as theirs drops them; on MVSEC's outdoor recordings
    these are 5 of 13, so that events of the others do not count. "rescaled": the number of events as an 8-bit picture
    whose largest is 255, so that where a pixel has over 255 events, those with few of them vanish (EV-FlowNet's
    test). "signed": ON events minus OFF events, so that pixels with as many OFF events are dropped (mvsec_eval).

    Args:
        steps: the events of each step of the interval.
        rules: of the protocol.
        crop: rows and columns.
    """
    if rules.mask == "input":
        steps = [_seen(events, rules) for events in steps]
    picture: Picture = np.sum([_count(events, signed=rules.mask == "signed") for events in steps], axis=0)[crop]
    if rules.mask == "rescaled" and picture.any():
        picture = np.floor(picture * 255 / picture.max())
    return picture


def _seen(events: Events, rules: Protocol) -> Events:
    """The events of the slices that are kept."""
    edges = count_edges(len(events), rules.slices or 5, drop_remainder=True)
    kept = rules.keep or range(len(edges) - 1)
    return events[np.concatenate([np.arange(edges[k], edges[k + 1]) for k in kept])]


def _count(events: Events, *, signed: bool) -> Picture:
    """Events of each pixel [H, W], OFF ones as -1 where they are signed. Counted as integers: nothing wraps."""
    places = events.y.astype(np.intp) * events.width + events.x
    size = events.height * events.width
    counts = np.bincount(places, minlength=size)
    if signed:
        counts = counts - 2 * np.bincount(places[~events.p], minlength=size)
    return counts.reshape(events.height, events.width).astype(np.float32)
