import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewright.pipeline.training.checkpoint import FILE, random_states, restore_random_states
from edgewright.pipeline.training.step import build
from edgewright.ports import Built
from samples.training_data import DatasetFiles, ProgressLog, start, stripes, train_task

pytestmark = pytest.mark.slow

EPOCHS = 6


class PowerCut(BaseException):
    """Stops a training the way a crash does: nothing gets to clean up."""


class CutAfter(ProgressLog):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def __call__(self, done: int, *args: Any, **kwargs: Any) -> None:
        if done == self._epoch:
            raise PowerCut


def spec(**more: Any) -> dict[str, Any]:
    return {
        "task": "image-classification",
        "architecture": {"use": "small-cnn", "with": {"width": 4, "dropout": 0.2}},
        "training": {"epochs": EPOCHS, "batchSize": 16, "optimizer": "adamw", "seed": 5, **more},
    }


def train(folder: Path, data: DatasetFiles, progress: ProgressLog | None = None, **more: Any) -> Built[Any]:
    return build(start(train_task(folder, data, more.pop("spec", spec()), **more), progress))


def cut(folder: Path, data: DatasetFiles, epoch: int, **more: Any) -> None:
    with pytest.raises(PowerCut):
        train(folder, data, CutAfter(epoch), **more)


@pytest.mark.parametrize("epoch", [1, 3, EPOCHS])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path, epoch: int) -> None:
    data = stripes(tmp_path / "data")
    whole = train(tmp_path / "whole", data)

    cut(tmp_path / "work", data, epoch)
    torch.rand(3)
    random.random()
    progress = ProgressLog()
    resumed = train(tmp_path / "work", data, progress)

    assert [done for done, *_ in progress.calls] == list(range(epoch + 1, EPOCHS + 1))
    assert resumed.digest == whole.digest
    assert resumed.files["history.json"].read_bytes() == whole.files["history.json"].read_bytes()
    assert resumed.facts == whole.facts


def test_patience_and_the_best_epoch_survive_a_crash(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    stopping = spec(epochs=30, learningRate=0.03, earlyStopping={"metric": "accuracy", "patience": 3})
    whole = train(tmp_path / "whole", data, spec=stopping)

    cut(tmp_path / "work", data, whole.facts.best_epoch + 1, spec=stopping)
    resumed = train(tmp_path / "work", data, spec=stopping)

    assert resumed.facts == whole.facts
    assert resumed.facts.best_epoch == resumed.facts.epochs - 3
    assert resumed.digest == whole.digest


@pytest.mark.parametrize("damage", ["cut short", "one byte", "empty", "nonsense"])
def test_a_damaged_checkpoint_is_discarded(tmp_path: Path, damage: str) -> None:
    data = stripes(tmp_path / "data", rows=60)
    whole = train(tmp_path / "whole", data)
    cut(tmp_path / "work", data, 2)
    file = tmp_path / "work" / "checkpoint" / FILE
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    ruined = {"cut short": content[:middle], "one byte": content, "empty": b"", "nonsense": b"nonsense" * 99}
    file.write_bytes(bytes(ruined[damage]))

    progress = ProgressLog()
    again = train(tmp_path / "work", data, progress)

    assert progress.calls[0][0] == 1
    assert again.digest == whole.digest


def test_a_checkpoint_of_another_training_is_not_continued(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data", rows=60)
    cut(tmp_path / "work", data, 2)

    progress = ProgressLog()
    train(tmp_path / "work", data, progress, fingerprint="e" * 64)

    assert progress.calls[0][0] == 1


def test_every_generator_is_put_back() -> None:
    shuffling = torch.Generator().manual_seed(1)
    np.random.standard_normal()  # leaves a cached value behind

    def draw() -> list[float]:
        return [
            torch.rand(1).item(),
            float(np.random.standard_normal()),
            random.gauss(0, 1),
            torch.rand(1, generator=shuffling).item(),
        ]

    states = random_states(shuffling, torch.device("cpu"))
    first = draw()
    restore_random_states(states, shuffling)
    assert draw() == first
