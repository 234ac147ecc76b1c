"""Table of the tasks that a Model may have, by the name specs give."""

from collections.abc import Mapping

from edgewright.pipeline.tasks.classification import Classification
from edgewright.pipeline.tasks.detection import ObjectDetection
from edgewright.pipeline.tasks.protocol import Task
from edgewright.pipeline.tasks.regression import Regression

_TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Classification("image-classification"),
        Classification("tabular-classification"),
        Regression(),
        ObjectDetection(),
    )
}


def task_of(name: str) -> Task:
    """Return a task; ``edgewright_schemas.tasks`` has declared it, so every name of a valid spec is known."""
    return _TASKS[name]
