"""Reports and their charts: self-contained, escaped, and drawn to scale."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from eventsim.chart import line_chart, log_ticks, ticks
from eventsim.report import HtmlReport


def test_page_holds_everything_and_fetches_nothing(tmp_path):
    page = HtmlReport("A <title>")
    page.heading("Tables & pictures")
    page.text("Made by `make demo` < 5 minutes.")
    page.table(["flow", "AEE"], [["network", "0.5"], ["zero flow", "1.5"]])
    picture = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    page.pictures({"noise": picture})
    page.curves({"loss": ([1, 2, 3], [3, 2, 1])}, x_label="s", y_label="loss")
    page.write(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "A &lt;title&gt;" in html
    assert "<code>make demo</code> &lt; 5 minutes" in html
    assert re.findall(r"<td>([^<]*)</td>", html) == ["network", "0.5", "zero flow", "1.5"]
    assert not re.search(r'(src|href)="(?!data:)', html)
    import cv2

    data = re.search(r"data:image/png;base64,([^\"]+)", html)
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(shown, picture)


def test_report_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "page.html").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite"):
        HtmlReport("x").write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "precious"


@pytest.mark.parametrize("highest", [1e-9, 0.07, 1, 5, 9.99, 12_345])
def test_ticks_are_few_round_and_reach_the_top(highest):
    values = ticks(highest)
    assert values[0] == 0
    assert values[-1] >= highest * (1 - 1e-9)
    assert values[-2] < highest
    assert 3 <= len(values) <= 8


def test_chart_is_to_scale_and_leaves_out_what_is_not_finite():
    svg = line_chart({"a": ([0, 5, 10], [0.0, float("nan"), 10.0])}, x_label="x", y_label="y")
    (points,) = re.findall(r'<polyline points="([^"]*)"', svg)
    (x0, y0), (x1, y1) = (tuple(map(float, pair.split(","))) for pair in points.split())
    assert (x0, x1) == (60, 628)
    assert (y0, y1) == (255, 12)


def test_logarithmic_chart_gives_equal_factors_equal_room_and_leaves_out_what_has_none():
    curve = ([1, 10, 100, 1000], [5.0, 0.0, 500.0, 5000.0])
    svg = line_chart({"a": curve}, x_label="x", y_label="y", log_x=True, log_y=True)
    (points,) = re.findall(r'<polyline points="([^"]*)"', svg)
    (x0, y0), (x2, y2), (x3, y3) = (tuple(map(float, pair.split(","))) for pair in points.split())
    assert (x0, x3) == (60, 628)
    assert x2 - x0 == pytest.approx(2 * (x3 - x2), abs=0.2)
    assert y0 - y2 == pytest.approx(2 * (y2 - y3), abs=0.2)


def test_steps_are_levels_and_yardsticks_are_dashed():
    curves = {"real": ([0, 2, 4], [1.0, 3.0, 2.0]), "other half": ([0, 2, 4], [1.0, 3.0, 2.5])}
    svg = line_chart(curves, x_label="x", y_label="y", steps=True, yardsticks=["other half"])
    first, second = re.findall(r"<polyline [^>]*>", svg)
    places = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', first)[1].split()]
    assert [x for x, _ in places] == [60, 202, 202, 486, 486, 628]
    assert [y for _, y in places] == [174, 174, 12, 12, 93, 93]
    assert "dasharray" in second
    assert "dasharray" not in first


@pytest.mark.parametrize("name", ["empty", "one point", "only nan"])
def test_chart_of_next_to_nothing_is_drawn(name):
    curves = {"empty": {"a": ([], [])}, "one point": {"a": ([3], [2])}, "only nan": {"a": ([1, 2], [np.nan, np.nan])}}
    for log in (False, True):
        svg = line_chart(curves[name], x_label="x", y_label="y", log_x=log, log_y=log, steps=True)
        assert svg.endswith("</svg>")
        assert "nan" not in svg


def test_logarithmic_ticks():
    assert log_ticks(0.004, 30) == pytest.approx([0.01, 0.1, 1, 10])
    assert log_ticks(5, 100) == pytest.approx([5, 10, 20, 50, 100])


def test_tables_may_end_in_words(tmp_path):
    page = HtmlReport("t")
    page.table(["name", "value", "says"], [["a", "1", "less < is more"]], words=True)
    page.write(tmp_path / "page.html")
    assert '<td>a</td><td>1</td><td class="words">less &lt; is more</td>' in (tmp_path / "page.html").read_text()
