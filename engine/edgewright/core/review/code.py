"""Code of the repository that a plan's steps run. Called by ``review``, so that nobody merges it unseen."""

import shlex
from collections.abc import Iterable, Iterator

from edgewright.core.address import Address
from edgewright.core.planning.plan import BuildDataset, Command, Export, Plan, Step, Train
from edgewright.core.review.findings import ReviewWarning
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.dataset import Dataset
from edgewright_schemas.model import Model

_NOT_RUN = "the preview did not run it"


def code_that_runs(head: Snapshot, plan: Plan) -> Iterator[ReviewWarning]:
    """List the files and commands that the plan's steps run after the merge."""
    by_address: dict[Address, dict[str, None]] = {}
    for step in plan.steps:
        by_address.setdefault(step.address, {}).update(dict.fromkeys(_references(head, step)))
        if isinstance(step, Command):
            yield from _command(head, step)
    for address, references in by_address.items():
        if references:
            files = ", ".join(_files(head, references))
            yield _fact(head, "RunsCode", address, f"runs the repository's code after the merge: {files}; {_NOT_RUN}")


def _references(head: Snapshot, step: Step) -> Iterator[str]:
    match step:
        case BuildDataset():
            dataset = head.dataset(step.address.name)
            yield from _of_dataset(dataset) if dataset is not None else ()
        case Train() | Export():
            model = head.model(step.address.name)
            yield from _of_model(model) if model is not None else ()
        case _:
            return


def _of_dataset(dataset: Dataset) -> Iterator[str]:
    if dataset.spec.source.format == "python":
        yield dataset.spec.source.uri
    yield from (step.use for step in dataset.spec.steps if is_code_reference(step.use))


def _of_model(model: Model) -> Iterator[str]:
    if model.spec.architecture is not None and is_code_reference(model.spec.architecture.use):
        yield model.spec.architecture.use
    if model.spec.training is not None and model.spec.training.loss is not None:
        yield model.spec.training.loss


def _files(head: Snapshot, references: Iterable[str]) -> list[str]:
    """List the files behind references with those they import."""
    found: dict[str, None] = {}
    for reference in references:
        path = reference.partition(":")[0]
        found.update(dict.fromkeys([path, *head.code_files.get(path, ())]))
    return list(found)


def _command(head: Snapshot, step: Command) -> Iterator[ReviewWarning]:
    model = head.model(step.address.name)
    if model is not None and model.spec.command is not None:
        words = shlex.join(model.spec.command)
        inputs = f", with {', '.join(model.spec.inputs)}" if model.spec.inputs else ""
        yield _fact(head, "RunsCommand", step.address, f"runs a command after the merge: {words}{inputs}; {_NOT_RUN}")


def _fact(head: Snapshot, reason: str, address: Address, message: str) -> ReviewWarning:
    resource = head.resources.get(address)
    return ReviewWarning(reason, address, message, resource.location if resource else None, "info")
