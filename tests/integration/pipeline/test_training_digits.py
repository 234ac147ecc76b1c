from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.training.module import load_trained
from edgewright.pipeline.training.step import build
from samples.training_data import image_dataset, start, train_task


def test_the_small_cnn_reads_handwritten_digits(tmp_path: Path) -> None:
    digits = load_digits()
    order = np.random.default_rng(7).permutation(len(digits.target))
    pixels = np.kron(digits.images[order] * 15.9, np.ones((1, 2, 2))).astype(np.uint8)[:, None]
    data = image_dataset(tmp_path / "data", pixels, digits.target[order], [str(i) for i in range(10)])
    spec = {
        "task": "image-classification",
        "architecture": {"use": "small-cnn", "with": {"width": 16}},
        "training": {"epochs": 6, "learningRate": 0.003, "seed": 1},
    }

    built = build(start(train_task(tmp_path / "work", data, spec)))

    module = load_trained({"dataset": "digits", **spec}, tmp_path, built.files["weights.pt"], data.facts)
    test = load_split(data.files, data.facts, "test")
    with torch.no_grad():
        found = module(torch.from_numpy(test.features)).argmax(dim=1).numpy()
    assert float((found == test.labels).mean()) > 0.95
