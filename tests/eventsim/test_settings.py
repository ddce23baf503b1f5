"""Settings from YAML: every fault is named together with the file."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from eventsim.settings import read_settings


@dataclass(frozen=True)
class Example:
    number: float = 1.0
    count: int = 2
    switch: bool = True
    word: str = "a"
    several: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("expected number of 0 or more")


def test_values_and_overrides(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("number: 3\nswitch: false\n")
    assert read_settings(Example, path, {"count": 7}) == Example(number=3, count=7, switch=False)


def test_empty_file_is_all_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# nothing\n")
    assert read_settings(Example, path, {}) == Example()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("numbre: 3", "numbre"),
        ("number: 1e-4", r"1\.0e-4.*number.*'1e-4'"),
        ("number: true", "number"),
        ("count: 1.5", "whole number for count"),
        ("switch: 1", "true or false for switch"),
        ("word: 3", "word"),
        ("number: -1", "0 or more"),
        ("[1, 2]", "mapping"),
        ("{", "YAML"),
    ],
)
def test_faults_name_the_file(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.yaml.*{words}") as caught:
        read_settings(Example, path, {})
    assert len(str(caught.value).splitlines()) == 1
