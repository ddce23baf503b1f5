"""The log of a training run: `log.csv`, TensorBoard and lines on the screen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any


def columns(terms: Sequence[str]) -> list[str]:
    """Columns of a log with these losses."""
    return ["step", "seconds", *terms, "learning_rate", "samples_per_s", "data_share"]


def open_log(path: Path, step: int, header: Sequence[str]) -> IO[str]:
    """The log, open for rows after a step: those that a run went on to write after its checkpoint are taken back."""
    kept: list[str] = []
    if step and path.exists():
        _, *rows = path.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if int(row.split(",", 1)[0]) <= step]
    file = path.open("w", encoding="utf-8", buffering=1)
    file.write("\n".join([",".join(header), *kept]) + "\n")
    return file


class RunLog:
    """Rows of `log.csv` and TensorBoard, each the mean over the steps since the last, and now and then a line.

    Args:
        file: the log, from `open_log`.
        board: TensorBoard's writer.
        terms: names of the losses.
        steps, minutes: how long the run will be at most, to tell the time left.
        every: steps between rows.
        quiet: print nothing.
    """

    def __init__(
        self,
        file: IO[str],
        board: Any,
        *,
        terms: Sequence[str],
        steps: int,
        every: int,
        minutes: float | None,
        quiet: bool,
    ) -> None:
        self.file, self.board, self.quiet, self.terms = file, board, quiet, list(terms)
        self.total, self.every, self.minutes = steps, every, minutes
        self.sums: dict[str, float] = {}
        self.steps, self.waited, self.last = 0, 0.0, time.monotonic()
        self.said = -math.inf

    def add(self, step: int, seconds: float, values: dict[str, float], samples: int, waited: float) -> None:
        """Counts one step: its values, its samples, and the seconds that it waited for them."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.waited += waited
        if step % self.every:
            return
        now = time.monotonic()
        span = now - self.last
        means = {name: value / self.steps for name, value in self.sums.items()}
        rate, data = self.steps * samples / span, self.waited / span
        row = {"step": step, "seconds": seconds, **means, "samples_per_s": rate, "data_share": data}
        names = columns(self.terms)
        self.file.write(",".join(f"{row[name]:.6g}" for name in names) + "\n")
        for name in names[2:]:
            self.board.add_scalar(name, row[name], step)
        self.sums, self.steps, self.waited, self.last = {}, 0, 0.0, now
        if not self.quiet and now - self.said > 10:
            losses = "  ".join(f"{name} {row[name]:.5f}" for name in self.terms)
            left = self._seconds_left(step, seconds)
            print(f"[{step}/{self.total}] {losses}  {rate:.0f} samples/s  data {data:.0%}  {seconds:.0f} s, "
                  f"{left:.0f} s left", flush=True)  # fmt: skip
            self.said = now

    def _seconds_left(self, step: int, seconds: float) -> float:
        by_steps = seconds / step * (self.total - step)
        return min(by_steps, 60 * self.minutes - seconds) if self.minutes else by_steps
