"""The network that ships works at once, and is worth what its card says."""

from __future__ import annotations

import numpy as np

from eventsim import Events, write_events
from flownet import load_pretrained
from flownet.comparison import compare_flow
from flownet.evaluate import Predictor


def moving_dots(dx: float, dy: float) -> Events:
    """Dots on a grid that is not quite regular, which move by (dx, dy) within 30 ms; OFF behind ON."""
    rng = np.random.default_rng(0)
    y, x = (each.ravel() for each in np.mgrid[6:122:7, 6:154:7] + rng.integers(-2, 3, (2, 17, 22)))
    steps = np.linspace(0, 1, 4 * int(np.ceil(np.hypot(dx, dy))))
    rows = []
    for step in steps:
        for sign in (0, 1):
            at = step - 0.08 * (1 - sign)
            rows.append(np.stack([np.full(len(x), 30_000 * step), x + dx * at, y + dy * at, np.full(len(x), sign)]))
    t, column, row, sign = np.concatenate(rows, axis=1)
    inside = (column >= 0) & (column < 159) & (row >= 0) & (row < 127)
    order = np.argsort(t[inside], kind="stable")
    whole = [np.rint(each[inside][order]).astype(np.int64) for each in (t, column, row, sign)]
    return Events(whole[0], whole[1], whole[2], whole[3] > 0, 160, 128)


def test_it_sees_which_way_dots_move():
    model = load_pretrained("steflownet_tiny")
    for dx, dy in ((4, 0), (-4, 0), (0, 4), (0, -4)):
        events = moving_dots(dx, dy)
        flow = Predictor(model)(model.represent(events))
        truth = np.broadcast_to(np.array([dx, dy], np.float32)[:, None, None], flow.shape)
        seen = np.zeros((128, 160), bool)
        seen[events.y, events.x] = True
        assert compare_flow(flow, truth, seen).angular_error < 30


def test_infer_needs_no_other_argument(command, tmp_path):
    write_events(tmp_path / "dots.h5", moving_dots(4, 0))
    said = command("flownet", "infer", tmp_path / "dots.h5", tmp_path / "flow", "--window-ms", 29)
    assert said.returncode == 0, said.stderr
    assert len(list((tmp_path / "flow").glob("*.flo"))) == 1
