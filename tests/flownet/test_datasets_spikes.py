"""Windows of spike streams with exact flow: beside scenes in MVSEC's layout, and of data sets of moved stills."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from eventsim import EventCamera, SpikeCamera, open_spikes, reconstruct_tfp
from eventsim.errors import InputError
from eventsim.io.mvsec import MvsecRecording
from eventsim.io.spike_set import SpikeSet
from eventsim.light.scenes import SceneStyle, draw_scene
from eventsim.synthesize.recording import Recording, record_scene
from eventsim.synthesize.run import make_dataset
from eventsim.synthesize.settings import DatasetSettings
from flownet import flow_between, temporal_distribution
from flownet.datasets.batch import join
from flownet.datasets.mvsec import MvsecPairs
from flownet.datasets.spike_flow import SpikeFlow, find_spikes
from flownet.datasets.windows import Draws

PLANES, EXPOSURE = 400, 80


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, texture) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    style = SceneStyle(height=48, width=64, speed_px=200.0)
    recording = Recording(duration_us=100_000, flow_hz=100.0)
    for seed in range(2):
        scene, camera = draw_scene(texture, style, seed), EventCamera.preset("davis346")
        spikes = SpikeCamera.preset("ideal")
        for _ in record_scene(folder / f"scene_{seed}", scene, camera, recording, spike_camera=spikes, seed=seed):
            pass
    return folder


@pytest.fixture(scope="module")
def stills(tmp_path_factory, texture) -> Path:
    folder, out = tmp_path_factory.mktemp("stills"), tmp_path_factory.mktemp("set")
    cv2.imwrite(str(folder / "a.png"), np.uint8(255 * texture[:60, :90]))
    settings = DatasetSettings(size=(32, 48), duration=0.02, motion=("none", "pan"), kind="both")
    make_dataset(folder, out, settings, workers=1)
    return out


def of_scenes(scenes: Path, **options) -> SpikeFlow:
    given = {"planes": PLANES, "exposure": EXPOSURE, "crop": None, "augment": "none"}
    return SpikeFlow([scenes], **given | options)


def test_a_window_is_its_planes_with_the_flow_over_them(scenes):
    samples = of_scenes(scenes, dt=2)
    which, first = samples.starts[1]
    assert first == EXPOSURE // 2 + PLANES
    stream = open_spikes(sorted(scenes.glob("*_spikes.h5"))[which])
    truth = MvsecRecording(sorted(scenes.glob("*_data.hdf5"))[which])
    window, edges = samples.window(1), [first + k * PLANES for k in range(3)]
    parts = [temporal_distribution(stream[int(a) : int(b)], 5) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(window.slices, np.concatenate(parts))
    assert window.slices.shape == (10, 1, 48, 64)
    for frame, edge in zip(window.frames, edges, strict=True):
        np.testing.assert_allclose(frame, EXPOSURE * reconstruct_tfp(stream, EXPOSURE, int(edge)), rtol=1e-6)
    times = [truth.flow_ts[0] + edge / stream.readout_hz for edge in edges]
    for k in (1, 2):
        expected = flow_between(truth.flow_maps, truth.flow_ts, times[0], times[k])
        np.testing.assert_allclose(window.flow[k - 1], np.where(expected == 0, np.nan, expected), atol=2e-3)


def test_flow_leads_from_one_frame_to_the_next(scenes):
    """Pictures of the spikes themselves confirm the clock and the direction."""
    samples = of_scenes(scenes, planes=600, exposure=200)
    better = []
    for number in range(len(samples)):
        window = samples.window(number)
        first, second = (cv2.GaussianBlur(frame.numpy(), (0, 0), 1.0) for frame in window.frames)
        y, x = np.mgrid[:48, :64].astype(np.float32)
        dx, dy = np.nan_to_num(window.flow[0].numpy())
        moved = cv2.remap(second, x + dx, y + dy, cv2.INTER_LINEAR)
        inside = (slice(10, -10), slice(10, -10))
        better.append(np.abs(moved - first)[inside].mean() / np.abs(second - first)[inside].mean())
    assert np.mean(better) < 0.6


def test_flow_is_that_of_a_data_set_of_stills(stills):
    samples = SpikeFlow([stills], planes=100, exposure=20, crop=None, augment="none", flow=True)
    items = [item for item in SpikeSet(stills) if item.row.kind == "spikes"]
    assert len(samples.recordings) == len(items) == 2
    moved = next(number for number, item in enumerate(items) if item.flow is not None)
    for number, (which, first) in enumerate(samples.starts.tolist()):
        flow = samples.window(number).flow[0].numpy()
        table = items[which].flow
        expected = np.zeros_like(flow) if table is None else table.between(first * 50, (first + 100) * 50)
        np.testing.assert_allclose(flow, expected, atol=1e-4)
    assert moved in samples.starts[:, 0]


def test_windows_lie_within_stream_and_flow(scenes):
    samples = of_scenes(scenes, step=130)
    length = len(samples.recordings[0].stream)
    first = samples.starts[samples.starts[:, 0] == 0, 1]
    assert first[0] == EXPOSURE // 2
    assert set(np.diff(first)) == {130}
    assert length - 130 < first[-1] + PLANES + EXPOSURE // 2 + 1 <= length + 1


def test_workers_caches_and_patches(scenes, tmp_path):
    options = {"planes": PLANES, "crop": (32, 32), "patches": 2, "augment": "paper", "dt": 2}
    samples = SpikeFlow([scenes], **options)
    expected = [join([samples[n], samples[n + 1]]) for n in (2, 4)]
    for cache in (None, "memory", tmp_path / "kept"):
        kept = pickle.loads(pickle.dumps(SpikeFlow([scenes], cache=cache, **options)))
        _ = kept[0]  # opens files here first: workers must open their own
        for workers in (0, 2):
            loader = DataLoader(kept, batch_size=2, sampler=Draws(2, 6), num_workers=workers, collate_fn=join)
            for found, batch in zip(loader, expected, strict=True):
                for name in ("slices", "frames", "flow"):
                    np.testing.assert_array_equal(getattr(found, name), getattr(batch, name))
    assert expected[0].slices.shape == (4, 10, 1, 32, 32)
    assert 0 < expected[0].frames.max() <= 1


def test_without_ground_truth(scenes, tmp_path):
    (tmp_path / "a_spikes.h5").write_bytes((scenes / "scene_0_spikes.h5").read_bytes())
    assert of_scenes(tmp_path, flow=False).window(0).flow is None
    with pytest.raises(InputError, match=r"a_gt\.hdf5"):
        of_scenes(tmp_path)


def test_clips_have_no_known_flow(pictures, tmp_path):
    make_dataset(pictures, tmp_path, DatasetSettings(size=(32, 48), clips=True, fps=1000.0), workers=1)
    with pytest.raises(InputError, match="items whose flow is known, found the clip"):
        SpikeFlow([tmp_path], planes=20, exposure=10, crop=None)


def test_what_is_missing_is_named(scenes, tmp_path):
    with pytest.raises(InputError, match=r"expected \*_spikes\.h5"):
        find_spikes([tmp_path])
    with pytest.raises(InputError, match=r"128x128 pixels \(the crop\), found 48x64"):
        SpikeFlow([scenes], crop=(128, 128))
    with pytest.raises(InputError, match=r"expected 9080 planes or more with flow"):
        of_scenes(scenes, planes=9000)
    for options in ({"planes": 0}, {"dt": 0}, {"exposure": 0}, {"step": 0}, {"weights": "x"}):
        with pytest.raises(ValueError, match="expected"):
            of_scenes(scenes, **options)


def test_events_of_the_same_scenes_are_drawn_beside_them(scenes):
    """One folder serves both: spikes with one channel, events with two."""
    assert MvsecPairs([scenes], crop=(32, 32), flow=True)[0].slices.shape[2] == 2
    assert of_scenes(scenes)[0].slices.shape[2] == 1
