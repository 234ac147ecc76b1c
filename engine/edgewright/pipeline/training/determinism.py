"""Device, threads and seeds of a training, so that running it twice gives equal weights; ``train`` calls it."""

import os
import platform
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from edgewright.errors import StepFailed

DEVICE_VARIABLE = "EDGEWRIGHT_DEVICE"
"""``cpu`` (the default), ``cuda``, ``cuda:1``, or ``auto`` for CUDA where there is one."""


def choose_device(environment: Mapping[str, str]) -> torch.device:
    """Read the device from $EDGEWRIGHT_DEVICE.

    Raises:
        StepFailed: It names no device of this machine.
    """
    name = environment.get(DEVICE_VARIABLE) or "cpu"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StepFailed(f"${DEVICE_VARIABLE} is {name!r}, which is no device", hint="use cpu, cuda or auto") from error
    if device.type not in {"cpu", "cuda"}:
        raise StepFailed(f"${DEVICE_VARIABLE} is {name!r}; training runs on cpu and cuda", hint="use cpu, cuda or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise StepFailed(
            f"${DEVICE_VARIABLE} is {name!r}, but torch {torch.__version__} finds {count} CUDA devices",
            hint="install a CUDA build of torch and a driver, or unset the variable to train on the CPU",
        )
    return device


def choose_threads(params: Mapping[str, Any]) -> int:
    """Take the number of threads from the step's parameter ``threads``; else torch's own, which is $OMP_NUM_THREADS."""
    return int(params.get("threads") or torch.get_num_threads())


def torch_seed(seed: int) -> int:
    """Map any integer into the range of torch's seeds."""
    return seed % 2**63


@contextmanager
def reproducible(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seed every generator, use deterministic algorithms and a fixed number of threads inside the block."""
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
    if device.type == "cuda":
        # cuBLAS is deterministic only with this; https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)
    torch.manual_seed(torch_seed(seed))
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


def environment(device: torch.device, threads: int) -> dict[str, str]:
    """Record what the weights were trained with."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "threads": str(threads),
    }
    return found | {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else found
