"""More frames in between: none, linear in light, along optical flow, or by a network of the user's own.

A spike camera takes the light between two frames as linear in luminance, an event camera as linear in log luminance.
Where things move by more than a pixel from frame to frame, either is a cross-fade, and no motion. Frames that lie
closer than that leave little to assume.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError
from eventsim.light.frames import Frames, Picture, checked, linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from eventsim.light.optical_flow import Flow

#: What `interpolator_of` knows besides the path of a network.
NAMES = ("none", "linear", "dis")
_BATCH_PIXELS = 1 << 22
_MULTIPLE = 32
_REC709 = np.array([0.2126, 0.7152, 0.0722], np.float32)[:, None, None]


class Interpolator(Protocol):
    """What makes frames between two others. Any class with these two methods will do."""

    def motion_px(self, first: Picture, second: Picture) -> float:
        """The largest motion between the two frames, in pixels; 0 asks for no frames between."""

    def between(self, first: Picture, second: Picture, shares: Sequence[float]) -> list[Picture]:
        """The light at each share (above 0, below 1, ascending) of the time between the two frames.

        Frames are float32 [H, W], linear luminance, and must not be changed. May be called several times for one pair.
        """


def interpolated(frames: Frames, interpolator: Interpolator, *, largest_step_px: float = 1.0, most: int = 64) -> Frames:
    """The frames with more in between, so that nothing moves further than `largest_step_px` from one to the next.

    The frames themselves and their times stay as they are. Every interval is divided evenly into as few steps as that
    takes; the frames between lie on whole microseconds, and show the light of exactly those. Lazy: of the source, two
    frames are held at a time, and of those between at most 4 megapixels (or one frame).

    Args:
        frames: timed luminance frames.
        interpolator: see `interpolator_of`.
        largest_step_px: the largest motion of a step, pixels, as `interpolator.motion_px` measures it.
        most: steps in one interval at most, whatever the motion.

    Raises:
        ValueError: settings out of range, or an interpolator that gives something else than it was asked for.
    """
    if not 0 < largest_step_px < math.inf or most < 1:
        raise ValueError(f"expected a largest step above 0 px and at least 1 step, got {largest_step_px} and {most}")

    def source() -> Iterator[tuple[int, Picture]]:
        last: tuple[int, Picture] | None = None
        for t_us, picture in checked(frames):
            if last is not None:
                motion_px = interpolator.motion_px(last[1], picture)
                times = _times_between(last[0], t_us, _steps(motion_px, largest_step_px, most))
                yield from _between(interpolator, last, (t_us, picture), times)
            yield t_us, picture
            last = t_us, picture

    return Frames(frames.height, frames.width, frames.fps, source)


def interpolator_of(name: str, *, threads: int | None = None) -> Interpolator:
    """An interpolator by name: "none", "linear", "dis", or the path of an ONNX file (see `OnnxInterpolator`).

    Args:
        name: the name or path.
        threads: threads to use, by default the cores; results of those named here do not depend on it.

    Raises:
        InputError: an unknown name, no such file, or a network that cannot be used.
    """
    if name == "none":
        return NoInterpolator()
    if name == "linear":
        return LinearInterpolator(threads=threads)
    if name == "dis":
        return DisInterpolator(threads=threads)
    if not name.endswith(".onnx"):
        raise InputError("interpolation", expected=f"{', '.join(NAMES)} or an .onnx file", found=repr(name))
    return OnnxInterpolator(name, threads=threads)


# --- the interpolators


@dataclass(frozen=True, kw_only=True)
class NoInterpolator:
    """No frames between: cameras fill the time as they do by themselves.

    That is linear in luminance for the spike camera, and linear in log luminance for the event camera.
    """

    def motion_px(self, first: Picture, second: Picture) -> float:
        """Always 0: no frames are asked for."""
        return 0.0

    def between(self, first: Picture, second: Picture, shares: Sequence[float]) -> list[Picture]:
        """Linear frames, for whoever asks all the same."""
        return [_mixed(first, second, share) for share in shares]


@dataclass(frozen=True, kw_only=True)
class LinearInterpolator:
    """Frames linear in luminance, as many as `DisInterpolator` would make.

    For the spike camera these change nothing beyond rounding. For the event camera they bend each pixel's way in log
    luminance: as many events between the same levels, but earlier where light rises and later where it falls.

    Args:
        threads: threads to use, by default the cores.
    """

    threads: int | None = None

    def motion_px(self, first: Picture, second: Picture) -> float:
        """The largest motion by DIS flow at its "fast" setting, pixels; see `optical_flow.Flow.largest_motion_px`."""
        from eventsim.light.optical_flow import flow_pair

        return max(flow.largest_motion_px() for flow in flow_pair(first, second, "fast", self.threads))

    def between(self, first: Picture, second: Picture, shares: Sequence[float]) -> list[Picture]:
        """(1 - share) first + share second."""
        return [_mixed(first, second, share) for share in shares]


@dataclass(frozen=True, eq=False, kw_only=True)
class DisInterpolator:
    """Frames along DIS optical flow, forward and backward, that keep apart what only one of the two frames shows.

    Args:
        quality: OpenCV's setting: "ultrafast", "fast" or "medium".
        threads: threads to use, by default the cores.
    """

    quality: str = "medium"
    threads: int | None = None
    _latest: list[tuple[Picture, Picture, tuple[Flow, Flow]]] = field(default_factory=list, init=False, repr=False)

    def motion_px(self, first: Picture, second: Picture) -> float:
        """The largest motion, pixels; see `optical_flow.Flow.largest_motion_px`."""
        return max(flow.largest_motion_px() for flow in self._flow(first, second))

    def between(self, first: Picture, second: Picture, shares: Sequence[float]) -> list[Picture]:
        """Both frames along the flow; see `optical_flow.along_flow`."""
        from eventsim.light.optical_flow import along_flow

        return along_flow(first, second, self._flow(first, second), shares, self.threads)

    def _flow(self, first: Picture, second: Picture) -> tuple[Flow, Flow]:
        """The flow of the pair at hand, which is asked for once to count its steps and again for the frames."""
        from eventsim.light.optical_flow import flow_pair

        for known in self._latest:
            if known[0] is first and known[1] is second:
                return known[2]
        pair = flow_pair(first, second, self.quality, self.threads)
        self._latest[:] = [(first, second, pair)]
        return pair


class OnnxInterpolator:
    """Frames by a network in an ONNX file, through onnxruntime (`pip install retinaflow[export]`).

    The network takes, in this order, the two frames, each [1, C, H, W], and the share of the time between them ([], or
    any shape of ones, or [1, 1, H, W]); or all three in one [1, 2 C + 1, H, W], the share as a constant last channel,
    as RIFE is often exported. C is 1 (grey) or 3 (the grey thrice). Its first output is the frame between, [1, 1 or 3,
    H, W]. All floats, frames sRGB-encoded in [0, 1]. Frames are continued at the right and below to multiples of 32.

    The number of steps is `LinearInterpolator`'s. Whether the frames are the same for any number of threads is up to
    onnxruntime.

    Raises:
        InputError: onnxruntime is not installed, the file is missing or damaged, or the network's inputs do not fit.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self.path = Path(path)
        self.session = _session(self.path, threads)
        self.inputs = self.session.get_inputs()
        self.channels = _channels(self.path, self.inputs)
        self.motion_px = LinearInterpolator(threads=threads).motion_px

    def between(self, first: Picture, second: Picture, shares: Sequence[float]) -> list[Picture]:
        """The network's frames, decoded to linear luminance and scaled back to the frames' own range."""
        white = max(1.0, float(first.max()), float(second.max()))
        one, two = self._encoded(first, white), self._encoded(second, white)
        return [self._decoded(self._run(one, two, share), first.shape, white) for share in shares]

    def _encoded(self, frame: Picture, white: float) -> NDArray[Any]:
        height, width = frame.shape
        padding = ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE))
        grey = np.pad(linear_to_srgb(frame / np.float32(white)), padding, mode="edge")
        return np.repeat(grey[None, None], self.channels, axis=1).astype(_dtype(self.inputs[0]))

    def _run(self, first: NDArray[Any], second: NDArray[Any], share: float) -> NDArray[Any]:
        plane = np.full((1, 1, *first.shape[2:]), share, first.dtype)
        given = [np.concatenate([first, second, plane], axis=1)]
        if len(self.inputs) == 3:
            given = [first, second, _share_as(self.inputs[2], plane)]
        names = [entry.name for entry in self.inputs]
        try:
            out = self.session.run(None, dict(zip(names, given, strict=True)))[0]
        except Exception as error:  # onnxruntime's errors have no common class
            found = " ".join(str(error).split())
            raise InputError(self.path, expected=f"a network for frames {first.shape}", found=found) from error
        return np.asarray(out)

    def _decoded(self, out: NDArray[Any], shape: tuple[int, ...], white: float) -> Picture:
        if out.ndim != 4 or out.shape[1] not in (1, 3) or out.shape[2] < shape[0] or out.shape[3] < shape[1]:
            expected = f"an output [1, 1 or 3, {shape[0]}, {shape[1]}] or padded"
            raise InputError(self.path, expected=expected, found=f"shape {list(out.shape)}")
        light = srgb_to_linear(np.clip(out[0, :, : shape[0], : shape[1]].astype(np.float32), 0, 1))
        luminance = light[0] if len(light) == 1 else (light * _REC709).sum(axis=0)
        return np.ascontiguousarray(luminance * np.float32(white), np.float32)


# --- steps


def _steps(motion_px: float, largest_step_px: float, most: int) -> int:
    if not 0 <= motion_px < math.inf:
        raise ValueError(f"expected a motion of 0 px or more, got {motion_px}")
    # Bounded before it is rounded: a tiny step could ask for more than a number of steps can hold.
    return max(1, math.ceil(min(motion_px / largest_step_px, most)))


def _times_between(t0: int, t1: int, steps: int) -> list[int]:
    """The inner bounds of even steps, on distinct whole microseconds: fewer steps where there are too few of them."""
    steps = min(steps, t1 - t0)
    return [t0 + (2 * step * (t1 - t0) + steps) // (2 * steps) for step in range(1, steps)]


def _between(
    interpolator: Interpolator, last: tuple[int, Picture], following: tuple[int, Picture], times: list[int]
) -> Iterator[tuple[int, Picture]]:
    (t0, first), (t1, second) = last, following
    batch = max(1, _BATCH_PIXELS // first.size)
    for begin in range(0, len(times), batch):
        chosen = times[begin : begin + batch]
        made = interpolator.between(first, second, [(t_us - t0) / (t1 - t0) for t_us in chosen])
        if len(made) != len(chosen):
            raise ValueError(f"expected {len(chosen)} frames of {type(interpolator).__name__}, got {len(made)}")
        for t_us, picture in zip(chosen, made, strict=True):
            yield t_us, _light(picture, interpolator)


def _light(picture: Picture, interpolator: Interpolator) -> Picture:
    light: Picture = np.asarray(picture, np.float32)
    if light.size and not (light.min() >= 0 and light.max() < np.inf):
        raise ValueError(f"expected finite luminance of 0 or more of {type(interpolator).__name__}, got other values")
    return light


def _mixed(first: Picture, second: Picture, share: float) -> Picture:
    return np.asarray(first + np.float32(share) * (second - first), np.float32)


# --- networks


def _session(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        expected = "onnxruntime to run it (pip install 'retinaflow[export]')"
        raise InputError(path, expected=expected, found="that it is not installed") from error
    if not path.is_file():
        raise InputError(path, expected="an ONNX file", found="nothing there")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        raise InputError(path, expected="an ONNX network", found=" ".join(str(error).split())) from error


def _channels(path: Path, inputs: Sequence[Any]) -> int:
    """Channels of the pictures a network takes; sizes that it leaves open are strings or None, and count as 3."""
    shapes = [list(entry.shape) for entry in inputs]
    found = ", ".join(f"{entry.name} {shape}" for entry, shape in zip(inputs, shapes, strict=True))
    floats = all(entry.type in ("tensor(float)", "tensor(float16)") for entry in inputs)
    if floats and len(shapes) == 3 and all(len(shape) == 4 for shape in shapes[:2]):
        asked = {shape[1] if isinstance(shape[1], int) else 3 for shape in shapes[:2]}
        if asked in ({1}, {3}):
            return int(asked.pop())
    if floats and len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] in (3, 7):
        return (int(shapes[0][1]) - 1) // 2
    expected = "float inputs first and second [1, 1 or 3, H, W] and a share, or all in one [1, 3 or 7, H, W]"
    raise InputError(path, expected=expected, found=found)


def _dtype(entry: Any) -> type[np.floating[Any]]:
    return np.float16 if entry.type == "tensor(float16)" else np.float32


def _share_as(entry: Any, plane: NDArray[Any]) -> NDArray[Any]:
    """The share in the shape that a network states: a picture's where it is [1, 1, H, W] with H or W not 1."""
    sizes = entry.shape
    if len(sizes) == 4 and any(size != 1 for size in sizes[2:]):
        return plane.astype(_dtype(entry))
    return np.full([1] * len(sizes), plane.flat[0], _dtype(entry))
