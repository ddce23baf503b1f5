"""Batches, windows, MVSEC's recordings, splits, caches and mixtures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording
from flownet import flow_between, temporal_distribution
from flownet.datasets.batch import Batch, join
from flownet.datasets.cache import FolderCache, MemoryCache, Packed
from flownet.datasets.mixed import REPLACEMENT, Mixed
from flownet.datasets.mvsec import MvsecPairs, find_recordings, nan_unknown
from flownet.datasets.splits import Part, Split, load_split, read_splits
from flownet.datasets.windows import Draws, Opened, order_of_epoch
from flownet.metrics import known

SHIPPED = Path(__file__).parents[2] / "flownet" / "datasets" / "splits"


def same(one: Batch, other: Batch) -> None:
    for name in ("slices", "frames", "flow", "index"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0, equal_nan=True)


# --- batches


def random_batch(number: int, dt: int = 2, *, flow: bool = True) -> Batch:
    drawn = torch.rand(number, dt, 2, 6, 8) if flow else None
    return Batch(torch.rand(number, 3 * dt, 2, 6, 8), torch.rand(number, dt + 1, 6, 8), drawn, torch.arange(number))


def test_a_batch_knows_its_intervals_and_splits_and_joins():
    batch = random_batch(6)
    assert (batch.dt, len(batch)) == (2, 6)
    parts = batch.split(3)
    assert [len(part) for part in parts] == [2, 2, 2]
    same(join(parts), batch)
    same(batch.to("cpu"), batch)
    bare = random_batch(4, flow=False)
    assert all(part.flow is None for part in bare.split(2))
    same(join(bare.split(2)), bare)


@pytest.mark.parametrize("other", [random_batch(2, 4), random_batch(2, flow=False)])
def test_batches_of_other_shapes_are_not_joined(other):
    with pytest.raises(ValueError, match=r"one shape.*\[6, 2, 6, 8\].*with flow and"):
        join([random_batch(2), other])


@pytest.mark.parametrize(
    ("slices", "frames", "flow", "words"),
    [
        ((2, 5, 2, 6, 8), (2, 3, 6, 8), None, "each of 2 intervals, got 5"),
        ((2, 4, 2, 6, 8), (2, 3, 6, 9), None, "expected frames"),
        ((2, 4, 2, 6, 8), (2, 3, 6, 8), (2, 1, 2, 6, 8), "expected flow"),
        ((4, 2, 6, 8), (2, 3, 6, 8), None, "B, T, C, H, W"),
        ((2, 4, 2, 6, 8), (2, 1, 6, 8), None, "dt"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(slices, frames, flow, words):
    with pytest.raises(ValueError, match=words):
        Batch(torch.rand(slices), torch.rand(frames), None if flow is None else torch.rand(flow))


# --- MVSEC


def test_four_intervals_are_the_single_ones_in_a_row(recordings):
    four, one = (MvsecPairs([recordings], dt=dt, crop=None, augment="none") for dt in (4, 1))
    window = four.window(3)
    which, first = four.pairs[3]
    singles = [one.window(int(np.flatnonzero((one.pairs == (which, first + k)).all(axis=1))[0])) for k in range(4)]
    torch.testing.assert_close(window.slices, torch.cat([single.slices for single in singles]))
    torch.testing.assert_close(window.frames[:-1], torch.stack([single.frames[0] for single in singles]))
    assert four[0].slices.shape == (1, 20, 2, 80, 96)
    assert four[0].frames.shape == (1, 5, 80, 96)
    assert four[0].frames.amax(dim=(2, 3)).unique().tolist() == [1]
    assert four[7].index.tolist() == [7]


def test_flow_is_the_ground_truth_to_every_frame(recordings):
    samples = MvsecPairs([recordings], dt=3, flow=True, crop=None, augment="none")
    number = len(samples) - 1
    which, first = samples.pairs[number]
    recording = MvsecRecording(find_recordings([recordings])[which])
    flow = samples.window(number).flow.numpy()
    for k in range(3):
        times = recording.image_ts[first], recording.image_ts[first + k + 1]
        expected = flow_between(recording.flow_maps, recording.flow_ts, *times)
        mask = known(expected)
        np.testing.assert_array_equal(flow[k][:, mask], expected[:, mask])
        assert np.isnan(flow[k][:, ~mask]).all()
    assert np.array_equal(known(np.nan_to_num(flow[2])), np.isfinite(flow[2]).all(axis=0))


def test_windows_that_ground_truth_does_not_cover_are_left_out(recordings, tmp_path):
    for name in ("scene_0_data.hdf5", "scene_0_gt.hdf5"):
        (tmp_path / name).write_bytes((recordings / name).read_bytes())
    with h5py.File(tmp_path / "scene_0_gt.hdf5", "r+") as file:
        for name in ("flow_dist", "flow_dist_ts"):
            values = file[f"davis/left/{name}"][2:9]
            del file[f"davis/left/{name}"]
            file[f"davis/left/{name}"] = values
    samples = MvsecPairs([tmp_path], dt=2, flow=True, crop=None)
    assert samples.pairs[:, 1].tolist() == [2, 3, 4, 5, 6]
    (tmp_path / "scene_0_gt.hdf5").unlink()
    with pytest.raises(InputError, match="scene_0_gt"):
        MvsecPairs([tmp_path], flow=True)


def test_windows_without_events_are_left_out(recordings, tmp_path):
    path = tmp_path / "late_data.hdf5"
    path.write_bytes((recordings / "scene_0_data.hdf5").read_bytes())
    with h5py.File(path, "r+") as file:
        inds = file["davis/left/image_raw_event_inds"]
        inds[:4] = -1
        later = inds[5]
        inds[4] = later
    samples = MvsecPairs([path], crop=None)
    assert samples.pairs[0].tolist() == [0, 3]
    assert 4 not in samples.pairs[:, 1]
    with h5py.File(path, "r+") as file:
        file["davis/left/image_raw_event_inds"][:] = -1
    with pytest.raises(InputError, match=r"late_data.*events between grey frames"):
        MvsecPairs([path], crop=None)


def two_eyed(source: Path, target: Path) -> None:
    """A recording whose right camera saw the left one's picture upside down."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        file.copy("davis/left", file["davis"], "right")
        file["davis/right/events"][:, 1] = 79 - file["davis/right/events"][:, 1]
        file["davis/right/image_raw"][:] = file["davis/right/image_raw"][:][:, ::-1]


def test_both_cameras(recordings, tmp_path):
    two_eyed(recordings / "scene_0_data.hdf5", tmp_path / "scene_0_data.hdf5")
    left, right, both = (MvsecPairs([tmp_path], camera=camera, crop=None) for camera in ("left", "right", "both"))
    assert len(both) == len(left) + len(right)
    torch.testing.assert_close(both.window(2).slices, left.window(2).slices)
    torch.testing.assert_close(both.window(len(left) + 2).slices, right.window(2).slices)
    torch.testing.assert_close(right.window(2).slices, left.window(2).slices.flip(-2))
    torch.testing.assert_close(right.window(2).frames, left.window(2).frames.flip(-2))
    with pytest.raises(InputError, match=r"davis/right/events, found davis/left"):
        MvsecPairs([recordings], camera="both")


def test_every_keeps_some_of_the_slices(recordings):
    samples = MvsecPairs([recordings], slices=13, every=3, weights="ceil", dt=2, crop=None)
    which, first = samples.pairs[1]
    recording = MvsecRecording(find_recordings([recordings])[which])
    events = [recording.events_between_images(int(first) + k, int(first) + k + 1) for k in range(2)]
    expected = [temporal_distribution(each, 13, weights="ceil", every=3) for each in events]
    torch.testing.assert_close(samples.window(1).slices, torch.cat(expected))


@pytest.mark.parametrize("options", [{}, {"augment": "paper", "flow": True, "dt": 2, "cache": "memory"}])
def test_any_number_of_workers_gives_the_same_batches(recordings, options):
    samples = MvsecPairs([recordings], crop=(32, 32), patches=2, **options)
    expected = [join([samples[n], samples[n + 1]]) for n in range(4, 12, 2)]
    for workers in (1, 2):
        loader = DataLoader(samples, batch_size=2, sampler=Draws(4, 12), num_workers=workers, collate_fn=join)
        for found, batch in zip(loader, expected, strict=True):
            same(found, batch)
    same(pickle.loads(pickle.dumps(samples))[5], samples[5])


def test_one_read_gives_several_patches(recordings):
    batch = MvsecPairs([recordings], crop=(32, 32), patches=4)[3]
    assert batch.slices.shape == (4, 5, 2, 32, 32)
    assert batch.index.tolist() == [3] * 4
    assert not torch.equal(batch.frames[0], batch.frames[1])


def test_few_files_stay_open():
    class Held:
        def __init__(self) -> None:
            self.open = False

        def close(self) -> None:
            self.open = False

    recordings = [Held() for _ in range(9)]
    opened = Opened(recordings, most=3)
    for number in (0, 1, 2, 0, 3, 4, 0, 8):
        opened[number].open = True
    assert [number for number, each in enumerate(recordings) if each.open] == [0, 4, 8]


@pytest.mark.parametrize(
    "options",
    [
        {"dt": 0},
        {"patches": 0},
        {"camera": "middle"},
        {"augment": "wild"},
        {"slices": 0},
        {"every": 0},
        {"weights": "x"},
    ],
)
def test_options_that_cannot_be(recordings, options):
    with pytest.raises(ValueError, match="expected"):
        MvsecPairs([recordings], **options)


def test_more_intervals_than_frames(recordings):
    with pytest.raises(InputError, match=r"scene_0.*51 grey frames or more, found 13"):
        MvsecPairs([recordings], dt=50)


def test_zeros_of_ground_truth_are_unknown():
    flow = np.array([[[0, 1, 0, np.nan, np.inf]], [[0, 0, 2, 1, 1]]], np.float32)
    found = nan_unknown(flow)
    np.testing.assert_array_equal(np.isfinite(found).all(axis=0), known(flow))
    np.testing.assert_array_equal(found[:, 0, 1:3], flow[:, 0, 1:3])


# --- splits


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_splits_are_read(path):
    for name, split in read_splits(path).items():
        assert split.name == name
        assert split.source
        assert split.sequences
        assert set(split.cameras) <= {"left", "right"}


def test_published_ranges():
    times = np.arange(28_583) / 45.7
    day2 = load_split("mvsec", "train_steflow").sequences["outdoor_day2"].first_frames(times, 1)
    assert (day2[0], day2[-1]) == (101, len(times) - 101)
    evflownet = load_split("mvsec", "train_evflownet")
    assert evflownet.cameras == ("left", "right")
    assert times[evflownet.sequences["outdoor_day2"].first_frames(times, 4)[0]] >= 45.0
    test = load_split("mvsec", "test_steflow").sequences
    assert len(test["outdoor_day1"].first_frames(times, 1)) == 800
    assert test["indoor_flying1"].first_frames(times[:100], 4).tolist() == list(range(21, 80))
    train, fit, validate = (set(load_split("dsec", name).sequences) for name in ("train", "fit", "validate"))
    assert len(train) == 18
    assert (fit | validate, fit & validate) == (train, set())
    assert len(load_split("dsec", "test").sequences) == 7


@given(
    frames=st.integers(2, 60),
    dt=st.integers(1, 6),
    ranges=st.lists(st.tuples(st.integers(0, 70), st.integers(-70, 70)), min_size=1, max_size=3),
)
def test_windows_of_a_part_are_within_its_ranges(frames, dt, ranges):
    ranges = tuple((start, max(start, stop) if stop >= 0 else stop) for start, stop in ranges)
    times = 100 + np.arange(frames) / 10
    found = Part(frames=ranges).first_frames(times, dt).tolist()
    expected = [i for i in range(frames - dt) if any(a <= i < (b if b >= 0 else frames + b) for a, b in ranges)]
    assert found == expected
    begin, end = 0.35, 2.15
    within = Part(seconds=((begin, end),)).first_frames(times, dt)
    assert all(begin <= times[i] - 100 and times[i + dt] - 100 <= end for i in within)


def test_only_the_valid_part_of_a_splits_sequences_is_drawn(recordings):
    split = Split(name="mine", source="me", sequences={"scene_1": Part(frames=((3, -2),))})
    samples = MvsecPairs([recordings], split=split, dt=2)
    assert len(samples.recordings) == 1
    assert samples.recordings[0].data_path.name == "scene_1_data.hdf5"
    assert samples.pairs[:, 1].tolist() == list(range(3, 11))
    with pytest.raises(InputError, match=r"train_steflow, also outdoor_day2, found scene_0, scene_1"):
        MvsecPairs([recordings], split="train_steflow")
    with pytest.raises(InputError, match=r"nonesuch: expected a split of mvsec among train_steflow"):
        MvsecPairs([recordings], split="nonesuch")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 2", "version 1"),
        ("a = [", "TOML"),
        ("version = 1\n[a]\nsource = 'x'", "sequences"),
        ("version = 1\n[a]\nsource = 'x'\n[a.sequences.s]\nframes = [[5, 3]]", "ranges"),
        ("version = 1\n[a]\nsource = 'x'\n[a.sequences.s]\nrows = 3", "rows"),
        ("version = 1\n[a]\nsource = 'x'\n[a.sequences.s]\nframes = [[1, 3]]\nseconds = [[1, 3]]", "both"),
    ],
)
def test_bad_splits_name_their_file(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"mine\.toml.*{words}"):
        read_splits(path)


# --- caches


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(width=32, allow_nan=False)), min_size=0, max_size=60),
)
def test_packing_is_exact(values):
    tensor = torch.tensor(values, dtype=torch.float32).reshape(1, len(values))
    packed = Packed.of(tensor)
    assert packed.nbytes <= 4 * len(values)
    for again in (packed, Packed.of_words(packed.words())):
        torch.testing.assert_close(again.tensor(), tensor, rtol=0, atol=0)


@pytest.mark.parametrize("words", [[], [1], [2, 3, 4, 1], [1, 4, 9, 0], [1, 2, 1, 1, 1, 1]])
def test_words_of_no_tensor_are_refused(words):
    with pytest.raises(ValueError, match="expected"):
        Packed.of_words(np.array(words, np.uint32))


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_what_is_kept_is_what_was_made(recordings, tmp_path, kind, monkeypatch):
    cache = "memory" if kind == "memory" else tmp_path / "kept"
    options = {"crop": (32, 32), "dt": 2, "flow": True, "patches": 2}
    plain, kept = MvsecPairs([recordings], **options), MvsecPairs([recordings], cache=cache, **options)
    expected = [plain[n] for n in range(8)]
    for _ in range(2):
        for n in range(8):
            same(kept[n], expected[n])
    monkeypatch.setattr("flownet.datasets.mvsec.temporal_distribution", lambda *_, **__: 1 / 0)
    for n in range(8):
        same(kept[n], expected[n])
    with pytest.raises(ZeroDivisionError):
        _ = plain[0]


def test_other_settings_and_changed_files_are_other_entries(recordings, tmp_path):
    for path in recordings.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    kept = tmp_path / "kept"

    def entries(**options) -> int:
        samples = MvsecPairs([tmp_path], crop=None, cache=kept, **options)
        _ = [samples[n] for n in range(3)]
        return len(list(kept.iterdir()))

    count = entries()
    assert entries() == count
    for options in ({"slices": 4}, {"weights": "ceil"}, {"every": 2}):
        before = len(list(kept.iterdir()))
        assert entries(**options) > before
    before = len(list(kept.iterdir()))
    with h5py.File(tmp_path / "scene_0_data.hdf5", "r+") as file:
        file.attrs["note"] = "changed"
    assert entries() > before
    described = json.loads(next(kept.glob("*/source.json")).read_text())
    assert {"path", "bytes", "changed_ns", "code", "camera", "slices", "weights", "every"} <= set(described)


def test_a_damaged_entry_is_made_again(tmp_path):
    cache, made = FolderCache(tmp_path), torch.eye(5)
    assert torch.equal(cache.slices("a", 3, lambda: made), made)
    (path,) = tmp_path.rglob("000003.npy")
    for bad in (b"", b"no numpy file", path.read_bytes()[:-5]):
        path.write_bytes(bad)
        assert torch.equal(cache.slices("a", 3, lambda: made), made)
        assert torch.equal(cache.slices("a", 3, lambda: 1 / 0), made)
    assert not list(tmp_path.rglob("*.partial*"))


def test_many_workers_fill_one_folder(recordings, tmp_path):
    samples = MvsecPairs([recordings], crop=(32, 32), cache=tmp_path / "kept")
    loader = DataLoader(samples, batch_size=1, sampler=[0, 0, 1, 1, 2, 2, 3, 3], num_workers=2, collate_fn=join)
    plain = MvsecPairs([recordings], crop=(32, 32))
    for n, batch in enumerate(loader):
        same(batch, plain[n // 2])
    assert len(list((tmp_path / "kept").rglob("*.npy"))) == 4


@given(st.lists(st.integers(0, 9), max_size=40))
def test_memory_stays_within_its_bound_and_forgets_the_oldest(numbers):
    cache, last = MemoryCache(memory_mb=0.0004), []  # 400 bytes: three arrays of 120
    for number in numbers:
        made = []
        cache.array("a", "x", number, lambda made=made: made.append(1) or np.zeros(30, np.float32))
        assert bool(made) == (number not in last[-3:])
        last = [each for each in last if each != number] + [number]
        assert cache.nbytes <= 400
    with pytest.raises(ValueError, match="memory_mb"):
        MemoryCache(0)


def test_what_is_larger_than_the_memory_is_given_all_the_same():
    cache = MemoryCache(memory_mb=1e-5)
    assert torch.equal(cache.slices("a", 0, lambda: torch.ones(40)), torch.ones(40))
    assert cache.nbytes == 0


# --- mixtures


def test_a_batch_of_a_mixture_is_of_one_data_set(recordings):
    one, other = MvsecPairs([recordings], crop=(32, 32)), MvsecPairs([recordings], crop=(32, 48), dt=2, seed=4)
    mixed = Mixed([one, other], [1, 3], batch_draws=3, seed=7)
    seen = []
    loader = DataLoader(mixed, batch_size=3, sampler=Draws(0, 36), num_workers=2, collate_fn=join)
    for number, batch in enumerate(loader):
        draws = range(3 * number, 3 * number + 3)
        assert len({mixed.choice(draw) for draw in draws}) == 1
        same(batch, join([mixed.datasets[mixed.choice(draws[0])][draw] for draw in draws]))
        seen.append(mixed.choice(draws[0]))
    assert set(seen) == {0, 1}
    assert [mixed.choice(draw + REPLACEMENT) for draw in range(36)] == [mixed.choice(draw) for draw in range(36)]


def test_shares_of_a_mixture_are_its_weights():
    mixed = Mixed([None, None, None], [1, 2, 5], batch_draws=1, seed=1)
    counts = np.bincount([mixed.choice(draw) for draw in range(4000)], minlength=3)
    # Three standard deviations of a share.
    np.testing.assert_allclose(counts / 4000, np.array([1, 2, 5]) / 8, atol=3 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize(
    ("weights", "draws"), [([1], 1), ([1, 0], 1), ([1, -1], 1), ([1, float("nan")], 1), ([1, 1], 0)]
)
def test_mixtures_that_cannot_be(weights, draws):
    with pytest.raises(ValueError, match="expected"):
        Mixed([None, None], weights, batch_draws=draws)


def test_order_of_windows_is_a_permutation_of_its_own_in_each_pass():
    assert sorted(order_of_epoch(3, 1, 50)) == list(range(50))
    assert list(order_of_epoch(3, 1, 50)) != list(order_of_epoch(3, 2, 50))
