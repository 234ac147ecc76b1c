"""What the fork server is told to import, before a step and after it."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.core.artifact import Action
from edgewright.pipeline.runner.preloading import MODULES, needed_after, needed_by
from edgewright.pipeline.runner.tasks import StagedTask
from harness.steps import dataset_task

TRAINED = {"architecture": {"use": "mlp"}}


def task(action: Action, spec: dict[str, Any]) -> StagedTask:
    return replace(dataset_task(Path(), spec, Path()), action=action)


def test_what_comes_after_training_is_made_ready_in_its_order() -> None:
    ahead = needed_after(task(Action.TRAIN, TRAINED))
    assert ahead.index("edgewright.pipeline.export.operators") < ahead.index("edgewright.pipeline.packaging.card")
    assert len(ahead) == len(set(ahead))


def test_torch_is_made_ready_after_a_dataset_only_where_a_model_is_trained_on_it() -> None:
    alone = task(Action.BUILD_DATASET, {})
    assert needed_after(alone) == []
    assert "torch" in needed_after(replace(alone, then=(Action.TRAIN,)))


def test_an_imported_model_needs_no_exporter() -> None:
    imported = task(Action.EXPORT, {"architecture": None, "source": {"uri": "model.onnx"}})
    assert not any(name.startswith("torch") for name in needed_by(imported))
    assert "torch.export._trace" in needed_by(task(Action.EXPORT, TRAINED))


def test_every_module_is_there() -> None:
    """One that a newer torch has no more would be imported by each worker instead, without a word."""
    names = {name for modules in MODULES.values() for name in modules}
    assert [name for name in sorted(names) if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    folder = importlib.util.find_spec(name.partition(".")[0])
    assert folder is not None
    if "." not in name:
        return True
    path = Path(*name.split(".")[1:])
    roots = [Path(root) for root in folder.submodule_search_locations or ()]
    return any((root / path).is_dir() or (root / path).with_suffix(".py").is_file() for root in roots)
