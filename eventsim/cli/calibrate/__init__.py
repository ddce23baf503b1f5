"""The command `calibrate`, one kind of camera a file."""

from __future__ import annotations

from eventsim.cli.calibrate.events import CalibrateEvents
from eventsim.cli.calibrate.spikes import CalibrateSpikes
from eventsim.command import Group

CALIBRATE = Group(
    "Recordings of a camera of your own to a camera file, which --camera takes: spikes or events.",
    {"spikes": CalibrateSpikes, "events": CalibrateEvents},
)
