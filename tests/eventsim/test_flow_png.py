"""Flow as 16-bit PNG: what comes back, what is unknown, and the bits that KITTI's readme describes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eventsim.errors import InputError, OutputExistsError
from eventsim.io.flow_png import DSEC, KITTI, read_flow_png, write_flow_png

FLOWS = arrays(np.float32, st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9)),
               elements=st.floats(-255, 255, width=32))  # fmt: skip


@given(FLOWS, st.sampled_from([KITTI, DSEC]))
def test_flow_comes_back_to_half_a_step(tmp_path_factory, flow, per_px):
    path = tmp_path_factory.mktemp("png") / "flow.png"
    write_flow_png(path, flow, per_px=per_px)
    found = read_flow_png(path, per_px=per_px)
    assert found.dtype == np.float32
    assert np.abs(found - flow).max() <= 0.5 / per_px + 1e-5


def test_unknown_and_unrepresentable_flow_comes_back_as_unknown(tmp_path):
    flow = np.zeros((2, 1, 6), np.float32)
    flow[:, 0, 1:6] = [[np.nan, np.inf, 512.0, 511.98, 3.0], [0.0, 0.0, 0.0, -512.0, -600.0]]
    write_flow_png(tmp_path / "flow.png", flow)
    found = read_flow_png(tmp_path / "flow.png")
    assert np.isnan(found[:, 0]).all(axis=0).tolist() == [False, True, True, True, False, True]
    assert found[:, 0, 4] == pytest.approx([511.984375, -512.0])


def test_channels_are_those_of_kittis_readme(tmp_path):
    """First channel dx, second dy, third valid, value = 64 flow + 2^15; a decoder of RGB sees them in that order."""
    flow = np.array([1.5, -2.25], np.float32).reshape(2, 1, 1)
    write_flow_png(tmp_path / "flow.png", flow)
    bgr = cv2.imread(str(tmp_path / "flow.png"), cv2.IMREAD_UNCHANGED)
    assert bgr.dtype == np.uint16
    assert bgr[0, 0, ::-1].tolist() == [32768 + 96, 32768 - 144, 1]


def test_wrong_files_and_flows_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "eight.png"), np.zeros((3, 3, 3), np.uint8))
    (tmp_path / "empty.png").write_bytes(b"")
    for name, found in (("eight.png", "uint8"), ("empty.png", "no picture"), ("none.png", "nothing there")):
        with pytest.raises(InputError, match=found):
            read_flow_png(tmp_path / name)
    for shape in ((3, 4, 4), (2, 4), (2, 0, 4)):
        with pytest.raises(ValueError, match=r"\[2, H, W\]"):
            write_flow_png(tmp_path / "flow.png", np.zeros(shape))
    with pytest.raises(OutputExistsError):
        write_flow_png(tmp_path / "eight.png", np.zeros((2, 3, 3)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eight.png", "empty.png"]
