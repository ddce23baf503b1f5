"""The network that ships with the package, from nothing: scenes, training, errors on scenes that it never saw.

Textures are drawn, and one of scikit-learn's photographs; the other one is kept for the unseen scenes. Every recording
has an event camera of its own (thresholds, noise, filter), for the network to work on any. Training is by the scenes'
exact flow: first one pass over one grey-frame interval, then both passes over one interval and over four with the flow
to each frame.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import tyro
from joblib import Parallel, delayed

from eventsim import EventCamera, SpikeCamera, read_frames
from eventsim.light.lighting import Lighting
from eventsim.light.procedural import DrawnTextures
from eventsim.light.rooms import draw_room
from eventsim.light.scenes import SceneStyle
from eventsim.progress import track
from eventsim.provenance import commit
from eventsim.rows import usable_cores
from eventsim.synthesize.recording import Recording, record_scene
from flownet import load_pretrained, save_pretrained
from flownet.baselines import BASELINES
from flownet.evaluate import evaluate
from flownet.train import config_file, load_config, train

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = ("plane", "room", "corridor", "objects")
_DAVIS346 = (260, 346)
_FRAME_HZ, _VIDAR_HZ = 32, 20_000


@dataclass(frozen=True)
class TrainTiny:
    """Trains steflownet_tiny on simulated scenes, and measures it on others."""

    out: Path = Path("tiny")
    """Folder for everything that is made."""
    scenes: int = 320
    """Recordings to learn from, of a second each."""
    minutes: tuple[float, float] = (9.0, 27.0)
    """Time to train one pass over one interval, then both passes over one and four."""
    unseen: int = 20
    """Recordings to measure on, of 12 grey-frame intervals each: every kind of scene, from 40 to 120 px/s."""
    spikes: bool = False
    """Train and measure on what a Vidar sees of the scenes, instead of events; 80 scenes are 5 GB then."""
    baselines: bool = False
    """Measure the baselines, too; contrast maximisation takes a second or two for every interval."""
    seed: int = 0
    """Seed of scenes, noise and training."""
    resume: bool = False
    """Go on where an earlier call was interrupted."""


def main(tiny: TrainTiny) -> None:
    """Makes what is missing, trains, and writes the network (.safetensors) and `errors.md`."""
    started = time.monotonic()
    if tiny.out.exists() and not tiny.resume:
        raise SystemExit(f"{tiny.out}: exists; choose another --out, or --resume")
    textures = Textures("china", DrawnTextures(240, seed=tiny.seed))
    vidar = SpikeCamera.preset("vidar") if tiny.spikes else None
    record(tiny.out / "train", range(tiny.seed, tiny.seed + tiny.scenes), textures, (160, 160), drawn_camera, vidar)
    unseen = Textures("flower", DrawnTextures(60, seed=tiny.seed + 99))
    first = tiny.seed + 90_000
    record(tiny.out / "unseen", range(first, first + tiny.unseen), unseen, _DAVIS346, None, vidar)
    print(f"[{time.monotonic() - started:4.0f} s] recordings: {tiny.out}", flush=True)
    given: dict[str, Any] = {"data": [str(tiny.out / "train")], "seed": tiny.seed}
    if tiny.spikes:
        given |= {"kind": "spikes", "planes": round(_VIDAR_HZ / _FRAME_HZ)}
    for stage, (name, minutes) in enumerate(zip(("shipped_tiny", "shipped_tiny_four"), tiny.minutes, strict=True)):
        folder = tiny.out / f"stage_{stage}"
        if not (folder / "model.safetensors").exists():
            train(load_config(config_file(name), **given, minutes=minutes), folder, resume=tiny.resume)
        given["start_from"] = str(folder / "model.safetensors")
        print(f"[{time.monotonic() - started:4.0f} s] trained: {folder}", flush=True)
    rows = measured(folder / "model.safetensors", sorted((tiny.out / "unseen").glob("*_data.hdf5")), tiny.baselines)
    table = markdown(rows)
    (tiny.out / "errors.md").write_text(table, encoding="utf-8")
    known = {
        "data": f"{tiny.scenes} simulated scenes, seed {tiny.seed}",
        "command": f"python tools/train_tiny.py --scenes {tiny.scenes} --minutes {' '.join(map(str, tiny.minutes))}"
        f"{' --spikes' * tiny.spikes}",
        "commit": str(commit()),
        "errors": json.dumps(rows),
    }
    model = load_pretrained(folder / "model.safetensors")
    shipped = tiny.out / f"steflownet_tiny{'_spikes' * tiny.spikes}.safetensors"
    save_pretrained(model, shipped, known, overwrite=True)
    print(table)
    print(f"[{time.monotonic() - started:4.0f} s] {shipped}")


class Textures(Sequence["NDArray[np.float32]"]):
    """One of scikit-learn's photographs, as often as an eighth of the drawn textures, and these."""

    def __init__(self, photograph: str, drawn: DrawnTextures) -> None:
        import sklearn.datasets

        path = Path(sklearn.datasets.__file__).parent / "images" / f"{photograph}.jpg"
        self.photograph = next(iter(read_frames(path)))[1]
        self.drawn, self.times = drawn, max(1, len(drawn) // 8)

    def __len__(self) -> int:
        return self.times + len(self.drawn)

    def __getitem__(self, index: Any) -> Any:
        return self.photograph if index < self.times else self.drawn[index - self.times]


def drawn_camera(rng: np.random.Generator) -> EventCamera:
    """A DAVIS346 with thresholds, noise and filter drawn from what real ones have."""
    on = float(np.exp(rng.uniform(np.log(0.12), np.log(0.6))))
    off = float(np.clip(on * np.exp(rng.normal(0, 0.25)), 0.08, 0.8))
    filtered = {"cutoff_hz": float(np.exp(rng.uniform(np.log(50), np.log(500))))} if rng.random() < 0.3 else {}
    return EventCamera.preset(
        "davis346",
        threshold_on=on,
        threshold_off=off,
        threshold_mismatch=float(rng.uniform(0.01, 0.06)),
        leak_rate_hz=float(rng.choice([0.0, 0.1, 0.3])),
        shot_noise_rate_hz=float(np.exp(rng.uniform(np.log(0.1), np.log(5.0)))),
        refractory_us=float(rng.uniform(100, 1000)),
        **filtered,
    )


def record(
    folder: Path, seeds: range, textures: Textures, size: tuple[int, int], draw: Any, vidar: SpikeCamera | None
) -> None:
    """Recordings that are missing in a folder, one for each seed; without `draw` by the preset davis346."""
    missing = [seed for seed in seeds if not (folder / f"scene_{seed:05d}_data.hdf5").exists()]
    jobs = [delayed(record_one)(folder / f"scene_{seed:05d}", seed, textures, size, draw, vidar) for seed in missing]
    done = Parallel(n_jobs=usable_cores(), return_as="generator")(jobs)
    for _ in track(done, str(folder), total=len(jobs), unit="recordings"):
        pass


def record_one(
    prefix: Path, seed: int, textures: Textures, size: tuple[int, int], draw: Any, vidar: SpikeCamera | None
) -> None:
    """A second of a scene of any kind, speed and light; an unseen one is shorter, and of the kind and speed in turn."""
    rng = np.random.default_rng([7, seed])
    kind = str(rng.choice(["plane", "plane", "room", "corridor", "objects", "objects"]))
    speed = float(np.exp(rng.uniform(np.log(20), np.log(220))))
    camera = drawn_camera(rng) if draw else EventCamera.preset("davis346")
    lit = rng.random() < 0.3
    lighting = Lighting(change=float(rng.uniform(0, 0.5)), change_hz=0.5, vignetting=float(rng.uniform(0, 0.4)))
    if not draw:
        kind, speed, lit = _KINDS[seed % len(_KINDS)], 40.0 + 20 * (seed // len(_KINDS) % 5), False
    style = SceneStyle(height=size[0], width=size[1], speed_px=speed, smallest_zoom=0.5)
    scene = draw_room(kind, textures, style, seed)
    # Ground truth at the frames' own rate is exact for every interval between two frames.
    duration_us = 1_000_000 if draw else 375_000
    recording = Recording(duration_us=duration_us, frame_hz=_FRAME_HZ, flow_hz=_FRAME_HZ,
                          lighting=lighting if lit else None)  # fmt: skip
    shared: dict[str, Any] = {"spike_camera": vidar, "seed": seed, "threads": 1, "overwrite": True}
    for _ in record_scene(prefix, scene, camera, recording, **shared):
        pass


def measured(network: Path, recordings: list[Path], baselines: bool) -> list[dict[str, Any]]:
    """AEE of the network and the baselines beside zero flow's, on every recording, at events, protocol `full`."""
    jobs = [delayed(measured_one)(network, path, dt, baselines) for path in recordings for dt in (1, 4)]
    done = Parallel(n_jobs=usable_cores(), return_as="generator")(jobs)
    return list(track(done, "errors", total=len(jobs), unit="recordings"))


def measured_one(network: Path, path: Path, dt: int, baselines: bool) -> dict[str, Any]:
    """The same of one recording and dt."""
    torch.set_num_threads(1)
    report = evaluate(load_pretrained(network), path, "full", dt)
    row = {"recording": report.sequence, "dt": dt, "zero": report.zero_sparse.aee, "network": report.aee}
    named = {name: each for name, each in BASELINES.items() if baselines and name != "zero"}
    return row | {name: evaluate(each, path, "full", dt).aee for name, each in named.items()}


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of errors in pixels, and below it their sums over zero flow's for each dt."""
    names = [name for name in rows[0] if name not in ("recording", "dt")]
    lines = [f"| recording | dt | {' | '.join(names)} |", "|---|--:|" + "--:|" * len(names)]
    lines += [f"| {row['recording']} | {row['dt']} | " + " | ".join(f"{row[name]:.3f}" for name in names) + " |"
              for row in rows]  # fmt: skip
    for dt in (1, 4):
        sums = {name: sum(row[name] for row in rows if row["dt"] == dt) for name in names}
        shares = " | ".join(f"{sums[name] / sums['zero']:.3f}" for name in names)
        lines.append(f"| all, of zero flow's | {dt} | {shares} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(tyro.cli(TrainTiny))
