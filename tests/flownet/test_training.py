"""Data set, training, evaluation and inference on small recordings in MVSEC's own layout."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle

import h5py
import numpy as np
import pytest
import torch

from eventsim import Events
from eventsim.errors import OutputExistsError
from eventsim.io.flo import read_flo
from eventsim.io.mvsec import MvsecRecording
from flownet import evaluate, load_pretrained, save_pretrained, steflownet_tiny, temporal_distribution
from flownet.datasets.augment import Patch, random_patch
from flownet.datasets.mvsec import MvsecPairs, find_recordings, order_of_epoch
from flownet.evaluate import Sample
from flownet.protocols import FOLDER, load_protocol
from flownet.report import Watched
from flownet.train import TrainConfig, build, load_config, train
from flownet.train.log import columns, open_log


@pytest.fixture(scope="module")
def config(recordings) -> TrainConfig:
    return TrainConfig(
        data=(str(recordings),),
        model_options={"width": 8, "iterations": 1},
        steps=4,
        batch_size=2,
        patches=2,
        crop=32,
        workers=0,
        log_every=2,
    )


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    train(config, out, quiet=True)
    return out


class Exact(torch.nn.Module):
    """Predicts one given flow, whatever it sees."""

    def __init__(self, flow: np.ndarray) -> None:
        super().__init__()
        self.flow = torch.nn.Parameter(torch.from_numpy(flow)[None])

    def forward(self, slices: torch.Tensor):
        return dataclasses.make_dataclass("Out", ["final"])(self.flow)


# --- data


def test_sample_is_the_window_between_two_frames(recordings):
    samples = MvsecPairs([recordings], crop=(80, 96), seed=3)
    which, index = samples.pairs[order_of_epoch(3, 0, len(samples.pairs))[0]]
    recording = MvsecRecording(find_recordings([recordings])[which])
    batch = samples[0]
    expected = temporal_distribution(recording.events_between_images(index, index + 1), 5)
    # The patch is the whole picture, perhaps mirrored: sums over rows and columns are kept.
    torch.testing.assert_close(batch.slices[0].sum(dim=(2, 3)), expected.sum(dim=(2, 3)))
    assert batch.frames.shape == (1, 2, 80, 96)
    assert batch.frames.amax(dim=(2, 3)).tolist() == [[1, 1]]


def test_draws_depend_on_seed_and_number_alone(recordings):
    first, again, other = (MvsecPairs([recordings], crop=(32, 32), patches=2, seed=seed) for seed in (1, 1, 2))
    _ = first[5]
    for draw in (0, 7, 30):
        torch.testing.assert_close(first[draw].slices, again[draw].slices, rtol=0, atol=0)
    assert not torch.equal(first[0].slices, other[0].slices)


def test_an_epoch_visits_every_pair_once(recordings):
    samples = MvsecPairs([recordings], crop=(32, 32))
    for epoch in range(2):
        assert sorted(order_of_epoch(0, epoch, len(samples.pairs))) == list(range(len(samples.pairs)))
    assert list(order_of_epoch(0, 0, 24)) != list(order_of_epoch(0, 1, 24))


def test_data_set_travels_to_workers_that_are_spawned(recordings):
    samples = MvsecPairs([recordings], crop=(32, 32))
    torch.testing.assert_close(pickle.loads(pickle.dumps(samples))[3].slices, samples[3].slices, rtol=0, atol=0)


def test_recording_smaller_than_the_crop(recordings):
    with pytest.raises(ValueError, match=r"scene_0_data\.hdf5.*128x128.*80x96"):
        MvsecPairs([recordings], crop=(128, 128))


def test_recording_of_one_frame(recordings, tmp_path):
    path = tmp_path / "short_data.hdf5"
    path.write_bytes((recordings / "scene_0_data.hdf5").read_bytes())
    with h5py.File(path, "r+") as file:
        for name in ("image_raw", "image_raw_ts", "image_raw_event_inds"):
            values = file[f"davis/left/{name}"][:1]
            del file[f"davis/left/{name}"]
            file[f"davis/left/{name}"] = values
    with pytest.raises(ValueError, match=r"short_data\.hdf5.*two grey frames"):
        MvsecPairs([path])


def test_slices_and_frames_get_the_same_patch():
    picture = torch.arange(80 * 96).reshape(1, 80, 96)
    for seed in range(20):
        patch = random_patch(np.random.default_rng(seed), height=80, width=96, crop=(32, 32))
        torch.testing.assert_close(patch(picture.expand(5, 2, 80, 96))[3, 1], patch(picture)[0])


def test_patch_flips_and_transposes():
    picture = torch.arange(6).reshape(2, 3)
    assert Patch(0, 0, 2, 3, flip_x=True)(picture).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert Patch(0, 0, 2, 3, flip_y=True)(picture).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert Patch(0, 1, 2, 2, transpose=True)(picture).tolist() == [[1, 4], [2, 5]]


def test_crop_larger_than_the_picture():
    with pytest.raises(ValueError, match="80x96"):
        random_patch(np.random.default_rng(0), height=80, width=96, crop=(128, 128))


def test_no_recordings(tmp_path):
    with pytest.raises(ValueError, match=r"_data\.hdf5"):
        MvsecPairs([tmp_path])


def test_flow_is_never_opened_for_training(recordings, tmp_path):
    """Recordings without ground truth train just as well."""
    for path in find_recordings([recordings]):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    batch = MvsecPairs([tmp_path], crop=(32, 32))[0]
    torch.testing.assert_close(batch.slices, MvsecPairs([recordings], crop=(32, 32))[0].slices)


# --- training


def test_run_folder_holds_everything(run):
    names = {path.name for path in run.iterdir()}
    assert {"run.json", "changes.diff", "log.csv", "checkpoint.pt", "model.safetensors"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    rows = list(csv.DictReader((run / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4]
    assert all(np.isfinite(float(row["photometric"])) for row in rows)


def test_same_seed_same_weights_with_any_number_of_workers(config, run, tmp_path):
    again = train(dataclasses.replace(config, workers=1), tmp_path / "again", quiet=True)
    for name, tensor in load_pretrained(run / "model.safetensors").state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_resumed_run_equals_one_that_was_not_interrupted(config, run, optimizer, tmp_path, monkeypatch):
    """Stopped after two of four steps, then resumed."""
    import flownet.train.run as module

    if optimizer == "muon":
        config, run = dataclasses.replace(config, optimizer=optimizer), tmp_path / "whole"
        train(config, run, quiet=True)
    real, calls = module.training_step, []

    def interrupted(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(module, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(config, checkpoint_seconds=0.0), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    monkeypatch.setattr(module, "training_step", real)
    resumed = train(config, tmp_path / "run", resume=True, quiet=True)
    for name, tensor in load_pretrained(run / "model.safetensors").state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_run_starts_from_weights_of_other_numbers_of_passes_but_not_of_other_networks(config, tmp_path):
    one = dataclasses.replace(config, steps=1, model_options={"width": 4, "iterations": 1})
    given = train(one, tmp_path / "one", quiet=True)
    weights = str(tmp_path / "one" / "model.safetensors")
    two = dataclasses.replace(one, model_options={"width": 4}, start_from=weights)
    begun = build(two)
    assert begun.iterations == 2
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in begun.state_dict().items())
    with pytest.raises(ValueError, match="expected weights of the configured network"):
        build(dataclasses.replace(two, model_options={"width": 5}))
    with pytest.raises(ValueError, match=r"model_options that steflownet_tiny takes: .*widht"):
        build(dataclasses.replace(two, model_options={"widht": 5}))


def test_log_goes_on_where_the_checkpoint_was(tmp_path):
    """Rows that a run wrote after its checkpoint are taken back when it resumes."""
    path = tmp_path / "log.csv"
    for step, added in ((0, "2,x\n4,x\n6,x\n"), (4, "6,y\n")):
        with open_log(path, step, columns(["loss"])) as file:
            file.write(added)
    assert [row.split(",")[0] for row in path.read_text().splitlines()[1:]] == ["2", "4", "6"]
    assert path.read_text().endswith("6,y\n")


def test_resuming_with_other_settings_names_them(config, run, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes())
    with pytest.raises(ValueError, match=r"checkpoint\.pt.*seed 0"):
        train(dataclasses.replace(config, seed=1), tmp_path, resume=True, quiet=True)


def test_overwriting_starts_over(config, run, tmp_path):
    for name in ("run.json", "checkpoint.pt", "model.safetensors", "log.csv"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(ValueError, match="device"):
        train(config, tmp_path, overwrite=True, device="nonesuch", quiet=True)
    assert (tmp_path / "model.safetensors").exists()
    train(dataclasses.replace(config, steps=2), tmp_path, overwrite=True, quiet=True)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_recording_is_named_whoever_reads_it(config, recordings, tmp_path, workers):
    for path in find_recordings([recordings]):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        with h5py.File(tmp_path / path.name, "r+") as file:
            file["davis/left/events"][:, 0] = 999
    broken = dataclasses.replace(config, data=(str(tmp_path),), workers=workers)
    with pytest.raises(ValueError, match=r"_data\.hdf5: expected x below 96") as caught:
        train(broken, tmp_path / "run", quiet=True)
    assert len(str(caught.value).splitlines()) == 1


def test_network_remembers_its_representation(config, tmp_path):
    model = build(dataclasses.replace(config, slices=3, weights="ceil"))
    save_pretrained(model, tmp_path / "three.safetensors")
    events = Events(np.arange(30), *np.zeros((2, 30), np.uint16), np.ones(30, bool), 16, 16)
    expected = temporal_distribution(events, 3, weights="ceil")
    torch.testing.assert_close(load_pretrained(tmp_path / "three.safetensors").represent(events), expected)


def test_a_run_is_not_overwritten_unasked(config, run):
    with pytest.raises(OutputExistsError, match="overwrite"):
        train(config, run, quiet=True)


def test_training_leaves_the_global_generator_alone(config):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(config)
    torch.testing.assert_close(torch.random.get_rng_state(), before)
    torch.testing.assert_close(next(first.parameters()), next(build(config).parameters()))


def test_loss_that_is_not_finite_names_its_draws(config, tmp_path, monkeypatch):
    import flownet.train.run as module

    monkeypatch.setattr(module, "training_step", lambda *_: {"loss": float("nan")})
    with pytest.raises(ValueError, match=r"finite loss.*draws 0 to 0"):
        train(config, tmp_path / "run", quiet=True)


def test_learning_rate_warms_up_and_falls():
    config = TrainConfig(learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10)
    assert config.learning_rate_at(0, 0) == pytest.approx(0.1)
    assert config.learning_rate_at(50, 0.5) == pytest.approx(0.55)
    assert config.learning_rate_at(100, 1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch: 3", "batch"),
        ("steps: 0", "steps"),
        ("- 1", "mapping"),
        ("a: [", "YAML"),
        ("learning_rate: 1e-4", "1.0e-4"),
        ("minutes: 0", "minutes"),
        ("weights: foo", "weights"),
        ("crop: 16", "24"),
        ("steps: true", "whole number"),
    ],
)
def test_bad_configuration_names_the_file(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.yaml.*{words}"):
        load_config(path)


# --- evaluation


def test_exact_flow_has_no_error_and_zero_flow_has_its_length(recordings):
    path = recordings / "scene_0_data.hdf5"
    recording = MvsecRecording(path)
    truth = np.asarray(recording.flow_maps[2])
    seen = []
    report = evaluate(Exact(truth), path, "full", watch=lambda sample, flow: seen.append(sample))
    assert len(report.dense.frames) == len(recording.image_ts) - 1
    # Exact for the interval whose flow it predicts, wrong for the others.
    assert report.dense.frames[2].aee == pytest.approx(0, abs=1e-4)
    assert report.dense.frames[8].aee > 0.05
    assert report.zero_dense.frames[2].aee == pytest.approx(np.hypot(*truth).mean(), rel=1e-4)
    assert report.sparse.pixels.pixels < report.dense.pixels.pixels
    assert [sample.frame for sample in seen] == list(range(len(seen)))
    assert "zero flow" in str(report)


def test_a_warm_start_goes_on_from_the_interval_before(recordings):
    model, path = steflownet_tiny(), recordings / "scene_0_data.hdf5"
    cold, warm = (evaluate(model, path, "full", warm_start=warm) for warm in (False, True))
    assert warm.dense.frames[0].aee == cold.dense.frames[0].aee
    assert all(one.aee != other.aee for one, other in zip(warm.dense.frames[1:], cold.dense.frames[1:], strict=True))


def test_dt_4_spans_four_intervals(recordings):
    path = recordings / "scene_1_data.hdf5"
    seen = []
    report = evaluate(Exact(np.zeros((2, 80, 96), np.float32)), path, "full", dt=4, watch=lambda s, _: seen.append(s))
    assert seen[0].slices.shape == (20, 2, 80, 96)
    assert report.relative == pytest.approx(1)
    one = evaluate(Exact(np.zeros((2, 80, 96), np.float32)), path, "full")
    assert report.zero_dense.aee > 2 * one.zero_dense.aee


def test_steflow_protocol_is_the_published_one():
    indoor = load_protocol("steflow", "indoor_flying1")
    assert indoor.frames(100, 1) == list(range(21, 80))
    outdoor = load_protocol("steflow", "outdoor_day1")
    assert len(outdoor.frames(20_000, 1)) == 800
    assert len(outdoor.frames(20_000, 4)) == 802
    assert (outdoor.rows, outdoor.slices, outdoor.keep, outdoor.crop) == (190, 13, (0, 3, 6, 9, 12), (256, 256))


def test_what_learns_in_minutes_is_a_narrow_network_of_one_pass_without_labels():
    given = load_config(FOLDER.parent / "configs" / "tiny.yaml")
    assert (given.supervised, given.photometric, given.smoothness) == (0, 1, 0.003)
    model = build(given)
    assert (model.config["width"], model.iterations) == (8, 1)
    assert sum(each.numel() for each in model.parameters()) < 0.7e6


def test_crop_of_a_protocol_larger_than_the_recording(recordings):
    with pytest.raises(ValueError, match=r"scene_0.*256x256.*steflow.*80x96"):
        evaluate(Exact(np.zeros((2, 80, 96), np.float32)), recordings / "scene_0_data.hdf5")


def test_recording_is_found_by_its_prefix(recordings):
    report = evaluate(Exact(np.zeros((2, 80, 96), np.float32)), recordings / "scene_0", "full")
    assert report.sequence == "scene_0"


@pytest.mark.parametrize("number", [1, 6, 7, 100, 1000])
def test_examples_stay_few_and_spread(number):
    watched = Watched(most=6)
    for frame in range(number):
        watched.add(Sample(frame, 1, torch.zeros(1), np.zeros((2, 1, 1)), np.zeros((1, 1))), np.zeros((2, 1, 1)))
    frames = [each.frame for each in watched.kept]
    assert 1 <= len(frames) <= 6
    assert frames[0] == 0
    assert len(set(np.diff(frames))) <= 1
    assert frames[-1] >= number // 2


def test_unknown_protocol_names_the_known_ones(recordings):
    with pytest.raises(ValueError, match=r"nonesuch.*full.*steflow"):
        load_protocol("nonesuch")


def test_recording_without_ground_truth(recordings, tmp_path):
    path = tmp_path / "walk_data.hdf5"
    path.write_bytes((recordings / "scene_0_data.hdf5").read_bytes())
    with pytest.raises(ValueError, match="walk_gt"):
        evaluate(Exact(np.zeros((2, 80, 96), np.float32)), path, "full")


# --- the command


def test_train_evaluate_infer_view_and_models(command, recordings, tmp_path):
    data = recordings / "scene_0_data.hdf5"
    settings = tmp_path / "mine.yaml"
    settings.write_text("crop: 32\nworkers: 0\n")
    said = command("flownet", "train", recordings, "--out", tmp_path / "run", "--steps", 2, "--config", settings)
    assert said.returncode == 0, said.stderr
    model = tmp_path / "run" / "model.safetensors"
    said = command("flownet", "evaluate", model, data, "--protocol", "full", "--report", tmp_path / "page.html")
    assert said.returncode == 0, said.stderr
    assert "zero flow" in said.stdout
    assert (tmp_path / "page.html").read_text().count("data:image/png;base64") >= 5
    said = command("flownet", "infer", data, tmp_path / "flow", "--model", model, "--window-ms", 100)
    assert said.returncode == 0, said.stderr
    flows = sorted((tmp_path / "flow").glob("*.flo"))
    assert len(flows) == 3
    assert read_flo(flows[0]).shape == (2, 80, 96)
    assert command("flownet", "view", flows[0], tmp_path / "flow.png").returncode == 0
    for name in ("page.html", "flow.png", "flow/flow"):
        assert "settings" in json.loads((tmp_path / f"{name}.run.json").read_text())
    again = command("flownet", "infer", data, tmp_path / "flow", "--model", model, "--window-ms", 200, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "flow").glob("*.flo"))) == 1
    assert "steflownet_tiny" in command("flownet", "models").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "no_such_model", "x_data.hdf5"],
        ["infer", "no_such.h5", "out"],
        ["train", "no_such_folder", "--out", "run"],
        ["view", "no_such.flo", "out.png"],
    ],
)
def test_bad_input_is_one_line(command, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    said = command("flownet", *arguments)
    assert said.returncode == 1
    assert len(said.stderr.strip().splitlines()) == 1, said.stderr
    assert "no_such" in said.stderr
    assert list(tmp_path.iterdir()) == []
