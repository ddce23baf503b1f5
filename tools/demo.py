"""The main job end to end on the two photographs that scikit-learn ships.

Photographs become spike streams and recordings of an event camera; a small network learns optical flow from the
recordings of one photograph without ever seeing flow, and is evaluated on the other. Ends with a report.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from joblib import Parallel, delayed

import flownet
from eventsim import EventCamera, SpikeCamera, read_frames, reconstruct_tfi, reconstruct_tfp, write_spikes
from eventsim.io.mvsec import MvsecRecording
from eventsim.light.scenes import SceneStyle, draw_scene
from eventsim.progress import track
from eventsim.provenance import write_provenance
from eventsim.report import HtmlReport
from eventsim.rows import usable_cores
from eventsim.synthesize.recording import Recording, record_scene
from eventsim.view import luminance_picture, spikes_picture
from flownet.evaluate import Report, evaluate
from flownet.report import Watched, add_flows, add_scores, add_training
from flownet.train import load_config, train

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEARN_FROM, UNSEEN = "china", "flower"
DAVIS346 = (260, 346)
TINY = Path(flownet.__file__).parent / "configs" / "tiny.yaml"


@dataclass(frozen=True)
class Demo:
    """Frames to spikes and events, to a trained network, to a report."""

    out: Path = Path("demo")
    """Folder for everything that is made."""
    steps: int = 3000
    """Optimiser steps to train."""
    minutes: float = 3.0
    """Time after which training ends all the same."""
    recordings: int = 60
    """Recordings to learn from, each of a scene of its own."""
    seconds: float = 1.0
    """Length of each; the unseen one is twice as long."""
    size: tuple[int, int] = (128, 128)
    """Height and width of the recordings to learn from; the unseen one has a DAVIS346's 260x346."""
    seed: int = 0
    """Seed of scenes, noise and training. The time limit makes the network depend on the machine's speed too."""


def main(demo: Demo) -> None:
    """Runs every stage and says where the report is."""
    started = time.monotonic()

    def say(done: str) -> None:
        print(f"[{time.monotonic() - started:3.0f} s] {done}", flush=True)

    clear(demo.out)
    photographs = copy_photographs(demo.out / "photographs")
    spikes = [spike_stage(path, demo) for path in photographs]
    say(f"spike streams of {len(photographs)} photographs: {demo.out / 'spikes'}")
    first = demo.seed * 1_000_000
    unseen = record(UNSEEN, demo, "unseen", range(first + 10_000, first + 10_001), Shape(demo.seconds * 2, DAVIS346))[0]
    record(LEARN_FROM, demo, "train", range(first, first + demo.recordings), Shape(demo.seconds, demo.size))
    say(f"recordings of an event camera: {demo.out / 'train'} of {LEARN_FROM}, {demo.out / 'unseen'} of {UNSEEN}")
    settings = {"data": [str(demo.out / "train")], "steps": demo.steps, "minutes": demo.minutes, "seed": demo.seed}
    model = train(load_config(TINY, **settings), demo.out / "run")
    say(f"trained without flow: {demo.out / 'run'}")
    watched = Watched(most=4)
    report = evaluate(model, unseen, "full", watch=watched.add)
    print(report, flush=True)
    path = write_report(demo, spikes, unseen, report, watched)
    write_provenance(demo.out, demo, aee=report.aee, relative_to_zero_flow=report.relative)
    say(f"AEE {report.aee:.3f} px on the unseen recording, {report.relative:.3f} of zero flow's")
    print(f"report: {path.resolve()}")


def clear(out: Path) -> None:
    """Removes what an earlier demo left, and nothing else."""
    if out.exists() and any(out.iterdir()) and not (out / "photographs" / f"{LEARN_FROM}.jpg").exists():
        raise SystemExit(f"{out}: holds something other than an earlier demo; choose another --out")
    shutil.rmtree(out, ignore_errors=True)


def copy_photographs(folder: Path) -> list[Path]:
    """scikit-learn's photographs, in a folder of our own as a user would have them."""
    import sklearn.datasets

    folder.mkdir(parents=True)
    source = Path(sklearn.datasets.__file__).parent / "images"
    return [Path(shutil.copy(path, folder)) for path in sorted(source.glob("*.jpg"))]


@dataclass(frozen=True)
class SpikeResult:
    """What the report shows of a photograph's spike stream."""

    name: str
    luminance: NDArray[np.float32]
    plane: NDArray[np.uint8]
    tfp: NDArray[np.float32]
    tfi: NDArray[np.float32]
    mean_rate: float


def spike_stage(photograph: Path, demo: Demo) -> SpikeResult:
    """A still becomes 20 ms of a Vidar's spike stream, and a picture again."""
    camera = SpikeCamera.preset("vidar")
    frames = read_frames(photograph, size=(camera.height, camera.width))
    stream = camera.simulate(frames, duration_us=20_000, seed=demo.seed)
    write_spikes(demo.out / "spikes" / f"{photograph.stem}.dat", stream)
    _, luminance = next(iter(frames))
    tfp, tfi = reconstruct_tfp(stream, len(stream)), reconstruct_tfi(stream)
    return SpikeResult(photograph.stem, luminance, spikes_picture(stream, 200), tfp, tfi, float(stream.rate().mean()))


@dataclass(frozen=True)
class Shape:
    """Length in seconds, and height and width, of a recording."""

    seconds: float
    size: tuple[int, int]


def record(name: str, demo: Demo, folder: str, seeds: range, shape: Shape) -> list[Path]:
    """Recordings of an event camera that moves over one photograph, in MVSEC's layout, one for each seed."""
    _, picture = next(iter(read_frames(demo.out / "photographs" / f"{name}.jpg")))
    jobs = [delayed(record_one)(demo.out / folder / f"{name}_{seed:05d}", picture, shape, seed) for seed in seeds]
    done = Parallel(n_jobs=min(usable_cores(), len(jobs)), return_as="generator")(jobs)
    for _ in track(done, f"recording {name}", total=len(jobs), unit="recordings"):
        pass
    return sorted((demo.out / folder).glob("*_data.hdf5"))


def record_one(prefix: Path, picture: NDArray[np.float32], shape: Shape, seed: int) -> None:
    """One recording of a scene that is drawn from the seed."""
    scene = draw_scene(picture, SceneStyle(height=shape.size[0], width=shape.size[1]), seed)
    # Ground truth at the frames' own rate is exact for every interval between two frames.
    recording = Recording(duration_us=round(shape.seconds * 1e6), frame_hz=32.0, flow_hz=32.0)
    for _ in record_scene(prefix, scene, EventCamera.preset("davis346"), recording, seed=seed, threads=1):
        pass


def write_report(demo: Demo, spikes: list[SpikeResult], unseen: Path, report: Report, watched: Watched) -> Path:
    """One self-contained page of everything that was made."""
    page = HtmlReport("RetinaFlow: from photographs to spikes, events and optical flow")
    page.text(f"The network's error on a recording that it never saw is {report.relative:.2f} of zero flow's "
              f"({report.aee:.2f} px against {report.zero_sparse.aee:.2f} px).")  # fmt: skip
    page.heading("Photographs, seen by a spike camera")
    page.text("20 ms of a 400x250 spike camera at 20 kHz, and what its spikes tell of the picture: by counting over "
              "the whole time (TFP), and by the one interval around a moment (TFI).")  # fmt: skip
    for result in spikes:
        add_spikes(page, result)
    page.heading("A moving camera over a photograph it never saw")
    page.text(f"Events of a DAVIS346 that moves over `{UNSEEN}`, the flow that the network sees in them, and the "
              f"exact flow of the scene. It learned from {demo.recordings} recordings of `{LEARN_FROM}`.")  # fmt: skip
    add_flows(page, MvsecRecording(unseen), report.protocol, watched.kept)
    page.heading("Errors")
    add_scores(page, report)
    page.heading("Training")
    add_training(page, demo.out / "run")
    path = demo.out / "report.html"
    page.write(path)
    return path


def add_spikes(page: HtmlReport, result: SpikeResult) -> None:
    """A row of frame, spikes and reconstructions."""
    pictures = {
        f"{result.name}: luminance": luminance_picture(result.luminance),
        f"one plane of spikes; mean rate {result.mean_rate:.3f}": result.plane,
        f"TFP, {psnr(result.tfp, result.luminance):.1f} dB": luminance_picture(result.tfp),
        f"TFI, {psnr(result.tfi, result.luminance):.1f} dB": luminance_picture(result.tfi),
    }
    page.pictures(pictures, height_px=165)


def psnr(picture: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB, for a peak of 1."""
    return float(-10 * np.log10(np.mean((picture - truth) ** 2)))


if __name__ == "__main__":
    main(tyro.cli(Demo))
