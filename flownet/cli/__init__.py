"""The `flownet` command. Heavy libraries are imported where a command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from eventsim.command import Options
from eventsim.command import main as run_main
from flownet.cli.evaluate import Evaluate
from flownet.cli.files import Convert, Export, Models, View
from flownet.cli.infer import Infer
from flownet.cli.spiking import ConvertSnn, ExportNir
from flownet.cli.train import Train

COMMANDS: dict[str, type[Options]] = {
    "train": Train,
    "evaluate": Evaluate,
    "infer": Infer,
    "convert": Convert,
    "convert-snn": ConvertSnn,
    "export": Export,
    "export-nir": ExportNir,
    "view": View,
    "models": Models,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `flownet` command."""
    run_main("flownet", COMMANDS, arguments)
