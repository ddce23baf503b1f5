"""Scenes recorded into files: times that rise to the end, ground truth as the scene's, settings that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim import EventCamera
from eventsim.io.mvsec import open_recording
from eventsim.light.scenes import SceneStyle, draw_scene
from eventsim.synthesize.recording import Recording, record_scene


def test_times_rise_to_the_end_and_truth_is_the_scenes(texture, tmp_path):
    scene = draw_scene(texture, SceneStyle(height=40, width=48), 0)
    recording = Recording(duration_us=200_000)
    times = list(record_scene(tmp_path / "a", scene, EventCamera.preset("davis346"), recording))
    assert times == sorted(times)
    assert times[-1] == 200_000
    with open_recording(tmp_path / "a") as found:
        np.testing.assert_array_equal(found.flow_maps[1], scene.flow(50_000, 100_000))
        np.testing.assert_array_equal(found.depth_maps[1], scene.depth(50_000))


@pytest.mark.parametrize("field", ["duration_us", "frame_hz", "flow_hz", "imu_hz"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_lengths_and_rates_must_be_positive(field, value):
    with pytest.raises(ValueError, match=f"expected {field} above 0"):
        Recording(**{field: value})
