"""What is kept beside an output."""

from __future__ import annotations

import json
from pathlib import Path

from eventsim import EventCamera
from eventsim.provenance import write_provenance


def test_cameras_are_mappings_and_paths_are_text(tmp_path: Path) -> None:
    camera = EventCamera.preset("davis346")
    path = write_provenance(tmp_path / "a.h5", {"seed": 3, "out": Path("x")}, camera=camera, cameras=[camera])
    record = json.loads(path.read_text())
    assert path.name == "a.h5.run.json"
    assert record["settings"] == {"seed": 3, "out": "x"}
    assert EventCamera(**record["camera"]) == EventCamera(**record["cameras"][0]) == camera


def test_in_a_folder_it_lies_inside(tmp_path: Path) -> None:
    assert write_provenance(tmp_path, {}) == tmp_path / "run.json"
