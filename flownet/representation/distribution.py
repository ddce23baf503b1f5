"""The temporal distribution of events: slices in which each event weighs by how typical its time is.

Ding et al., "Spatio-Temporal Recurrent Networks for Event-Based Optical Flow Estimation", AAAI 2022, section 3.1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eventsim.streams.events import Events
from eventsim.streams.spikes import SpikeStream
from flownet.representation.kernel import distribute
from flownet.representation.slices import By, Weights, check_slices, count_edges, kept, time_edges
from flownet.representation.spikes import distribute_spikes


def temporal_distribution(
    events: Events | SpikeStream,
    slices: int = 5,
    window: tuple[int, int] | None = None,  # [t0, t1), microseconds
    weights: Weights = "float",
    *,
    by: By = "count",
    every: int = 1,
) -> Tensor:
    """Events as an image sequence of their temporal distribution.

    Within a slice, times are scaled to 0..1 over both polarities. With the mean and the standard deviation (unbiased,
    plus 1e-4) of a polarity's N times, its event k weighs w_k = N g_k / sum(g), where g is the normal density of the
    event's time; a pixel is the sum of the weights of its events. The weights of a slice and polarity sum to N. Where
    a polarity has one event, or all at one time, each weighs 1; a slice without events is 0.

    Args:
        events: events, or spikes. Each spike is an event of one polarity at its readout time.
        slices: number of slices S, in order of time.
        window: only the events (readouts) with t0 <= t < t1.
        weights: "float" as above; "ceil" as the authors' code, in which each event weighs 1 or 2 (ceil(w_k), which is
            2 for an event likelier than the mean and 1 for the others), without the wrap of its uint8 storage above
            255.
        by: "count": slices of equal event count. The authors' code drops the remainder of M / S events, and so does
            "ceil"; "float" drops none: slice k holds events k M // S up to (k + 1) M // S. "time": slices of equal
            time of the requested window, which does not depend on when its first and last event happened.
            Spikes come on a clock, so for them both mean equal numbers of planes, split as in "float".
        every: only the slices 0, every, 2 every, ... of the S are returned. The authors' code splits the outdoor
            recordings of MVSEC into 13 slices and takes every third, so 5 of them.

    Returns:
        float32 [ceil(S / every), 2, H, W], ON then OFF; of spikes [ceil(S / every), 1, H, W].

    Raises:
        ValueError: no slices, an unknown form, a window that ends before it starts, or by="time" without a window.

    Example:
        >>> events = Events.from_tonic(recording, width=346, height=260)
        >>> temporal_distribution(events, window=(0, 31_250)).shape
        torch.Size([5, 2, 260, 346])
        >>> temporal_distribution(events, 13, every=3, weights="ceil").shape  # as for MVSEC's outdoor recordings
        torch.Size([5, 2, 260, 346])
    """
    check_slices(slices, window is not None, weights, by, every)
    if window is not None and window[1] < window[0]:
        raise ValueError(f"expected a window that ends after it starts, got {window[0]} to {window[1]} us")
    if isinstance(events, SpikeStream):
        return torch.from_numpy(distribute_spikes(events, slices, window, weights == "ceil", every))
    if window is not None:
        events = events.window(*window)
    if by == "time" and window is not None:
        edges = np.searchsorted(events.t, time_edges(window, slices), side="left")
    else:
        edges = count_edges(len(events), slices, drop_remainder=weights == "ceil")
    bounds = kept(edges, every)
    image = np.empty((len(bounds), 2, events.height, events.width), np.float32)
    t, x, y, p = (np.ascontiguousarray(column) for column in (events.t, events.x, events.y, events.p))
    distribute(t, x, y, p, bounds, weights == "ceil", image)
    return torch.from_numpy(image)
