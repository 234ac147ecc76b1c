"""Plays the vendor: made ``models/bought.onnx`` and ``data/wine.csv``. Nothing runs it but people and a test.

    python tools/make_model.py

The 178 wines of scikit-learn's copy of the UCI Wine set are dealt out: every third one to the vendor, who trains
on them, the others to ``data/wine.csv``. So the bought model is judged on wines it has never seen.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_wine
from sklearn.neural_network import MLPClassifier

ROOT = Path(__file__).resolve().parents[1]
OPSET, IR_VERSION = 18, 9


def main() -> None:
    """Write both files."""
    wine = load_wine()
    vendor = np.arange(len(wine.data)) % 3 == 0
    write_table(ROOT / "data/wine.csv", wine, ~vendor)
    onnx.save(train(wine.data[vendor], wine.target[vendor]), ROOT / "models/bought.onnx")


def write_table(path: Path, wine: Any, chosen: np.ndarray) -> None:
    """Write the chosen rows as CSV; cultivars are numbered from 1, as in the original."""
    names = [name.replace("od280/od315_of_diluted_wines", "od280_od315") for name in wine.feature_names]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, "label"])
        for values, label in zip(wine.data[chosen], wine.target[chosen], strict=True):
            writer.writerow([*(f"{value:g}" for value in values), f"cultivar-{label + 1}"])


def train(features: np.ndarray, labels: np.ndarray) -> onnx.ModelProto:
    """Train a small perceptron; its scaling of the features becomes part of the first layer."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    net = MLPClassifier((16,), max_iter=2000, random_state=3).fit((features - mean) / spread, labels)
    first, second = net.coefs_
    tensors = {
        "first.weight": first / spread[:, np.newaxis],
        "first.bias": net.intercepts_[0] - (mean / spread) @ first,
        "second.weight": second,
        "second.bias": net.intercepts_[1],
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["features", "first.weight", "first.bias"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "second.weight", "second.bias"], ["scores"]),
        ],
        "bought",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", features.shape[1]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", second.shape[1]])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    main()
