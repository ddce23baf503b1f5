"""Data sets of spikes for training: samples are the streams' windows, here and in the workers of a data loader."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from eventsim.errors import InputError
from eventsim.io.spike_set import SpikeSet
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings
from flownet.datasets.spikes import SpikeDataset

SETTINGS = DatasetSettings(size=(32, 48), duration=0.005, motion=("none", "pan"), kind="both")


@pytest.fixture(scope="module")
def tree(tmp_path_factory, texture) -> Path:
    folder = tmp_path_factory.mktemp("split")
    for index, name in enumerate(["train/cat/a.png", "train/dog/b.png", "test/dog/c.png", "test/eel/d.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.uint8(255 * texture[7 * index :, 5 * index :][:60, :90]))
    return folder


@pytest.fixture(scope="module", params=["items", "shards"])
def root(request, tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    make_dataset(tree, out, replace(SETTINGS, layout=request.param, shard_items=5), workers=1)
    return out


def test_an_item_is_a_sample(root):
    samples, items = SpikeDataset(root, flow=True), [item for item in SpikeSet(root) if item.row.kind == "spikes"]
    assert (len(samples), len(items)) == (8, 8)
    assert samples.classes == ["test/dog", "test/eel", "train/cat", "train/dog"]
    for sample, item in zip((samples[index] for index in range(8)), items, strict=True):
        np.testing.assert_array_equal(sample["spikes"], item.stream.planes())
        assert sample["spikes"].dtype == torch.uint8
        assert sample["label"] == item.class_index
        expected = np.zeros((2, 32, 48)) if item.flow is None else item.flow.between(0, 5000)
        np.testing.assert_array_equal(sample["flow"], expected)


def test_windows_counts_and_planes_are_the_streams(root):
    item = SpikeSet(root)[2]
    samples = SpikeDataset(root, split="test", planes=(10, 100), window=40, counted=4, flow=True)
    assert len(samples) == 4 * 2
    first = next(index for index in range(len(samples)) if samples.row(index).item == item.row.item)
    for part in range(2):
        start = 10 + 40 * part
        sample = samples[first + part]
        counts = item.stream.planes(start, start + 40).reshape(10, 4, 32, 48).sum(axis=1)
        np.testing.assert_array_equal(sample["spikes"], counts)
        np.testing.assert_allclose(sample["flow"], item.flow.between(start * 50, (start + 40) * 50), atol=1e-5)
    assert len({samples.row(index).item for index in range(8)}) == 4


def test_splits_share_the_numbers_of_classes(root):
    train, test = (SpikeDataset(root, split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ["cat", "dog", "eel"]
    assert [int(train[index]["label"]) for index in range(len(train))] == [0, 0, 1, 1]
    assert [int(test[index]["label"]) for index in range(len(test))] == [1, 1, 2, 2]


def test_loader_workers_give_the_same_batches(root):
    samples = pickle.loads(pickle.dumps(SpikeDataset(root, window=50, flow=True)))
    _ = samples[0]  # opens files here first: workers must open their own
    for alone, shared in zip(DataLoader(samples, batch_size=3), DataLoader(samples, 3, num_workers=2), strict=True):
        for name in ("spikes", "label", "flow"):
            assert torch.equal(alone[name], shared[name])


def test_transform_sees_the_sample(root):
    samples = SpikeDataset(root, transform=lambda sample: sample | {"label": sample["label"] + 10})
    assert int(samples[0]["label"]) == 10


def test_clips_have_no_known_flow(pictures, tmp_path):
    settings = DatasetSettings(size=(32, 48), clips=True, fps=1000.0)
    make_dataset(pictures, tmp_path, settings, workers=1)
    assert SpikeDataset(tmp_path)[0]["spikes"].shape == (120, 32, 48)
    with pytest.raises(InputError, match="expected items whose flow is known, found the clip"):
        SpikeDataset(tmp_path, flow=True)


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv: expected the manifest"):
        SpikeDataset(tmp_path)
    with pytest.raises(InputError, match=r"expected spikes, found none \(split val, camera any\)"):
        SpikeDataset(root, split="val")
    for options in ({"window": 500}, {"counted": 500}, {"planes": (0, 20), "counted": 21}):
        with pytest.raises(InputError, match=r"expected items of (500|21) planes or more, found shorter ones"):
            SpikeDataset(root, **options)


def test_a_sample_is_asked_for_by_its_number(root):
    with pytest.raises(TypeError, match="expected the number of one sample, got slice"):
        _ = SpikeDataset(root)[0:2]


@pytest.mark.parametrize(
    "options", [{"window": 0}, {"counted": 0}, {"planes": (5, 5)}, {"window": 4, "counted": 5}, {"counted": 40_000}]
)
def test_options_that_cannot_be_are_refused(root, options):
    with pytest.raises(ValueError, match="expected"):
        SpikeDataset(root, **options)
