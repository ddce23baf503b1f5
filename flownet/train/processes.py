"""Several processes, on one machine or many, as `torchrun` starts them: each with its own share of every batch.

Gradients are means over all processes, so that a step is that of one process with all shares as its batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the other processes that `torchrun` started, if it did; gives the device of this one.

    With "cuda" each process of a machine has the GPU of its local rank.
    """
    if "WORLD_SIZE" not in os.environ or distributed.is_initialized():
        yield device
        return
    on_gpu = device.startswith("cuda")
    if on_gpu and device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 for the one that writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def mean_over_processes(values: dict[str, float], tensors: Sequence[Tensor]) -> tuple[dict[str, float], list[Tensor]]:
    """Numbers and tensors of the same names and shapes in all processes, as their means."""
    if processes() == 1:
        return values, list(tensors)
    like = tensors[0] if len(tensors) else torch.zeros(())
    numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=like.device)
    distributed.all_reduce(numbers)
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]) if len(tensors) else like
    distributed.all_reduce(flat)
    flat = flat / processes()
    means, start = [], 0
    for tensor in tensors:
        means.append(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
    return dict(zip(values, (numbers / processes()).tolist(), strict=True)), means


def wait() -> None:
    """Until all processes have come here."""
    if processes() > 1:
        distributed.barrier()
