"""Evaluation of files in MVSEC's layout, at its size, whose every number is known."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from eventsim import Events
from eventsim.io.mvsec import MvsecRecording
from eventsim.report import HtmlReport
from flownet import evaluate, flow_between
from flownet.evaluate import Gathered, centre, samples
from flownet.protocols import load_protocol
from flownet.protocols.intervals import select
from flownet.read_ahead import read_ahead
from flownet.report import Watched, add_comparison, add_flows, add_scores
from flownet.scores import Score
from flownet.truth_cache import TruthCache

EPOCH = 1_506_118_000.0
FRAMES, MAPS, PER_FRAME = 48, 20, 130
RULES = 'source = "test"\ndescription = "test"\n'


def write_recording(prefix: Path, *, frames: int = FRAMES, flow_start: float = 0.1) -> Path:
    """A recording of 260x346: frames at 40 Hz, maps at 20 Hz, flow (k + 1, -1) everywhere until map k + 1.

    Frames 0 and 1 are before the first event (index -1). Between frames i and i + 1 lie PER_FRAME events, event j
    in column j of row i + 10; a third of them OFF.
    """
    image_ts = EPOCH + np.arange(frames) / 40
    j, i = np.tile(np.arange(PER_FRAME), frames - 3), np.repeat(np.arange(2, frames - 1), PER_FRAME)
    t = image_ts[i] + (j + 0.5) / PER_FRAME / 40
    rows = np.stack([j, i + 10, t, np.where(j % 3, 1.0, -1.0)], axis=1)
    inds = np.concatenate([[-1, -1], PER_FRAME * np.arange(frames - 2)])
    with h5py.File(f"{prefix}_data.hdf5", "w") as file:
        group = file.create_group("davis/left")
        group["events"], group["image_raw_ts"], group["image_raw_event_inds"] = rows, image_ts, inds
        group.create_dataset("image_raw", (frames, 260, 346), np.uint8, chunks=(1, 260, 346), fillvalue=90)
    maps = np.ones((MAPS, 2, 260, 346), np.float64)
    maps[:, 0] = np.arange(1, MAPS + 1)[:, None, None]
    maps[:, 1] = -1
    with h5py.File(f"{prefix}_gt.hdf5", "w") as file:
        file.create_dataset("davis/left/flow_dist", data=maps, chunks=(8, 1, 130, 346), compression="lzf")
        file["davis/left/flow_dist_ts"] = EPOCH + flow_start + np.arange(MAPS) / 20
    return Path(f"{prefix}_data.hdf5")


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    return write_recording(tmp_path_factory.mktemp("recording") / "outdoor_day1")


def protocol(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(RULES + text)
    return str(path)


class Still(torch.nn.Module):
    """Predicts one flow, (dx, dy) everywhere."""

    def __init__(self, dx: float = 0.0, dy: float = 0.0) -> None:
        super().__init__()
        self.flow = torch.nn.Parameter(torch.tensor([float(dx), float(dy)]))

    def forward(self, slices: torch.Tensor):
        size = slices.shape[-2:]
        return _Flows(self.flow[None, :, None, None].expand(1, 2, *size))


@dataclass
class _Flows:
    final: torch.Tensor


# --- what is evaluated


def test_frames_pixels_and_reasons_are_reported(recording):
    report = evaluate(Still(), recording, "full")
    # Maps from 0.1 s to 1.05 s: frames 4 to 42.
    assert len(report.sparse.frames) == 38
    assert dict(report.left_out) == {"before the first ground truth": 4, "after the last ground truth": 5}
    assert report.sparse.pixels.pixels == 38 * PER_FRAME
    assert report.dense.pixels.pixels == 38 * 260 * 346
    text = str(report)
    for words in ("outdoor_day1", "dt=1", "protocol full", "38 frames", "4 left out (before", "zero flow", "4,940"):
        assert words in text, words


def test_zero_flow_s_error_is_the_flow_s_length(recording):
    report = evaluate(Still(), recording, "full")
    lengths = [np.hypot((k + 1) / 2, 0.5) for k in range(MAPS) for _ in range(2)]
    assert [frame.aee for frame in report.zero_dense.frames[:38]] == pytest.approx(lengths[:38], rel=1e-5)
    assert report.relative == pytest.approx(1)
    assert report.sparse.frames == report.zero_sparse.frames


def test_the_predicted_flow_is_compared(recording):
    report = evaluate(Still(dx=0.5, dy=-0.5), recording, "full")
    assert [frame.aee for frame in report.dense.frames[:6]] == pytest.approx([0, 0, 0.5, 0.5, 1, 1], abs=1e-4)


@pytest.mark.parametrize("dt", [2, 4])
def test_truth_over_several_steps(recording, dt):
    maps = MvsecRecording(recording)
    seen = []
    evaluate(Still(), recording, "full", dt=dt, watch=lambda sample, _: seen.append(sample))
    for sample in seen[::7]:
        start, end = maps.image_ts[[sample.frame, sample.frame + dt]]
        expected = flow_between(np.asarray(maps.flow_maps), maps.flow_ts, start, end)
        np.testing.assert_array_equal(sample.ground_truth, expected)
        assert sample.slices.shape[0] == 5 * dt


def test_crop_and_rows_are_rows_2_to_257_and_columns_45_to_300(recording, tmp_path):
    seen = []
    rules = protocol(tmp_path, "crop = [256, 256]\nrows = 190\n[frames.default]\n")
    report = evaluate(Still(), recording, rules, watch=lambda sample, _: seen.append(sample))
    assert centre(report.protocol, MvsecRecording(recording)) == (slice(2, 258), slice(45, 301))
    assert report.dense.frames[0].pixels == 190 * 256
    # The events of frame i lie in row i + 10 of the frame, and in its columns 0 .. PER_FRAME - 1.
    assert np.argwhere(seen[0].event_count).tolist() == [[4 + 10 - 2, x - 45] for x in range(45, PER_FRAME)]
    assert seen[0].slices.sum() == pytest.approx(PER_FRAME - 45, rel=0.3)
    of_frame = protocol(tmp_path, 'crop = [256, 256]\nrows = 193\nrows_of = "frame"\n[frames.default]\n')
    assert evaluate(Still(), recording, of_frame).dense.frames[0].pixels == 191 * 256
    whole = protocol(tmp_path, 'rows = 193\nrows_of = "frame"\n[frames.default]\n')
    assert evaluate(Still(), recording, whole).dense.frames[0].pixels == 193 * 346


def test_thirteen_slices_of_which_five_are_seen(recording, tmp_path):
    """Ten events a slice: the network and the mask have those of slices 0, 3, 6, 9 and 12 only."""
    rules = protocol(tmp_path, 'mask = "input"\nslices = 13\nkeep = [0, 3, 6, 9, 12]\n[frames.default]\n')
    seen = []
    report = evaluate(Still(), recording, rules, watch=lambda sample, _: seen.append(sample))
    columns = [x for slice_ in (0, 3, 6, 9, 12) for x in range(10 * slice_, 10 * slice_ + 10)]
    assert np.flatnonzero(seen[0].event_count[14]).tolist() == columns
    assert np.flatnonzero(seen[0].slices.sum(dim=(0, 1))[14]).tolist() == columns
    assert seen[0].slices.shape[0] == 5
    assert report.sparse.pixels.pixels == 50 * len(report.sparse.frames)


def test_a_network_may_make_only_the_kept_slices(recording, tmp_path):
    rules = protocol(tmp_path, "slices = 13\nkeep = [0, 3, 6, 9, 12]\n[frames.default]\n")
    model = Still()
    model.represent = lambda events, slices: torch.ones(5, 2, events.height, events.width)
    assert evaluate(model, recording, rules).sparse.pixels.pixels
    model.represent = lambda events, slices: torch.ones(7, 2, events.height, events.width)
    with pytest.raises(ValueError, match="13 slices of a step, or the 5"):
        evaluate(model, recording, rules)


def test_negative_event_indices_begin_at_the_first_event(recording):
    reader = MvsecRecording(recording)
    assert reader.event_inds[:3].tolist() == [-1, -1, 0]
    assert [len(reader.events_between_images(i, i + 1)) for i in range(4)] == [0, 0, PER_FRAME, PER_FRAME]
    # The last event of the recording is not what an index of -1 means.
    assert len(reader.events_between_images(1, 3)) == PER_FRAME


def test_absolute_seconds_keep_their_microseconds(recording, tmp_path):
    """Steps of the ground truth are cut out by time: float32 would put all events of the recording at one time."""
    rules = protocol(tmp_path, 'interval = "ground_truth"\n[frames.default]\n')
    seen = []
    report = evaluate(Still(), recording, rules, watch=lambda sample, _: seen.append(sample))
    assert len(report.sparse.frames) == MAPS - 1
    for sample in seen[1:17]:
        # 50 ms: the events of two frames, map k being at the time of frame 4 + 2 k.
        assert len(sample.events) == 2 * PER_FRAME
        assert set(sample.events.y.tolist()) == {14 + 2 * sample.frame, 15 + 2 * sample.frame}
        assert sample.window[1] - sample.window[0] == 50_000
        np.testing.assert_allclose(sample.ground_truth[0, 5, 5], sample.frame + 1)


def test_a_dense_protocol_s_figure_is_the_dense_one(recording, tmp_path):
    dense = evaluate(Still(1, 1), recording, protocol(tmp_path, 'mask = "none"\n[frames.default]\n'))
    assert dense.own == dense.dense
    assert dense.aee == dense.dense.aee
    (own,) = [row for row in dense.rows() if row.own]
    assert own[:3] == ("network", "dense", "frames")
    assert "* network     dense" in str(dense)
    pooled = evaluate(Still(1, 1), recording, protocol(tmp_path, 'average = "pixels"\n[frames.default]\n'))
    assert pooled.aee == pooled.sparse.pixels.aee
    assert [row[:3] for row in pooled.rows() if row.own] == [("network", "sparse", "pixels")]


def test_intervals_without_input_are_left_out_where_the_protocol_says_so(tmp_path):
    path = write_recording(tmp_path / "outdoor_day1", flow_start=0.0)
    skip = evaluate(Still(), path, protocol(tmp_path, "skip_empty = true\n[frames.default]\n"))
    assert skip.left_out["without events that the protocol sees"] == 2
    assert skip.sparse.empty_frames == 0
    held = evaluate(Still(), path, protocol(tmp_path, "[frames.default]\n"))
    assert held.sparse.empty_frames == 2
    assert "2 without a pixel to compare (left out in means" in str(held)
    assert held.sparse.aee == pytest.approx(skip.sparse.aee)


def test_frames_without_a_pixel_may_count_as_zero_error_and_all_outliers(recording):
    errors = evaluate(Still(9, 9), recording, "full").sparse.frames
    empty = type(errors[0])()
    left_out, as_zero = (Score(errors[0], (errors[0], empty), rule) for rule in ("left out", "as zero"))
    assert left_out.aee == errors[0].aee
    assert as_zero.aee == errors[0].aee / 2
    assert as_zero.outlier_percent == (errors[0].outlier_percent + 100) / 2
    assert np.isnan(Score(empty, (empty,)).aee)


def test_nothing_to_evaluate_says_why(tmp_path):
    path = write_recording(tmp_path / "outdoor_day1", frames=5, flow_start=30.0)
    with pytest.raises(ValueError, match=r"protocol full.*found 4 left out \(before the first ground truth\)"):
        evaluate(Still(), path, "full")


def test_a_baseline_takes_events_and_the_window(recording, tmp_path):
    class Told:
        def from_events(self, events: Events, window: tuple[int, int]) -> np.ndarray:
            assert window[0] <= events.t[0] <= events.t[-1] < window[1]
            flow = np.zeros((2, events.height, events.width), np.float32)
            flow[0, 2:, 45:] = len(events)
            return flow

    seen = []
    rules = protocol(tmp_path, "crop = [256, 256]\n[frames.default]\nranges = [[6, 20]]\n")
    evaluate(Told(), recording, rules, watch=lambda _, flow: seen.append(flow))
    assert seen[0].shape == (2, 256, 256)
    assert (seen[0][0] == PER_FRAME).all()


# --- reading


def test_samples_are_made_ahead_in_another_thread():
    made = []

    def items():
        for index in range(4):
            made.append((index, threading.current_thread().name))
            yield index

    seen = list(read_ahead(items()))
    assert seen == [0, 1, 2, 3]
    assert all(name.startswith("read-ahead") for _, name in made)


def test_reading_ahead_passes_on_errors_and_closes():
    closed = []

    def items():
        try:
            yield 1
            raise ValueError("broken")
        finally:
            closed.append(True)

    found = read_ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)
    assert closed == [True]
    abandoned = read_ahead(items())
    next(abandoned)
    abandoned.close()
    assert closed == [True, True]


def test_the_time_is_accounted_for(recording):
    report = evaluate(Still(), recording, "full")
    assert report.seconds_network > 0
    assert report.seconds_outside > 0
    assert 0 < report.share_outside < 1
    assert report.seconds_reading > 0
    assert "in the network" in str(report)


# --- the cache


def test_cached_truth_is_the_same_and_is_not_computed_again(recording, tmp_path, monkeypatch):
    plain = evaluate(Still(1, 0), recording, "full", dt=4)
    first = evaluate(Still(1, 0), recording, "full", dt=4, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("outdoor_day1-full-dt4-")
    with np.load(path) as held:
        assert "protocol" in str(held["key"])
        assert len(held.files) == 1 + len(first.dense.frames)
    monkeypatch.setattr(sys.modules["flownet.evaluate"], "flow_between", None)  # the function hides its module
    again = evaluate(Still(1, 0), recording, "full", dt=4, cache=tmp_path)
    assert plain == first == again


def test_another_file_interval_or_crop_has_another_cache(recording, tmp_path):
    other = write_recording(tmp_path / "outdoor_day1")
    cache = tmp_path / "cache"
    evaluate(Still(), recording, "full", cache=cache)
    evaluate(Still(), recording, "full", dt=2, cache=cache)
    evaluate(Still(), recording, protocol(tmp_path, "crop = [256, 256]\n[frames.default]\n"), cache=cache)
    evaluate(Still(), other, "full", cache=cache)
    assert len(list(cache.iterdir())) == 4
    with h5py.File(other.with_name("outdoor_day1_gt.hdf5"), "r+") as file:
        file["davis/left/flow_dist"][3] *= 2
    evaluate(Still(), other, "full", cache=cache)
    assert len(list(cache.iterdir())) == 5


def test_an_evaluation_that_ends_early_leaves_no_cache(recording, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Still(), recording, "full", cache=tmp_path, watch=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_named(recording, tmp_path):
    evaluate(Still(), recording, "full", cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"outdoor_day1-full-dt1.*delete it"):
        evaluate(Still(), recording, "full", cache=tmp_path)


def test_the_cache_gives_what_it_lacks(tmp_path):
    flow = np.ones((2, 3, 4), np.float32)
    with TruthCache(tmp_path, "a", {"x": 1}) as cache:
        cache.flow(1, lambda: flow)
    with TruthCache(tmp_path, "a", {"x": 1}) as cache:
        np.testing.assert_array_equal(cache.flow(1, lambda: 0 * flow), flow)
        np.testing.assert_array_equal(cache.flow(2, lambda: 2 * flow), 2 * flow)


# --- reports


def test_published_rows_are_shown_beside_ours(recording, tmp_path):
    report = evaluate(Still(), recording, "full")
    said = report.compared()
    assert "STE-FlowNet" in said
    assert f"{report.aee:.2f}" in said
    page = HtmlReport("test")
    add_scores(page, report)
    add_comparison(page, report)
    page.write(tmp_path / "page.html")
    assert "MultiCM-V2" in (tmp_path / "page.html").read_text()


def test_steps_of_the_ground_truth_are_drawn_and_have_no_published_rows(recording, tmp_path):
    rules = protocol(tmp_path, 'interval = "ground_truth"\nmask = "none"\n[frames.default]\n')
    watched = Watched(most=2)
    report = evaluate(Still(), recording, rules, watch=watched.add)
    assert report.published() == []
    assert "no published results" in report.compared()
    page = HtmlReport("test")
    add_comparison(page, report)
    add_flows(page, MvsecRecording(recording), report.protocol, watched.kept)
    page.write(tmp_path / "page.html")
    assert "grey frame 4" in (tmp_path / "page.html").read_text()


def test_samples_can_be_made_alone(recording):
    reader, rules, gathered = MvsecRecording(recording), load_protocol("full"), Gathered()
    chosen = select(reader, rules, 1)
    first = next(samples(reader, rules, chosen.steps, 1, None, gathered=gathered))
    assert (first.frame, first.slices.numel(), len(first.events)) == (4, 0, PER_FRAME)
