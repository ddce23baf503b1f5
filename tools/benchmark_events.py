"""The event cameras beside eventcv: rows of the benchmark."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from benchmark_rows import Row, memory_bandwidth, seconds

from eventsim import EventCamera, Frames, read_frames

#: Bytes that move for a pixel and frame (8-bit value, luminance and response written and read, contrast, three
#: parameters) and for an event (written, read and written again in order).
BYTES = {"frame": 45, "event": 39}
#: The pixel of eventcv's defaults, as ours.
DEFAULT_NOISE = {"threshold_mismatch": 0.03, "cutoff_hz": 200.0, "leak_rate_hz": 1.0, "shot_noise_rate_hz": 10.0}


def event_rows() -> Iterator[Row]:
    """Events a second at 346x260 from 8-bit frames in memory, beside eventcv where it is installed, and memory's limit.

    A picture of four octaves drifts and turns slowly: 240 frames, a millisecond apart.
    """
    shown = drifting_frames()
    frames = read_frames(shown, fps=1000.0)
    cameras = {name: EventCamera.preset(name, height=260, width=346) for name in ("clean", "noisy", "davis346")}
    cameras["default noise"] = replace(cameras["noisy"], **DEFAULT_NOISE, refractory_us=100.0)
    peers = eventcv_rows(shown)
    bandwidth = memory_bandwidth()
    for name, camera in cameras.items():
        counts = list[int]()
        took = seconds(lambda camera=camera, counts=counts: counts.append(count_events(camera, frames)), 5)
        count = counts[-1]
        moved = shown.size * BYTES["frame"] + count * BYTES["event"]
        yield Row(f"events: {name}, {count / len(shown):,.0f} a frame", count / took / 1e6, "M events/s",
                  "x limit of one core's memory", moved / bandwidth / took)  # fmt: skip
        if name in peers:
            other, other_count = peers[name]
            yield Row(f"events: {name}, eventcv: {other_count / count:.4f} x our events", other / 1e6, "M events/s",
                      "x as fast is ours", count / took / other)  # fmt: skip


def eventcv_rows(shown: np.ndarray) -> dict[str, tuple[float, int]]:
    """Events a second and events of eventcv at the same thresholds and noise.

    `clean` without steps in between, as ours has none; with noise it takes the steps of its default, which it needs for
    times to the microsecond and we do not.
    """
    try:
        import eventcv
    except ImportError:
        return {}
    noiseless = {"sigma_thres": 0.02, "cutoff_hz": 0, "leak_rate_hz": 0, "shot_noise_rate_hz": 0, "refractory_us": 0}
    noisy = {"sigma_thres": 0.05, "cutoff_hz": 30, "leak_rate_hz": 0.1, "shot_noise_rate_hz": 5, "refractory_us": 0}
    cameras: dict[str, dict[str, Any]] = {
        "clean": noiseless | {"upsample": "off"}, "noisy": noisy, "default noise": {},
    }  # fmt: skip
    found = {}
    for name, options in cameras.items():
        counts = list[int]()

        def simulate(options: dict[str, Any] = options, counts: list[int] = counts) -> None:
            counts.append(len(eventcv.simulate(shown, fps=1000.0, **options)))

        took = seconds(simulate, 3)
        found[name] = counts[-1] / took, counts[-1]
    return found


#: One term of the pixel at a time, in eventcv's words and in ours.
ONE_TERM: dict[str, dict[str, float]] = {
    "a filter of 200 Hz": {"cutoff_hz": 200},
    "a filter of 30 Hz": {"cutoff_hz": 30},
    "leak of 10 Hz": {"leak_rate_hz": 10},
    "shot noise of 100 Hz": {"shot_noise_rate_hz": 100},
    "500 us of refractory period": {"refractory_us": 500},
}


def agreement_rows() -> Iterator[Row]:
    """How many events eventcv makes for one of ours, with one term of the pixel at a time."""
    try:
        import eventcv
    except ImportError:
        return
    shown = drifting_frames(120)
    none = {"cutoff_hz": 0, "leak_rate_hz": 0, "shot_noise_rate_hz": 0, "refractory_us": 0}
    for name, term in ONE_TERM.items():
        ours = count_events(EventCamera.preset("clean", height=260, width=346, **term), read_frames(shown, fps=1000.0))
        theirs = len(eventcv.simulate(shown, fps=1000.0, sigma_thres=0.02, **(none | term)))
        yield Row(f"events with {name}", ours / 1e6, "M events", "x as many has eventcv", theirs / ours)


def drifting_frames(count: int = 240, height: int = 260, width: int = 346) -> np.ndarray:
    """uint8 [T, H, W] of noise in four octaves that drifts by 2.6 pixels and turns by 0.05 degrees a frame."""
    random = np.random.default_rng(0)
    octaves = [
        cv2.resize(random.standard_normal((24 << octave, 24 << octave)), (1024, 1024), interpolation=cv2.INTER_CUBIC)
        for octave in range(4)
    ]
    texture = sum(octave / 2**index for index, octave in enumerate(octaves))
    texture = 255 * (texture - texture.min()) / np.ptp(texture)
    shown = np.empty((count, height, width), np.uint8)
    for index in range(count):
        cosine, sine = np.cos(np.deg2rad(0.05 * index)), np.sin(np.deg2rad(0.05 * index))
        move = np.array([[cosine, -sine, 300 + 2.3 * index], [sine, cosine, 300 + 1.3 * index]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(texture, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        shown[index] = np.clip(np.round(seen), 0, 255)
    return shown


def count_events(camera: EventCamera, frames: Frames) -> int:
    """How many events the camera makes; all are made, and none kept."""
    return sum(map(len, camera.stream(frames)))


def event_memory_rows() -> Iterator[Row]:
    """Peak memory of `eventsim events` for a clip and for one four times as long."""
    program = str(Path(sys.executable).with_name("eventsim"))
    shown = drifting_frames(120)
    with TemporaryDirectory() as folder:
        for times in (1, 4):
            clip = Path(folder) / f"clip{times}"
            clip.mkdir()
            for index in range(len(shown) * times):
                cv2.imwrite(str(clip / f"{index:05}.png"), shown[index % len(shown)])
            command = [program, "events", str(clip), str(Path(folder) / f"{times}.h5"), "--fps", "1000", "--quiet"]
            start = time.perf_counter()
            report = subprocess.run([sys.executable, "-c", _PEAK, *command], check=True, capture_output=True, text=True)
            rate = len(shown) * times / (time.perf_counter() - start)
            yield Row(f"eventsim events: {len(shown) * times} frames to disk", rate, "frames/s",
                      "MB resident at most", int(report.stdout) / 1024)  # fmt: skip


_PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
