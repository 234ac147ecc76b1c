import threading
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import Transient, UserCodeFailed
from edgewright.pipeline.executors.local import LocalExecutor
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import Built, Progress
from samples.training_data import stripes, train_task

EPOCHS = 6
BATCHES = 10
"""Of one epoch: 80 rows of 8."""
NET = """
import os, signal
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, outputs))
        self.batches = 0

    def forward(self, x):
        self.batches += self.training
        bomb = Path("bomb")
        if bomb.exists() and self.batches == int(bomb.read_text()):
            bomb.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layers(x)
"""
SPEC: dict[str, Any] = {
    "task": "image-classification",
    "architecture": {"use": "code/net.py:Net"},
    "training": {"epochs": EPOCHS, "batchSize": 8, "seed": 11},
}


def repository(folder: Path, net: str) -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "net.py").write_text(net)
    return folder


def run(task: StagedTask) -> tuple[Built[Any], list[int]]:
    seen: list[int] = []

    def progress(moment: Progress) -> None:
        seen.append(moment.done)

    return LocalExecutor(threads=1).run(task, progress, threading.Event()), seen


OPTIONS: dict[str, Any] = {
    "optimizer": "adamw",
    "schedule": {"kind": "cosine", "warmUp": 1},
    "clipGradients": 0.5,
    "accumulate": 3,
    "averaging": {"decay": 0.9},
    "sampling": "balanced",
    "classWeights": {"vertical": 2.0},
    "labelSmoothing": 0.1,
    "freeze": ["layers.1.*"],
    "unfreezeAfter": 4,
    "earlyStopping": {"patience": 9},
}


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "with everything"])
def test_a_training_killed_in_the_middle_of_an_epoch_resumes_and_ends_with_the_same_bits(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    data = stripes(tmp_path / "data", rows=100)
    repo = repository(tmp_path / "repo", NET)
    spec = SPEC | {"training": SPEC["training"] | options}
    whole, _ = run(train_task(tmp_path / "whole", data, spec, repo))

    task = train_task(tmp_path / "work", data, spec, repo)
    (repo / "bomb").write_text(str(3 * BATCHES + 5))
    with pytest.raises(Transient, match="SIGKILL"):
        run(task)
    resumed, seen = run(task)

    assert seen == [4, 5, 6]
    assert resumed.digest == whole.digest
    assert resumed.facts == whole.facts
    assert resumed.files["history.json"].read_bytes() == whole.files["history.json"].read_bytes()


def test_an_error_of_the_repositorys_class_reaches_the_user_short(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo", NET.replace("return self.layers(x)", "return 1 / 0"))
    task = train_task(tmp_path / "work", stripes(tmp_path / "data", rows=40), SPEC, repo)

    with pytest.raises(UserCodeFailed, match=r"ZeroDivisionError: division by zero in code/net\.py:18") as caught:
        run(task)

    assert "torch" not in str(caught.value)
