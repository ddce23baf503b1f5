"""What an evaluation found: scores over frames and over pixels, and the report that prints them with their rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from flownet.metrics import FlowError
from flownet.protocols import Protocol
from flownet.published import PublishedRow, beside, published_rows

_WIDTHS = (12, 9, 9, 10, 13, 13, 14)


@dataclass(frozen=True)
class Score:
    """End-point errors of one prediction, summed over frames in two ways.

    Args:
        pixels: over all pixels together.
        frames: one error per frame; the published averages are means of these.
        empty: what frames without a pixel are: "left out" of the means, or "as zero" error with all outliers, as
            STE-FlowNet's and Spike-FlowNet's code counts them.
    """

    pixels: FlowError
    frames: tuple[FlowError, ...]
    empty: Literal["left out", "as zero"] = "left out"

    @property
    def aee(self) -> float:
        """Mean over frames of the frame's average end-point error, in pixels."""
        return self._mean([frame.aee for frame in self.frames if frame.pixels], 0.0)

    @property
    def outlier_percent(self) -> float:
        """Mean over frames of the share of pixels that are outliers (3 px off or more, by most rules), in per cent."""
        return self._mean([frame.outlier_percent for frame in self.frames if frame.pixels], 100.0)

    @property
    def kitti_outlier_percent(self) -> float:
        """The same of the outliers that are also off by 5 % of the true flow."""
        return self._mean([frame.kitti_outlier_percent for frame in self.frames if frame.pixels], 100.0)

    @property
    def empty_frames(self) -> int:
        """Frames in which there was no pixel to compare."""
        return sum(not frame.pixels for frame in self.frames)

    def _mean(self, values: list[float], of_empty: float) -> float:
        if self.empty == "as zero":
            values = values + [of_empty] * self.empty_frames
        return float(np.mean(values)) if values else float("nan")


class Row(NamedTuple):
    """One line of a report.

    Args:
        flow: "network" or "zero flow".
        kind: "sparse" (at the pixels of the protocol's mask) or "dense" (wherever the ground truth is known).
        average: over "frames" or "pixels".
        aee: average end-point error, pixels.
        outlier_percent, kitti_outlier_percent: by the protocol's limits.
        pixels: number of pixels compared.
        own: the protocol reports this one.
    """

    flow: str
    kind: str
    average: str
    aee: float
    outlier_percent: float
    kitti_outlier_percent: float
    pixels: int
    own: bool


@dataclass(frozen=True)
class Report:
    """What an evaluation found on one sequence; `print` it for a table.

    Args:
        protocol: its rules.
        sequence: name of the recording.
        dt: steps per interval.
        left_out: how many of the protocol's intervals were left out, for each reason.
        sparse, dense: scores of the network at the pixels of the protocol's mask, and at all with ground truth.
        zero_sparse, zero_dense: the same of a flow of zero, without which no error means anything.
        seconds_network: time spent in the network.
        seconds_outside: all the other time: waiting for samples, and scoring.
        seconds_reading: time spent on reading and preparing samples, most of it while the network runs.
    """

    protocol: Protocol
    sequence: str
    dt: int
    left_out: Mapping[str, int]
    sparse: Score
    dense: Score
    zero_sparse: Score
    zero_dense: Score
    seconds_network: float = field(default=0.0, compare=False)
    seconds_outside: float = field(default=0.0, compare=False)
    seconds_reading: float = field(default=0.0, compare=False)

    @property
    def own(self) -> Score:
        """The network's score at the pixels that the protocol reports: sparse, or dense where it has no mask."""
        return self.sparse if self.protocol.figure == "sparse" else self.dense

    @property
    def aee(self) -> float:
        """The protocol's figure in pixels: at its pixels, in its average."""
        return self.own.aee if self.protocol.average == "frames" else self.own.pixels.aee

    @property
    def outlier_percent(self) -> float:
        """The protocol's share of outliers in per cent: at its pixels, in its average, by its rule."""
        score = self.own if self.protocol.average == "frames" else self.own.pixels
        return score.kitti_outlier_percent if self.protocol.outlier.kitti else score.outlier_percent

    @property
    def relative(self) -> float:
        """The network's AEE over zero flow's, at the protocol's pixels and over frames."""
        zero = self.zero_sparse if self.protocol.figure == "sparse" else self.zero_dense
        return self.own.aee / zero.aee

    @property
    def share_outside(self) -> float:
        """Share of the time that was not spent in the network, 0..1."""
        total = self.seconds_network + self.seconds_outside
        return self.seconds_outside / total if total else float("nan")

    def rows(self) -> Iterator[Row]:
        """Each score by frames and by pixels."""
        scores = {
            ("network", "sparse"): self.sparse,
            ("zero flow", "sparse"): self.zero_sparse,
            ("network", "dense"): self.dense,
            ("zero flow", "dense"): self.zero_dense,
        }
        for (flow, kind), score in scores.items():
            for average, of in (("frames", score), ("pixels", score.pixels)):
                figures = (of.aee, of.outlier_percent, of.kitti_outlier_percent)
                own = (flow, kind, average) == ("network", self.protocol.figure, self.protocol.average)
                yield Row(flow, kind, average, *figures, score.pixels.pixels, own)

    def columns(self) -> list[str]:
        """What the columns of `rows` are, in words."""
        rule = self.protocol.outlier
        plain, kitti = (rule.words(kitti=each) for each in (False, True))
        return ["flow", "pixels", "average", "AEE px", f"outliers % ({plain})", f"outliers % ({kitti})", "pixels"]

    def covers(self) -> str:
        """What the figures are over: sequence, protocol, dt, frames evaluated, and those left out and why."""
        unit = "frames" if self.protocol.interval == "frames" else "maps of the ground truth"
        evaluated = len(self.sparse.frames)
        reasons = [f"{count} left out ({reason})" for reason, count in self.left_out.items() if count]
        if empty := self.own.empty_frames:
            reasons.append(f"{empty} without a pixel to compare ({self.own.empty} in means over frames)")
        return (f"{self.sequence}, dt={self.dt} {unit}, protocol {self.protocol.name} ({self.protocol.description}): "
                f"{', '.join([f'{evaluated} frames evaluated', *reasons])}")  # fmt: skip

    def timing(self) -> str:
        """Where the time went."""
        inside, outside = f"{self.seconds_network:.1f} s in the network", f"{self.seconds_outside:.1f} s outside it"
        reading = f"reading and preparing took {self.seconds_reading:.1f} s, most of it meanwhile"
        return f"{inside}, {outside} ({self.share_outside:.1%} of the time); {reading}"

    def mark(self) -> str:
        """What the mark of a row means, and what outliers are."""
        rule = self.protocol.outlier
        plain, kitti = (rule.words(kitti=each) for each in (False, True))
        of = "KITTI's" if rule.kitti else "the former"
        return f"* as {self.protocol.name} reports it; outliers {plain}, KITTI's {kitti}, of which it reports {of}"

    def __str__(self) -> str:
        heads = ["flow", "pixels", "average", "AEE px", "outliers %", "KITTI's %", "pixels"]
        lines = [self.covers(), "  " + _line(heads)]
        for row in self.rows():
            figures = (f"{row.aee:.3f}", f"{row.outlier_percent:.2f}", f"{row.kitti_outlier_percent:.2f}")
            lines.append(("* " if row.own else "  ") + _line([*row[:3], *figures, f"{row.pixels:,}"]))
        lines += [self.mark(), f"network / zero flow ({self.protocol.figure}, by frames): {self.relative:.3f}"]
        if self.seconds_network:
            lines.append(self.timing())
        return "\n".join(lines)

    def compared(self) -> str:
        """Published results on this sequence and dt beside ours, each with its source and the rules it was under."""
        rules, ours = self.protocol, (self.aee, self.outlier_percent)
        doubts = f"\nof {rules.name}: {' '.join(rules.doubts.split())}" if rules.doubts else ""
        return beside(self.published(), rules.name, ours) + doubts

    def published(self) -> list[PublishedRow]:
        """Published results on this sequence and dt; none where dt counts other steps than those of papers, frames."""
        return published_rows(self.sequence, self.dt) if self.protocol.interval == "frames" else []


def _line(cells: list[str]) -> str:
    left = zip(cells[:3], _WIDTHS[:3], strict=True)
    right = zip(cells[3:], _WIDTHS[3:], strict=True)
    return "".join([*(f"{cell:<{width}}" for cell, width in left), *(f"{cell:>{width}}" for cell, width in right)])
