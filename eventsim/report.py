"""Reports as one self-contained HTML file: headings, text, tables, pictures and curves, nothing to fetch."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from html import escape
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from eventsim.chart import Series, line_chart
from eventsim.io.atomic import atomic_path
from eventsim.view import png_bytes

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1e21; background: #fff; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.9rem } h2 { font-size: 1.3rem; margin-top: 2.2rem; border-bottom: 1px solid #d8dbe0; padding-bottom: .2rem }
.row { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0 } figure { margin: 0 } figcaption { color: #565b63; font-size: .85rem }
img { image-rendering: pixelated; display: block; max-width: 100%; border: 1px solid #d8dbe0 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .3rem .9rem; border-bottom: 1px solid #d8dbe0; text-align: right }
th:first-child, td:first-child, td.words { text-align: left } td.words { color: #565b63; font-size: .85rem; line-height: 1.3 } thead th { border-bottom: 2px solid #1c1e21 }
code { background: #f1f2f4; padding: .1rem .3rem }
"""  # noqa: E501


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

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> None:
        """A table; the first column names the row, and with `words` the last one says something about it."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join(f"<tr>{_cells(row, words)}</tr>" for row in rows)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def pictures(self, pictures: Mapping[str, NDArray[np.uint8]], *, height_px: int = 260) -> None:
        """A row of pictures (uint8 [H, W, 3]) with their captions."""
        figures = []
        for caption, picture in pictures.items():
            data = base64.b64encode(png_bytes(picture)).decode()
            image = f'<img height="{height_px}" alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            figures.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
        self._parts.append(f'<div class="row">{"".join(figures)}</div>')

    def curves(
        self,
        series: Series,
        *,
        x_label: str,
        y_label: str,
        log_x: bool = False,
        log_y: bool = False,
        steps: bool = False,
        yardsticks: Collection[str] = (),
    ) -> None:
        """A line chart: name -> (x, y). The options are `line_chart`'s."""
        self._parts.append(
            line_chart(
                series, x_label=x_label, y_label=y_label, log_x=log_x, log_y=log_y, steps=steps, yardsticks=yardsticks
            )
        )

    def write(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the page."""
        page = (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
                f"<style>{_STYLE}</style></head><body>\n{chr(10).join(self._parts)}\n</body></html>\n")  # fmt: skip
        with atomic_path(path, overwrite=overwrite) as partial:
            partial.write_text(page, encoding="utf-8")


def _cells(row: Sequence[str], words: bool) -> str:
    plain = row[:-1] if words else row
    last = f'<td class="words">{escape(row[-1])}</td>' if words else ""
    return "".join(f"<td>{escape(cell)}</td>" for cell in plain) + last
