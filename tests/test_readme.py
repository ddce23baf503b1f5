"""The README's commands and its Python run as they stand there, one after another, in a folder with a few pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, texture) -> Path:
    """Where the README's reader stands: `photos/` holds a short sequence."""
    import cv2

    folder = tmp_path_factory.mktemp("reader")
    (folder / "photos").mkdir()
    for index in range(9):
        cv2.imwrite(str(folder / "photos" / f"{index + 1:04d}.png"), np.uint8(255 * texture[:, index : 140 + index]))
    return folder


@pytest.mark.slow
def test_every_command_and_snippet_of_the_readme_runs(folder):
    """In the order of the page: later commands use what earlier ones made."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    lines = [line for block in blocks("bash") for line in block.splitlines() if line]
    assert len(lines) >= 10
    for line in lines:
        said = subprocess.run(line.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert said.returncode == 0, f"{line}\n{said.stderr}"
    code = "\n".join(blocks("python"))
    said = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "zero flow" in said.stdout


def test_two_commands_stand_at_the_top():
    top = README.read_text(encoding="utf-8")[:600]
    assert top.index("make demo") < top.index("make test")


def test_install_and_make_commands_name_what_exists():
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert (README.parent / "constraints.txt").exists()
