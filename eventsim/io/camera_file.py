"""A camera's file: YAML settings, and its per-pixel maps in `<name>_maps.npz` beside it, which the YAML names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.io.atomic import atomic_path, refuse_existing
from eventsim.io.faults import naming


def write_camera(
    path: str | os.PathLike[str],
    settings: dict[str, Any],
    maps: dict[str, NDArray[np.float32]],
    *,
    overwrite: bool = False,
) -> None:
    """Writes a camera file, which `SpikeCamera.preset(path)` reads.

    Args:
        path: the YAML file; maps go to `maps_path(path)`.
        settings: fields without maps.
        maps: field -> float32 [H, W].
        overwrite: replace existing files.

    Raises:
        OutputExistsError: a file exists and `overwrite` is false.
        OSError: the disk takes no more; names the path.
    """
    import yaml

    target, beside = Path(path), maps_path(path)
    for each in (target, beside):
        refuse_existing(each, overwrite=overwrite)
    if maps:
        with naming(beside), atomic_path(beside, overwrite=overwrite) as partial:
            np.savez_compressed(partial, **maps)  # type: ignore[arg-type]
    named = {name: {"file": beside.name, "key": name} for name in maps}
    with naming(target), atomic_path(target, overwrite=overwrite) as partial:
        partial.write_text(yaml.safe_dump(settings | named, sort_keys=False), encoding="utf-8")


def maps_path(path: str | os.PathLike[str]) -> Path:
    """Where the maps of a camera file are kept."""
    target = Path(path)
    return target.with_name(f"{target.stem}_maps.npz")
