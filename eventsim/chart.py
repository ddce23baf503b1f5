"""Line charts as SVG: enough for a report's curves, without a plotting library."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

_COLOURS = ("#1f5fbf", "#c2410c", "#15803d", "#7e22ce")
_YARDSTICK = "#8a8f98"
_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 12, 45

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class _Axis:
    """From values to places between `start` and `end` in the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        low, high, at = (np.log10(each) if self.log else each for each in (self.low, self.high, value))
        return float(self.start + (at - low) / (high - low) * (self.end - self.start))

    def shows(self, value: float) -> bool:
        """Whether a value has a place: it is finite, and positive where the axis is logarithmic."""
        return bool(np.isfinite(value) and (value > 0 or not self.log))

    def ticks(self) -> list[float]:
        """Round numbers along the axis."""
        every = log_ticks(self.low, self.high) if self.log else ticks(self.high)
        return [tick for tick in every if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]


def line_chart(
    series: Series,
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    steps: bool = False,
    yardsticks: Collection[str] = (),
) -> str:
    """Curves (name -> x, y) as an SVG element.

    Args:
        series: the curves. Values that are not finite, and those of 0 or less on a logarithmic axis, are left out.
        x_label, y_label: what the axes show.
        log_x, log_y: logarithmic axes. Otherwise x starts at the smallest x, and y at 0.
        steps: draw each value as a level, from halfway to the value before to halfway to the next: for histograms.
        yardsticks: names of the curves that the others are held against, drawn grey and dashed.
    """
    x_axis, y_axis = _axes(series, log_x, log_y)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" font-family="system-ui" font-size="12">']
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dbe0"/>')
        parts.append(_label(_LEFT - 6, y + 4, f"{tick:g}", "end"))
    for tick in x_axis.ticks():
        x = x_axis(tick)
        # The last label would reach out of the picture.
        anchor = "middle" if x < _WIDTH - 2 * _RIGHT else "end"
        parts.append(_label(x, _HEIGHT - _BOTTOM + 16, f"{tick:g}", anchor))
    curves = {
        name: [(x_axis(x), y_axis(y)) for x, y in zip(*each, strict=True) if x_axis.shows(x) and y_axis.shows(y)]
        for name, each in series.items()
    }
    legend_x, legend_anchor = (_LEFT + 8, "start") if _rises(curves) else (_WIDTH - 16, "end")
    for index, (name, points) in enumerate(curves.items()):
        grey = name in yardsticks
        colour, dashes = (_YARDSTICK, ' stroke-dasharray="5 3"') if grey else (_COLOURS[index % len(_COLOURS)], "")
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_stairs(points) if steps else points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>')
        halo = 'stroke="#fff" stroke-width="4" paint-order="stroke"'
        parts.append(_label(legend_x, _TOP + 14 + 15 * index, name, legend_anchor, f'fill="{colour}" {halo}'))
    middle = (_HEIGHT - _BOTTOM) / 2
    parts.append(_label((_LEFT + _WIDTH) / 2, _HEIGHT - 8, x_label, "middle"))
    parts.append(_label(14, middle, y_label, "middle", f'transform="rotate(-90 14 {middle})"'))
    return "".join(parts) + "</svg>"


def _axes(series: Series, log_x: bool, log_y: bool) -> tuple[_Axis, _Axis]:
    xs = [x for every, _ in series.values() for x in every if np.isfinite(x) and (x > 0 or not log_x)] or [1.0]
    ys = [y for _, every in series.values() for y in every if np.isfinite(y) and (y > 0 or not log_y)] or [1.0]
    left, right = min(xs), max(max(xs), min(xs) * (1 + 1e-9), min(xs) + 1e-9)
    if log_y:
        bottom, top = min(ys) / 1.2, max(ys) * 1.2
    else:
        bottom, top = 0.0, ticks(max([*ys, 1e-9]))[-1]
    across = _Axis(left, right, _LEFT, _WIDTH - _RIGHT, log_x)
    return across, _Axis(bottom, top, _HEIGHT - _BOTTOM, _TOP, log_y)


def _rises(curves: Mapping[str, list[tuple[float, float]]]) -> bool:
    """Whether the curves come closer to the top in the right third of the picture than in the left one."""
    points = [point for each in curves.values() for point in each]
    third = (_WIDTH - _LEFT) / 3
    left = [y for x, y in points if x < _LEFT + third]
    right = [y for x, y in points if x > _WIDTH - third]
    return bool(left and right and min(right) < min(left))


def _stairs(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of levels, each halfway to its neighbours."""
    if not points:
        return []
    edges = [(a + b) / 2 for (a, _), (b, _) in pairwise(points)]
    starts, ends = [points[0][0], *edges], [*edges, points[-1][0]]
    levels = (y for _, y in points)
    return [corner for a, b, y in zip(starts, ends, levels, strict=True) for corner in ((a, y), (b, y))]


def _label(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def ticks(highest: float) -> list[float]:
    """About five round numbers from 0 to at least `highest`, which is positive."""
    rough = highest / 5
    magnitude = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    return [float(round(step * k, 12)) for k in range(int(np.ceil(highest / step - 1e-9)) + 1)]


def log_ticks(lowest: float, highest: float) -> list[float]:
    """The powers of ten, or 1, 2 and 5 times them where there are fewer than three, from `lowest` to `highest`."""
    powers = range(int(np.floor(np.log10(lowest))), int(np.ceil(np.log10(highest))) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [tick for tick in found if lowest * (1 - 1e-9) <= tick <= highest * (1 + 1e-9)]
        if len(found) >= 3:
            break
    return found
