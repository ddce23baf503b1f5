"""What several tests start from: small pictures and recordings on disk, and the commands as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs `eventsim` or `flownet` in a process of its own and returns what it said."""

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        line = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="session")
def texture() -> np.ndarray:
    """A smooth random picture, linear luminance float32 [120, 160]."""
    import cv2

    noise = np.random.default_rng(0).random((120, 160)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (smooth - smooth.min()) / np.ptp(smooth)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, texture) -> Path:
    """A folder of six frames in which the picture moves to the left, one pixel a frame."""
    import cv2

    folder = tmp_path_factory.mktemp("pictures")
    for index in range(6):
        crop = texture[10:58, 10 + index : 74 + index]
        cv2.imwrite(str(folder / f"frame_{index}.png"), np.round(crop * 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def tree(tmp_path_factory, texture) -> Path:
    """Three stills of two classes, one of them two folders deep, and what is to be passed over."""
    import cv2

    folder = tmp_path_factory.mktemp("tree")
    for index, name in enumerate(["cat/purr 10.png", "cat/purr 2.png", "dog/big/wuff.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.uint8(255 * texture[10 * index : 10 * index + 60, 5 * index :][:, :90]))
    (folder / "cat/notes.txt").write_text("no picture")
    (folder / "cat/.hidden.png").write_text("no picture")
    (folder / ".git").mkdir()
    (folder / ".git/one.png").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def recordings(tmp_path_factory, texture) -> Path:
    """A folder of two short recordings in MVSEC's layout, 80x96, with exact flow at the frames' own times."""
    from eventsim import EventCamera
    from eventsim.light.scenes import SceneStyle, draw_scene
    from eventsim.synthesize.recording import Recording, record_scene

    folder = tmp_path_factory.mktemp("recordings")
    recording = Recording(duration_us=400_000, flow_hz=32.0)
    for seed in range(2):
        scene = draw_scene(texture, SceneStyle(height=80, width=96), seed)
        for _ in record_scene(folder / f"scene_{seed}", scene, EventCamera.preset("davis346"), recording, seed=seed):
            pass
    return folder
