"""Guards of the house: what the wheel holds, which way imports point, what is public, how quickly help answers."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("eventsim", "flownet")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TOOLS = sorted((ROOT / "tools").glob("*.py"))

EVENTSIM = """
    EventCamera Events Frames Realism Scene SpikeCamera SpikeStream compare_streams open_events open_spikes read_frames
    reconstruct_tfi reconstruct_tfp reconstruct_tfstp render_scene write_events write_spikes
"""
FLOWNET = """
    FlowError Flows Report STEFlowNet contrast_loss evaluate flow_between flow_error load_pretrained
    load_reference_checkpoint photometric_loss save_pretrained smoothness_loss steflownet steflownet_small
    steflownet_tiny temporal_distribution
"""


def imports(path: Path) -> set[str]:
    """Names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(("package", "names"), [("eventsim", EVENTSIM), ("flownet", FLOWNET)])
def test_public_interface_is_what_is_frozen(package, names):
    module = __import__(package)
    assert sorted(module.__all__) == sorted(names.split())
    for name in names.split():
        assert getattr(module, name).__doc__, name


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "eventsim")], ids=str)
def test_eventsim_reaches_for_neither_flownet_nor_torch(path):
    assert not {name for name in imports(path) if name.split(".")[0] in ("flownet", "torch")}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_packages_import_no_tools_or_tests(path):
    assert not {name for name in imports(path) if name.split(".")[0] in ("tools", "tests")}


def test_data_flows_one_way():
    """light -> cameras -> streams -> io: what lies downstream is never imported upstream; the command is at the end."""
    upstream_of = {
        "streams": ("io", "synthesize", "cli", "light", "cameras"),
        "light": ("cameras", "io", "synthesize", "cli"),
        "cameras": ("io", "synthesize", "cli"),
        "io": ("cameras", "light", "synthesize", "cli"),
    }
    assert_rooms("eventsim", upstream_of)


def test_flownets_data_flows_one_way():
    """representation -> datasets, model -> losses, metrics -> train, evaluate -> the command."""
    ends = ("train", "evaluate", "infer", "report", "cli")
    upstream_of = {
        "representation": ("datasets", "model", "losses", "metrics", *ends),
        "datasets": ("model", "losses", "metrics", *ends),
        "model": ("datasets", "losses", "metrics", *ends),
        "losses": ("datasets", "metrics", *ends),
        "metrics.py": ("datasets", "model", "losses", *ends),
        "evaluate.py": ("train", "infer", "report", "cli"),
        "train": ("infer", "report", "cli"),
    }
    assert_rooms("flownet", upstream_of)


def assert_rooms(package: str, upstream_of: dict[str, tuple[str, ...]]) -> None:
    for room, forbidden in upstream_of.items():
        place = ROOT / package / room
        for path in place.rglob("*.py") if place.is_dir() else [place]:
            reached = {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")}
            assert not reached & set(forbidden), path


def test_import_is_light():
    heavy = ["torch", "tonic", "cv2", "matplotlib", "numba", "h5py", "scipy"]
    said = run("-c", f"import sys, eventsim, flownet; print([m for m in {heavy} if m in sys.modules])")
    assert said.stdout.strip() == "[]", said.stderr


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("arguments", [["--help"], ["COMMAND", "--help"]])
def test_help_loads_nothing_heavy(package, arguments):
    """What makes `--help` answer within 0.3 s; its time is measured by `make bench`."""
    command = {"eventsim": "spikes", "flownet": "train"}[package]
    given = [command if argument == "COMMAND" else argument for argument in arguments]
    heavy = ["torch", "tonic", "cv2", "matplotlib", "numba", "h5py", "scipy", "numpy", "yaml"]
    code = (
        f"import sys\nfrom {package}.cli import main\ntry:\n    main({given})\n"
        f"except SystemExit as end:\n    print(end.code, [m for m in {heavy} if m in sys.modules])"
    )
    assert run("-c", code).stdout.strip().splitlines()[-1] == "0 []"


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_tools_are_not_named_like_standard_modules(path):
    """Python puts a script's folder first in its path, so that such a name would hide the module from libraries."""
    assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_tools_answer_help(path):
    said = run(str(path), "--help")
    assert said.returncode == 0, said.stderr


def shipped(pattern: str) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob(pattern))]


@pytest.mark.parametrize("path", shipped("*.yaml") + shipped("*.toml"), ids=lambda path: path.name)
def test_every_shipped_file_of_settings_is_parsed_by_its_reader(path):
    from eventsim import EventCamera, SpikeCamera
    from flownet.datasets.splits import read_splits
    from flownet.protocols import load_protocol
    from flownet.published import published_rows
    from flownet.train import build, load_config

    readers = {
        "spike": lambda: SpikeCamera.preset(path.stem),
        "event": lambda: EventCamera.preset(path.stem),
        "protocols": lambda: load_protocol(path.stem, "outdoor_day1"),
        "published": lambda: published_rows("outdoor_day1", 1),
        "splits": lambda: read_splits(path),
        "configs": lambda: build(load_config(path)),
    }
    assert readers[path.parent.name]() is not None
    if path.suffix == ".yaml":
        assert isinstance(yaml.safe_load(path.read_text()), dict)
    else:
        assert tomllib.loads(path.read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Names of the files in a wheel that is built from what git knows or would take in."""
    tree = tmp_path_factory.mktemp("tree")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(out)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl"))).namelist()


def test_wheel_holds_the_two_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_wheel_holds_every_file_of_the_packages(wheel):
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".yaml", ".toml", ".typed", ".safetensors"):
                assert str(path.relative_to(ROOT)) in wheel


def test_every_function_of_the_packages_is_short():
    """Functions are of about a dozen lines and rarely over 45; files of at most about 400."""
    lengths = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 420, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lengths.append(node.end_lineno - node.lineno + 1)
    assert sum(length > 45 for length in lengths) <= 0.05 * len(lengths)


def test_public_functions_and_classes_have_docstrings():
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_help_answers_within_three_tenths_of_a_second(package):
    """Work of a processor, at best of several runs, beyond an interpreter that only starts: what else the machine does
    shall not decide."""

    def best(*command: str) -> float:
        times = []
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    command = str(Path(sys.executable).with_name(package))
    assert best(command, "--help") - best(sys.executable, "-c", "pass") < 0.3
