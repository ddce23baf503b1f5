"""What a run minimises: the configured losses of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from flownet.datasets.batch import Batch
from flownet.losses import (
    backwards,
    consistent,
    end_point_loss,
    photometric_loss,
    slice_contrast_loss,
    smoothness_loss,
)
from flownet.model.steflownet import STEFlowNet
from flownet.train.config import TrainConfig


def terms(config: TrainConfig) -> list[str]:
    """Names of the losses that a configuration has, as `objective` returns them."""
    named = {
        "photometric": config.photometric > 0,
        "smoothness": config.smoothness > 0,
        "contrast": config.contrast > 0,
        "supervised": config.supervised > 0,
    }
    return ["loss", *(name for name, wanted in named.items() if wanted)]


def objective(config: TrainConfig, model: STEFlowNet, batch: Batch, progress: float = 1.0) -> dict[str, Tensor]:
    """The losses of a batch, "loss" their weighted sum, by the names of `terms`.

    Of a sample that spans several intervals, the flow from its first frame to every other is judged, and the losses
    are their means (as Ding et al. train dt = 4); of a network that compensates motion, that of every pass.

    Raises:
        ValueError: a supervised loss of data whose flow is not known.
    """
    if config.supervised and batch.flow is None:
        raise ValueError("expected data with flow for a supervised loss, got data without")
    intervals = batch.frames.shape[1] - 1
    per_interval = batch.slices.shape[1] // intervals
    flows = model(batch.slices, [per_interval * n - 1 for n in range(1, intervals + 1)])
    if not flows.pyramid[0].isfinite().all():
        # Pixels that flow to nowhere count as out of view, and the loss would look finite.
        return dict.fromkeys(terms(config), flows.pyramid[0].sum() * float("nan"))
    losses: dict[str, list[Tensor]] = {name: [] for name in terms(config)[1:]}
    for n in range(1, intervals + 1):
        seen = batch.slices[:, : per_interval * n]
        back = _back(config, model, seen, progress)
        for scales in flows.at(n - 1):
            visible = None if back is None else consistent(scales[0], back)
            for name, value in _losses(config, batch, scales, seen, visible, n).items():
                losses[name].append(value)
    means = {name: torch.stack(values).mean() for name, values in losses.items()}
    total = sum((getattr(config, name) * value for name, value in means.items()), batch.slices.new_zeros(()))
    return {"loss": total, **means}


def _losses(
    config: TrainConfig, batch: Batch, flows: list[Tensor], seen: Tensor, visible: Tensor | None, n: int
) -> dict[str, Tensor]:
    """The losses of the flow to frame n."""
    first, last = batch.frames[:, :1], batch.frames[:, n : n + 1]
    losses = {}
    if config.photometric:
        losses["photometric"] = photometric_loss(
            flows, first, last, reference=config.reference_loss, kind=config.photometric_kind, visible=visible
        )
    if config.smoothness:
        losses["smoothness"] = smoothness_loss(flows, first if config.edge_aware else None)
    if config.contrast:
        losses["contrast"] = slice_contrast_loss(flows[0], seen)
    if config.supervised:
        assert batch.flow is not None
        counts = seen.sum(dim=(1, 2))[:, None]
        error = end_point_loss(
            flows, batch.flow[:, n - 1], counts, elsewhere=config.elsewhere, relative=config.relative
        )
        # In pixels an interval: long samples would otherwise drown the short.
        losses["supervised"] = error if config.relative else error / n
    return losses


def _back(config: TrainConfig, model: STEFlowNet, seen: Tensor, progress: float) -> Tensor | None:
    """The flow of the way back; None where occlusion is not asked for, or too early in the run to tell."""
    if not (config.occlusion and config.photometric and progress >= config.occlusion_from):
        return None
    with torch.no_grad():
        flow: Tensor = model(backwards(seen)).final
    return flow
