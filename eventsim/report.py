"""Reports as one self-contained HTML file: headings, text, tables, pictures and curves, nothing to fetch."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from eventsim.io.atomic import atomic_path
from eventsim.view import png_bytes

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1e21; background: #fff; max-width: 74rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.9rem } h2 { font-size: 1.3rem; margin-top: 2.2rem; border-bottom: 1px solid #d8dbe0; padding-bottom: .2rem }
.row { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0 } figure { margin: 0 } figcaption { color: #565b63; font-size: .85rem }
img { image-rendering: pixelated; display: block; max-width: 100%; border: 1px solid #d8dbe0 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .3rem .9rem; border-bottom: 1px solid #d8dbe0; text-align: right }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #1c1e21 }
code { background: #f1f2f4; padding: .1rem .3rem }
"""  # noqa: E501
_COLOURS = ("#1f5fbf", "#c2410c", "#15803d", "#7e22ce")


class HtmlReport:
    """A page that is built from top to bottom and written at the end."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts = [f"<h1>{escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """A section's heading."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph; `code` between back-quotes is set as code."""
        pieces = escape(text).split("`")
        marked = "".join(f"<code>{piece}</code>" if odd % 2 else piece for odd, piece in enumerate(pieces))
        self._parts.append(f"<p>{marked}</p>")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column names the row."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def pictures(self, pictures: Mapping[str, NDArray[np.uint8]], *, height_px: int = 260) -> None:
        """A row of pictures (uint8 [H, W, 3]) with their captions."""
        figures = []
        for caption, picture in pictures.items():
            data = base64.b64encode(png_bytes(picture)).decode()
            figures.append(f'<figure><img height="{height_px}" alt="{escape(caption)}" '
                           f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>')  # fmt: skip
        self._parts.append(f'<div class="row">{"".join(figures)}</div>')

    def curves(self, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str) -> None:
        """A line chart: name -> (x, y)."""
        self._parts.append(line_chart(series, x_label=x_label, y_label=y_label))

    def write(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the page."""
        page = (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
                f"<style>{_STYLE}</style></head><body>\n{chr(10).join(self._parts)}\n</body></html>\n")  # fmt: skip
        with atomic_path(path, overwrite=overwrite) as partial:
            partial.write_text(page, encoding="utf-8")


def line_chart(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str
) -> str:
    """Curves as an SVG element, on axes that start at the smallest x and at y = 0."""
    width, height, left, bottom, top = 640, 300, 60, 45, 12
    every_x = [value for x, _ in series.values() for value in x]
    every_y = [value for _, y in series.values() for value in y if np.isfinite(value)]
    x0, x1 = min(every_x), max(max(every_x), min(every_x) + 1e-9)
    y_ticks = _ticks(max([*every_y, 1e-9]))
    to_x = lambda x: left + (x - x0) / (x1 - x0) * (width - left - 12)  # noqa: E731
    to_y = lambda y: height - bottom - y / y_ticks[-1] * (height - bottom - top)  # noqa: E731
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" font-family="system-ui" font-size="12">']
    for tick in y_ticks:
        y = to_y(tick)
        parts.append(f'<line x1="{left}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dbe0"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in [t for t in _ticks(x1) if t >= x0]:
        parts.append(f'<text x="{to_x(tick):.1f}" y="{height - bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for index, (name, (x, y)) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(f"{to_x(a):.1f},{to_y(b):.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{width - 16}" y="{top + 14 + 15 * index}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    parts.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="14" y="{(height - bottom) / 2}" text-anchor="middle" '
                 f'transform="rotate(-90 14 {(height - bottom) / 2})">{escape(y_label)}</text></svg>')  # fmt: skip
    return "".join(parts)


def _ticks(highest: float) -> list[float]:
    """About five round numbers from 0 to at least `highest`."""
    rough = highest / 5
    magnitude = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    return [float(round(step * k, 12)) for k in range(int(np.ceil(highest / step)) + 1)]
