"""Trained networks in files: safetensors, with the network's configuration in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
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
# Class -> module that it is in, which is imported when a file asks for it.
_NETWORKS = {
    "STEFlowNet": "flownet.model.steflownet",
    "QuantisedSTEFlowNet": "flownet.spiking.flow",
    "DirectSTEFlowNet": "flownet.spiking.direct_flow",
}
#: Files that hold a network and how it becomes a spiking one, which `flownet.spiking.files` writes and reads.
SPIKING = "SpikingSTEFlowNet"


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
        ValueError: metadata under a name that this function uses itself ("network", "config"), or a spiking network,
            which `flownet.spiking.files.save_spiking` writes.
        OutputExistsError: the file exists, and `overwrite` is false.
    """
    name = type(model).__name__
    if name not in _NETWORKS:
        raise ValueError(f"expected a network of {', '.join(_NETWORKS)}, got {name}; spiking ones are written by "
                         "flownet.spiking.files.save_spiking")  # fmt: skip
    write_network(path, name, model.config, model.state_dict(), metadata, overwrite=overwrite)


def write_network(
    path: str | PathLike[str],
    network: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a file that `load_pretrained` knows: tensors, and metadata "network" and "config" beside others'.

    Raises:
        ValueError: metadata under these names.
        OutputExistsError: the file exists, and `overwrite` is false.
    """
    ours = {"network": network, "config": json.dumps(config)}
    if taken := ours.keys() & (metadata or {}).keys():
        raise ValueError(f"expected metadata under other names than {', '.join(sorted(ours))}, got {sorted(taken)}")
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path, overwrite=overwrite) as partial:
        save_file(kept, partial, metadata={**(metadata or {}), **ours})


def load_pretrained(name_or_path: str | PathLike[str]) -> STEFlowNet:
    """A trained network, in evaluation mode on the CPU.

    Args:
        name_or_path: the name of a network that ships with the package, or a file of `save_pretrained`.

    Raises:
        InputError: there is no such network or file, or it is not one of ours: the message says what is amiss.
    """
    path = _resolve(name_or_path)
    metadata, tensors = read_network(path)
    if metadata.get("network") == SPIKING:
        model: STEFlowNet = import_module("flownet.spiking.files").restored(path, metadata, tensors)
        return model.eval()
    return network_from(path, metadata, tensors)


def read_network(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file.

    Raises:
        InputError: it is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise InputError(path, expected="a safetensors file", found=str(error)) from error
    return metadata, tensors


def network_from(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> STEFlowNet:
    """A network, in evaluation mode, from what a file holds.

    Args:
        path: the file, for messages.
        metadata: its "network" and "config".
        tensors: all weights.

    Raises:
        InputError: an unknown network, or arguments or weights that do not fit it.
    """
    model = _build(path, metadata)
    _fill(path, model, tensors)
    return model.eval()


def shipped() -> list[str]:
    """Names of the trained networks that ship with the package."""
    return sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))


def build_network(network: str, config: Mapping[str, Any]) -> STEFlowNet:
    """An untrained network by the name of its class and its configuration.

    Raises:
        KeyError: an unknown class.
        TypeError, ValueError: arguments that it does not take.
    """
    model: STEFlowNet = getattr(import_module(_NETWORKS[network]), network)(**config)
    return model


def _resolve(name_or_path: str | PathLike[str]) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    if str(name_or_path) not in shipped():
        known = ", ".join(shipped()) or "none"
        raise InputError(path, expected=f"a file, or one of the networks that ship ({known})", found="neither")
    return WEIGHTS / f"{name_or_path}.safetensors"


def _build(path: Path, metadata: Mapping[str, str]) -> STEFlowNet:
    network = metadata.get("network", "")
    if network not in _NETWORKS:
        expected = f"metadata 'network' to be one of {', '.join([*_NETWORKS, SPIKING])}"
        raise InputError(path, expected=expected, found=repr(metadata.get("network")))
    try:
        config: dict[str, Any] = json.loads(metadata["config"])
        model = build_network(network, config)
    except (KeyError, ValueError, TypeError) as error:
        expected = f"metadata 'config' with the arguments of {network}"
        raise InputError(path, expected=expected, found=f"{type(error).__name__}: {error}") from error
    return model


def _fill(path: Path, model: STEFlowNet, tensors: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != shapes:
        amiss = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        listed = ", ".join(f"{name} {found.get(name, 'missing')}" for name in amiss)
        expected = f"the {len(shapes)} weights of its configuration"
        raise InputError(path, expected=expected, found=f"other keys or shapes: {listed}")
    model.load_state_dict(tensors)
