"""Lenses: there and back, known values, where the models end, and files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsim.errors import InputError
from eventsim.light.lens import Lens, lens_of, read_lens
from eventsim.light.paths import Trajectory
from eventsim.light.planes import Plane
from eventsim.light.scenes import Scene

SIZE = {"focal_px": (226.0, 225.0), "centre_px": (173.6, 133.7)}
FISHEYE = Lens(model="equidistant", coefficients=(-0.05, 0.01, -0.05, 0.02), **SIZE)
BROWN = Lens(model="radtan", coefficients=(-0.37, 0.15, 0.001, -0.0005), **SIZE)
LENSES = pytest.mark.parametrize("lens", [FISHEYE, BROWN], ids=["equidistant", "radtan"])


def grid() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(0, 346.0), np.arange(0, 260.0)))


@LENSES
def test_every_pixel_there_and_back(lens):
    points = lens.unproject(grid())
    assert np.isfinite(points).all()
    assert np.abs(lens.project(points) - grid()).max() < 1e-9


@given(k=st.tuples(*[st.floats(-0.05, 0.05)] * 4), x=st.floats(-0.8, 0.8), y=st.floats(-0.6, 0.6))
@settings(max_examples=60, deadline=None)
def test_points_back_and_there(k, x, y):
    for model in ("equidistant", "radtan"):
        lens = Lens(model=model, coefficients=k, **SIZE)
        point = np.array([[x], [y]])
        assert np.abs(lens.unproject(lens.project(point)) - point).max() < 1e-6


def test_the_models_are_opencvs():
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (2, 50))
    camera = np.array([[226.0, 0, 173.6], [0, 225.0, 133.7], [0, 0, 1]])
    flat = np.ascontiguousarray(points.T).reshape(-1, 1, 2)
    solid = np.concatenate([flat, np.ones((50, 1, 1))], axis=2)
    still = np.zeros(3)
    expected, _ = cv2.projectPoints(solid, still, still, camera, np.array([*BROWN.coefficients, 0.0]))
    np.testing.assert_allclose(BROWN.project(points).T, expected[:, 0], atol=1e-9)
    expected = cv2.fisheye.distortPoints(flat, camera, np.array(FISHEYE.coefficients))
    np.testing.assert_allclose(FISHEYE.project(points).T, expected[:, 0], atol=1e-9)


def test_beyond_the_fold_nothing_is_seen():
    """r (1 - 0.3 r^2) grows up to r = 1.054: a point beyond must not come back into the picture."""
    lens = Lens(model="radtan", coefficients=(-0.3, 0.0, 0.0, 0.0), **SIZE)
    assert lens.limit == pytest.approx((1 / 0.9) ** 0.5)
    inside, outside = (lens.project(np.array([[radius], [0.0]])) for radius in (1.05, 1.06))
    assert np.isfinite(inside).all()
    assert np.isnan(outside).all()
    assert np.isnan(lens.unproject(np.array([[173.6 + 226 * 0.71], [133.7]]))).all()  # the picture ends at 0.7027


def test_a_fisheye_ends_at_90_degrees():
    lens = Lens(model="equidistant", coefficients=(0.0,) * 4, focal_px=(100.0, 100.0), centre_px=(0.0, 0.0))
    assert lens.limit == pytest.approx(np.pi / 2)
    np.testing.assert_allclose(lens.project(np.array([[1.0], [0.0]]))[:, 0], [100 * np.pi / 4, 0])
    assert np.isnan(lens.unproject(np.array([[158.0], [0.0]]))).all()


@LENSES
def test_flow_is_the_limit_of_small_steps_through_the_lens(lens):
    """The flow's derivative in time by finite differences of points in space, without the scene's own code."""
    plane = Plane(np.ones((9, 9), np.float32), np.array([0, 0, 2.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
    amplitude = np.array([[0.1], [0.05], [0.2], [0.05], [0.1], [0.2]])
    path = Trajectory(amplitude, np.ones((6, 1)), np.zeros((6, 1)))
    scene = Scene([plane], path, 260, 346, lens.focal_px[0], lens)
    flow, whole = np.zeros((2, 260, 346)), scene.flow(0, 20_000)
    world = np.stack([*lens.unproject(grid()), np.ones((260, 346))]) * 2.0
    for step in range(20):
        rotation, position = path.pose(1000.0 * (step + 1))
        before = lens.project(_seen(world, *path.pose(1000.0 * step)))
        flow += lens.project(_seen(world, rotation, position)) - before
    assert np.abs(flow - whole).max() < 1e-3
    assert np.abs(whole).max() > 1


def _seen(world: np.ndarray, rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    x, y, z = np.tensordot(rotation.T, world - position.reshape(3, 1, 1), 1)
    return np.stack([x / z, y / z])


def test_texts_and_files_say_the_same(tmp_path):
    chain = {"cam0": {"intrinsics": [226.0, 225.0, 173.6, 133.7], "distortion_model": "equidistant",
                      "distortion_coeffs": list(FISHEYE.coefficients), "resolution": [346, 260]}}  # fmt: skip
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump(chain))
    assert read_lens(path) == FISHEYE
    half = lens_of(str(path), height=130, width=173, focal_px=1.0)
    middle = np.array([[0.3], [0.2]])
    np.testing.assert_allclose(half.project(middle) + 0.5, (FISHEYE.project(middle) + 0.5) / 2)
    lens = lens_of("radtan:-0.3,0.1,0,0", height=100, width=200, focal_px=150.0)
    assert lens == Lens(model="radtan", coefficients=(-0.3, 0.1, 0, 0), focal_px=(150.0,) * 2, centre_px=(99.5, 49.5))
    assert lens_of("equidistant", height=100, width=200, focal_px=150.0).coefficients == (0.0,) * 4


@pytest.mark.parametrize(
    ("text", "words"),
    [("fishy", "expected a lens"), ("radtan:a,b", "numbers between commas"), ("none.yaml", "nothing there")],
)
def test_bad_lenses_are_named(text, words):
    with pytest.raises(InputError, match=words):
        lens_of(text, height=100, width=200, focal_px=150.0)


@pytest.mark.parametrize("content", ["cam0: {intrinsics: [1, 2]}", "cam1: {}", "[1, 2]", "a: [", "cam0: {}"])
def test_bad_files_are_named(tmp_path, content):
    path = tmp_path / "chain.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"chain\.yaml"):
        read_lens(path)


def test_impossible_lenses_are_refused():
    for change in ({"model": "round"}, {"coefficients": (1.0,)}, {"focal_px": (0.0, 1.0)},
                   {"coefficients": (float("nan"),) * 4}):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            Lens(**{"model": "equidistant", "coefficients": (0.0,) * 4, **SIZE} | change)
