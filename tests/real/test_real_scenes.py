"""Scenes along MVSEC's own paths and through its lens: set RETINAFLOW_REAL_DATA to the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eventsim.io.poses import Poses, read_poses
from eventsim.light.lens import lens_of, read_lens
from eventsim.light.paths import KeyedPath
from eventsim.light.rooms import draw_room
from eventsim.light.scenes import SceneStyle
from eventsim.light.textures import PictureFiles

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")
DRIVE, FLIGHT = "odom/outdoor_day1_odom.h5", "stamped_groundtruth.txt"


@pytest.fixture(scope="module")
def mvsec() -> Path:
    return Path(DATA) / "flow_real/mvsec_ancillary"


def through(poses: Poses, **options) -> KeyedPath:
    return KeyedPath((poses.seconds - poses.seconds[0]) * 1e6, poses.positions, poses.quaternions, **options)


def test_the_drive_goes_forwards_in_camera_axes(mvsec):
    """Position changes, turned into the camera's axes by the quaternions as x, y, z, w, lie along z."""
    poses = read_poses(mvsec / DRIVE)
    assert len(poses) == 5137
    path = through(poses)
    forward = []
    for t_us in range(1_000_000, 250_000_000, 1_000_000):
        (rotation, position), (_, after) = path.pose(t_us), path.pose(t_us + 50_000)
        forward.append(rotation.T @ (after - position) / 0.05)
    x, _, z = np.median(forward, axis=0)
    assert z > 3
    assert abs(x) < 0.1 * z


@pytest.mark.parametrize("name", [DRIVE, FLIGHT])
def test_paths_go_through_every_key(mvsec, name):
    poses = read_poses(mvsec / name)
    path = through(poses)
    rotation, position = Rotation.from_quat(poses.quaternions[0]).as_matrix(), poses.positions[0]
    for key in range(0, len(poses) - 1, 97):
        found = position + rotation @ path.pose((poses.seconds[key] - poses.seconds[0]) * 1e6)[1]
        np.testing.assert_allclose(found, poses.positions[key], atol=1e-9)


def test_the_rectification_maps_are_the_lenss(mvsec):
    """MVSEC's own table from raw to rectified pixels, by its rectification and projection matrices."""
    lens = read_lens(mvsec / "calib/camchain-imucam-indoor_flying.yaml")
    import yaml

    left = yaml.safe_load((mvsec / "calib/camchain-imucam-indoor_flying.yaml").read_text())["cam0"]
    points = lens.unproject(np.stack(np.meshgrid(np.arange(346.0), np.arange(260.0))))
    solid = np.stack([*points, np.ones((260, 346))])
    x, y, z = np.tensordot(
        np.array(left["projection_matrix"])[:, :3] @ np.array(left["rectification_matrix"]), solid, 1
    )
    for axis, found in (("x", x / z), ("y", y / z)):
        table = np.loadtxt(mvsec / f"calib/indoor_flying_left_{axis}_map.txt")
        assert np.abs(found - table).max() < 0.01


def test_a_flight_through_a_room_in_mvsecs_lens(mvsec):
    from scipy.ndimage import map_coordinates

    path = through(read_poses(mvsec / FLIGHT), start_us=12e6)
    lens = lens_of(str(mvsec / "calib/camchain-imucam-indoor_flying.yaml"), height=260, width=346, focal_px=1.0)
    pictures = PictureFiles(Path(DATA) / "frames/kodak")
    scene = draw_room(
        "room", pictures, SceneStyle(focal_px=226.0), 0, path=path, duration_us=10e6, depth=4.0, lens=lens
    )
    y, x = np.mgrid[:260, :346]
    residuals = []
    for t_us in range(0, 10_000_000, 1_000_000):
        first, second = scene.luminance(t_us), scene.luminance(t_us + 31_250)
        flow, seen = scene.flow(t_us, t_us + 31_250), ~scene.occluded(t_us, t_us + 31_250)
        there = np.stack([y + flow[1], x + flow[0]])
        seen &= (there[0] > 1) & (there[0] < 258) & (there[1] > 1) & (there[1] < 344)
        warped = map_coordinates(second, np.nan_to_num(there), order=3)
        residuals.append([np.abs(picture - first)[seen].mean() for picture in (warped, second)])
    residual, unwarped = np.mean(residuals, axis=0)
    assert residual < 0.2 * unwarped
    assert residual < 0.003  # of the luminance that saturates: what cubic interpolation leaves
