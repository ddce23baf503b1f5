"""How a scene is lit: exposure, smooth changes of brightness, flicker of lamps and the fall-off to the corners."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsim.settings import require

Picture = NDArray[np.float32]
#: Steps a period of flicker is followed in: light is linear between, off by at most 2 % of the flicker's depth.
_STEPS_PER_PERIOD = 16


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """What happens to the luminance of a scene before it reaches the sensor, the same for all its surfaces.

    Args:
        gain: times the luminance.
        change, change_hz: the brightness rises and falls smoothly by a factor of up to e^change, so often a second.
        flicker_depth, flicker_hz: share of the light that lamps lose and regain with every half wave of the mains,
            0 .. 1, and how often: 100 a second on mains of 50 Hz, 120 on 60 Hz.
        vignetting: share of the light that the corners miss; falls with the squared distance from the middle.
        exposure_us: of grey frames, which average over it, centred on their time; event and spike cameras do not.

    Raises:
        ValueError: a gain or rate that is not positive, a negative change or exposure, a share outside 0 .. 1.
    """

    gain: float = 1.0
    change: float = 0.0
    change_hz: float = 0.3
    flicker_depth: float = 0.0
    flicker_hz: float = 100.0
    vignetting: float = 0.0
    exposure_us: float = 0.0

    def __post_init__(self) -> None:
        require(self, above="gain change_hz flicker_hz", at_least="change flicker_depth vignetting exposure_us")
        for name in ("flicker_depth", "vignetting"):
            if getattr(self, name) > 1:
                raise ValueError(f"expected {name} of at most 1, got {getattr(self, name)}")

    def factor(self, t_us: float) -> float:
        """What the luminance of the picture's middle is multiplied by at a time."""
        change = math.exp(self.change * math.sin(2e-6 * math.pi * self.change_hz * t_us))
        lamps = 1 - self.flicker_depth * 0.5 * (1 + math.cos(2e-6 * math.pi * self.flicker_hz * t_us))
        return self.gain * change * lamps

    def applied(self, luminance: Picture, t_us: float) -> Picture:
        """The luminance [H, W] as it reaches the sensor at a time: float32 [H, W]."""
        lit = luminance * np.float32(self.factor(t_us))
        if self.vignetting:
            lit *= self._corners(*luminance.shape)
        return lit

    @property
    def longest_step_us(self) -> float:
        """Time from one frame to the next that changes of brightness allow: infinite without any."""
        fastest = max(self.flicker_hz if self.flicker_depth else 0.0, self.change_hz if self.change else 0.0)
        return 1e6 / (fastest * _STEPS_PER_PERIOD) if fastest else math.inf

    def _corners(self, height: int, width: int) -> Picture:
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        share = (x**2 * (width - 1) ** 2 + y**2 * (height - 1) ** 2) / max((width - 1) ** 2 + (height - 1) ** 2, 1)
        return (1 - self.vignetting * share).astype(np.float32)
