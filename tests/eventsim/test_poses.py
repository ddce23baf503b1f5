"""Poses from files and the paths through them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.mvsec import MvsecWriter
from eventsim.io.poses import Poses, read_poses, write_poses
from eventsim.light.paths import KeyedPath, Trajectory, reach
from eventsim.streams.events import Events

RNG = np.random.default_rng(0)
SMOOTH = Trajectory(RNG.normal(size=(6, 2)) * 0.2, RNG.uniform(0.2, 1.0, (6, 2)), RNG.uniform(0, 6, (6, 2)))


def keys(step_us: float = 20_000.0, count: int = 100, start: float = 1.5e9) -> Poses:
    times = np.arange(count) * step_us
    poses = [SMOOTH.pose(t_us) for t_us in times]
    turned = Rotation.from_matrix(np.stack([rotation for rotation, _ in poses])).as_quat()
    return Poses(start + times * 1e-6, np.stack([position for _, position in poses]), turned)


def through(poses: Poses, **options) -> KeyedPath:
    return KeyedPath((poses.seconds - poses.seconds[0]) * 1e6, poses.positions, poses.quaternions, **options)


def from_start(t0_us: float, t_us: float) -> tuple[np.ndarray, np.ndarray]:
    """The pose at t, seen from that at t0."""
    (r0, p0), (r, p) = SMOOTH.pose(t0_us), SMOOTH.pose(t_us)
    return r0.T @ r, r0.T @ (p - p0)


def test_text_gives_back_what_was_written(tmp_path):
    write_poses(tmp_path / "path.txt", keys())
    found = read_poses(tmp_path / "path.txt")
    np.testing.assert_array_equal(found.seconds, keys().seconds)
    np.testing.assert_array_equal(found.positions, keys().positions)
    np.testing.assert_allclose(found.quaternions, keys().quaternions, rtol=1e-15)
    with pytest.raises(OutputExistsError):
        write_poses(tmp_path / "path.txt", keys())


def test_commas_comments_and_blank_lines(tmp_path):
    path = tmp_path / "path.csv"
    path.write_text("# t,x,y,z,qx,qy,qz,qw\n\n1.5,0,0,0,0,0,0,1 # first\n2.5, 1,2,3, 0,0,1,0\n")
    found = read_poses(path)
    assert found.seconds.tolist() == [1.5, 2.5]
    assert found.positions[1].tolist() == [1, 2, 3]


def test_mvsecs_own_layouts(tmp_path):
    poses = keys()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ts"], file["poss"], file["rots"] = poses.seconds, poses.positions, poses.quaternions
    np.savez(tmp_path / "b.npz", timestamps=poses.seconds, pos=poses.positions, quat=poses.quaternions)
    with MvsecWriter(tmp_path / "c", width=4, height=3, epoch_us=1_500_000_000_000_000) as writer:
        writer.add_events(Events.concatenate([Events(np.zeros(0, np.int64), *(np.zeros(0, np.uint16),) * 2,
                                                     np.zeros(0, bool), 4, 3)]))  # fmt: skip
        for index in range(len(poses)):
            writer.add_pose(20_000 * index, SMOOTH.matrix(20_000.0 * index))
    for name in ("a.h5", "b.npz", "c_gt.hdf5"):
        found = read_poses(tmp_path / name)
        np.testing.assert_allclose(found.seconds, poses.seconds, atol=1e-6)
        np.testing.assert_allclose(found.positions, poses.positions, atol=1e-12)
        same = np.abs((found.quaternions * poses.quaternions).sum(axis=1))
        np.testing.assert_allclose(same, 1, atol=1e-12)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("3 0 0 0 0 0 1", "eight numbers"),
        ("3 0 0 0 0 0 0 one", "eight numbers"),
        ("3 0 nan 0 0 0 0 1", "finite"),
        ("3 0 0 0 0 0 0 2", "quaternion of length 1"),
        ("1 0 0 0 0 0 0 1", "time after"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    path = tmp_path / "path.txt"
    path.write_text(f"# poses\n1 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(InputError, match=rf"path\.txt.*{words}.*line 4"):
        read_poses(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "one.txt").write_text("1 0 0 0 0 0 0 1\n")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.zeros(3)
    for name in ("one.txt", "bad.npz", "other.npz", "other.h5", "none.txt", "path.bag"):
        with pytest.raises(InputError, match=name):
            read_poses(tmp_path / name)


def test_a_path_goes_through_its_keys_and_near_the_truth_between():
    path = through(keys(), start_us=0.0)
    for t_us in (0.0, 20_000.0, 500_000.0, 777_777.0, 1_234_567.0):
        for found, expected in zip(path.pose(t_us), from_start(0.0, t_us), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_start_is_the_origin_and_speed_shortens_time():
    path = through(keys(), start_us=400_000.0, speed=2.0)
    np.testing.assert_allclose(path.matrix(0.0), np.eye(4), atol=1e-12)
    assert path.duration_us == pytest.approx((1_980_000 - 400_000) / 2, abs=1)
    for found, expected in zip(path.pose(300_000.0), from_start(400_000.0, 1_000_000.0), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_velocity_is_continuous_at_keys():
    """One-sided differences on both sides of a key agree; with straight lines between keys they would not."""
    path = through(keys(step_us=100_000.0, count=20))
    for key in range(1, 19):
        before, now, after = (path.coordinates(key * 1e5 + step) for step in (-10.0, 0.0, 10.0))
        np.testing.assert_allclose(after - now, now - before, atol=2e-8)
        assert np.abs(after - now).max() > 1e-6


def test_inertial_values_are_near_the_truth():
    measured = through(keys()).inertial(1e6)
    assert np.abs(measured - SMOOTH.inertial(1e6)).max() < 0.02


def test_body_axes_become_the_cameras():
    """A body that goes forwards (x) and turns left (about z, up): a camera that goes along z and turns about -y."""
    seconds = np.arange(5.0)
    turned = Rotation.from_rotvec([[0, 0, 0.1 * t] for t in seconds]).as_quat()
    ahead = np.stack([seconds, 0 * seconds, 0 * seconds], axis=1)
    x, y, z, rx, ry, rz = KeyedPath(seconds * 1e6, ahead, turned, axes="body").coordinates(2e6)
    np.testing.assert_allclose([x, y, z], [0, 0, 2], atol=1e-9)
    np.testing.assert_allclose([rx, ry, rz], [0, -0.2, 0], atol=1e-9)


def test_two_keys_make_a_straight_line():
    path = KeyedPath(np.array([0.0, 1e6]), np.array([[0.0, 0, 0], [1, 2, 3]]), np.array([[0, 0, 0, 1.0]] * 2))
    np.testing.assert_allclose(path.coordinates(500_000.0), [0.5, 1, 1.5, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(path.coordinates(9e6)[:3], [1, 2, 3])
    np.testing.assert_allclose(reach(path, 1e6)[1], [1, 2, 3])


@pytest.mark.parametrize("change", [{"start_us": 1e9}, {"speed": 0.0}, {"axes": "sideways"}, {"t_us": np.zeros(100)}])
def test_impossible_paths_are_refused(change):
    poses = keys()
    options = {"t_us": np.arange(100) * 2e4, "positions": poses.positions, "quaternions": poses.quaternions} | change
    with pytest.raises(ValueError, match="expected"):
        KeyedPath(**options)
