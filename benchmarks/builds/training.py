"""Training of small-cnn as the train step does it and as a bare torch loop does it, in samples a second.

``python training.py ours|bare PICTURES WORK EPOCHS``: the dataset is built first; the first epoch is not counted. Both
train the same module on the same rows in batches of the same size, and judge the validation rows after each epoch. A
file and not a module, so that it runs with the engine of an earlier commit too.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgewright.core.address import parse_address
from edgewright.core.artifact import Action
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.pipeline.runner.worker import Channel, run_step
from edgewright.pipeline.training.module import make_module, shape_of
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec

_BATCH = 32


class _Clock(Channel):
    """Notes when each epoch ended."""

    def __init__(self) -> None:
        super().__init__(None)
        self.moments: list[float] = []

    def progress(self, done: int, total: int, unit: str, figures: Any = None) -> None:
        self.moments.append(time.process_time())


def _task(action: Action, spec: dict[str, Any], work: Path, dataset: Any = None) -> StagedTask:
    return StagedTask(
        action=action,
        address=parse_address("dataset/goods" if dataset is None else "model/goods"),
        fingerprint="sha256:" + "1" * 64,
        spec=spec,
        checkout=work,
        inputs={} if dataset is None else {"dataset": dataset.files},
        facts={} if dataset is None else {"dataset": dataset.facts},
        workdir=work / action.value,
    )


def _bare(spec: ModelSpec, dataset: Any, epochs: int) -> list[float]:
    shape = shape_of(spec, dataset.facts)
    torch.manual_seed(1)
    module = make_module(spec, Path(), shape)
    train, validation = (load_split(dataset.files, dataset.facts, name) for name in ("train", "validation"))
    features, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels)
    seen, expected = torch.from_numpy(validation.features), torch.from_numpy(validation.labels)
    optimizer, loss_of = torch.optim.Adam(module.parameters(), lr=0.001), nn.CrossEntropyLoss()
    moments = []
    for _ in range(epochs):
        module.train()
        for chosen in torch.split(torch.randperm(len(labels)), _BATCH):
            optimizer.zero_grad()
            loss = loss_of(module(features[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
        module.eval()
        with torch.no_grad():
            loss_of(torch.cat([module(part) for part in torch.split(seen, 512)]), expected).item()
        moments.append(time.process_time())
    return moments


def main() -> None:
    """Print samples for each second of processor time."""
    how, pictures, work, epochs = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    source = {"uri": pictures, "format": "image-folder", "follow": True}
    columns = {"image": {"type": "image"}, "label": {"type": "category"}}
    dataset: Built[Any] = run_step(
        _task(Action.BUILD_DATASET, {"source": source, "columns": columns}, work), Channel(None)
    )
    training = {"epochs": epochs, "batchSize": _BATCH, "learningRate": 0.001, "seed": 1}
    given = {"task": "image-classification", "dataset": "goods", "architecture": {"use": "small-cnn"}}
    spec = ModelSpec.model_validate({**given, "training": training, "thresholds": "goods"})
    torch.set_num_threads(1)
    if how == "bare":
        moments = _bare(spec, dataset, epochs)
    else:
        clock = _Clock()
        run_step(_task(Action.TRAIN, spec.model_dump(mode="json", by_alias=True), work, dataset), clock)
        moments = clock.moments
    rows = dataset.facts.rows["train"] * (epochs - 1)
    print(json.dumps({"samples": rows / (moments[-1] - moments[0])}))


if __name__ == "__main__":
    main()
