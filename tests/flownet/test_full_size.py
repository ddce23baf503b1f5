"""Evaluation of a recording as large as MVSEC's outdoor_day1: in bounded memory, most of its time in the network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

EPOCH = 1_506_118_000.0
FRAMES, MAPS, EVENTS = 11_937, 5134, 379_000_000
PER_FRAME = EVENTS // FRAMES
WRITTEN = range(9200, 9240)

CODE = """
import json, sys, torch
from pathlib import Path
from flownet import evaluate

class Still(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.flow = torch.nn.Parameter(torch.ones(1, 2, 1, 1))
    def forward(self, slices):
        return type("Flows", (), {"final": self.flow.expand(1, 2, *slices.shape[-2:])})

report = evaluate(Still(), sys.argv[1], sys.argv[2], int(sys.argv[3]))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"frames": len(report.sparse.frames), "pixels": report.sparse.pixels.pixels, "aee": report.aee,
                  "reading": report.seconds_reading, "peak_kib": int(peak.split()[1])}))
"""


@pytest.fixture(scope="module")
def full_size(tmp_path_factory) -> Path:
    """12 GB of events and images and 7 GB of flow, of which only what some intervals need is on disk."""
    rng = np.random.default_rng(0)
    prefix = tmp_path_factory.mktemp("full_size") / "outdoor_day1"
    image_ts = EPOCH + np.arange(FRAMES) / 45.7
    flow_ts = EPOCH + 5.3 + np.arange(MAPS) / 20
    with h5py.File(f"{prefix}_data.hdf5", "w") as file:
        group = file.create_group("davis/left")
        group["image_raw_ts"], group["image_raw_event_inds"] = image_ts, np.arange(FRAMES) * PER_FRAME
        group.create_dataset("image_raw", (FRAMES, 260, 346), np.uint8, chunks=(1, 260, 346), compression="lzf")
        events = group.create_dataset("events", (EVENTS, 4), np.float64, chunks=(8192, 4), compression="lzf")
        for frame in WRITTEN:
            t = image_ts[frame] + np.sort(rng.random(PER_FRAME)) / 45.7
            x, y = rng.integers(0, 346, PER_FRAME), rng.integers(0, 260, PER_FRAME)
            rows = np.stack([x, y, t, rng.choice([-1, 1], PER_FRAME)], axis=1)
            events[frame * PER_FRAME : (frame + 1) * PER_FRAME] = rows
    with h5py.File(f"{prefix}_gt.hdf5", "w") as file:
        maps = file.create_dataset(
            "davis/left/flow_dist", (MAPS, 2, 260, 346), np.float64, chunks=(1, 2, 260, 346), compression="lzf"
        )
        first, last = np.searchsorted(flow_ts, image_ts[[WRITTEN[0], WRITTEN[-1] + 4]])
        for k in range(first - 1, last + 1):
            maps[k] = 4.0
        file["davis/left/flow_dist_ts"] = flow_ts
        assert maps.nbytes > 7e9
    return Path(f"{prefix}_data.hdf5")


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1, 4])
def test_memory_does_not_grow_with_the_recording(full_size: Path, tmp_path: Path, dt: int) -> None:
    rules = tmp_path / "part.toml"
    rules.write_text(
        'source = "test"\ndescription = "part of steflow"\ncrop = [256, 256]\nmask = "input"\n[frames.default]\n'
        f"rows = 190\nslices = 13\nkeep = [0, 3, 6, 9, 12]\nranges = [[{WRITTEN[0]}, {WRITTEN[-1] - dt + 2}]]\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", CODE, str(full_size), str(rules), str(dt)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    print(found)
    assert found["frames"] == len(WRITTEN) - dt + 1
    assert found["pixels"] > 5000 * found["frames"]
    assert found["peak_kib"] < 1_500_000
