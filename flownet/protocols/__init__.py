"""Evaluation protocols: which frames, pixels and rules a published code base reports its numbers by. One TOML each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from eventsim.errors import InputError
from flownet.metrics import OutlierRule, Validity

FOLDER = Path(__file__).parent

#: What an interval's ends are: grey frames, or the ground truth's own maps.
Interval = Literal["frames", "ground_truth"]
#: At which pixels a protocol compares flows, beyond a known ground truth; `flownet.protocols.masks` says how.
Mask = Literal["none", "events", "input", "rescaled", "signed"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What an evaluation covers on one sequence, and by which rules.

    Args:
        name: of the protocol.
        source, description: whose rules these are, and what they are.
        doubts: what about them is not certain; empty if nothing is.
        interval: what indices and dt count: grey frames, or the ground truth's maps.
        dt: intervals that the protocol knows, in these steps; empty for any.
        crop: rows and columns of a centred crop, or None for the whole picture.
        rows: only so many rows from the top count ...
        rows_of: ... of the crop, or of the frame.
        margin: steps i with margin < i < steps - margin count (0: all).
        ranges: first steps [start, stop) that count; empty for all.
        inclusive: at these dt, ranges include their ends.
        images: [start, stop) within which an interval has both its ends; empty for anywhere.
        seconds: (start, stop) after the bag's start, within which an interval has both its ends.
        maps: (first, last) maps of the ground truth, strictly between whose times an interval has both its ends.
        slices: equal-count slices a step is cut into, or None for as many as the network was trained on.
        keep: which of them the network sees; empty for all.
        mask: which pixels count. With "none" the protocol's figure is the dense one, else the sparse one.
        skip_empty: leave out intervals whose mask has no pixel before the ground truth is looked at.
        validity: where ground truth is taken for known.
        outlier: which errors are outliers.
        average: over frames (mean of each frame's mean), or over all pixels.
        empty: frames without a pixel to compare are "left out" of means, or count "as zero" error with all outliers.
    """

    name: str
    source: str
    description: str
    doubts: str = ""
    interval: Interval = "frames"
    dt: tuple[int, ...] = ()
    crop: tuple[int, int] | None = None
    rows: int | None = None
    rows_of: Literal["crop", "frame"] = "crop"
    margin: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    inclusive: tuple[int, ...] = ()
    images: tuple[int, int] | None = None
    seconds: tuple[float, float] | None = None
    maps: tuple[int, int] | None = None
    slices: int | None = None
    keep: tuple[int, ...] = ()
    mask: Mask = "events"
    skip_empty: bool = False
    validity: Validity = "norm"
    outlier: OutlierRule = field(default_factory=OutlierRule)
    average: Literal["frames", "pixels"] = "frames"
    empty: Literal["left out", "as zero"] = "left out"

    def frames(self, total: int, dt: int) -> list[int]:
        """First steps of the intervals to evaluate, of a sequence with `total` steps, as far as indices tell."""
        last = total - dt - 1
        if self.ranges:
            end = 1 if dt in self.inclusive else 0
            found = [i for start, stop in self.ranges for i in range(start, stop + end)]
        elif self.margin:
            found = list(range(self.margin + 1, total - self.margin))
        else:
            found = list(range(last + 1))
        if self.images is not None:
            found = [i for i in found if self.images[0] <= i and i + dt < self.images[1]]
        return [i for i in found if i <= last]

    def row_limit(self, top: int) -> int | None:
        """How many rows of a crop that begins at row `top` of the frame count, or None for all."""
        if self.rows is None:
            return None
        return self.rows if self.rows_of == "crop" else max(self.rows - top, 0)

    @property
    def figure(self) -> Literal["sparse", "dense"]:
        """Which score is the protocol's own."""
        return "dense" if self.mask == "none" else "sparse"


def load_protocol(name: str, sequence: str = "default") -> Protocol:
    """The protocol of that name as it applies to a sequence; sequences it does not name follow its default.

    Args:
        name: of a protocol that ships with the package, or the path of a `.toml` file of one's own.
        sequence: name of the recording, as `outdoor_day1`.

    Raises:
        InputError: no such protocol, one that says nothing of this sequence, or a setting that is unknown or of the
            wrong kind.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InputError(name, expected=f"a protocol among {', '.join(protocol_names())}", found="none of them")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(path, expected="a protocol as TOML", found=str(error)) from None
    frames = table.pop("frames", {})
    if sequence not in frames and "default" not in frames:
        raise InputError(sequence, expected=f"a sequence of protocol {path.stem}: {', '.join(frames) or 'none'}",
                         found="another")  # fmt: skip
    settings = table | frames.get(sequence, frames.get("default"))
    return Protocol(name=path.stem, **_checked(settings, path))


def protocol_names() -> list[str]:
    """Names of the protocols that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _checked(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Settings as the fields of a protocol want them: lists as tuples, rules read, words among those allowed."""
    hints = get_type_hints(Protocol)
    known = {each.name for each in fields(Protocol)} - {"name"}
    if unknown := set(settings) - known:
        raise InputError(path, expected=f"settings among {', '.join(sorted(known))}", found=", ".join(sorted(unknown)))
    if missing := {"source", "description"} - set(settings):
        raise InputError(path, expected="a source and a description", found=f"no {' and no '.join(sorted(missing))}")
    for key, value in settings.items():
        if get_origin(hints[key]) is Literal and value not in get_args(hints[key]):
            allowed = ", ".join(get_args(hints[key]))
            raise InputError(path, expected=f"{key} among {allowed}", found=str(value))
    try:
        read = {key: _tuples(value) for key, value in settings.items()}
        if "outlier" in read:
            read["outlier"] = OutlierRule.parse(read["outlier"])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return read


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
