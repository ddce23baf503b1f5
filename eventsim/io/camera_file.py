"""A camera's file: YAML settings, and its per-pixel maps as an .npz beside it that the YAML names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsim.io.atomic import atomic_path, refuse_existing


def write_camera(
    path: str | os.PathLike[str],
    settings: dict[str, Any],
    maps: dict[str, NDArray[np.float32]],
    *,
    overwrite: bool = False,
) -> None:
    """Writes a camera file, which `SpikeCamera.preset(path)` reads.

    Args:
        path: the YAML file; maps go to the same name with .npz.
        settings: fields without maps.
        maps: field -> float32 [H, W].
        overwrite: replace existing files.

    Raises:
        OutputExistsError: a file exists and `overwrite` is false.
    """
    import yaml

    target = Path(path)
    beside = target.with_suffix(".npz")
    refuse_existing(target, overwrite=overwrite)
    if maps:
        with atomic_path(beside, overwrite=overwrite) as partial:
            np.savez_compressed(partial, **maps)  # type: ignore[arg-type]
    named = {name: {"file": beside.name, "key": name} for name in maps}
    with atomic_path(target, overwrite=overwrite) as partial:
        partial.write_text(yaml.safe_dump(settings | named, sort_keys=False), encoding="utf-8")
