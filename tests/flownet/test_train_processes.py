"""Training by several processes is training by one with all their batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from flownet import load_pretrained
from flownet.train import TrainConfig, train
from flownet.train.loader import draws_of
from flownet.train.processes import mean_over_processes, process_group, processes, rank

_SETTINGS = "steps: 4\nbatch_size: 2\npatches: 1\nshards: 1\ncrop: 32\nworkers: 0\nlog_every: 2\nema: 0.9\n"


def torchrun(config: Path, recordings: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`flownet train` in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python",
               str(Path(sys.executable).with_name("flownet")), "train", str(recordings), "--out", str(out),
               "--config", str(config), "--quiet", *more]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_two_processes_are_one_with_twice_the_batch(recordings, tmp_path):
    settings = tmp_path / "two.yaml"
    settings.write_text(_SETTINGS)
    said = torchrun(settings, recordings, tmp_path / "two")
    assert said.returncode == 0, said.stderr[-2000:]
    one = TrainConfig(data=(str(recordings),), steps=4, batch_size=4, patches=1, shards=2, crop=32, workers=0,
                      log_every=2, ema=0.9)  # fmt: skip
    expected = train(one, tmp_path / "one", quiet=True).state_dict()
    found = load_pretrained(tmp_path / "two" / "model.safetensors").state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    # The losses that are logged are means over both.
    rows = [(tmp_path / run / "log.csv").read_text().splitlines()[1].split(",")[2] for run in ("one", "two")]
    assert float(rows[0]) == pytest.approx(float(rows[1]), rel=1e-5)


def test_a_process_alone_needs_no_group():
    assert (rank(), processes()) == (0, 1)
    values, tensors = mean_over_processes({"loss": 2.0}, [torch.ones(3)])
    assert values == {"loss": 2.0}
    assert torch.equal(tensors[0], torch.ones(3))
    with process_group("cpu") as device:
        assert device == "cpu"
        assert not distributed.is_initialized()


def test_draws_of_all_processes_follow_each_other(monkeypatch):
    config = TrainConfig(batch_size=4, patches=2)
    taken = []
    for step in range(3):
        for each in range(2):
            monkeypatch.setattr("flownet.train.loader.rank", lambda each=each: each)
            monkeypatch.setattr("flownet.train.loader.processes", lambda: 2)
            taken += draws_of(config, step)
    assert taken == list(range(12))
