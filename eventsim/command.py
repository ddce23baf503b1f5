"""What every command shares: common options, and how errors and interrupts end it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import tyro

BAD_INPUT = 1
INTERRUPTED = 130
TERMINATED = 143


@dataclass(kw_only=True)
class Options:
    """Options that every command takes."""

    seed: int = 0
    """Seed of everything random: the same seed, version and input give the same bytes."""
    overwrite: bool = False
    """Replace existing output."""
    quiet: bool = False
    """Show no progress."""
    debug: bool = False
    """Show the whole traceback of an error."""

    def run(self) -> None:
        """Does the command's work."""
        raise AssertionError(f"{type(self).__name__} does not say what it does")


def main(program: str, commands: Mapping[str, type[Options]], arguments: Sequence[str] | None = None) -> NoReturn:
    """Parses the command line, runs the command and leaves the process.

    Exit code 0 when done, 1 with one line on standard error for bad input (with the traceback under `--debug`),
    2 for wrong usage, 130 after Ctrl-C.
    """
    parsed: Any = tyro.extras.subcommand_cli_from_dict(
        dict(commands), prog=program, args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
    )
    signal.signal(signal.SIGTERM, _terminate)
    interrupted = False
    try:
        parsed.run()
    except KeyboardInterrupt:
        interrupted = True
    except (ValueError, OSError) as error:
        if parsed.debug:
            raise
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    if interrupted:
        _leave(program)
    sys.exit(0)


def _leave(program: str) -> NoReturn:
    """Ends an interrupted process at once: taking torch and its threads down in order would take a second."""
    gc.collect()  # generators that were still writing close here, and remove what they had written
    for child in multiprocessing.active_children():
        child.terminate()
    print(f"{program}: interrupted; nothing is left under the name of an unfinished output", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # An exception, so that unfinished files are removed on the way out.
    sys.exit(TERMINATED)
