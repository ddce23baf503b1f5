"""Ground-truth flow over an interval."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from flownet.ground_truth import RecentMaps, flow_between

GOLDEN = Path(__file__).parent.parent / "golden"
TIMES = 1_506_118_000 + np.arange(6) * 0.05


def constant(dx: float, dy: float) -> np.ndarray:
    return np.broadcast_to(np.array([dx, dy], np.float32)[None, :, None, None], (6, 2, 8, 10)).copy()


@pytest.mark.parametrize("which", range(6))
def test_flow_is_the_authors(which: int) -> None:
    golden = np.load(GOLDEN / "steflownet_gt.npz")
    found = flow_between(golden["flow_dist"], golden["flow_dist_ts"], *(golden[k][which] for k in ("start", "end")))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, golden["flow"][which], rtol=1e-5, atol=1e-5)


def test_within_one_step_the_map_is_scaled() -> None:
    found = flow_between(constant(2, -1), TIMES, TIMES[1] + 0.03, TIMES[1] + 0.06)  # and the rest is ignored
    np.testing.assert_allclose(found, constant(1.2, -0.6)[0], rtol=1e-5)


def test_over_several_steps_constant_flow_adds_up_within_the_image() -> None:
    found = flow_between(constant(1, 0.5), TIMES, TIMES[1] + 0.025, TIMES[4] + 0.025)
    np.testing.assert_allclose(found[:, :5, :6], constant(3, 1.5)[0, :, :5, :6], rtol=1e-5)
    assert not found[:, :, -1].any()  # carried out of the image, where nothing is known


def test_an_unknown_component_spoils_itself_only() -> None:
    maps = constant(1, 1)
    maps[2, 0] = 0
    found = flow_between(maps, TIMES, TIMES[1], TIMES[4])
    assert not found[0].any()
    np.testing.assert_allclose(found[1, :4, :4], 3, rtol=1e-5)


def test_nan_is_unknown_too() -> None:
    maps = constant(1, 1)
    maps[2, 0, :, 3] = np.nan
    found = flow_between(maps, TIMES, TIMES[1], TIMES[4])
    assert not found[:, :, 2].any()  # a step later these pixels read column 3
    np.testing.assert_allclose(found[:, :4, [0, 1, 4]], 3, rtol=1e-5)


def test_whole_steps_end_with_the_step() -> None:
    np.testing.assert_allclose(flow_between(constant(1, 1), TIMES, TIMES[4], TIMES[5])[:, :4], 1, rtol=1e-5)
    np.testing.assert_allclose(flow_between(constant(1, 1), TIMES, TIMES[0], TIMES[5])[:, :2, :4], 5, rtol=1e-5)


def test_only_the_maps_needed_are_read(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(6, 2, 8, 10))
    with h5py.File(tmp_path / "gt.hdf5", "w") as file:
        file["flow"] = maps
        found = flow_between(file["flow"], TIMES, TIMES[1], TIMES[3])
    np.testing.assert_array_equal(found, flow_between(maps, TIMES, TIMES[1], TIMES[3]))
    maps[[0, 3, 4, 5]] = np.nan
    np.testing.assert_array_equal(found, flow_between(maps, TIMES, TIMES[1], TIMES[3]))


@pytest.mark.parametrize(("start", "end"), [(-0.01, 0.1), (0.2, 0.2501), (0.3, 0.4)])
def test_an_interval_outside_is_refused_with_both(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="within the ground truth") as error:
        flow_between(constant(1, 1), TIMES - TIMES[0], start, end)
    assert str(start) in str(error.value)
    assert "0.0 to 0.25" in str(error.value)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="ends after"):
        flow_between(constant(1, 1), TIMES, TIMES[2], TIMES[2])
    with pytest.raises(ValueError, match=r"one per timestamp"):
        flow_between(constant(1, 1), TIMES[:5], TIMES[1], TIMES[2])
    with pytest.raises(ValueError, match="got nan"):
        flow_between(constant(1, 1), TIMES, float("nan"), TIMES[2])


@pytest.mark.parametrize("start", [TIMES[0] - 1e-6, TIMES[0] - 0.04])
def test_before_the_first_map_is_an_error_and_not_the_last_map(start: float) -> None:
    maps = constant(1, 1)
    maps[-1] = 100
    with pytest.raises(ValueError, match="within the ground truth"):
        flow_between(maps, TIMES, start, start + 0.03)


@pytest.mark.parametrize("end", [TIMES[-1] + 1e-6, TIMES[-1] + 0.04])
def test_beyond_the_last_map_is_an_error(end: float) -> None:
    with pytest.raises(ValueError, match="within the ground truth"):
        flow_between(constant(1, 1), TIMES, end - 0.06, end)


def test_absolute_seconds_are_not_passed_through_float32() -> None:
    """Near 1.5e9 s float32 has steps of 128 s: all times of these maps would be one."""
    assert np.float32(TIMES[0]) == np.float32(TIMES[-1])
    maps = np.arange(6, dtype=np.float32)[:, None, None, None] + np.ones((6, 2, 3, 3), np.float32)
    for k in range(5):
        found = flow_between(maps, TIMES, TIMES[k] + 0.01, TIMES[k] + 0.035)
        np.testing.assert_allclose(found, (k + 1) / 2, rtol=1e-4)


class Counted:
    """Maps that note what is read of them."""

    def __init__(self, maps: np.ndarray, rows: int | None = None) -> None:
        self.maps, self.read = maps, list[slice]()
        self.shape, self.dtype = maps.shape, maps.dtype
        if rows:
            self.chunks = (rows, *maps.shape[1:])

    def __getitem__(self, index: slice) -> np.ndarray:
        self.read.append(index)
        return self.maps[index]


def test_recent_maps_are_read_once() -> None:
    source = Counted(np.random.default_rng(0).normal(size=(6, 2, 4, 5)))
    maps = RecentMaps(source, keep=3)
    for first in range(3):  # each interval over three maps, as at dt = 4
        np.testing.assert_array_equal(
            flow_between(maps, TIMES, TIMES[first], TIMES[first + 2] + 0.01),
            flow_between(source.maps, TIMES, TIMES[first], TIMES[first + 2] + 0.01),
        )
    assert source.read == [slice(k, k + 1) for k in range(5)]
    _ = maps[0]  # long gone: no more than three are kept
    assert len(source.read) == 6


def test_maps_that_share_a_chunk_are_read_together() -> None:
    source = Counted(np.random.default_rng(0).normal(size=(6, 2, 4, 5)), rows=4)
    maps = RecentMaps(source)
    for k in range(6):
        np.testing.assert_array_equal(maps[k], source.maps[k])
    assert source.read == [slice(0, 4), slice(4, 6)]


@pytest.mark.parametrize("index", [-1, 6])
def test_there_is_no_map_before_the_first_or_after_the_last(index: int) -> None:
    with pytest.raises(IndexError, match=r"within 0\.\.5"):
        RecentMaps(constant(1, 1))[index]
