"""Flow from spikes is evaluated as flow from events is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventsim import EventCamera, SpikeCamera
from eventsim.io.mvsec import MvsecRecording
from eventsim.light.procedural import DrawnTextures
from eventsim.light.scenes import SceneStyle, draw_scene
from eventsim.synthesize.recording import Recording, record_scene
from flownet import evaluate, steflownet_tiny
from flownet.protocols import load_protocol
from flownet.spike_steps import SpikeSteps
from flownet.train import TrainConfig, train


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Six grey frames of a moving camera, seen by an event camera and by a spike camera."""
    prefix = tmp_path_factory.mktemp("scene") / "both"
    drawn = draw_scene(DrawnTextures(1)[0], SceneStyle(height=48, width=56, speed_px=60), 3)
    recording = Recording(duration_us=160_000, frame_hz=32, flow_hz=32)
    spikes = SpikeCamera.preset("vidar", height=48, width=56)
    for _ in record_scene(prefix, drawn, EventCamera.preset("davis346"), recording, spike_camera=spikes, threads=1):
        pass
    return prefix.with_name("both_data.hdf5")


def test_steps_cut_the_stream_where_grey_frames_are(scene):
    recording = MvsecRecording(scene)
    steps = SpikeSteps(recording, load_protocol("full"))
    lengths = [len(steps(n)) for n in range(5)]
    assert lengths == [625] * 5
    np.testing.assert_array_equal(steps(1).planes(0, 3), steps.stream.planes(625, 628))
    steps.seconds = steps.seconds + 0.15625  # the stream is as long as the recording
    with pytest.raises(ValueError, match=r"both_spikes\.h5: expected planes 3125"):
        steps(0)


def test_a_network_of_spikes_trains_and_is_evaluated(scene, tmp_path):
    config = TrainConfig(data=(str(scene.parent),), kind="spikes", planes=625, exposure=32, steps=2, batch_size=2,
                         patches=1, crop=32, workers=0, photometric=0.0, smoothness=0.0, supervised=1.0)  # fmt: skip
    model = train(config, tmp_path / "run", quiet=True)
    assert model.config["in_channels"] == 1
    report = evaluate(model, scene, "full")
    events = evaluate(steflownet_tiny(), scene, "full")
    # The same pixels are compared, whatever the network sees.
    assert report.sparse.pixels.pixels == events.sparse.pixels.pixels > 0
    assert report.zero_sparse.aee == events.zero_sparse.aee
    assert np.isfinite(report.aee)


def test_a_recording_without_spikes(recordings):
    with pytest.raises(ValueError, match=r"scene_0_data\.hdf5: expected a spike camera's view in scene_0_spikes\.h5"):
        evaluate(steflownet_tiny(in_channels=1), recordings / "scene_0_data.hdf5", "full")


def test_represented_spikes_have_one_channel(scene):
    steps = SpikeSteps(MvsecRecording(scene), load_protocol("full"))
    slices = steflownet_tiny(in_channels=1).represent(steps(0))
    assert slices.shape == (5, 1, 48, 56)
    assert torch.count_nonzero(slices)
