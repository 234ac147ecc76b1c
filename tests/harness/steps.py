"""Runs build steps in the test's own process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.pipeline.runner.tasks import StagedTask, staged_from_json, staged_to_json
from edgewright.pipeline.runner.worker import Channel, run_step
from edgewright.ports import Built


def dataset_task(checkout: Path, spec: Mapping[str, Any], workdir: Path) -> StagedTask:
    return StagedTask(
        action=Action.BUILD_DATASET,
        address=Address("dataset", "goods"),
        fingerprint="sha256:" + "1" * 64,
        spec=spec,
        checkout=checkout,
        inputs={},
        facts={},
        workdir=workdir,
    )


def run_dataset(checkout: Path, spec: Mapping[str, Any], *, workdir: str = "work") -> Built[Any]:
    """Build a dataset from files below ``checkout``; the task crosses JSON, as it does on its way to a worker."""
    task = dataset_task(checkout, spec, checkout.parent / f"{checkout.name}-{workdir}")
    return run_step(staged_from_json(staged_to_json(task)), Channel(None))
