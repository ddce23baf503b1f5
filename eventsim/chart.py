"""Line charts as SVG: enough for a report's curves, without a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_COLOURS = ("#1f5fbf", "#c2410c", "#15803d", "#7e22ce")
_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 12, 45

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class _Axes:
    """From values to places in the picture; y starts at 0."""

    x0: float
    x1: float
    y1: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x0) / (self.x1 - self.x0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self.y1 * (_HEIGHT - _BOTTOM - _TOP)


def line_chart(series: Series, *, x_label: str, y_label: str) -> str:
    """Curves (name -> x, y) as an SVG element, on axes that start at the smallest x and at y = 0.

    Values that are not finite are left out.
    """
    every_x = [value for x, _ in series.values() for value in x]
    every_y = [value for _, y in series.values() for value in y if np.isfinite(value)]
    y_ticks = ticks(max([*every_y, 1e-9]))
    axes = _Axes(min(every_x), max(max(every_x), min(every_x) + 1e-9), y_ticks[-1])
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" font-family="system-ui" font-size="12">']
    for tick in y_ticks:
        y = axes.y(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dbe0"/>')
        parts.append(_label(_LEFT - 6, y + 4, f"{tick:g}", "end"))
    for tick in ticks(axes.x1):
        if axes.x0 <= tick <= axes.x1:
            parts.append(_label(axes.x(tick), _HEIGHT - _BOTTOM + 16, f"{tick:g}", "middle"))
    for index, (name, (x_values, y_values)) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        pairs = [(x, y) for x, y in zip(x_values, y_values, strict=True) if np.isfinite(y)]
        points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in pairs)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(_label(_WIDTH - 16, _TOP + 14 + 15 * index, name, "end", f'fill="{colour}"'))
    middle = (_HEIGHT - _BOTTOM) / 2
    parts.append(_label((_LEFT + _WIDTH) / 2, _HEIGHT - 8, x_label, "middle"))
    parts.append(_label(14, middle, y_label, "middle", f'transform="rotate(-90 14 {middle})"'))
    return "".join(parts) + "</svg>"


def _label(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def ticks(highest: float) -> list[float]:
    """About five round numbers from 0 to at least `highest`, which is positive."""
    rough = highest / 5
    magnitude = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    return [float(round(step * k, 12)) for k in range(int(np.ceil(highest / step - 1e-9)) + 1)]
