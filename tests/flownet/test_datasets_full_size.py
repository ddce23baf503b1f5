"""A recording of MVSEC's full size, mostly holes: what is read of it, and in how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eventsim.io.mvsec import MvsecRecording
from flownet.datasets.mvsec import MvsecPairs
from flownet.datasets.splits import Part, Split

TOOL = Path(__file__).parents[2] / "tools" / "full_size.py"
FRAMES = (9200, 9206)
SPLIT = Split(name="written", source="here", sequences={"outdoor_day1": Part(frames=(FRAMES,))})
# Linux forgets the most that a process held when 5 is written there.
MEMORY = """
import re, sys
from pathlib import Path
from flownet.datasets.mvsec import MvsecPairs
held = lambda name: int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
_ = MvsecPairs([Path(sys.argv[2])], crop=(64, 64), flow=True, dt=4)[0]  # kernels may have to be compiled first
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
samples = MvsecPairs([Path(sys.argv[1])], crop=(256, 256), flow=True, dt=4, patches=2)
for draw in range(30):
    samples[draw]
print(len(samples), held("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("full")
    command = [sys.executable, str(TOOL), str(out), "--frames", *map(str, FRAMES)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return out


def test_it_is_of_full_size_and_mostly_holes(full):
    for name, least in (("outdoor_day1_data.hdf5", 10e9), ("outdoor_day1_gt.hdf5", 5e9)):
        assert (full / name).stat().st_blocks * 512 < 0.005 * least
    recording = MvsecRecording(full / "outdoor_day1_data.hdf5")
    assert (recording.height, recording.width) == (260, 346)
    assert 32 * len(recording) > 5e9
    assert recording.flow_maps.shape == (5134, 2, 260, 346)
    assert recording.event_inds[0] == -1
    assert len(recording.image_ts) == len(recording.event_inds) > 11_000


def test_what_is_written_is_drawn(full):
    samples = MvsecPairs([full], split=SPLIT, flow=True, crop=None, augment="none", dt=4)
    assert samples.pairs[:, 1].tolist() == list(range(*FRAMES))
    window = samples.window(2)
    assert 0.9 * 4 * 14_000 < window.slices.sum() <= 4 * 14_001
    assert window.frames.amin(dim=(1, 2)).max() < 20
    # The picture goes two pixels to the left and one down from frame to frame.
    np.testing.assert_allclose(window.flow[:, 0, 100, 100], -2 * np.arange(1, 5), rtol=1e-3)
    np.testing.assert_allclose(window.flow[:, 1, 100, 100], np.arange(1, 5), rtol=1e-3)
    assert window.flow[0, :, 10, 10].isnan().all()
    frames = window.frames.float()
    np.testing.assert_array_equal(frames[1, 101:200, 98:200], frames[0, 100:199, 100:202])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(full, recordings):
    data, small = full / "outdoor_day1_data.hdf5", recordings / "scene_0_data.hdf5"
    # How much of what was freed glibc keeps differs from run to run, unless it is told to give it back.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}
    command = [sys.executable, "-c", MEMORY, str(data), str(small)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    windows, grown = map(float, said.stdout.split())
    assert windows > 11_000
    assert grown < 100, grown  # MB, of 18 GB; a window's slices alone are 14
