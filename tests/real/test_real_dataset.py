"""Kodak's 24 photographs under three motions: killed twice on the way, with other workers, the same data set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventsim.io.manifest import JOURNAL, MANIFEST, read_manifest
from eventsim.io.spike_set import SpikeSet
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = [
    pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are"),
    pytest.mark.slow,
]
ITEMS = 24 * 3
SETTINGS = DatasetSettings(motion=("tremor", "pan", "zoom"), duration=0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """Made in one go by one worker."""
    out = tmp_path_factory.mktemp("undisturbed")
    make_dataset(Path(DATA) / "frames/kodak", out, SETTINGS, workers=1)
    return out


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the journal, whose order is that of the work, and the note of the command."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in (JOURNAL, "dataset.json")
    }


def kill_after(command: list[str], journal: Path, lines: int) -> None:
    """Starts a command and kills it once the journal has so many lines."""
    process = subprocess.Popen(command)
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= lines):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_twice_it_finishes_to_the_same_bytes(undisturbed, tmp_path, workers):
    options = f"--motion tremor pan zoom --duration 0.01 --workers {workers} --quiet".split()
    program = str(Path(sys.executable).with_name("eventsim"))
    command = [program, "dataset", str(Path(DATA) / "frames/kodak"), str(tmp_path), *options]
    for lines in (15, 40):
        kill_after(command, tmp_path / JOURNAL, lines)
        assert not (tmp_path / MANIFEST).exists()
    subprocess.run([*command, "--verify"], check=True)
    assert len(read_manifest(tmp_path)) == ITEMS
    assert contents(tmp_path) == contents(undisturbed)


def test_a_dask_cluster_makes_the_same(undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        make_dataset(Path(DATA) / "frames/kodak", tmp_path, SETTINGS, dask=cluster.scheduler_address)
        assert contents(tmp_path) == contents(undisturbed)


def test_every_item_moves_and_spikes(undisturbed):
    for item in SpikeSet(undisturbed):
        assert item.row.planes == 200
        assert 0.01 < item.row.mean_rate < 0.9
        assert abs(item.flow.between(0, 10_000)).max() > 0.1
