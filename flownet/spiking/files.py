"""Spiking flow networks in files: the ordinary network's weights, and how it was converted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from eventsim.errors import InputError
from flownet.model.pretrained import SPIKING, network_from, write_network
from flownet.model.steflownet import STEFlowNet
from flownet.spiking.conversion import Conversion
from flownet.spiking.convert import NeuronSettings
from flownet.spiking.flow import SpikingSTEFlowNet

_THRESHOLD = "threshold:"


def save_spiking(
    model: STEFlowNet,
    conversion: Conversion,
    path: str | PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a spiking network, which `load_pretrained` reads back.

    The safetensors hold the weights of the ordinary network and the thresholds; mode, micro-steps and neurons are in
    the metadata.

    Args:
        model: the ordinary network.
        conversion: what makes it a spiking one.
        path: of the file.
        metadata: more to keep.
        overwrite: replace an existing file.

    Raises:
        ValueError: the network cannot be so converted; or metadata under a name that is taken.
        OutputExistsError: the file exists, and `overwrite` is false.
    """
    conversion.of(model)  # what cannot be read back is not written
    config = {
        "source": type(model).__name__,
        "config": model.config,
        "mode": conversion.mode,
        "steps": conversion.steps,
        "neurons": None if conversion.neurons is None else asdict(conversion.neurons),
        "delay": conversion.delay,
    }
    tensors = model.state_dict() | {_THRESHOLD + name: value for name, value in conversion.thresholds.items()}
    write_network(path, SPIKING, config, tensors, metadata, overwrite=overwrite)


def restored(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> SpikingSTEFlowNet:
    """The spiking network of a file; see `source_and_conversion`."""
    model, conversion = source_and_conversion(path, metadata, tensors)
    try:
        return conversion.of(model)
    except ValueError as error:
        raise InputError(path, expected="a conversion that fits its network", found=str(error)) from error


def source_and_conversion(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> tuple[STEFlowNet, Conversion]:
    """The ordinary network of a file, and how it is to be converted.

    Args:
        path: the file, for messages.
        metadata, tensors: what it holds.

    Raises:
        InputError: something is missing, or does not fit together.
    """
    weights = {name: value for name, value in tensors.items() if not name.startswith(_THRESHOLD)}
    found = {name.removeprefix(_THRESHOLD): value for name, value in tensors.items() if name.startswith(_THRESHOLD)}
    try:
        config: dict[str, Any] = json.loads(metadata["config"])
        source = {"network": str(config["source"]), "config": json.dumps(config["config"])}
        neurons = None if config["neurons"] is None else NeuronSettings(**config["neurons"])
        conversion = Conversion(mode=config["mode"], steps=config["steps"], thresholds=found, neurons=neurons,
                                delay=config["delay"])  # fmt: skip
    except (KeyError, ValueError, TypeError) as error:
        expected = "metadata 'config' with source, config, mode, steps, neurons and delay"
        raise InputError(path, expected=expected, found=f"{type(error).__name__}: {error}") from error
    return network_from(path, source, weights), conversion
