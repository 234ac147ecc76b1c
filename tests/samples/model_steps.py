"""Small datasets with slices, small ONNX models with known outputs, and tasks of the steps after training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from onnx import TensorProto, helper, numpy_helper

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import DatasetFacts, ModelFacts
from edgewright.pipeline.runner.tasks import StagedTask, StepContext
from edgewright.pipeline.training.module import make_module, shape_of
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec
from samples.training_data import DatasetFiles, start

CNN: dict[str, Any] = {
    "task": "image-classification",
    "dataset": "stripes",
    "architecture": {"use": "small-cnn", "with": {"width": 4}},
}
IMPORTED: dict[str, Any] = {
    "task": "tabular-classification",
    "dataset": "table",
    "source": {"uri": "model.onnx", "digest": "sha256:" + "0" * 64},
}


def int8(fallback: str = "fp32", **more: Any) -> dict[str, Any]:
    return {"package": {"quantization": {"mode": "static-int8", "fallback": fallback, **more}}}


def table_rows(
    folder: Path,
    features: npt.NDArray[np.float64],
    labels: Sequence[str | float],
    values: Sequence[str] | None,
    slices: Mapping[str, Sequence[str | None]] | None = None,
) -> DatasetFiles:
    """A dataset of numbers (N, F) whose three splits all hold the same rows."""
    slices = slices or {}
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"f{i}" for i in range(features.shape[1])]
    columns: dict[str, pa.Array] = {n: pa.array(features[:, i]) for i, n in enumerate(names)}
    columns["label"] = pa.array(labels, pa.string()).dictionary_encode() if values else pa.array(labels, pa.float64())
    columns |= {name: pa.array(column, pa.string()) for name, column in slices.items()}
    files = {f"{split}.parquet": folder / f"{split}.parquet" for split in ("train", "validation", "test")}
    for path in files.values():
        pq.write_table(pa.table(columns), path)
    label: dict[str, Any] = {"type": "category", "values": list(values)} if values else {"type": "number"}
    facts = {
        "rows": dict.fromkeys(("train", "validation", "test"), len(labels)),
        "columns": {**{n: {"type": "number"} for n in names}, "label": label},
        "features": names,
        "label": "label",
        "slices": {name: sorted({v for v in column if v is not None}) for name, column in slices.items()},
        "inputShape": [len(names)],
        "contentDigest": "sha256:" + "1" * 64,
    }
    return DatasetFiles(files, DatasetFacts.from_json(facts))


def linear_onnx(
    path: Path, weights: npt.NDArray[np.float64], *, softmax: bool = False, batch: str | int = "n", node: str = "Gemm"
) -> Path:
    """Write a model that multiplies rows (N, F) with weights (F, outputs); ``node`` Abs and others leave them as is."""
    if node == "Gemm":
        nodes = [helper.make_node("Gemm", ["rows", "weights"], ["scores"])]
    else:
        nodes = [helper.make_node(node, ["rows"], ["scores"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1))
    outputs = weights.shape[1] if node == "Gemm" else weights.shape[0]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [batch, weights.shape[0]])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")] if node == "Gemm" else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="somebody")
    model.ir_version = 10
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def step(
    action: Action,
    workdir: Path,
    spec: Mapping[str, Any],
    roles: Mapping[str, Built[Any] | DatasetFiles],
    *,
    checkout: Path | None = None,
    **params: Any,
) -> StepContext:
    """Start a step that reads what other steps built."""
    task = StagedTask(
        action=action,
        address=Address("model", "reader"),
        fingerprint="f" * 64,
        spec=spec,
        checkout=checkout or workdir.parent,
        inputs={role: built.files for role, built in roles.items()},
        facts={role: built.facts for role, built in roles.items()},
        workdir=workdir,
        params=params,
    )
    return start(task)


def fresh_weights(
    folder: Path, spec: Mapping[str, Any], dataset: DatasetFiles, checkout: Path | None = None, scale: float = 1.0
) -> Built[Any]:
    """What a train step would hand on, with weights as they are drawn, times ``scale``."""
    folder.mkdir(parents=True, exist_ok=True)
    parsed = ModelSpec.model_validate(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = make_module(parsed, checkout or folder, shape_of(parsed, dataset.facts))
    state = {n: v * scale if v.is_floating_point() else v for n, v in module.state_dict().items()}
    torch.save(state, folder / "weights.pt")
    parameters = sum(p.numel() for p in module.parameters())
    return Built("sha256:" + "2" * 64, {"weights.pt": folder / "weights.pt"}, ModelFacts(parameters=parameters))


def made_onnx(path: Path) -> Built[Any]:
    """What an import step would hand on."""
    return Built("sha256:" + "3" * 64, {"model.onnx": path}, ModelFacts(parameters=6))
