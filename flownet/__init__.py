"""Optical flow from events and spikes: representation, networks, losses, ground truth and errors.

Names are loaded when they are first used: `import flownet` alone does not import torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flownet.evaluate import Report, evaluate
    from flownet.ground_truth import flow_between
    from flownet.losses import contrast_loss, photometric_loss, smoothness_loss
    from flownet.metrics import FlowError, flow_error
    from flownet.model.pretrained import load_pretrained, save_pretrained
    from flownet.model.steflownet import Flows, STEFlowNet, steflownet, steflownet_small, steflownet_tiny
    from flownet.reference import load_reference_checkpoint
    from flownet.representation import temporal_distribution

__all__ = [
    "FlowError",
    "Flows",
    "Report",
    "STEFlowNet",
    "contrast_loss",
    "evaluate",
    "flow_between",
    "flow_error",
    "load_pretrained",
    "load_reference_checkpoint",
    "photometric_loss",
    "save_pretrained",
    "smoothness_loss",
    "steflownet",
    "steflownet_small",
    "steflownet_tiny",
    "temporal_distribution",
]

_MODULES = {
    "flownet.evaluate": ["Report", "evaluate"],
    "flownet.ground_truth": ["flow_between"],
    "flownet.losses": ["contrast_loss", "photometric_loss", "smoothness_loss"],
    "flownet.metrics": ["FlowError", "flow_error"],
    "flownet.model.pretrained": ["load_pretrained", "save_pretrained"],
    "flownet.model.steflownet": ["Flows", "STEFlowNet", "steflownet", "steflownet_small", "steflownet_tiny"],
    "flownet.reference": ["load_reference_checkpoint"],
    "flownet.representation": ["temporal_distribution"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flownet' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # The import system sets a submodule on its package: without this, importing the module `flownet.evaluate`
        # would put it in the place of the function of the same name.
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
