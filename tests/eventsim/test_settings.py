"""Settings from YAML: every fault is named together with the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from eventsim.settings import check_kinds, read_settings, require_at_most


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
        ("count: 1\nword: b\ncount: 3", "count twice"),
        ("word: 2001-99-99", "YAML"),
    ],
)
def test_faults_name_the_file(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.yaml.*{words}") as caught:
        read_settings(Example, path, {})
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("word: Größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"mine\.yaml.*UTF-8"):
        read_settings(Example, path, {})


@pytest.mark.parametrize("wrong", [{"number": True}, {"count": 1.5}, {"count": True}, {"switch": 1}, {"word": 3}])
def test_fields_are_of_their_defaults_kind(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"expected .* for {name}, got {value}"):
        check_kinds(Example(**wrong))


def test_numbers_of_numpy_become_pythons():
    found = Example(number=np.float32(0.5), count=np.int64(3), switch=np.bool_(False))
    check_kinds(found)
    assert [type(value) for value in (found.number, found.count, found.switch)] == [float, int, bool]
    check_kinds(Example(word=3), but=["word"])


def test_upper_bounds():
    require_at_most(Example(number=2.0), {"number": 2})
    with pytest.raises(ValueError, match=r"number of at most 2, got 2\.5"):
        require_at_most(Example(number=2.5), {"number": 2})
