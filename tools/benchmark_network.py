"""Representations, the network and its training: rows of the benchmark."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from benchmark_rows import Row, memory_bandwidth, seconds
from numba import njit
from tonic.transforms import ToVoxelGrid

from eventsim import Events
from eventsim.cameras.kernels.exponential import decay
from flownet import steflownet, steflownet_tiny, temporal_distribution
from flownet.costs import costs
from flownet.datasets.mvsec import Batch
from flownet.encodings import voxel_grid
from flownet.model.plain import PlainSTEFlowNet
from flownet.model.steflownet import Flows, STEFlowNet
from flownet.representation import EventBatch, temporal_distributions
from flownet.train import TrainConfig, training_step

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
    """The full network, dt = 1, against its plain form, and how near it comes to the rate of a plain product."""
    rates = {kind: gemm_rate(kind) for kind in (torch.float32, torch.bfloat16)}
    for kind, rate in rates.items():
        yield Row(f"product of 1024x1024 matrices, {str(kind).removeprefix('torch.')}", rate / 1e9, "GMAC/s")
    for side in (128, 256):
        yield from _network_rows(side, rates)
    yield from _memory_rows()


def _network_rows(side: int, rates: dict[torch.dtype, float]) -> Iterator[Row]:
    torch.manual_seed(0)
    model = steflownet().eval()
    plain = PlainSTEFlowNet(model)
    x = 2 * (torch.rand(1, 5, 2, side, side) < 0.2).float()
    macs = costs(model, height=side, width=side, slices=5).macs.total
    with torch.inference_mode():
        expected = plain(x, [-1])[0][:, 0]
        plainly = seconds(lambda: plain(x, [-1]), 3)
        yield Row(f"steflownet {side}x{side}: plain loop", 1 / plainly, "samples/s")
        model.to(memory_format=torch.channels_last)
        for kind, rate in rates.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
                found = model(x).final.float()
                took = seconds(lambda: model(x), 3)
            name = f"steflownet {side}x{side}: {str(kind).removeprefix('torch.')}"
            error = float((found - expected).norm() / expected.norm())
            yield Row(f"{name}, error {error:.1e}", 1 / took, "samples/s", "x plain loop", plainly / took)
            yield Row(f"{name}, {macs / 1e9:.0f} GMAC", macs / took / 1e9, "GMAC/s", "x rate of a product",
                      macs / took / rate)  # fmt: skip


def gemm_rate(kind: torch.dtype) -> float:
    """Multiply-accumulates a second of a product of matrices: the limit of what only computes."""
    one, other = (torch.randn(1024, 1024).to(kind) for _ in range(2))
    return 1024**3 / seconds(lambda: one @ other, 20)


def _memory_rows() -> Iterator[Row]:
    """What a forward pass at 256x256 adds to a process that holds the network."""
    for form, call in {"plain loop": "PlainSTEFlowNet(model)(x, [-1])", "ours": "model(x)"}.items():
        said = subprocess.run([sys.executable, "-c", _PEAK % call], check=True, capture_output=True, text=True)
        before, after = (int(word) for word in said.stdout.split())
        yield Row(f"steflownet 256x256: {form}", (after - before) / 1024, "MB resident at most")


# Linux forgets the most that a process held when 5 is written there.
_PEAK = """import re, torch
from pathlib import Path
from flownet import steflownet
from flownet.model.plain import PlainSTEFlowNet
model, x = steflownet().eval(), torch.rand(1, 5, 2, 256, 256)
held = lambda name: int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
with torch.inference_mode():
    %s
print(before, held("VmHWM"))"""


def training_rows() -> Iterator[Row]:
    """A training step of steflownet_tiny."""
    config = TrainConfig()
    model = steflownet_tiny()
    optimizer = torch.optim.Adam(model.parameters())
    batch = Batch(torch.rand(8, 5, 2, 64, 64), torch.rand(8, 2, 64, 64))
    took = seconds(lambda: training_step(config, model, optimizer, batch, 1e-4), 20)
    yield Row("training of steflownet_tiny, batch 8, crop 64", 8 / took, "samples/s")


def compile_rows() -> Iterator[Row]:
    """What torch.compile makes of the same work; it takes torch's operators, and none of our kernels."""
    for name, side, model in (("steflownet", 128, steflownet()), ("steflownet_tiny", 256, steflownet_tiny())):
        x = torch.rand(1, 5, 2, side, side)
        with torch.no_grad():
            eagerly = seconds(lambda model=model, x=x: model.eval()(x), 3)
            yield from _compiled(f"{name} {side}x{side}", model.eval(), lambda call, x=x: call(x), eagerly, 1)
    tiny, batch = steflownet_tiny(), torch.rand(4, 5, 2, 64, 64)

    def step(call: Callable[[torch.Tensor], Flows]) -> None:
        loss = sum(scale.square().mean() for scale in call(batch).pyramid)
        torch.autograd.grad(loss, list(tiny.parameters()))

    eagerly = seconds(lambda: step(tiny), 5)
    yield from _compiled("steflownet_tiny, gradients, batch 4, crop 64", tiny, step, eagerly, 4)


def _compiled(
    name: str, model: STEFlowNet, work: Callable[[Any], object], eagerly: float, samples: int
) -> Iterator[Row]:
    compiled = torch.compile(model)
    start = time.perf_counter()
    work(compiled)
    yield Row(f"{name}: the first call, compiled", time.perf_counter() - start, "s")
    took = seconds(lambda: work(compiled), 3)
    yield Row(f"{name}: compiled", samples / took, "samples/s", "x eager", eagerly / took)
