"""Speed of the main jobs, each beside its computed limit or a plain peer, in one run: compare ratios, not times.

python tools/benchmark.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import cv2
import numpy as np
import torch
import tyro
from numba import njit
from tonic.transforms import ToVoxelGrid

from eventsim import EventCamera, Events, Frames, SpikeCamera, read_frames
from eventsim.cameras.kernels.exponential import decay
from eventsim.rows import over_rows, usable_cores
from eventsim.view import write_picture
from flownet import steflownet_tiny, temporal_distribution
from flownet.datasets.mvsec import Batch
from flownet.encodings import voxel_grid
from flownet.representation import EventBatch, temporal_distributions
from flownet.train import TrainConfig, training_step


@dataclass(frozen=True)
class Row:
    """One line of the table: a rate, and what it is compared with."""

    job: str
    rate: float
    unit: str
    peer: str = ""
    ratio: float | None = None

    def __str__(self) -> str:
        beside = f"  {self.ratio:8.3g} {self.peer}" if self.ratio is not None else ""
        return f"{self.job:<52}{self.rate:>10.4g} {self.unit:<22}{beside}"


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The median time of a call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def memory_bandwidth() -> float:
    """Bytes a second that one core copies, read and written: the limit of what only moves data."""
    source = np.zeros(1 << 26, np.uint8)
    target = np.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: np.copyto(target, source))


@njit(nogil=True)
def _multiply_add(rows: np.ndarray, times: int) -> None:
    for _ in range(times):
        for x in range(len(rows)):
            value = rows[x]
            for _ in range(16):
                value = value * np.float32(0.999) + np.float32(0.5)
            rows[x] = value


def operations() -> float:
    """Float32 operations a second of all cores, on rows that fit the nearest cache: the limit of what only computes."""
    rows, times = np.ones((usable_cores(), 400), np.float32), 20_000
    took = seconds(
        lambda: over_rows(lambda top, end: _multiply_add(rows[top], times) if top < end else None, len(rows))
    )
    return rows.size * times * 32 / took


#: Vector operations of a pixel-readout, counted in the kernels; a 64-bit operation counts as two.
OPERATIONS = {"ideal": 11, "vidar": 90}


def spike_rows() -> Iterator[Row]:
    """Pixel-readouts a second at 400x250, beside one vectorised torch step per plane and the arithmetic's limit."""
    light = np.random.default_rng(0).random((250, 400), dtype=np.float32)
    pixels, planes = light.size, 2000
    peer = pixels * 100 / seconds(lambda: plain_torch_spikes(light, 100))
    peak = operations()
    yield Row("spikes: plain torch loop, no noise", peer / 1e6, "M pixel-readouts/s")
    for name in ("ideal", "vidar", "scsim", "spikingsim"):
        camera = SpikeCamera.preset(name, height=250, width=400)

        def run(camera: SpikeCamera = camera, planes: int = planes) -> int:
            return sum(len(chunk) for chunk in camera.stream(light, duration_us=planes * 50))

        took = seconds(run)
        rate = pixels * planes / took
        yield Row(f"spikes: {name}", rate / 1e6, "M pixel-readouts/s", "x plain torch loop", rate / peer)
        if name in OPERATIONS:
            yield Row(f"spikes: {name}, {OPERATIONS[name]} operations each", rate / 1e6, "M pixel-readouts/s",
                      "x limit of arithmetic", rate * OPERATIONS[name] / peak)  # fmt: skip
        if name == "vidar":
            longer = seconds(lambda run=run: run(planes=4 * planes), 3)
            yield Row(f"spikes: {name}, four times the planes", 4 * pixels * planes / longer / 1e6,
                      "M pixel-readouts/s", "x time of one", longer / took)  # fmt: skip


def memory_rows() -> Iterator[Row]:
    """Peak memory of the command that writes a 1000x1000 camera's stream, for a fifth of a second and for a whole."""
    program = str(Path(sys.executable).with_name("eventsim"))
    with TemporaryDirectory() as folder:
        picture = Path(folder) / "still.png"
        write_picture(picture, np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8))
        for duration in ("0.2", "1"):
            out = Path(folder) / f"{duration}.dat"
            command = [program, "spikes", str(picture), str(out), "--camera", "vidar_1000", "--duration", duration]
            start = time.perf_counter()
            subprocess.run([*command, "--quiet"], check=True)
            took = time.perf_counter() - start
            rate = out.stat().st_size * 8 / took / 1e6
            resident = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            yield Row(f"eventsim spikes: vidar_1000, {duration} s to disk", rate, "M pixel-readouts/s",
                      "MB resident at most", resident)  # fmt: skip
            out.unlink()


def plain_torch_spikes(light: np.ndarray, planes: int) -> torch.Tensor:
    """Integrate-and-fire with soft reset, one vectorised step per readout."""
    luminance = torch.from_numpy(light)
    charge = torch.rand_like(luminance)
    out = torch.empty((planes, *luminance.shape), dtype=torch.bool)
    for plane in range(planes):
        charge += luminance
        torch.ge(charge, 1, out=out[plane])
        charge -= out[plane].float()
    return out


#: Bytes that move for a pixel and frame (8-bit value, luminance and response written and read, contrast, three
#: parameters) and for an event (written, read and written again in order).
BYTES = {"frame": 45, "event": 39}
#: The pixel of eventcv's defaults, as ours.
DEFAULT_NOISE = {"threshold_mismatch": 0.03, "cutoff_hz": 200.0, "leak_rate_hz": 1.0, "shot_noise_rate_hz": 10.0}


def event_rows() -> Iterator[Row]:
    """Events a second at 346x260 from 8-bit frames in memory, beside eventcv where it is installed, and memory's limit.

    A picture of four octaves drifts and turns slowly: 240 frames, a millisecond apart.
    """
    shown = drifting_frames()
    frames = read_frames(shown, fps=1000.0)
    cameras = {name: EventCamera.preset(name, height=260, width=346) for name in ("clean", "noisy", "davis346")}
    cameras["default noise"] = replace(cameras["noisy"], **DEFAULT_NOISE, refractory_us=100.0)
    peers = eventcv_rows(shown)
    bandwidth = memory_bandwidth()
    for name, camera in cameras.items():
        counts = list[int]()
        took = seconds(lambda camera=camera, counts=counts: counts.append(count_events(camera, frames)), 5)
        count = counts[-1]
        moved = shown.size * BYTES["frame"] + count * BYTES["event"]
        yield Row(f"events: {name}, {count / len(shown):,.0f} a frame", count / took / 1e6, "M events/s",
                  "x limit of one core's memory", moved / bandwidth / took)  # fmt: skip
        if name in peers:
            other, other_count = peers[name]
            yield Row(f"events: {name}, eventcv: {other_count / count:.4f} x our events", other / 1e6, "M events/s",
                      "x as fast is ours", count / took / other)  # fmt: skip


def eventcv_rows(shown: np.ndarray) -> dict[str, tuple[float, int]]:
    """Events a second and events of eventcv at the same thresholds and noise.

    `clean` without steps in between, as ours has none; with noise it takes the steps of its default, which it needs for
    times to the microsecond and we do not.
    """
    try:
        import eventcv
    except ImportError:
        return {}
    noiseless = {"sigma_thres": 0.02, "cutoff_hz": 0, "leak_rate_hz": 0, "shot_noise_rate_hz": 0, "refractory_us": 0}
    noisy = {"sigma_thres": 0.05, "cutoff_hz": 30, "leak_rate_hz": 0.1, "shot_noise_rate_hz": 5, "refractory_us": 0}
    cameras: dict[str, dict[str, Any]] = {
        "clean": noiseless | {"upsample": "off"}, "noisy": noisy, "default noise": {},
    }  # fmt: skip
    found = {}
    for name, options in cameras.items():
        counts = list[int]()

        def simulate(options: dict[str, Any] = options, counts: list[int] = counts) -> None:
            counts.append(len(eventcv.simulate(shown, fps=1000.0, **options)))

        took = seconds(simulate, 3)
        found[name] = counts[-1] / took, counts[-1]
    return found


#: One term of the pixel at a time, in eventcv's words and in ours.
ONE_TERM: dict[str, dict[str, float]] = {
    "a filter of 200 Hz": {"cutoff_hz": 200},
    "a filter of 30 Hz": {"cutoff_hz": 30},
    "leak of 10 Hz": {"leak_rate_hz": 10},
    "shot noise of 100 Hz": {"shot_noise_rate_hz": 100},
    "500 us of refractory period": {"refractory_us": 500},
}


def agreement_rows() -> Iterator[Row]:
    """How many events eventcv makes for one of ours, with one term of the pixel at a time."""
    try:
        import eventcv
    except ImportError:
        return
    shown = drifting_frames(120)
    none = {"cutoff_hz": 0, "leak_rate_hz": 0, "shot_noise_rate_hz": 0, "refractory_us": 0}
    for name, term in ONE_TERM.items():
        ours = count_events(EventCamera.preset("clean", height=260, width=346, **term), read_frames(shown, fps=1000.0))
        theirs = len(eventcv.simulate(shown, fps=1000.0, sigma_thres=0.02, **(none | term)))
        yield Row(f"events with {name}", ours / 1e6, "M events", "x as many has eventcv", theirs / ours)


def drifting_frames(count: int = 240, height: int = 260, width: int = 346) -> np.ndarray:
    """uint8 [T, H, W] of noise in four octaves that drifts by 2.6 pixels and turns by 0.05 degrees a frame."""
    random = np.random.default_rng(0)
    octaves = [
        cv2.resize(random.standard_normal((24 << octave, 24 << octave)), (1024, 1024), interpolation=cv2.INTER_CUBIC)
        for octave in range(4)
    ]
    texture = sum(octave / 2**index for index, octave in enumerate(octaves))
    texture = 255 * (texture - texture.min()) / np.ptp(texture)
    shown = np.empty((count, height, width), np.uint8)
    for index in range(count):
        cosine, sine = np.cos(np.deg2rad(0.05 * index)), np.sin(np.deg2rad(0.05 * index))
        move = np.array([[cosine, -sine, 300 + 2.3 * index], [sine, cosine, 300 + 1.3 * index]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(texture, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        shown[index] = np.clip(np.round(seen), 0, 255)
    return shown


def count_events(camera: EventCamera, frames: Frames) -> int:
    """How many events the camera makes; all are made, and none kept."""
    return sum(map(len, camera.stream(frames)))


def event_memory_rows() -> Iterator[Row]:
    """Peak memory of `eventsim events` for a clip and for one four times as long."""
    program = str(Path(sys.executable).with_name("eventsim"))
    shown = drifting_frames(120)
    with TemporaryDirectory() as folder:
        for times in (1, 4):
            clip = Path(folder) / f"clip{times}"
            clip.mkdir()
            for index in range(len(shown) * times):
                cv2.imwrite(str(clip / f"{index:05}.png"), shown[index % len(shown)])
            command = [program, "events", str(clip), str(Path(folder) / f"{times}.h5"), "--fps", "1000", "--quiet"]
            start = time.perf_counter()
            report = subprocess.run([sys.executable, "-c", _PEAK, *command], check=True, capture_output=True, text=True)
            rate = len(shown) * times / (time.perf_counter() - start)
            yield Row(f"eventsim events: {len(shown) * times} frames to disk", rate, "frames/s",
                      "MB resident at most", int(report.stdout) / 1024)  # fmt: skip


_PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


#: Bytes that must move for an event (t, x, y and p, read once); its image stays in the cache.
EVENT_BYTES = 13


def representation_rows() -> Iterator[Row]:
    """Representations of 1 million events at 346x260, on one thread as in a data-loader worker, beside plain peers.

    The limits: every byte of events and image through memory once; and one exponential and one scattered sum for each
    event, which is what the arithmetic cannot spare.
    """
    number = 1_000_000
    events = million_events(number)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain = {ceil: number / seconds(lambda ceil=ceil: plain_torch_distribution(events, ceil)) for ceil in (False, True)}
    grid, structured = ToVoxelGrid((346, 260, 2), 5), events.to_tonic()
    tonic = number / seconds(lambda: grid(structured))
    yield Row("representation: plain torch, slice by slice", plain[False] / 1e6, "M events/s")
    yield Row("representation: tonic's voxel grid", tonic / 1e6, "M events/s")
    image = temporal_distribution(events).numpy()
    columns = events.t, events.x, events.y, events.p
    arithmetic = number / seconds(lambda: _exp_and_scatter(*columns, image[0].reshape(-1)), 20)
    bandwidth = number / ((number * EVENT_BYTES + image.nbytes) / memory_bandwidth())
    for ceil in (False, True):
        weights: Literal["float", "ceil"] = "ceil" if ceil else "float"
        rate = number / seconds(lambda weights=weights: temporal_distribution(events, weights=weights), 20)
        ratios = {"plain torch": plain[ceil], "tonic's voxel grid": tonic, "limit of exp and scatter": arithmetic,
                  "limit of one core's memory": bandwidth}  # fmt: skip
        for peer, other in ratios.items():
            yield Row(f"temporal_distribution, {weights}", rate / 1e6, "M events/s", f"x {peer}", rate / other)
    batch = EventBatch.of([events[n::8] for n in range(8)])
    rate = number / seconds(lambda: temporal_distributions(batch))
    yield Row("temporal_distributions, 8 x 125,000 events", rate / 1e6, "M events/s", "x plain torch",
              rate / plain[False])  # fmt: skip
    rate = number / seconds(lambda: voxel_grid(events, 5), 20)
    yield Row("voxel_grid", rate / 1e6, "M events/s", "x tonic's voxel grid", rate / tonic)
    torch.set_num_threads(threads)


def million_events(number: int) -> Events:
    """Events spread evenly over 100 ms, polarities and pixels."""
    random = np.random.default_rng(0)
    t = 1_600_000_000_000_000 + np.sort(random.integers(0, 100_000, number))
    x, y = random.integers(0, 346, number), random.integers(0, 260, number)
    return Events(t, x, y, random.random(number) < 0.5, 346, 260)


def plain_torch_distribution(events: Events, ceil: bool, slices: int = 5) -> torch.Tensor:
    """The temporal distribution a slice and polarity at a time, as the authors' code goes about it."""
    t, x, y = (torch.from_numpy(column.astype(np.int64)) for column in (events.t, events.x, events.y))
    image = torch.zeros(slices, 2, events.height, events.width, dtype=torch.float64)
    for k in range(slices):
        part = slice(k * (len(t) // slices), (k + 1) * (len(t) // slices))
        time = (t[part] - t[part].min()).double() / (t[part].max() - t[part].min())
        for channel, polarity in enumerate((True, False)):
            chosen = torch.from_numpy(events.p[part]) == polarity
            sigma = time[chosen].std() + 1e-4
            density = torch.exp(-((time[chosen] - time[chosen].mean()) ** 2) / (2 * sigma**2)) / (2.5066283 * sigma)
            weight = len(density) / density.sum() * density
            place = y[part][chosen], x[part][chosen]
            image[k, channel].index_put_(place, weight.ceil() if ceil else weight, accumulate=True)
    return image.float()


@njit(nogil=True, fastmath=True)
def _exp_and_scatter(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, plane: np.ndarray) -> float:
    total = 0.0
    for n in range(len(t)):
        total += decay(np.float64(t[n] - t[0]) * 1e-5)
    for n in range(len(x)):
        off = np.uint64(0) if p[n] else np.uint64(346 * 260)
        plane[np.uint64(y[n]) * np.uint64(346) + np.uint64(x[n]) + off] += np.float32(1)
    return total


def network_rows() -> Iterator[Row]:
    """The representation and a training step of steflownet_tiny."""
    events = EventCamera.preset("davis346").simulate(_noise_frames())
    took = seconds(lambda: temporal_distribution(events))
    yield Row(f"temporal_distribution of {len(events) / 1e6:.2f} M events", len(events) / took / 1e6, "M events/s")
    config = TrainConfig()
    model = steflownet_tiny()
    optimizer = torch.optim.Adam(model.parameters())
    batch = Batch(torch.rand(8, 5, 2, 64, 64), torch.rand(8, 1, 64, 64), torch.rand(8, 1, 64, 64))
    took = seconds(lambda: training_step(config, model, optimizer, batch, 1e-4), 20)
    yield Row("training of steflownet_tiny, batch 8, crop 64", 8 / took, "samples/s")


def _noise_frames() -> Frames:
    values = np.random.default_rng(0).random((5, 260, 346), dtype=np.float32)
    return Frames(260, 346, 100.0, lambda: ((n * 10_000, value) for n, value in enumerate(values)), 5)


def help_rows() -> Iterator[Row]:
    """Time to answer --help, beside a Python that only starts."""
    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    for program in ("eventsim", "flownet"):
        command = [str(Path(sys.executable).with_name(program)), "--help"]
        took = seconds(lambda command=command: subprocess.run(command, check=True, capture_output=True))
        yield Row(f"{program} --help", took, "s", "x bare Python", took / bare)


def main() -> None:
    """Prints the table, row by row."""
    for rows in (
        spike_rows,
        memory_rows,
        event_rows,
        agreement_rows,
        event_memory_rows,
        representation_rows,
        network_rows,
        help_rows,
    ):
        for row in rows():
            print(row, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
