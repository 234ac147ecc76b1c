"""Check references between documents and to files: dangling references, refused or missing paths.

Works on typed documents and returns problems by field; ``reading`` finds the lines. Nothing here reads YAML.
"""

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from edgewright.core.address import Address
from edgewright.core.planning.graph import CircularReferences, references, topological_order
from edgewright.core.suggestions import suggestion
from edgewright.source.paths import is_url
from edgewright.source.specs.documents import UNKNOWN_KIND
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.dataset import ColumnCheck, Dataset
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.kinds import Document
from edgewright_schemas.model import Model
from edgewright_schemas.repository import Repository
from edgewright_schemas.rollout import Rollout
from edgewright_schemas.thresholds import Thresholds

Field = tuple[str | int, ...]
Role = Literal["code", "content", "needed-content", "inventory", "output"]
"""What a path is for. ``needed-content`` must be in the revision; ``content`` may be outside Git instead."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """Something wrong with a field of a document."""

    address: Address
    field: Field
    message: str
    hint: str = ""
    at_key: bool = False
    """Whether the field's name is wrong, not its value."""

    @property
    def where(self) -> str:
        """The field as readers write it: ``spec.steps[0].use``."""
        return field_name(self.field)


@dataclass(frozen=True, slots=True)
class NamedPath:
    """A field that names a file or folder of the repository."""

    field: Field
    path: str
    role: Role


def field_name(field: Field) -> str:
    """Write a field's path: ``spec.steps[0].use``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in field).lstrip(".")


def named_paths(document: Document) -> tuple[NamedPath, ...]:
    """List the repository paths a document names; URLs are none."""
    match document:
        case Dataset():
            return tuple(_dataset_paths(document))
        case Model():
            return tuple(_model_paths(document))
        case Fleet():
            return tuple(_fleet_paths(document))
        case Thresholds() | Rollout() | Repository():
            return ()
        case _:
            assert_never(document)


def _dataset_paths(document: Dataset) -> Iterator[NamedPath]:
    source = document.spec.source
    if source.format == "python":
        yield NamedPath(("spec", "source", "uri"), source.uri, "code")
        yield from _inputs(("spec", "source"), source.inputs)
    elif not is_url(source.uri):
        yield NamedPath(("spec", "source", "uri"), source.uri, "content")
    for index, step in enumerate(document.spec.steps):
        if means_code(step.use):
            yield NamedPath(("spec", "steps", index, "use"), step.use, "code")
        yield from _inputs(("spec", "steps", index), step.inputs)


def _model_paths(document: Model) -> Iterator[NamedPath]:
    spec = document.spec
    if spec.architecture is not None and means_code(spec.architecture.use):
        yield NamedPath(("spec", "architecture", "use"), spec.architecture.use, "code")
        yield from _inputs(("spec", "architecture"), spec.architecture.inputs)
    if spec.training is not None and spec.training.loss is not None:
        yield NamedPath(("spec", "training", "loss"), spec.training.loss, "code")
    start = spec.training.initialize if spec.training is not None else None
    if start is not None and not is_url(start.uri):
        yield NamedPath(("spec", "training", "initialize", "uri"), start.uri, "needed-content")
    if spec.source is not None and not is_url(spec.source.uri):
        yield NamedPath(("spec", "source", "uri"), spec.source.uri, "content")
        folder = posixpath.dirname(spec.source.uri)
        for index, file in enumerate(spec.source.files):
            yield NamedPath(("spec", "source", "files", index, "path"), posixpath.join(folder, file.path), "content")
    yield from _inputs(("spec",), spec.inputs)
    if spec.command is not None:
        yield NamedPath(("spec", "output"), spec.output, "output")


def _inputs(field: Field, paths: Sequence[str]) -> Iterator[NamedPath]:
    for index, path in enumerate(paths):
        yield NamedPath((*field, "inputs", index), path, "needed-content")


def _fleet_paths(document: Fleet) -> Iterator[NamedPath]:
    if isinstance(document.spec.inventory, str):
        yield NamedPath(("spec", "inventory"), document.spec.inventory, "inventory")
    if document.spec.config is not None:
        yield NamedPath(("spec", "config", "template"), document.spec.config.template, "needed-content")
    deliveries: list[tuple[Field, Delivery]] = [(("spec", "delivery"), document.spec.delivery)]
    for index, override in enumerate(document.spec.overrides):
        deliveries.append((("spec", "overrides", index, "delivery"), override.delivery))
    for field, delivery in deliveries:
        if delivery.ssh is not None and delivery.ssh.known_hosts is not None:
            yield NamedPath((*field, "ssh", "knownHosts"), delivery.ssh.known_hosts, "needed-content")
        for system, settings in (("ddi", delivery.ddi), ("hawkbit", delivery.hawkbit)):
            if settings is not None and settings.bundle.template is not None:
                yield NamedPath((*field, system, "bundle", "template"), settings.bundle.template, "needed-content")


def means_code(use: str) -> bool:
    """Return whether ``use`` names code, also when its ``:name`` was forgotten."""
    return is_code_reference(use) or use.partition(":")[0].endswith(".py") or "/" in use


def check_references(documents: Mapping[Address, Document], broken: Collection[str]) -> list[FieldProblem]:
    """Find dangling and circular references and figures that can never exist.

    Args:
        documents: Every valid document.
        broken: Kinds of documents with problems of their own, or ``UNKNOWN_KIND``: what seems to dangle may be one.
    """
    problems: list[FieldProblem] = []
    edges: dict[Address, list[Address]] = {}
    for address, document in documents.items():
        edges[address] = []
        for reference in references(document):
            target = reference.target
            if target in documents:
                edges[address].append(target)
            elif not {target.kind, UNKNOWN_KIND} & set(broken):
                problems.append(FieldProblem(address, reference.field, *_dangling(target, documents)))
        if isinstance(document, Model):
            problems.extend(_check_slices(document, documents))
        if isinstance(document, Dataset):
            problems.extend(_check_columns(address, document))
    try:
        topological_order(edges)
    except CircularReferences as error:
        first = error.cycle[0]
        assert isinstance(first, Address)
        problems.append(FieldProblem(first, ("spec",), str(error), "remove one of these references"))
    return list(dict.fromkeys(problems))


def _dangling(target: Address, documents: Mapping[Address, Document]) -> tuple[str, str]:
    names = [address.name for address in documents if address.kind == target.kind]
    hint = suggestion(target.name, names) if names else f"there is no {target.kind} at all; add one"
    return f"there is no {target.kind} named {target.name!r}", hint


def _check_slices(document: Model, documents: Mapping[Address, Document]) -> Iterator[FieldProblem]:
    """A gate on a slice the dataset does not have stays inconclusive for ever: nothing would be deployed."""
    dataset = documents.get(Address("dataset", document.spec.dataset))
    target = Address("thresholds", document.spec.thresholds or "")
    thresholds = documents.get(target)
    if not isinstance(dataset, Dataset) or not isinstance(thresholds, Thresholds):
        return
    for index, gate in enumerate(thresholds.spec.gates):
        for column in gate.slice or ():
            if column not in dataset.spec.slices:
                message = f"dataset {dataset.metadata.name!r} has no slice {column!r}, so this gate can never pass"
                hint = suggestion(column, dataset.spec.slices) or f"add slices: [{column}] to the dataset"
                yield FieldProblem(target, ("spec", "gates", index, "slice", column), message, hint)


_NUMERIC = ("number", "integer")


def _check_columns(address: Address, document: Dataset) -> Iterator[FieldProblem]:
    """Columns may also come from the source or a step; only what is declared can be judged."""
    for index, check in enumerate(document.spec.checks):
        if isinstance(check, ColumnCheck) and check.value is not None:
            column = document.spec.columns.get(check.column)
            if column is not None and column.type not in _NUMERIC:
                message = f"column {check.column!r} holds type {column.type}, which has no bounds"
                field: Field = ("spec", "checks", index, "value")
                yield FieldProblem(address, field, message, "value goes with number and integer columns")
