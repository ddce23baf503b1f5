"""What a comparison of a simulated recording with a real one shows, whatever the camera: a table of numbers by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_COLUMN = 16


class Comparison(ABC):
    """Statistics of a simulated and a real recording and distances between them; `print` it for a table.

    A statistic is an attribute of `simulated` and of `real`; what is only in `difference` is a distance.
    """

    difference: dict[str, float]
    half_against_half: dict[str, float]

    @property
    @abstractmethod
    def simulated(self) -> Any:
        """The simulated recording's statistics, as attributes."""

    @property
    @abstractmethod
    def real(self) -> Any:
        """The real recording's statistics, as attributes."""

    @abstractmethod
    def heading(self) -> list[str]:
        """What was compared with what, in lines above the table."""

    def rows(self) -> Iterator[tuple[str, float, float, float, float]]:
        """Name, simulated, real, difference and half against half; the first two are NaN for distances."""
        for name, difference in self.difference.items():
            values = [getattr(each, name, np.nan) for each in (self.simulated, self.real)]
            yield name, values[0], values[1], difference, self.half_against_half[name]

    def __str__(self) -> str:
        columns = ("simulated", "real", "difference", "half/half")
        head = [*self.heading(), f"{'statistic':<26}" + "".join(f"{name:>{_COLUMN}}" for name in columns)]
        numbers = (
            f"{name:<26}" + "".join(f"{_number(value):>{_COLUMN}}" for value in values) for name, *values in self.rows()
        )
        return "\n".join([*head, *numbers])


def mean_differences(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The mean over two halves of each difference."""
    return {name: (first[name] + second[name]) / 2 for name in first}


def markdown_table(columns: Mapping[str, Comparison]) -> str:
    """Comparisons of several simulated recordings with one real one, as a table in Markdown.

    Of a statistic, the value that each has; of a distance, how far each is. The real recording's own halves stand last.

    Args:
        columns: what a column is called -> the comparison; all of the same kind and the same real recording.
    """
    first = next(iter(columns.values()))
    lines = [
        f"| statistic | real | {' | '.join(columns)} | real: half against half |",
        "|---|--:|" + "--:|" * len(columns) + "--:|",
    ]
    for name, _, real, _, own in first.rows():
        statistic = hasattr(first.real, name)
        values = [getattr(each.simulated, name) if statistic else each.difference[name] for each in columns.values()]
        cells = [_number(real) if statistic else "", *map(_number, values)]
        lines.append(f"| {name} | {' | '.join(cells)} | {own:.2g} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"
