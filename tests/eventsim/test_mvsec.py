"""MVSEC's layout: every key as the original has it, exact times and indices, and every fault by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.mvsec import MvsecRecording, MvsecWriter, open_recording
from eventsim.io.mvsec_writer import blend
from eventsim.streams.events import Events

WIDTH, HEIGHT = 34, 26
EPOCH_US = 1_506_117_912_000_123


def events(times: np.ndarray, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, size, len(times)).astype(np.uint16) for size in (WIDTH, HEIGHT))
    return Events(np.asarray(times, np.int64), x, y, rng.integers(0, 2, len(times)).astype(bool), WIDTH, HEIGHT)


def writer(prefix: Path, **options: object) -> MvsecWriter:
    return MvsecWriter(prefix, **{"width": WIDTH, "height": HEIGHT, "epoch_us": EPOCH_US, **options})


def write_all(prefix: Path, camera: str = "left") -> Events:
    rng = np.random.default_rng(0)
    whole = events(np.sort(rng.integers(0, 200_000, 5000)))
    with writer(prefix, camera=camera) as out:
        for k in range(6):
            out.add_image(k * 40_000, np.full((HEIGHT, WIDTH), k, np.uint8))
            out.add_events(whole.window(k * 40_000, (k + 1) * 40_000))
        for k in range(4):
            out.add_flow(k * 50_000, np.full((2, HEIGHT, WIDTH), k, np.float32))
            out.add_depth(k * 50_000, np.full((HEIGHT, WIDTH), k + 1.0))
        for k in range(20):
            out.add_pose(k * 10_000, np.eye(4) * k)
            out.add_imu(k * 10_000, np.arange(6.0) + k)
        for k in range(3):
            out.add_scan(k * 50_000, np.full((5 + 3 * k, 4), k, np.float32))
    return whole


# --- the layout


def test_every_key_has_the_originals_shape_and_type(tmp_path: Path) -> None:
    write_all(tmp_path / "a")
    expected = {
        "a_data.hdf5": {
            "davis/left/events": ((5000, 4), "float64"),
            "davis/left/image_raw": ((6, HEIGHT, WIDTH), "uint8"),
            "davis/left/image_raw_ts": ((6,), "float64"),
            "davis/left/image_raw_event_inds": ((6,), "int64"),
            "davis/left/imu": ((20, 6), "float64"),
            "davis/left/imu_ts": ((20,), "float64"),
            "velodyne/scans": ((3, 11, 4), "float32"),
            "velodyne/scans_ts": ((3,), "float64"),
        },
        "a_gt.hdf5": {
            "davis/left/flow_dist": ((4, 2, HEIGHT, WIDTH), "float32"),
            "davis/left/flow_dist_ts": ((4,), "float64"),
            "davis/left/depth_image_raw": ((4, HEIGHT, WIDTH), "float32"),
            "davis/left/depth_image_raw_ts": ((4,), "float64"),
            "davis/left/depth_image_rect": ((4, HEIGHT, WIDTH), "float32"),
            "davis/left/depth_image_rect_ts": ((4,), "float64"),
            "davis/left/blended_image_rect": ((4, HEIGHT, WIDTH, 3), "uint8"),
            "davis/left/blended_image_rect_ts": ((4,), "float64"),
            "davis/left/pose": ((20, 4, 4), "float64"),
            "davis/left/pose_ts": ((20,), "float64"),
            "davis/left/odometry": ((20, 4, 4), "float64"),
            "davis/left/odometry_ts": ((20,), "float64"),
        },
    }
    for name, keys in expected.items():
        with h5py.File(tmp_path / name) as file:
            for key, (shape, dtype) in keys.items():
                assert (file[key].shape, file[key].dtype.name) == (shape, dtype), key
            found: list[str] = []
            for side in ("davis/left", "velodyne"):
                found += [f"{side}/{key}" for key in file.get(side, ())]
            assert sorted(found) == sorted(keys)


def test_no_plugin_is_needed_to_read(tmp_path: Path) -> None:
    write_all(tmp_path / "a")
    for name in ("a_data.hdf5", "a_gt.hdf5"):
        with h5py.File(tmp_path / name) as file:
            kinds: set[str | None] = set()
            file.visititems(lambda _, item: kinds.add(item.compression) if isinstance(item, h5py.Dataset) else None)  # noqa: B023
        assert kinds == {"lzf", None}


def test_events_are_rows_x_y_seconds_sign(tmp_path: Path) -> None:
    whole = write_all(tmp_path / "a")
    with h5py.File(tmp_path / "a_data.hdf5") as file:
        x, y, t, p = file["davis/left/events"][:].T
    assert np.array_equal(x, whole.x)
    assert np.array_equal(y, whole.y)
    assert np.array_equal(t, (EPOCH_US + whole.t) / 1e6)
    assert np.array_equal(p, np.where(whole.p, 1, -1))


def test_what_is_not_known_is_stored_as_mvsec_does(tmp_path: Path) -> None:
    flow = np.ones((2, HEIGHT, WIDTH))
    flow[:, 3, 4] = np.nan
    depth = np.full((HEIGHT, WIDTH), np.inf)
    depth[0, 0] = 2
    with writer(tmp_path / "a") as out:
        out.add_flow(0, flow)
        out.add_depth(0, depth)
        out.add_scan(0, np.ones((2, 4)))
        out.add_scan(1, np.ones((3, 4)))
    found = MvsecRecording(tmp_path / "a_data.hdf5")
    assert np.flatnonzero(found.flow_maps[0] == 0).tolist() == [3 * WIDTH + 4, HEIGHT * WIDTH + 3 * WIDTH + 4]
    assert np.isfinite(found.depth_maps[0]).sum() == 1
    with h5py.File(tmp_path / "a_data.hdf5") as file:
        assert np.isnan(file["velodyne/scans"][:]).sum() == 4


def test_what_was_not_added_is_absent(tmp_path: Path) -> None:
    with writer(tmp_path / "a"):
        pass
    with h5py.File(tmp_path / "a_data.hdf5") as file:
        assert set(file["davis/left"]) == {"events", "image_raw", "image_raw_ts", "image_raw_event_inds"}
    with h5py.File(tmp_path / "a_gt.hdf5") as file:
        assert list(file) == []
    found = MvsecRecording(tmp_path / "a_data.hdf5")
    assert (len(found), found.width, found.height, len(found.image_ts)) == (0, WIDTH, HEIGHT, 0)


def test_depth_is_blended_with_the_events_of_25_ms_around_it(tmp_path: Path) -> None:
    whole = write_all(tmp_path / "a")
    with h5py.File(tmp_path / "a_gt.hdf5") as file:
        found = file["davis/left/blended_image_rect"][2]
    near = whole.window(75_000, 125_000)
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[near.y, near.x] = True
    red, blue = ((found == colour).all(axis=2) for colour in ([0, 0, 255], [255, 0, 0]))
    assert np.array_equal(red | blue, drawn)
    assert red[near.y[-1], near.x[-1]] == near.p[-1]
    assert (found[~drawn] == 255).all()


def test_blend_shows_near_as_bright_and_unknown_as_black() -> None:
    picture = blend(np.array([[1, 2, np.nan]], np.float32), np.zeros((0, 4)))
    assert picture[0, :, 0].tolist() == [255, 127, 0]


# --- event indices


def expected_inds(times: np.ndarray, image_times: list[int]) -> list[int]:
    return [-1 if not len(times) or t < times[0] else int((times < t).sum()) for t in image_times]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 300), max_size=60),
    st.sets(st.integers(-50, 350), max_size=12),
    st.sampled_from(["events first", "images first", "interleaved"]),
    st.sampled_from([0, EPOCH_US]),
    st.sampled_from([1, 37, 1000]),
)
def test_event_inds_are_exact_in_any_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, ticks: list[int], images: set[int], order: str, epoch: int, scale: int
) -> None:
    times, image_times = np.sort(np.array(ticks, np.int64)) * scale, [t * scale for t in sorted(images)]
    whole, picture = events(times), np.zeros((HEIGHT, WIDTH), np.uint8)
    prefix = tmp_path_factory.mktemp("mvsec") / "a"
    with writer(prefix, ground_truth=False, epoch_us=epoch + 10**6) as out:
        steps = [("image", t) for t in image_times]
        steps += [("events", i) for i in range(0, len(whole), 7)]
        if order == "events first":
            steps = steps[len(image_times) :] + steps[: len(image_times)]
        elif order == "interleaved":
            steps.sort(key=lambda step: step[1] if step[0] == "image" else int(times[step[1]]))
        for kind, value in steps:
            if kind == "image":
                out.add_image(value, picture)
            else:
                out.add_events(whole[value : value + 7])
    found = MvsecRecording(f"{prefix}_data.hdf5")
    assert found.event_inds.tolist() == expected_inds(times, image_times)
    for k in range(1, len(image_times)):
        between = found.events_between_images(k - 1, k)
        assert np.array_equal(between.t - epoch - 10**6, whole.window(image_times[k - 1], image_times[k]).t)


@given(st.lists(st.integers(0, 2**31 * 10**6), min_size=1, max_size=50))
@settings(deadline=None, max_examples=30)
def test_absolute_microseconds_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, times: list[int]) -> None:
    first, *_ = whole = sorted(times)
    near = np.array([t for t in whole if t - first < 10**10], np.int64)
    prefix = tmp_path_factory.mktemp("mvsec") / "a"
    with writer(prefix, epoch_us=first, ground_truth=False) as out:
        out.add_events(events(near - first))
    assert MvsecRecording(f"{prefix}_data.hdf5").events().t.tolist() == near.tolist()


# --- reading


def test_reading_back(tmp_path: Path) -> None:
    whole = write_all(tmp_path / "a")
    found = open_recording(tmp_path / "a")
    assert (found.width, found.height, len(found)) == (WIDTH, HEIGHT, 5000)
    assert found.image(3).tolist() == np.full((HEIGHT, WIDTH), 3).tolist()
    assert found.image_ts.tolist() == [(EPOCH_US + k * 40_000) / 1e6 for k in range(6)]
    assert found.flow_maps.shape == (4, 2, HEIGHT, WIDTH)
    assert found.flow_ts.tolist() == found.depth_ts.tolist() == [(EPOCH_US + k * 50_000) / 1e6 for k in range(4)]
    assert found.depth_maps[2, 0, 0] == 3
    assert found.poses.shape == (20, 4, 4)
    assert len(found.pose_ts) == 20
    part = found.events(1000, 2000)
    assert np.array_equal(part.t, whole.t[1000:2000] + EPOCH_US)
    assert np.array_equal(part.p, whole.p[1000:2000])
    assert len(found.events(-1, 10)) == 10
    for t0, t1 in ((0, 70_000), (33, 34), (150_000, 10**9), (5, 5)):
        assert np.array_equal(found.window(EPOCH_US + t0, EPOCH_US + t1).t, whole.window(t0, t1).t + EPOCH_US)
    assert sum(len(chunk) for chunk in found) == 5000


def test_a_recording_can_be_sent_to_workers(tmp_path: Path) -> None:
    write_all(tmp_path / "a")
    found = open_recording(tmp_path / "a_data.hdf5")
    found.events(0, 10), found.flow_maps
    copy = pickle.loads(pickle.dumps(found))
    assert np.array_equal(copy.events().t, found.events().t)
    assert np.array_equal(copy.flow_maps[1], found.flow_maps[1])


def test_the_right_camera(tmp_path: Path) -> None:
    write_all(tmp_path / "a", camera="right")
    assert len(MvsecRecording(tmp_path / "a_data.hdf5", camera="right")) == 5000
    with pytest.raises(
        InputError, match="expected data set davis/left/events, found davis/right/events, davis/right/im"
    ):
        MvsecRecording(tmp_path / "a_data.hdf5")
    with pytest.raises(ValueError, match="'left' or 'right', got 'middle'"):
        writer(tmp_path / "b", camera="middle")


def test_missing_ground_truth_and_keys_are_named(tmp_path: Path) -> None:
    with writer(tmp_path / "a", ground_truth=False) as out:
        out.add_events(events(np.arange(5)))
    with pytest.raises(InputError, match=r"a_data.hdf5: expected ground truth in .*a_gt.hdf5, found nothing there"):
        _ = open_recording(tmp_path / "a").flow_maps
    with writer(tmp_path / "b") as out:
        out.add_pose(0, np.eye(4))
    with pytest.raises(
        InputError, match=r"b_gt.hdf5: expected data set davis/left/flow_dist, found davis/left/odometry"
    ):
        _ = open_recording(tmp_path / "b").flow_maps
    with pytest.raises(InputError, match=r"c_data.hdf5: expected an HDF5 file, found nothing there"):
        open_recording(tmp_path / "c")


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (7, 2, 0.5, r"ascending times, found 500000 us after \d+ us at event 7"),
        (9, 0, WIDTH, "x below 34 and y below 26, found x 34, .* at event 9"),
        (9, 1, -1.0, "found x .*, y -1 at event 9"),
        (8, 0, np.nan, "at event 8"),
    ],
)
def test_bad_events_are_named_by_their_index_in_the_file(
    tmp_path: Path, row: int, column: int, value: float, message: str
) -> None:
    with writer(tmp_path / "a") as out:
        out.add_events(events(np.arange(20)))
    with h5py.File(tmp_path / "a_data.hdf5", "r+") as file:
        file["davis/left/events"][row, column] = value
    with pytest.raises(InputError, match=message):
        open_recording(tmp_path / "a").events(5, 15)


def test_events_of_another_shape(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a_data.hdf5", "w") as file:
        file["davis/left/events"] = np.zeros((10, 5))
    with pytest.raises(InputError, match=r"expected events \[N, 4\], found shape \(10, 5\)"):
        MvsecRecording(tmp_path / "a_data.hdf5")


# --- writing


def test_both_files_appear_or_none(tmp_path: Path) -> None:
    (tmp_path / "a_gt.hdf5").write_text("mine")
    with pytest.raises(OutputExistsError, match="a_gt"), writer(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a_gt.hdf5"]
    with writer(tmp_path / "a", overwrite=True) as out:
        out.add_flow(0, np.zeros((2, HEIGHT, WIDTH)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_data.hdf5", "a_gt.hdf5"]


def test_old_ground_truth_does_not_stay_beside_new_events(tmp_path: Path) -> None:
    write_all(tmp_path / "a")
    with pytest.raises(OutputExistsError, match="a_gt"), writer((tmp_path / "b.hdf5", tmp_path / "a_gt.hdf5"),
                                                               ground_truth=False):  # fmt: skip
        pass
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "a", ground_truth=False, overwrite=True):
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    with writer(tmp_path / "a", ground_truth=False, overwrite=True) as out:
        out.add_events(events(np.arange(5)))
    assert [path.name for path in tmp_path.iterdir()] == ["a_data.hdf5"]


def test_paths_may_be_given_one_by_one(tmp_path: Path) -> None:
    with writer((tmp_path / "x.hdf5", tmp_path / "deep" / "y.hdf5")) as out:
        out.add_flow(0, np.ones((2, HEIGHT, WIDTH)))
    assert MvsecRecording(tmp_path / "x.hdf5", tmp_path / "deep" / "y.hdf5").flow_maps.shape[0] == 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda out: out.add_events(Events.empty(5, 5)), "a sensor of 34x26, got 5x5"),
        (lambda out: [out.add_events(events(np.array([t]))) for t in (5, 4)], "got 4 us after 5 us"),
        (lambda out: out.add_image(0, np.zeros((5, 5), np.uint8)), r"image_raw of shape \(26, 34\), got \(5, 5\)"),
        (lambda out: [out.add_image(t, np.zeros((26, 34), np.uint8)) for t in (5, 5)], "rise, got 5 us after 5 us"),
        (lambda out: out.add_flow(0, np.zeros((26, 34, 2))), r"flow_dist of shape \(2, 26, 34\)"),
        (lambda out: out.add_pose(0, np.eye(3)), r"pose of shape \(4, 4\)"),
        (lambda out: out.add_imu(0, np.zeros(3)), r"imu of shape \(6,\)"),
        (lambda out: out.add_scan(0, np.zeros((3, 3))), r"points of shape \(n, 4\)"),
    ],
)
def test_writing_refuses(tmp_path: Path, action: object, message: str) -> None:
    with pytest.raises(ValueError, match=message), writer(tmp_path / "a") as out:
        action(out)
    assert list(tmp_path.iterdir()) == []


def test_images_must_be_8_bit_and_ground_truth_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="uint8, got float64"), writer(tmp_path / "a") as out:
        out.add_image(0, np.zeros((HEIGHT, WIDTH)))
    with pytest.raises(ValueError, match="ground_truth=True"), writer(tmp_path / "a", ground_truth=False) as out:
        out.add_flow(0, np.zeros((2, HEIGHT, WIDTH)))


def test_the_callers_memory_may_be_used_again(tmp_path: Path) -> None:
    picture, pose = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((4, 4))
    with writer(tmp_path / "a") as out:
        for k in range(5):
            picture[:], pose[:] = k, k
            out.add_image(k, picture)
            out.add_pose(k, pose)
        picture[:], pose[:] = 99, 99
    found = open_recording(tmp_path / "a")
    assert [int(found.image(k)[0, 0]) for k in range(5)] == found.poses[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
