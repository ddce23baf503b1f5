"""The `eventsim` command. Heavy libraries are imported where a command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from eventsim.cli.calibrate import CALIBRATE
from eventsim.cli.dataset import Dataset
from eventsim.cli.files import Convert, Info, View
from eventsim.cli.realism import Compare
from eventsim.cli.scene import Scene
from eventsim.cli.simulate import Events, Spikes
from eventsim.command import Group, Options
from eventsim.command import main as run_main

COMMANDS: dict[str, type[Options] | Group] = {
    "spikes": Spikes,
    "events": Events,
    "dataset": Dataset,
    "scene": Scene,
    "calibrate": CALIBRATE,
    "convert": Convert,
    "info": Info,
    "view": View,
    "compare": Compare,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `eventsim` command."""
    run_main("eventsim", COMMANDS, arguments)
