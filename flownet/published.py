"""Published results, to print beside ours: every figure with its source and with the rules that it was found under.

The figures are data: `flownet/protocols/published/*.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "protocols" / "published"
_OURS = "this network"
#: What the cells of a row are.
HEADS = ("method", "type", "AEE px", "outliers %", "measured under", "source")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where figures were found.

    Args:
        letter: its short name in our tables.
        title, reference: what it is, and where.
        methods: those whose own publication it is; figures of all others it quotes or re-ran.
        second_hand: we know its figures by quotation, too.
    """

    letter: str
    title: str
    reference: str
    methods: tuple[str, ...] = ()
    second_hand: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published result.

    Args:
        method, year: whose it is; the year is 0 where it is not recorded.
        kind: "SSL" (self-supervised by frames), "USL" (by events alone), "SL" (by true flow), "model" (no learning),
            or "" where not recorded; `how` says more.
        sequence, dt: what it is about: frames per interval on MVSEC, 1 on DSEC.
        aee: average end-point error, pixels.
        outlier_percent: outliers in per cent by the source's own rule, where given.
        angle_deg: angular error in degrees, where given (DSEC).
        sources: where it was found.
        protocol: the rules of ours that its authors' code follows; None where these are not known or not ours.
        note: what else must be known of it.
    """

    method: str
    year: int
    kind: str
    how: str
    sequence: str
    dt: int
    aee: float
    outlier_percent: float | None
    angle_deg: float | None
    sources: tuple[Source, ...]
    protocol: str | None
    note: str

    @property
    def quoted(self) -> bool:
        """Whether none of the sources is the method's own publication."""
        return not any(self.method.startswith(source.methods) for source in self.sources if source.methods)

    @property
    def measured_under(self) -> str:
        """Which rules the figure was found under, as far as that is known."""
        rules = self.protocol or "rules not stated"
        return f"{rules}, quoted" if self.quoted else rules

    @property
    def found_in(self) -> str:
        """The sources, in words."""
        return "; ".join(source.title for source in self.sources)

    def cells(self) -> tuple[str, ...]:
        """The row as text under `HEADS`."""
        outliers = "-" if self.outlier_percent is None else f"{self.outlier_percent:g}"
        found = f"{self.found_in} ({self.note})" if self.note else self.found_in
        figures = (f"{self.aee:.3f}".removesuffix("0"), outliers)
        return (self.method, self.kind, *figures, self.measured_under, found)


def published_rows(sequence: str, dt: int, protocol: str | None = None) -> list[PublishedRow]:
    """The published results on a sequence, least error first.

    Args:
        sequence: "indoor_flying1" to "indoor_flying3", "outdoor_day1", or "dsec_test"; others have none.
        dt: grey frames per interval; 1 for DSEC.
        protocol: only those that were found under these rules of ours.
    """
    rows = [row for row in _all() if (row.sequence, row.dt) == (sequence, dt)]
    return sorted((row for row in rows if protocol in (None, row.protocol)), key=lambda row: row.aee)


def sources() -> dict[str, Source]:
    """All sources by their letter."""
    table = _table("sources")
    return {letter: Source(letter=letter, **_tupled(entry)) for letter, entry in table.items()}


def beside(rows: Sequence[PublishedRow], protocol: str, ours: tuple[float, float]) -> str:
    """Published results as a table under our own, those under the same rules first.

    Args:
        rows: the results.
        protocol: the rules that ours was found under.
        ours: our AEE in pixels and outliers in per cent.
    """
    if not rows:
        return "no published results on this sequence and interval are known to us"
    lines = ["  " + _line(each) for each in (HEADS, (_OURS, "", f"{ours[0]:.2f}", f"{ours[1]:.2f}", protocol, ""))]
    same = [row for row in rows if row.protocol == protocol]
    other = [row for row in rows if row.protocol != protocol]
    lines += ["* " + _line(row.cells()) for row in same] + ["  " + _line(row.cells()) for row in other]
    return "\n".join([*lines, *caveats(protocol, same=len(same), other=len(other))])


def caveats(protocol: str, *, same: int, other: int) -> list[str]:
    """What a reader of such a table must know."""
    if same:
        lines = [f"* {same} measured under {protocol}, as far as we know its rules: only these compare with ours"]
    else:
        lines = [f"no published result here is known to be measured under {protocol}: compare none exactly"]
    if other:
        lines.append(
            f"{other} under other rules or rules that their source does not state: other frames, masks and crops. "
            '"Quoted": found in another paper than the method\'s own; such tables mix the rules of their rows'
        )
    return lines


def _line(cells: Sequence[str]) -> str:
    method, kind, aee, outliers, under, source = cells
    return f"{method:<36}{kind:<7}{aee:>7}{outliers:>12}  {under:<28}{source}".rstrip()


@cache
def _all() -> tuple[PublishedRow, ...]:
    letters = sources()
    rows: list[PublishedRow] = []
    for name in ("mvsec", "dsec"):
        table = _table(name)
        for entry in table["results"]:
            rows += _rows(entry, table["sequences"], letters)
    return tuple(rows)


def _rows(entry: dict[str, Any], sequences: dict[str, str], letters: dict[str, Source]) -> list[PublishedRow]:
    """The results of one entry, one for each sequence that it gives figures of: [AEE, outliers, angle]."""
    about = {key: entry.get(key, "") for key in ("kind", "how", "note")}
    found = tuple(letters[letter] for letter in entry["sources"])
    rows = []
    for short, sequence in sequences.items():
        if short not in entry:
            continue
        aee, outliers, angle = (*entry[short], None, None)[:3]
        rules = entry.get("protocol")
        rules = rules.get(short) if isinstance(rules, dict) else rules
        rows.append(PublishedRow(method=entry["method"], year=entry.get("year", 0), sequence=sequence,
                                 dt=entry.get("dt", 1), aee=float(aee), outlier_percent=outliers, angle_deg=angle,
                                 sources=found, protocol=rules, **about))  # fmt: skip
    return rows


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _tupled(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
