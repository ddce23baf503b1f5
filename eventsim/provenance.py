"""What made an output: settings, versions, seed and commit, kept as JSON beside it."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.io.atomic import atomic_path

_PACKAGES = ("retinaflow", "numpy", "numba", "opencv-python", "h5py", "hdf5plugin", "joblib", "onnx", "onnxscript",
             "onnxruntime", "torch")  # fmt: skip


def write_provenance(output: str | PathLike[str], settings: Any, **more: Any) -> Path:
    """Writes `<output>.run.json` (or `run.json` inside an output folder) and returns its path.

    Args:
        output: the file or folder that was made.
        settings: a dataclass or mapping of the resolved settings, the seed among them.
        more: further entries; dataclasses (a camera, say) become mappings.
    """
    target = Path(output)
    path = target / "run.json" if target.is_dir() else target.with_name(target.name + ".run.json")
    with atomic_path(path, overwrite=True) as partial:
        partial.write_text(json.dumps(provenance(settings) | more, indent=2, default=plain) + "\n", encoding="utf-8")
    return path


def provenance(settings: Any) -> dict[str, Any]:
    """Settings, command line, versions and commit as a mapping that JSON can hold."""
    resolved = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else dict(settings)  # type: ignore[arg-type]
    return {
        "settings": resolved,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": commit(),
    }


def plain(value: Any) -> Any:
    """What JSON does not know by itself: dataclasses as mappings, arrays by their checksum, all else as text."""
    if dataclasses.is_dataclass(type(value)):
        return dataclasses.asdict(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} sha256 {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    return value.item() if isinstance(value, np.generic) else str(value)


def commit() -> str | None:
    """The commit of the checkout that this package runs from, with `-dirty` where files differ; None if installed."""
    try:
        _git(
            "ls-files", "--error-unmatch", f"{Path(__file__).parent.name}/{Path(__file__).name}"
        )  # an installed copy may lie inside another checkout
        return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def changes() -> str:
    """What differs from that commit in files that git knows, as a diff; empty if nothing does, or if installed."""
    try:
        return "" if commit() is None else _git("diff", "HEAD", "--", "eventsim", "flownet")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent.parent
    said = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=5)
    return said.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
