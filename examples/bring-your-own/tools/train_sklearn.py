"""Trains a logistic regression with scikit-learn and writes it as ONNX: one matrix product.

edgewright runs it as the Model's command says. ``$EDGEWRIGHT_DATASET`` is the folder with the built dataset,
``$EDGEWRIGHT_OUTPUT`` names the file to write; a line ``edgewright: …`` is shown as progress.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

OPSET, IR_VERSION = 18, 9


def main() -> None:
    """Train on the train split and write the model."""
    dataset = Path(os.environ["EDGEWRIGHT_DATASET"])
    schema = json.loads((dataset / "schema.json").read_text("utf-8"))
    classes = schema["columns"][schema["label"]]["values"]
    features, labels = read(dataset / "train.parquet", schema["features"], schema["label"], classes)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    model = LogisticRegression(max_iter=1000).fit((features - mean) / spread, labels)
    share = model.score((features - mean) / spread, labels)
    print(f"edgewright: epoch 1/1 trainAccuracy={share:.4f}")
    weights = (model.coef_ / spread).T
    onnx.save(logistic(weights, model.intercept_ - mean @ weights), os.environ["EDGEWRIGHT_OUTPUT"])


def read(path: Path, features: list[str], label: str, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a split: features (N, F), in the order that a device feeds them, and positions of the classes (N,)."""
    table = pq.read_table(path)
    columns = [table.column(name).to_numpy() for name in features]
    labels = [classes.index(value) for value in table.column(label).to_pylist()]
    return np.stack(columns, axis=1), np.asarray(labels)


def logistic(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """Write features (N, F) → one score for each class (N, C); the largest wins."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["features", "weights", "bias"], ["scores"])],
        "logistic",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(weights)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(bias)])],
        [
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


if __name__ == "__main__":
    main()
