"""Flow on real recordings whose truth is known in part: set RETINAFLOW_REAL_DATA to the folder that holds them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from flownet.baselines import BASELINES
from flownet.comparison import event_count, flow_warp_loss
from flownet.model.steflownet import steflownet_tiny

DATA = os.environ.get("RETINAFLOW_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RETINAFLOW_REAL_DATA does not say where real recordings are")
ROOT = Path(DATA or ".")
TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tools():
    """The modules `evaluate_real` and `real_windows`, as the script finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        yield importlib.import_module("evaluate_real"), importlib.import_module("real_windows")


@pytest.fixture(scope="module")
def recordings(tools):
    return {each.name.split()[0]: each for each in tools[1].recordings(ROOT, (100.0,))}


def test_all_recordings_are_found(recordings):
    counts = {name: len(each.windows) for name, each in recordings.items()}
    assert counts == {
        "boxes_rotation": 1,
        "poster_rotation": 1,
        "slider_depth": 1,
        "trans_boxes_real": 20,
        "trans_square": 19,
    }
    assert all(len(recordings[f"{name}_rotation"].windows[0].events) == 30_000 for name in ("boxes", "poster"))


def test_true_flow_makes_real_events_sharper(recordings):
    """Also that axes and signs of the truth are those of the events: turned round, it blurs them."""
    for name, recording in recordings.items():
        windows = recording.windows[::4]
        signs = [(x, y) for x in (1, -1) for y in (1, -1)]
        found = {sign: np.mean([sharpness(window, sign) for window in windows]) for sign in signs}
        assert found[1, 1] > 1.03, name
        still = np.nanmean([np.nanmean(np.abs(window.truth), axis=(1, 2)) for window in windows], axis=0) < 0.2
        wrong = [sign for sign in signs if any(s < 0 and not none for s, none in zip(sign, still, strict=True))]
        assert all(found[sign] < found[1, 1] - 0.03 for sign in wrong), name


def sharpness(window, signs: tuple[int, int]) -> float:
    """FWL of a window's true flow, with the signs of its components changed."""
    flow = np.nan_to_num(window.truth).astype(np.float32) * np.float32(signs)[:, None, None]
    return flow_warp_loss(flow, window.events, (window.start_us, window.stop_us))


def test_raw_flow_lands_where_the_lens_says(tools, recordings):
    """A raw pixel and where its flow takes it see points that are the undistorted flow apart."""
    folder = ROOT / "flow_real/ecd_rotation/boxes_rotation"
    lens = tools[1].read_calibration(folder / "calib.txt")
    straight = np.load(folder / "flow.npy")[0]
    truth = recordings["boxes_rotation"].windows[0].truth
    raw = np.array([[120.0, 30.0, 200.0], [90.0, 60.0, 150.0]])
    moved = raw + truth[:, raw[1].astype(int), raw[0].astype(int)]
    first, second = (lens.unproject(each) * np.array(lens.focal_px)[:, None] for each in (raw, moved))
    seen = first + np.array(lens.centre_px)[:, None]
    expected = straight[:, np.rint(seen[1]).astype(int), np.rint(seen[0]).astype(int)]
    assert np.abs(second - first - expected).max() < 0.05
    assert np.isnan(truth).mean() < 0.25  # the undistorted picture does not reach the corners


@pytest.mark.parametrize(
    ("name", "method", "degrees", "scaled_px"),
    [
        ("boxes_rotation", "contrast", 2, 0.2),
        ("poster_rotation", "contrast", 8, 0.4),
        ("slider_depth", "contrast", 8, 5),
        ("boxes_rotation", "dis", 4, 0.3),
        ("poster_rotation", "dis", 4, 0.3),
        ("boxes_rotation", "lucas_kanade", 4, 0.3),
        ("poster_rotation", "lucas_kanade", 4, 0.3),
        ("slider_depth", "lucas_kanade", 8, 5),
    ],
)
def test_baselines_find_the_direction(tools, recordings, name, method, degrees, scaled_px):
    row, _ = tools[0].score(BASELINES[method], recordings[name])
    assert row.errors.angular_error < degrees
    assert row.errors.scaled_aee < scaled_px
    assert row.errors.pixels == ((event_count(recordings[name].windows[0].events) > 0)
                                 & np.isfinite(recordings[name].windows[0].truth[0])).sum()  # fmt: skip


def test_an_untrained_network_has_its_row(tools, recordings, tmp_path):
    torch.manual_seed(0)
    models = {"untrained": steflownet_tiny(), "zero": BASELINES["zero"]}
    text, flows = tools[0].table(models, recordings["poster_rotation"])
    assert "| zero | 90.0 |" in text
    assert "| untrained | " in text
    tools[0].write_pictures(tmp_path, recordings["poster_rotation"], flows)
    assert [path.name for path in tmp_path.iterdir()] == ["poster_rotation_24.19ms.png"]
