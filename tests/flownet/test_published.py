"""Published results and the table that shows them beside ours."""

from __future__ import annotations

import pytest

from flownet.protocols import protocol_names
from flownet.published import HEADS, beside, published_rows, sources

SEQUENCES = ["indoor_flying1", "indoor_flying2", "indoor_flying3", "outdoor_day1"]


@pytest.mark.parametrize(
    ("method", "dt", "expected"),
    [
        ("STE-FlowNet (released weights)", 1, [(0.56, 0.1), (0.75, 1.3), (0.69, 1.9), (0.41, 0.0)]),
        ("STE-FlowNet", 4, [(1.77, 14.7), (2.52, 26.1), (2.23, 22.1), (0.99, 3.9)]),
        ("MultiCM-V2", 1, [(0.30, 0.0), (0.47, 0.01), (0.34, 0.0), (0.28, 0.21)]),
        ("zero flow (V2V)", 1, [(2.04, 20.2), (3.46, 52.5), (2.77, 38.6), (3.59, 54.5)]),
    ],
)
def test_figures_are_the_published_ones(method: str, dt: int, expected: list[tuple[float, float]]) -> None:
    for sequence, figures in zip(SEQUENCES, expected, strict=True):
        (row,) = [row for row in published_rows(sequence, dt) if row.method == method]
        assert (row.aee, row.outlier_percent) == figures


@pytest.mark.parametrize(("dt", "numbers"), [(1, [30, 30, 29, 34]), (4, [20, 19, 19, 21])])
def test_every_row_is_there(dt: int, numbers: list[int]) -> None:
    assert [len(published_rows(sequence, dt)) for sequence in SEQUENCES] == numbers
    assert len(published_rows("dsec_test", 1)) == 19
    assert published_rows("outdoor_day2", 1) == published_rows("outdoor_day1", 2) == []


def test_rows_are_complete_and_in_order() -> None:
    rows = [row for sequence in [*SEQUENCES, "dsec_test"] for dt in (1, 4) for row in published_rows(sequence, dt)]
    for row in rows:
        assert row.kind in ("SSL", "USL", "SL", "model", "")
        assert row.sources
        assert row.protocol is None or row.protocol in protocol_names()
        assert 0 < row.aee < 10
        assert row.outlier_percent is None or 0 <= row.outlier_percent < 100
    errors = [row.aee for row in published_rows("outdoor_day1", 1)]
    assert errors == sorted(errors)


def test_rows_of_one_protocol() -> None:
    rows = published_rows("outdoor_day1", 1, "steflow")
    assert {row.method for row in rows} == {"STE-FlowNet", "STE-FlowNet (released weights)"}
    assert published_rows("outdoor_day1", 1, "full") == []


def test_a_figure_from_another_paper_is_a_quotation() -> None:
    rows = {row.method: row for row in published_rows("outdoor_day1", 1)}
    assert rows["EV-FlowNet"].quoted
    assert rows["EV-FlowNet"].measured_under == "evflownet, quoted"
    assert not rows["STE-FlowNet"].quoted
    assert rows["TMA"].measured_under == "rules not stated, quoted"
    assert rows["E-MoFlow"].measured_under == "rules not stated"


def test_every_source_s_letter_is_resolved() -> None:
    found = sources()
    assert set("ABCDEFGHSVWX") == set(found)
    assert all(source.title and source.reference for source in found.values())
    assert found["H"].second_hand


def test_the_same_protocol_s_rows_come_first_and_are_marked() -> None:
    lines = beside(published_rows("outdoor_day1", 1), "steflow", (0.5, 0.25)).splitlines()
    assert all(head in lines[0] for head in HEADS)
    assert "this network" in lines[1]
    assert "0.50" in lines[1]
    marked = [line for line in lines if line.startswith("* ")]
    assert len(marked) == 3  # two rows and what the mark means
    assert marked[0].startswith("* STE-FlowNet (released weights)")
    assert lines.index(marked[1]) == 3
    assert "mix the rules" in lines[-1]


def test_nothing_to_compare_is_said() -> None:
    assert "no published results" in beside([], "full", (0.5, 0.1))
    assert "compare none exactly" in beside(published_rows("indoor_flying1", 4), "full", (0.5, 0.1))
