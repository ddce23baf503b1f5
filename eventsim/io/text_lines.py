"""Four numbers a line from a block of text, quickly; the first line that is none is named."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError

_COMMENT = re.compile(rb"#[^\n]*")
_BLANKS = bytes.maketrans(b",;\t\r", b"    ")
_COLUMNS = 4


def read_table(source: Path, block: bytes, line: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The numbers of whole lines of text, between blanks, tabs, commas or semicolons.

    Args:
        source: the file, for the message.
        block: whole lines; empty ones and what follows a `#` are passed over.
        line: number of the first one, counted from 0.

    Returns:
        Numbers [N, 4] and the line of each row [N], counted from 0.

    Raises:
        InputError: a line without exactly four finite numbers; names it, counted from 1.
    """
    if b"#" in block:
        block = _COMMENT.sub(b"", block)
    block = block.translate(_BLANKS)
    lines = _lines_of_words(block)
    if not len(lines):
        return np.zeros((0, _COLUMNS)), np.zeros(0, np.int64)
    if len(lines) % _COLUMNS or not _four_a_line(lines.reshape(-1, _COLUMNS)):
        raise _first_fault(source, block, line)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how NumPy tells of a word that is no number
            table = np.fromstring(block.decode("latin-1"), np.float64, sep=" ").reshape(-1, _COLUMNS)
    except (DeprecationWarning, ValueError):
        raise _first_fault(source, block, line) from None
    if len(table) * _COLUMNS != len(lines) or not np.isfinite(table).all():
        raise _first_fault(source, block, line)
    return table, line + lines[::_COLUMNS]


def _lines_of_words(block: bytes) -> NDArray[np.int64]:
    """The line of every word, counted from 0."""
    characters = np.frombuffer(block, np.uint8)
    blank = characters <= ord(" ")
    begins = ~blank
    begins[1:] &= blank[:-1]
    ends = np.flatnonzero(characters == ord("\n"))
    return np.searchsorted(ends, np.flatnonzero(begins)).astype(np.int64)


def _four_a_line(lines: NDArray[np.int64]) -> bool:
    return bool((lines[:, 0] == lines[:, -1]).all() and (lines[1:, 0] > lines[:-1, -1]).all())


def _first_fault(source: Path, block: bytes, line: int) -> InputError:
    for number, text in enumerate(block.split(b"\n"), line + 1):
        if text.strip() and not _is_row(text.split()):
            shown = text.strip().decode("latin-1")[:60]
            return InputError(source, expected="a line of four numbers", found=f"'{shown}'", at=f"line {number}")
    return InputError(source, expected="lines of four numbers", found="others", at=f"line {line + 1}")


def _is_row(words: list[bytes]) -> bool:
    try:
        return len(words) == _COLUMNS and bool(np.isfinite([float(word) for word in words]).all())
    except ValueError:
        return False
