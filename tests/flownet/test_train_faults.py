"""What goes wrong on the way of a run: reported with its sample, and handled as the configuration says."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, get_worker_info

from flownet import load_pretrained
from flownet.datasets.batch import Batch
from flownet.train import TrainConfig, build, train
from flownet.train.loader import Tolerant, batches
from flownet.train.objective import objective, terms
from flownet.train.state import TrainState


@pytest.fixture
def config(recordings) -> TrainConfig:
    return TrainConfig(
        data=(str(recordings),),
        model_options={"width": 8, "iterations": 1},
        steps=4,
        batch_size=2,
        patches=1,
        crop=32,
        workers=0,
        log_every=1,
    )


def drawn_batch(seed: int, dt: int = 1, flow: bool = True) -> Batch:
    """Two samples of noise."""
    made = torch.Generator().manual_seed(seed)
    slices = (torch.rand(2, 5 * dt, 2, 32, 32, generator=made) < 0.1).float()
    frames = torch.rand(2, dt + 1, 32, 32, generator=made)
    truth = torch.randn(2, dt, 2, 32, 32, generator=made)
    return Batch(slices, frames, truth if flow else None, torch.tensor([2 * seed, 2 * seed + 1]))


class Noise(Dataset[Batch]):
    """A data set with a fault at some draws."""

    def __init__(self, *, corrupt: int = -1, deadly: str | None = None) -> None:
        self.corrupt, self.deadly = corrupt, deadly

    def __getitem__(self, draw: int) -> Batch:
        if draw == self.corrupt:
            raise ValueError("walk_data.hdf5: expected x below 96, found 999")
        if self.deadly and draw == 3 and get_worker_info() and not os.path.exists(self.deadly):
            open(self.deadly, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        batch = drawn_batch(draw % 10**9)
        return Batch(batch.slices[:1], batch.frames[:1], None, torch.tensor([draw]))


def test_a_corrupt_sample_is_replaced_and_noted(tmp_path):
    samples = Tolerant(Noise(corrupt=2), tmp_path / "faults.log")
    assert int(samples[2].index) == 10**9 + 2
    assert int(samples[3].index) == 3
    (line,) = (tmp_path / "faults.log").read_text().splitlines()
    assert "draw 2: walk_data.hdf5: expected x below 96" in line


def test_a_lost_worker_is_replaced(config, tmp_path):
    """Killed in the middle, as by a lack of memory: the batches are the same as without."""
    told: list[str] = []
    skipping = dataclasses.replace(config, workers=1, faults="skip")
    samples = Noise(deadly=str(tmp_path / "killed"))
    found = [
        batch.index.tolist() for batch, _ in zip(batches(skipping, samples, 0, told.append), range(4), strict=False)
    ]
    assert found == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert len(told) == 1
    assert "worker" in told[0]


def test_a_lost_worker_ends_the_run_where_faults_do(config, tmp_path):
    samples = Noise(deadly=str(tmp_path / "killed"))
    with pytest.raises(RuntimeError, match=r"step \d: DataLoader worker .*faults: skip"):
        list(batches(dataclasses.replace(config, workers=1), samples, 0, print))


def test_a_step_without_a_finite_loss_is_left_out(config, tmp_path, monkeypatch):
    """The batch of the third step holds a sample that is not a number."""
    import flownet.train.run as module

    class Poisoned(Noise):
        def __getitem__(self, draw: int) -> Batch:
            batch = super().__getitem__(draw)
            if draw == 5:
                batch.slices[:] = np.nan
            return batch

    monkeypatch.setattr(module, "dataset_of", lambda _: Poisoned())
    with pytest.raises(ValueError, match=r"finite loss.*loss nan.*step 2, draws 4 to 5.*of them 5"):
        train(config, tmp_path / "stopped", quiet=True)
    train(dataclasses.replace(config, faults="skip"), tmp_path / "run", quiet=True)
    model = load_pretrained(tmp_path / "run" / "model.safetensors")
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert "draws 4 to 5 of the data set, of them 5" in (tmp_path / "run" / "faults.log").read_text()
    steps = [row["step"] for row in csv.DictReader((tmp_path / "run" / "log.csv").open())]
    assert steps == ["1", "2", "4"]


def test_a_gradient_that_is_not_finite_changes_nothing(config, monkeypatch):
    """Its loss may well be finite."""
    import flownet.train.step as module

    state, batch = TrainState(config, build(config)), drawn_batch(0)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    real = module._mean_gradients

    def poisoned(*arguments):
        losses, gradients = real(*arguments)
        gradients[3][0] = float("inf")
        return losses, gradients

    monkeypatch.setattr(module, "_mean_gradients", poisoned)
    losses = module.training_step(config, state.model, state.optimizer, batch, 1e-3)
    assert np.isnan(losses["loss"])
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())


# --- the objective


def test_supervised_training_learns_from_flow_alone(config):
    supervised = dataclasses.replace(config, photometric=0.0, smoothness=0.0, supervised=1.0, learning_rate=3e-3)
    assert terms(supervised) == ["loss", "supervised"]
    model, batch = build(supervised), drawn_batch(0)
    batch = Batch(batch.slices, torch.zeros_like(batch.frames), torch.ones_like(batch.flow), batch.index)
    state = TrainState(supervised, model)
    losses = []
    for _ in range(30):
        loss = objective(supervised, model, batch)["loss"]
        losses.append(float(loss.detach()))
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match="data with flow"):
        objective(supervised, model, drawn_batch(0, flow=False))


def test_long_samples_are_judged_at_every_frame(config):
    """The loss of dt = 2 is the mean of those of its first interval and of the whole."""
    smooth = dataclasses.replace(config, smoothness=0.0)
    model, batch = build(smooth).eval(), drawn_batch(1, dt=2)
    first = Batch(batch.slices[:, :5], batch.frames[:, :2], None)
    whole = objective(smooth, model, batch)["loss"]
    network = model.normalise_input
    model.normalise_input = False
    parts = [objective(smooth, model, Batch(batch.slices[:, :5], batch.frames[:, :2], None))["loss"],
             objective(smooth, model, Batch(batch.slices, batch.frames[:, ::2], None))["loss"]]  # fmt: skip
    together = objective(smooth, model, batch)["loss"]
    model.normalise_input = network
    torch.testing.assert_close(together, (parts[0] + parts[1]) / 2)
    assert whole.isfinite()
    assert len(first) == 2


def test_every_loss_has_its_weight(config):
    everything = dataclasses.replace(config, photometric=0.7, smoothness=0.2, contrast=0.3, supervised=0.5,
                                     photometric_kind="census", edge_aware=True, occlusion=True,
                                     occlusion_from=0.0)  # fmt: skip
    losses = objective(everything, build(everything), drawn_batch(2))
    weighed = {"photometric": 0.7, "smoothness": 0.2, "contrast": 0.3, "supervised": 0.5}
    assert list(losses) == terms(everything)
    total = sum(weight * losses[name] for name, weight in weighed.items())
    torch.testing.assert_close(losses["loss"], total)


def test_accumulated_parts_are_the_same_step(config):
    whole = dataclasses.replace(config, batch_size=4, shards=2)
    parts = dataclasses.replace(whole, shards=1, accumulate=4)
    from flownet.train import training_step

    found = []
    for each in (whole, parts):
        state = TrainState(each, build(each))
        joined = [drawn_batch(n, flow=False) for n in (0, 1)]
        batch = Batch(torch.cat([b.slices for b in joined]), torch.cat([b.frames for b in joined]))
        training_step(each, state.model, state.optimizer, batch, 1e-3)
        found.append(torch.cat([parameter.grad.ravel() for parameter in state.model.parameters()]))
    assert (found[1] - found[0]).norm() < 1e-5 * found[0].norm()


def test_the_average_of_the_weights_is_what_a_run_ends_with(config, tmp_path):
    averaged = dataclasses.replace(config, ema=0.9)
    model = train(averaged, tmp_path / "run", quiet=True)
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, saved["average"][name], rtol=0, atol=0)
    assert any(not torch.equal(saved["model"][name], saved["average"][name]) for name in saved["model"])


def test_pictures_and_validation_are_kept(config, recordings, tmp_path):
    shown = dataclasses.replace(config, pictures_every=2, validation=(str(recordings / "scene_0_data.hdf5"),),
                                validation_every=4, supervised=1.0)  # fmt: skip
    train(shown, tmp_path / "run", quiet=True)
    assert [path.name for path in sorted((tmp_path / "run" / "pictures").iterdir())] == [
        "step_0000002.png", "step_0000004.png"]  # fmt: skip
    (row,) = csv.DictReader((tmp_path / "run" / "validation.csv").open())
    assert row["step"] == "4"
    assert float(row["aee"]) > 0


def test_bfloat16_trains(config, tmp_path):
    model = train(dataclasses.replace(config, precision="bfloat16", steps=2), tmp_path / "run", quiet=True)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in model.state_dict().values())


def test_data_of_two_lengths_are_mixed(config, tmp_path):
    mixed = dataclasses.replace(config, mixture=({"dt": 2, "crop": 48},), steps=6)
    model = train(mixed, tmp_path / "run", quiet=True)
    assert all(value.isfinite().all() for value in model.state_dict().values())
