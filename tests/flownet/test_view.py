"""Pictures of flow."""

from __future__ import annotations

import numpy as np
import pytest

from flownet.view import colour_wheel, error_map, flow_to_rgb, quiver


def test_colours_of_directions() -> None:
    """Red right, yellow down, cyan to blue left, violet up: the wheel's corners lie where its 55 hues say."""
    angles = 2 * np.pi * np.array([0, 15, 21, 25, 36, 49]) / 55
    picture = flow_to_rgb(np.stack([np.cos(angles), np.sin(angles)])[:, None], max_magnitude=1)
    expected = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)]
    np.testing.assert_array_equal(picture[0], expected)


def test_length_is_saturation() -> None:
    flow = np.zeros((2, 1, 5))
    flow[0, 0] = [0, 1, 2, 4, np.nan]
    picture = flow_to_rgb(flow, max_magnitude=2)[0]
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[[0, 2, 4]], [(255, 255, 255), (255, 0, 0), (0, 0, 0)])
    np.testing.assert_array_equal(picture[1], (255, 128, 128))
    np.testing.assert_array_equal(picture[3], (191, 0, 0))  # beyond the maximum: darker
    np.testing.assert_array_equal(flow_to_rgb(flow)[0, 3], (255, 0, 0))


def test_still_and_unknown_flow() -> None:
    assert (flow_to_rgb(np.zeros((2, 3, 4), np.float32)) == 255).all()
    assert not flow_to_rgb(np.full((2, 3, 4), np.inf)).any()
    assert flow_to_rgb(np.zeros((2, 0, 4))).shape == (0, 4, 3)


def test_wheel_is_the_legend() -> None:
    wheel = colour_wheel(101)
    assert wheel.shape == (101, 101, 3)
    np.testing.assert_array_equal(wheel[[50, 0, 50], [50, 0, 100]], [(255, 255, 255), (255, 255, 255), (255, 0, 0)])


def test_error_map_grows_brighter_with_the_error() -> None:
    truth = np.ones((2, 1, 6))
    truth[:, 0, 4], truth[:, 0, 5] = 0, np.nan
    prediction = truth.copy()
    prediction[0, 0, :5] += [0, 1, 3, 30, 1]
    picture = error_map(prediction, truth, max_error=3)[0].astype(int)
    assert picture[0].sum() < picture[1].sum() < picture[2].sum()
    np.testing.assert_array_equal(picture[2], picture[3])
    np.testing.assert_array_equal(picture[4:], 128)


def test_arrows_point_along_the_flow_where_the_mask_is():
    """A cell's arrow is as long as the cell at the maximum, lies in its middle, and thickens at its head."""
    flow, background = np.zeros((2, 32, 48), np.float32), np.full((32, 48, 3), 255, np.uint8)
    flow[0, :16, 32:] = 5
    mask = np.zeros((32, 48), bool)
    mask[3, 40] = mask[20, 5] = True
    picture = quiver(flow, background, mask, max_magnitude=5, zoom=4)
    assert picture.shape == (128, 192, 3)
    dark = (picture < 100).all(axis=2)
    rows, columns = np.nonzero(dark[:64])
    assert columns.min() == pytest.approx(4 * 32, abs=2)
    assert columns.max() == pytest.approx(4 * 48 - 1, abs=2)
    assert rows.mean() == pytest.approx(4 * 8, abs=2)
    head, tail = (np.ptp(rows[half]) for half in (columns > 4 * 40, columns < 4 * 40))
    assert head > 2 * tail
    assert dark[:, :128].sum() < 20  # no motion is a dot, and cells without the mask have nothing
    assert not dark[:, 64:128].any()


def test_arrows_of_unknown_flow_are_left_out():
    flow = np.full((2, 16, 16), np.nan)
    background = np.zeros((16, 16, 3), np.uint8)
    assert not quiver(flow, background).any()
    flow[:, 4, 4] = 1
    assert quiver(flow, background).any()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, H, W\]"):
        flow_to_rgb(np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match="max_magnitude"):
        flow_to_rgb(np.zeros((2, 4, 4)), max_magnitude=0)
    with pytest.raises(ValueError, match="two flows"):
        error_map(np.zeros((2, 4, 4)), np.zeros((2, 4, 5)))
    with pytest.raises(ValueError, match="max_error"):
        error_map(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), max_error=-1)
    with pytest.raises(ValueError, match="a picture"):
        quiver(np.zeros((2, 4, 4)), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="positive step"):
        quiver(np.zeros((2, 4, 4)), np.zeros((4, 4, 3), np.uint8), step_px=0)
    with pytest.raises(ValueError, match="at least 3"):
        colour_wheel(2)
