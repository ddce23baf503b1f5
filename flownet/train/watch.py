"""What a run shows of itself on the way: pictures of its flow, and its error on recordings that it does not see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eventsim.io.atomic import atomic_path
from eventsim.view import write_picture
from flownet.datasets.batch import Batch
from flownet.model.steflownet import STEFlowNet
from flownet.train.config import TrainConfig
from flownet.view import error_map, flow_to_rgb

_SHOWN = 4
_SCALE = 2


def flow_pictures(model: STEFlowNet, batch: Batch) -> NDArray[np.uint8]:
    """Samples of a batch, one below another: frame, slices, flow, and the true flow and the error where known.

    Returns:
        uint8 [h, w, 3].
    """
    with torch.no_grad():
        found = model(batch.slices[:_SHOWN]).final.float().cpu().numpy()
    rows = []
    for n, flow in enumerate(found):
        frame = (255 * batch.frames[n, 0].clamp(0, 1)).byte().cpu().numpy()
        cells = batch.slices[n].sum(dim=(0, 1)).cpu().numpy()
        seen = (255 * np.minimum(cells / max(float(np.quantile(cells, 0.98)), 1e-9), 1)).astype(np.uint8)
        shown = [_grey(frame), _grey(seen)]
        if batch.flow is None:
            shown.append(flow_to_rgb(flow))
        else:
            truth = batch.flow[n, -1].cpu().numpy()
            lengths = np.hypot(*truth)
            longest = float(np.nanmax(lengths)) if np.isfinite(lengths).any() else 1.0
            shown += [flow_to_rgb(each, max(longest, 0.1)) for each in (flow, truth)] + [error_map(flow, truth)]
        rows.append(np.hstack(shown))
    return np.vstack(rows).repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)


def show_flow(model: STEFlowNet, batch: Batch, out: Path, board: Any, step: int) -> None:
    """`pictures/step_<step>.png` in the run's folder, and the same in TensorBoard."""
    model.eval()
    picture = flow_pictures(model, batch)
    (out / "pictures").mkdir(exist_ok=True)
    write_picture(out / "pictures" / f"step_{step:07d}.png", picture, overwrite=True)
    board.add_image("flow", picture, step, dataformats="HWC")


def validate(config: TrainConfig, model: STEFlowNet, out: Path, board: Any, step: int) -> None:
    """Evaluates on the configured recordings, and adds a row for each to `validation.csv`."""
    from flownet.evaluate import evaluate

    path = out / "validation.csv"
    kept = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    rows = [row for row in kept if int(row.split(",", 1)[0]) < step]
    for recording in config.validation:
        report = evaluate(model, recording, "full", config.dt)
        rows.append(f"{step},{report.sequence},{report.dt},{report.aee:.6g},{report.zero_sparse.aee:.6g}")
        board.add_scalar(f"validation/{report.sequence}", report.relative, step)
    with atomic_path(path, overwrite=True) as partial:
        partial.write_text("\n".join(["step,sequence,dt,aee,zero_flow_aee", *rows]) + "\n", encoding="utf-8")


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(picture[..., None], 3, axis=2)
