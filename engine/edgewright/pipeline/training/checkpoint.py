"""Checkpoints of a training: one file, replaced after every epoch, and read when an interrupted step starts again.

``train`` calls it. The file starts with the sha256 of what follows, so that one that was damaged is told from one that
is whole. It holds everything the next epoch depends on: a resumed training ends with the same bits.
"""

import io
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from edgewright.durable import write_atomic

FILE = "training.checkpoint"
FORMAT = 1
_DIGEST_BYTES = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after an epoch."""

    fingerprint: str
    """Of the step it belongs to."""
    device: str
    threads: int
    """Sums are added up in another order with another number of threads, so a resumed training keeps it."""
    epoch: int
    """Epochs done."""
    model: dict[str, Any]
    optimizer: dict[str, Any]
    random: dict[str, Any]
    """States of every generator; see random_states."""
    best_model: dict[str, Any]
    best_epoch: int
    best_value: float
    stale: int
    history: list[dict[str, float]]
    averaged: dict[str, Any] | None = None
    """State of the moving average of the weights, where there is one."""


def random_states(shuffling: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Capture the state of every generator a training may draw from."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if device.type == "cuda" else [],
        "numpy": (str(name), [int(k) for k in keys], int(position), int(has_gauss), float(cached)),
        "python": random.getstate(),
        "shuffling": shuffling.get_state(),
    }


def restore_random_states(states: Mapping[str, Any], shuffling: torch.Generator) -> None:
    """Put back what random_states captured."""
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    shuffling.set_state(states["shuffling"])


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint; a crash at any moment leaves the old one or the new one, whole."""
    buffer = io.BytesIO()
    values = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    torch.save({"format": FORMAT} | {name: value for name, value in values.items() if value is not None}, buffer)
    data = buffer.getvalue()
    write_atomic(folder / FILE, sha256(data).digest() + data)


def load_checkpoint(folder: Path, *, fingerprint: str, device: str) -> Checkpoint | None:
    """Read the folder's checkpoint; one that is damaged, or of another step or device, is removed.

    Returns:
        None: There is none that can be continued.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    values = _parse(content)
    if values is None:
        reason = "it is damaged"
    elif values.pop("format", None) != FORMAT:
        reason = "another version wrote it"
    elif values["fingerprint"] != fingerprint:
        reason = "it belongs to another training"
    elif values["device"] != device:
        reason = f"it was written on {values['device']}, and this is {device}"
    else:
        return Checkpoint(**values)
    _log.warning("training starts from its first epoch: the checkpoint %s cannot be used, %s", path, reason)
    path.unlink()
    return None


def _parse(content: bytes) -> dict[str, Any] | None:
    """Read a checkpoint's bytes; None when they are not what was written, or this torch cannot read them."""
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if sha256(data).digest() != digest:
        return None
    try:
        values: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError):
        return None
    return values
