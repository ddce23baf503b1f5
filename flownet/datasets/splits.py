"""Which sequences, and which parts of them, a network is trained or tested on: named, in one TOML a data set."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError

FOLDER = Path(__file__).parent / "splits"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Part:
    """The valid ranges of a sequence; without any, all of it.

    Args:
        frames: ranges (start, stop): windows whose first frame i has start <= i < stop; a negative stop counts from
            the sequence's end.
        seconds: ranges (start, stop) after the first frame: windows that begin at or after start and end by stop.

    Raises:
        ValueError: both kinds, or a range that ends before it starts.
    """

    frames: tuple[tuple[int, int], ...] = ()
    seconds: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.frames and self.seconds:
            raise ValueError("expected ranges of frames or of seconds, got both")
        for start, stop in self.frames + self.seconds:
            if not start >= 0 or 0 <= stop < start:
                raise ValueError(f"expected ranges with 0 <= start <= stop, got {start} to {stop}")

    def first_frames(self, times: NDArray[np.float64], dt: int) -> NDArray[np.int64]:
        """First frames of the windows of `dt` intervals that are valid, ascending.

        Args:
            times: float64 [M], of all frames, seconds.
            dt: intervals of a window.
        """
        first = np.arange(max(len(times) - dt, 0))
        begin, end = times[first] - times[0], times[first + dt] - times[0]
        ranges = [
            (first >= start) & (first < (stop if stop >= 0 else len(times) + stop)) for start, stop in self.frames
        ] + [(begin >= start) & (end <= stop) for start, stop in self.seconds]
        return first[np.any(ranges, axis=0)] if ranges else first


@dataclass(frozen=True, kw_only=True)
class Split:
    """A named choice of sequences.

    Args:
        name: of the split.
        source: who trains or tests so.
        cameras: "left", "right" or both.
        sequences: the valid part of each sequence, by the sequence's name.
    """

    name: str
    source: str
    cameras: tuple[str, ...] = ("left",)
    sequences: Mapping[str, Part] = field(default_factory=dict)

    def check_complete(self, found: set[str], where: Path | str) -> None:
        """Refuses a set of sequences that lacks some of the split's.

        Raises:
            InputError: names those that are missing.
        """
        missing = sorted(set(self.sequences) - found)
        if missing:
            have = ", ".join(sorted(found)) or "no sequence"
            raise InputError(
                where, expected=f"all sequences of split {self.name}, also {', '.join(missing)}", found=have
            )


def load_split(data_set: str, name: str) -> Split:
    """A split that ships with the package.

    Args:
        data_set: "mvsec" or "dsec".
        name: of the split.

    Raises:
        InputError: no such split.
    """
    known = read_splits(FOLDER / f"{data_set}.toml")
    if name not in known:
        raise InputError(name, expected=f"a split of {data_set} among {', '.join(known)}", found="none of them")
    return known[name]


def read_splits(path: Path) -> dict[str, Split]:
    """The splits of a TOML file, by name.

    Raises:
        InputError: the file is missing, not TOML, of another version, or states what is no split.
    """
    if not path.is_file():
        raise InputError(path, expected="a TOML file of splits", found="nothing there")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(path, expected="TOML", found=str(error)) from None
    version = table.pop("version", None)
    if version != _VERSION:
        raise InputError(path, expected=f"version {_VERSION}", found=str(version))
    return {name: _split(path, name, values) for name, values in table.items()}


def _split(path: Path, name: str, values: Any) -> Split:
    try:
        sequences = values.pop("sequences")
        if isinstance(sequences, list):
            sequences = {sequence: {} for sequence in sequences}
        parts = {sequence: Part(**_tuples(ranges)) for sequence, ranges in sequences.items()}
        return Split(name=name, sequences=parts, **_tuples(values))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, expected="source, cameras and sequences with frames or seconds", found=str(error),
                         at=name) from None  # fmt: skip


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML's lists as tuples, two deep."""
    return {
        name: tuple(tuple(each) if isinstance(each, list) else each for each in value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
