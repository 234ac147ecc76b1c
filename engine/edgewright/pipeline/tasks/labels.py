"""Checks of a dataset's label that tasks share."""

from edgewright.core.facts import DatasetFacts
from edgewright.errors import StepFailed
from edgewright_schemas.tasks import TaskDeclaration


def check_label(name: str, declaration: TaskDeclaration, facts: DatasetFacts, dataset: str) -> None:
    """Refuse a label that is of no type the task takes.

    Args:
        name: The task's name.
        declaration: The task.
        facts: Of the dataset.
        dataset: Its name, for the message.

    Raises:
        StepFailed: It is; names the column, its type and what helps.
    """
    column = facts.columns[facts.label]
    has_classes = "category" not in declaration.label_types or bool(facts.label_values)
    if column.type in declaration.label_types and has_classes:
        return
    raise StepFailed(
        f"task {name} needs {declaration.label_words}, but column {facts.label!r} of dataset {dataset} is of type "
        f"{column.type}",
        hint=declaration.label_hint,
    )
