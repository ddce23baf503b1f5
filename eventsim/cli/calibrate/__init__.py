"""The command `calibrate`, one kind of camera a file."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import OmitSubcommandPrefixes, subcommand

from eventsim.cli.calibrate.events import CalibrateEvents
from eventsim.cli.calibrate.spikes import CalibrateSpikes
from eventsim.command import Options


def calibrate(
    sensor: OmitSubcommandPrefixes[
        Annotated[CalibrateSpikes, subcommand("spikes")] | Annotated[CalibrateEvents, subcommand("events")]
    ],
) -> Options:
    """Recordings of a camera of your own to a camera file, which --camera takes.

    Args:
        sensor: Kind of camera.
    """
    return sensor
