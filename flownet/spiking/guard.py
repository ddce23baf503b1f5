"""Refuses functions that a spiking network cannot run: non-linear ones that no module stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from flownet.spiking.window import Clock

_REFUSED = frozenset({
    "relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardswish",
    "sigmoid", "hardsigmoid", "logsigmoid", "tanh", "hardtanh", "relu6", "softmax", "log_softmax", "softmin",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "layer_norm", "group_norm", "instance_norm",
    "scaled_dot_product_attention",
})  # fmt: skip


class Guard(TorchFunctionMode):
    """Raises where a network applies a non-linear function to spikes, outside of its neurons.

    Args:
        clock: of the neurons, which may.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs what is not refused.

        Raises:
            ValueError: for what is.
        """
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _REFUSED and not self._clock.inside:
            raise ValueError(f"expected non-linear functions as modules, such as nn.ReLU or quantise.QCFS, got the "
                             f"function {name}")  # fmt: skip
        return func(*args, **(kwargs or {}))
