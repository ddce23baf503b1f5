"""Trained networks in files: safetensors, with the network's configuration in the metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from flownet.model.steflownet import STEFlowNet

#: Where the networks that ship with the package lie: <name>.safetensors.
WEIGHTS = Path(__file__).parent.parent / "weights"
_NETWORKS: dict[str, Callable[..., STEFlowNet]] = {"STEFlowNet": STEFlowNet}


def save_pretrained(
    model: STEFlowNet,
    path: str | PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a network's weights, with all that is needed to build it again.

    Args:
        model: the network.
        path: of the safetensors file.
        metadata: more to keep with the weights (training data, seed, errors reached).
        overwrite: replace an existing file.

    Raises:
        ValueError: metadata under a name that this function uses itself ("network", "config").
        OutputExistsError: the file exists, and `overwrite` is false.
    """
    ours = {"network": type(model).__name__, "config": json.dumps(model.config)}
    if taken := ours.keys() & (metadata or {}).keys():
        raise ValueError(f"expected metadata under other names than {', '.join(sorted(ours))}, got {sorted(taken)}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path, overwrite=overwrite) as partial:
        save_file(tensors, partial, metadata={**(metadata or {}), **ours})


def load_pretrained(name_or_path: str | PathLike[str]) -> STEFlowNet:
    """A trained network, in evaluation mode on the CPU.

    Args:
        name_or_path: the name of a network that ships with the package, or a file of `save_pretrained`.

    Raises:
        InputError: there is no such network or file, or it is not one of ours: the message says what is amiss.
    """
    path = _resolve(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise InputError(path, expected="a safetensors file", found=str(error)) from error
    model = _build(path, metadata)
    _fill(path, model, tensors)
    return model.eval()


def shipped() -> list[str]:
    """Names of the trained networks that ship with the package."""
    return sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))


def _resolve(name_or_path: str | PathLike[str]) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    if str(name_or_path) not in shipped():
        known = ", ".join(shipped()) or "none"
        raise InputError(path, expected=f"a file, or one of the networks that ship ({known})", found="neither")
    return WEIGHTS / f"{name_or_path}.safetensors"


def _build(path: Path, metadata: Mapping[str, str]) -> STEFlowNet:
    network = metadata.get("network")
    if network not in _NETWORKS:
        expected = f"metadata 'network' to be one of {', '.join(_NETWORKS)}"
        raise InputError(path, expected=expected, found=repr(network))
    try:
        config: dict[str, Any] = json.loads(metadata["config"])
        return _NETWORKS[network](**config)
    except (KeyError, ValueError, TypeError) as error:
        expected = f"metadata 'config' with the arguments of {network}"
        raise InputError(path, expected=expected, found=f"{type(error).__name__}: {error}") from error


def _fill(path: Path, model: STEFlowNet, tensors: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != shapes:
        amiss = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        listed = ", ".join(f"{name} {found.get(name, 'missing')}" for name in amiss)
        expected = f"the {len(shapes)} weights of its configuration"
        raise InputError(path, expected=expected, found=f"other keys or shapes: {listed}")
    model.load_state_dict(tensors)
