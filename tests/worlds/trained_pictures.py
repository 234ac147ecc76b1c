"""Small data and models that are trained with one option and without."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.training.step import build
from edgewright.ports import Built
from samples.training_data import DatasetFiles, start, table_dataset, train_task

MLP: dict[str, Any] = {
    "task": "tabular-classification",
    "architecture": {"use": "mlp", "with": {"hidden": [6]}},
    "dataset": "points",
}


def points(folder: Path, rows: int = 80) -> DatasetFiles:
    random = np.random.default_rng(4)
    truth = (random.random(rows) < 0.25).astype(int)
    x = random.normal(truth * 1.5, 1.0)
    return table_dataset(
        folder,
        {"x": x.tolist(), "y": random.normal(size=rows).tolist()},
        [("no", "yes")[t] for t in truth],
        ["no", "yes"],
    )


def trained(folder: Path, data: DatasetFiles, spec: Mapping[str, Any] = MLP, **training: Any) -> Built[Any]:
    whole = {**spec, "training": {"epochs": 2, "batchSize": 16, "seed": 5, **training}}
    return build(start(train_task(folder / "work", data, whole, folder)))


def weights(built: Built[Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(built.files["weights.pt"], weights_only=True)
    return found


def pinned(path: Path, format_: str = "safetensors", **more: Any) -> dict[str, Any]:
    digest = f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    return {"initialize": {"uri": path.name, "digest": digest, "format": format_, **more}}


NOTHING: dict[str, Any] = {"learningRate": 1e-30, "epochs": 1}


def refused(folder: Path, data: DatasetFiles, path: Path, format_: str = "safetensors", **more: Any) -> str:
    with pytest.raises(StepFailed) as raised:
        trained(folder, data, **NOTHING, **pinned(path, format_, **more))
    return str(raised.value)
