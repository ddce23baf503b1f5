"""Evaluation protocols: which frames, pixels and rules a published code base reports its numbers by. One TOML each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from eventsim.errors import InputError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What an evaluation covers on one sequence.

    Args:
        name: of the protocol.
        source, description: whose rules these are, and what they are.
        crop: rows and columns of a centred crop, or None for the whole picture.
        rows: only the top rows of the crop count.
        margin: frames i with margin < i < frames - margin count (0: all).
        ranges: frames [start, stop) that count; empty for all.
        slices: equal-count slices an interval is cut into, or None for as many as the network was trained on.
        keep: which of them the network sees; empty for all.
    """

    name: str
    source: str
    description: str
    crop: tuple[int, int] | None = None
    rows: int | None = None
    margin: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    slices: int | None = None
    keep: tuple[int, ...] = ()

    def frames(self, total: int, dt: int) -> list[int]:
        """First frames of the intervals to evaluate, of a sequence with `total` grey frames."""
        last = total - dt - 1
        if self.ranges:
            # At dt = 4 the authors' ranges include their ends: 802 frames instead of 800.
            end = 1 if dt == 4 else 0
            return [i for start, stop in self.ranges for i in range(start, stop + end) if i <= last]
        if self.margin:
            return [i for i in range(self.margin + 1, total - self.margin) if i <= last]
        return list(range(last + 1))


def load_protocol(name: str, sequence: str = "default") -> Protocol:
    """The protocol of that name as it applies to a sequence; sequences it does not name follow its default.

    Raises:
        InputError: no such protocol.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InputError(name, expected=f"a protocol among {', '.join(protocol_names())}", found="none of them")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    frames = table.pop("frames")
    settings = table | frames.get(sequence, frames["default"])
    for key in ("crop", "keep"):
        if key in settings:
            settings[key] = tuple(settings[key])
    settings["ranges"] = tuple((start, stop) for start, stop in settings.get("ranges", ()))
    return Protocol(name=name, **settings)


def protocol_names() -> list[str]:
    """Names of the protocols that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))
