"""Speed of the main jobs, each beside its computed limit or a plain peer, in one run: compare ratios, not times.

python tools/benchmark.py [--only events network ...]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro
from benchmark_events import agreement_rows, event_memory_rows, event_rows
from benchmark_network import compile_rows, network_rows, representation_rows, training_rows
from benchmark_rows import Row, seconds
from numba import njit

from eventsim import SpikeCamera
from eventsim.rows import over_rows, usable_cores
from eventsim.view import write_picture


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


def help_rows() -> Iterator[Row]:
    """Time to answer --help, beside a Python that only starts."""
    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    for program in ("eventsim", "flownet"):
        command = [str(Path(sys.executable).with_name(program)), "--help"]
        took = seconds(lambda command=command: subprocess.run(command, check=True, capture_output=True))
        yield Row(f"{program} --help", took, "s", "x bare Python", took / bare)


JOBS: dict[str, tuple[Callable[[], Iterator[Row]], ...]] = {
    "spikes": (spike_rows, memory_rows),
    "events": (event_rows, agreement_rows, event_memory_rows),
    "representation": (representation_rows,),
    "network": (network_rows, training_rows),
    "compile": (compile_rows,),
    "help": (help_rows,),
}


def main(only: tuple[str, ...] = tuple(job for job in JOBS if job != "compile")) -> None:
    """Prints the table, row by row.

    Args:
        only: which jobs; "compile", which needs a C++ compiler, only where it is asked for.
    """
    for job in only:
        for rows in JOBS[job]:
            for row in rows():
                print(row, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
