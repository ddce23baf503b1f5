"""Networks in other forms: training's and the authors' checkpoints as networks, networks as torch.export and ONNX.

An exported network holds everything: the input's scaling and padding, all passes, and the crop to the input's size. It
takes "slices", float32 [B, T, C, H, W], and returns "flow", [B, 2, H, W], pixels, at the last slice.
"""

from __future__ import annotations

import copy
import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from flownet.model.pretrained import build_network
from flownet.model.steflownet import COARSEST, STEFlowNet, normalise_rms
from flownet.reference import load_reference_checkpoint

#: What an exported network may at most differ by from the eager one, over the largest flow.
LARGEST_ERROR = 1e-3
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# From one size to the other in every axis that may change, odd so that the padding changes too.
_OTHER = (1, 7, 21)

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ExportShape:
    """The input that a network is exported for.

    Args:
        height, width: pixels, 16 or more.
        slices: of the input; the passes over them are unrolled, so their number is fixed.
        batch: samples.
        dynamic: the exported network takes any batch, height and width, not only these.

    Raises:
        ValueError: a number below 1, or a size below 16 pixels.
    """

    height: int
    width: int
    slices: int
    batch: int = 1
    dynamic: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width) < COARSEST:
            raise ValueError(f"expected a size of {COARSEST} pixels or more, got {self.height} x {self.width}")
        if min(self.slices, self.batch) < 1:
            raise ValueError(f"expected 1 or more slices and samples, got {self.slices} and {self.batch}")


def export_network(
    model: STEFlowNet, path: str | PathLike[str], shape: ExportShape, *, overwrite: bool = False
) -> float:
    """Writes a network as ONNX (.onnx) or torch.export (.pt2), after a check against the eager one.

    The file also keeps the network's configuration, as "config" in ONNX's metadata or as "config.json".

    Args:
        model: the network, on the CPU.
        path: of the file; its suffix says which form.
        shape: of the input.
        overwrite: replace an existing file.

    Returns:
        The largest difference between the file's flow and the network's, over the network's largest flow; where the
        shape is dynamic, over that of a second, larger input too.

    Raises:
        InputError: another suffix, packages that ONNX needs are missing, or the flows differ by more than 1e-3; then
            nothing is written.
        OutputExistsError: the file exists, and `overwrite` is false.
    """
    forms = {".onnx": _write_onnx, ".pt2": _write_pt2}
    suffix = Path(path).suffix.lower()
    if suffix not in forms:
        raise InputError(path, expected="a name that ends in .onnx or .pt2", found=f"suffix '{suffix}'")
    if suffix == ".onnx":
        require_onnx()
    with atomic_path(path, overwrite=overwrite) as partial:
        run = forms[suffix](trace(model, shape), model, partial)
        errors = [relative_error(run, model, x) for x in _trials(model, shape)]
        for error in errors:
            if not error <= LARGEST_ERROR:  # NaN is not
                expected = f"flow within {LARGEST_ERROR:g} of the network's"
                raise InputError(path, expected=expected, found=f"a relative error of {error:.2g}")
    return max(errors)


def require_onnx() -> None:
    """Refuses to begin on ONNX without what it takes.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed.
    """
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        expected = f"{', '.join(missing)}, which `pip install retinaflow[export]` installs"
        raise InputError("ONNX", expected=expected, found="none")


def trace(model: STEFlowNet, shape: ExportShape) -> ExportedProgram:
    """The network as a graph of torch's operators, from slices [B, T, C, H, W] to the flow [B, 2, H, W]."""
    wrapped = _AnySize(model) if shape.dynamic else _Whole(model)
    # Batches of one sample are a special case to the tracer.
    x = _trial(model, shape, batch=max(shape.batch, 2) if shape.dynamic else shape.batch)
    free = {0: Dim("batch"), 3: Dim("height"), 4: Dim("width")} if shape.dynamic else {}
    with torch.no_grad():
        program = torch.export.export(wrapped.eval(), (x,), dynamic_shapes=(free,), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the folders of whoever exports
    return program


def relative_error(run: Run, model: STEFlowNet, x: Tensor) -> float:
    """Largest difference between the flow of `run` and the network's final flow, over the network's largest flow."""
    with torch.no_grad():
        expected = model(x).final
        found = run(x)
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max() / scale)


def onnx_runner(path: str | PathLike[str]) -> Run:
    """An exported network in onnxruntime, on the CPU: slices [B, T, C, H, W] to the flow [B, 2, H, W]."""
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(["flow"], {"slices": x.numpy()})[0])


def load_checkpoint(path: str | PathLike[str]) -> tuple[STEFlowNet, dict[str, str]]:
    """The network of a checkpoint, in evaluation mode on the CPU, and where it comes from.

    Args:
        path: a training run's `checkpoint.pt`, or a file of STE-FlowNet's authors (see `load_reference_checkpoint`).

    Returns:
        The network, and metadata to keep with it: the file's name, and the step of a training run.

    Raises:
        InputError: the file cannot be read, or its weights are not those of its network: the message names them all.
    """
    origin = {"converted_from": Path(path).name}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        state = None  # the reader below says what is amiss
    if isinstance(state, Mapping) and {"config", "model"} <= state.keys():
        return _from_training(path, state).eval(), origin | {"step": str(state.get("step"))}
    return load_reference_checkpoint(path), origin


def _from_training(path: str | PathLike[str], state: Mapping[str, Any]) -> STEFlowNet:
    try:
        model = build_network(state.get("network", "STEFlowNet"), state["config"]["network"])
    except (KeyError, TypeError, ValueError) as error:
        expected = "a training run's checkpoint with the arguments of STEFlowNet under config, network"
        raise InputError(path, expected=expected, found=f"{type(error).__name__}: {error}") from error
    try:
        model.load_state_dict(state.get("average") or state["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(path, expected="the weights of its network", found=" ".join(str(error).split())) from error
    return model


class _Whole(nn.Module):
    """The network with the final flow as its only output."""

    def __init__(self, model: STEFlowNet) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        slices: Tensor,  # [B, T, C, H, W]
    ) -> Tensor:
        flow: Tensor = self.model(slices).final
        return flow


class _AnySize(nn.Module):
    """The same, traced once for all sizes.

    Padded inside of the network, a size that the tracer does not know would become an expression that grows from layer
    to layer. So the padding is done here, to sizes that the tracer takes for 16 times a number which only the data
    tell; every layer's size is then a plain multiple of that.
    """

    def __init__(self, model: STEFlowNet) -> None:
        super().__init__()
        self.normalise_input = model.normalise_input
        self.model = copy.copy(model)  # the weights are shared
        self.model.normalise_input = False

    def forward(
        self,
        slices: Tensor,  # [B, T, C, H, W]
    ) -> Tensor:
        height, width = slices.shape[3:]
        x = normalise_rms(slices) if self.normalise_input else slices
        rows, columns = _padded_size(height), _padded_size(width)
        flow: Tensor = self.model(functional.pad(x, (0, columns - width, 0, rows - height))).final
        return flow[..., :height, :width]


def _padded_size(size: int) -> int:
    """The next multiple of 16, by way of a tensor, behind which the tracer does not look."""
    parts: Any = ((torch.scalar_tensor(size, dtype=torch.int64) + COARSEST - 1) // COARSEST).item()
    torch._check(parts >= 1)  # type: ignore[no-untyped-call]
    torch._check(COARSEST * parts >= size)  # type: ignore[no-untyped-call]
    padded: int = COARSEST * parts
    return padded


def _trial(model: STEFlowNet, shape: ExportShape, *, batch: int, seed: int = 0) -> Tensor:
    """Few events in most places, as in a slice: counts of mean 0.3."""
    size = (batch, shape.slices, model.config["in_channels"], shape.height, shape.width)
    return torch.poisson(torch.full(size, 0.3), torch.Generator().manual_seed(seed))


def _trials(model: STEFlowNet, shape: ExportShape) -> Iterator[Tensor]:
    """Inputs to check an exported network with: one of the shape, and where it is dynamic another."""
    yield _trial(model, shape, batch=shape.batch)
    if shape.dynamic:
        batch, height, width = (size + more for size, more in zip(
            (shape.batch, shape.height, shape.width), _OTHER, strict=True))  # fmt: skip
        yield _trial(model, ExportShape(height=height, width=width, slices=shape.slices), batch=batch, seed=1)


def _write_pt2(program: ExportedProgram, model: STEFlowNet, path: Path) -> Run:
    """Writes a graph and reads it back."""
    with path.open("wb") as file:  # by its path, the archive would keep the temporary name
        torch.export.save(program, file, extra_files={"config.json": json.dumps(model.config)})
    run: Run = torch.export.load(path).module()
    return run


def _write_onnx(program: ExportedProgram, model: STEFlowNet, path: Path) -> Run:
    """Writes a graph as ONNX and opens it in onnxruntime."""
    with _silent():
        # Not optimised here: that takes time with the square of the graph's size, and runtimes do it on loading.
        onnx_program = torch.onnx.export(
            program, dynamo=True, optimize=False, verbose=False, input_names=["slices"], output_names=["flow"]
        )
    assert onnx_program is not None
    for node in onnx_program.model.graph:
        node.metadata_props.clear()  # where it stood in the source: larger than a small network's weights
    onnx_program.model.metadata_props.update(network=type(model).__name__, config=json.dumps(model.config))
    onnx_program.save(str(path), external_data=False)
    return onnx_runner(path)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's remarks on packages that it could have used, and on its own old habits."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
