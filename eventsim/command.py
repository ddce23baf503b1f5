"""What every command shares: common options, and how errors and interrupts end it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import tyro

from eventsim.errors import InputError
from eventsim.io.atomic import refuse_existing

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


@dataclass(frozen=True)
class Group:
    """Commands behind a common word.

    Args:
        about: what they have in common, for the help of all commands.
        commands: by their own words.
    """

    about: str
    commands: Mapping[str, type[Options]]


def main(
    program: str, commands: Mapping[str, type[Options] | Group], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Parses the command line, runs the command and leaves the process.

    Exit code 0 when done, 1 with one line on standard error for bad input (with the traceback under `--debug`),
    2 for wrong usage, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    group = commands.get(words[0]) if words else None
    if isinstance(group, Group):
        main(f"{program} {words[0]}", group.commands, words[1:])
    shown: dict[str, Any] = {
        name: _in_help(each) if isinstance(each, Group) else each for name, each in commands.items()
    }
    parsed: Any = tyro.extras.subcommand_cli_from_dict(
        shown, prog=program, args=words, config=(tyro.conf.FlagCreatePairsOff,)
    )
    signal.signal(signal.SIGTERM, _terminate)
    interrupted = False
    try:
        parsed.run()
    except KeyboardInterrupt:
        interrupted = True
    except (ValueError, OSError, OverflowError) as error:  # OverflowError: a number too large for what it is meant for
        if parsed.debug:
            raise
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    if interrupted:
        _leave(program)
    sys.exit(0)


def check_output(
    path: Path, *suffixes: str, overwrite: bool, inputs: Iterable[Path | None] = (), others: Iterable[Path] = ()
) -> None:
    """Refuses an output that could not be written in the end, for commands that work for a while before they write.

    Args:
        path: the output.
        suffixes: those that it may end in.
        overwrite: an existing file may be replaced.
        inputs: files that are read, which are never replaced.
        others: further files that are written beside the output.

    Raises:
        InputError: another suffix, or an output that is an input or a folder.
        OutputExistsError: it exists and `overwrite` is false.
        OSError: no file can be made in its folder.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(path, expected=f"a name that ends in {suffixes[0]}", found=f"suffix '{path.suffix}'")
    for written in (path, *others):
        for read in filter(None, inputs):
            if written.exists() and read.exists() and written.samefile(read):
                raise InputError(written, expected="an output that overwrites no input", found=str(read))
        refuse_existing(written, overwrite=overwrite)
        if written.is_dir():
            raise InputError(written, expected="a file to write", found="a folder")
    folder = next(each for each in path.absolute().parents if each.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


def _in_help(group: Group) -> type[Options]:
    """What stands for a group where all commands are listed: their own options are not looked at."""
    return type("Group", (Options,), {"__doc__": group.about})


@contextmanager
def naming_files(*paths: Path) -> Iterator[None]:
    """Names files in an error about what is in them."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        if any(str(path) in message for path in paths):
            raise
        raise InputError(f"{', '.join(map(str, paths))}: {message}") from error


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
