"""Batch normalisation for networks that are trained as spiking ones."""

from __future__ import annotations

from torch import Tensor, nn


class ThresholdBatchNorm2d(nn.BatchNorm2d):
    """Threshold-dependent batch normalisation (tdBN): currents of a whole window brought to the threshold's scale.

    Zheng et al., "Going Deeper With Directly-Trained Larger Spiking Neural Networks", AAAI 2021: per channel, over
    micro-steps, batch and pixels, y = alpha V_th (x - mean) / sqrt(var + eps) weight + bias. The factor alpha V_th is
    within the weight from the start, where folding into a convolution finds it.

    Args:
        channels: of the current.
        threshold: V_th of the neurons that follow.
        scale: alpha; 1, or 1 / sqrt(n) where n such currents are added before the neurons.
        eps, momentum: as `torch.nn.BatchNorm2d`.

    Raises:
        ValueError: a threshold or scale that is not positive.
    """

    def __init__(
        self, channels: int, *, threshold: float = 0.5, scale: float = 1.0, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        if min(threshold, scale) <= 0:
            raise ValueError(f"expected a positive threshold and scale, got {threshold} and {scale}")
        self._factor = threshold * scale
        super().__init__(channels, eps=eps, momentum=momentum)

    def reset_parameters(self) -> None:
        """Weights of alpha V_th, biases of 0."""
        super().reset_parameters()
        nn.init.constant_(self.weight, self._factor)

    def forward(
        self,
        x: Tensor,  # [T, B, C, H, W] or [N, C, H, W]
    ) -> Tensor:
        """The same shape; statistics are those of the whole window."""
        if x.ndim == 5:
            flat: Tensor = super().forward(x.flatten(0, 1))
            return flat.reshape(x.shape)
        normalised: Tensor = super().forward(x)
        return normalised
