"""Names that edgewright must know: built-ins, arguments, metrics, windows, reasons. Called by ``reading``.

Each of them would fail only when it is used: minutes or days later, or, for a gate, never pass.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edgewright.core.address import Address
from edgewright.core.rollout.windows import in_window
from edgewright.core.status.reasons import REASONS, current_reason
from edgewright.core.suggestions import nearest, suggestion
from edgewright.source.specs.references import Field, FieldProblem, means_code
from edgewright.source.specs.validation_errors import describe_value, expectation
from edgewright_schemas.base import SpecModel, Use
from edgewright_schemas.builtins import ARCHITECTURES, DATASET_STEPS, DETECTOR
from edgewright_schemas.dataset import Dataset, Source
from edgewright_schemas.kinds import KINDS, Document
from edgewright_schemas.labels import LABEL_FORMATS
from edgewright_schemas.model import Model
from edgewright_schemas.repository import Repository
from edgewright_schemas.rollout import Rollout
from edgewright_schemas.tasks import METRICS, MODEL_METRICS, TASKS
from edgewright_schemas.thresholds import Thresholds

_NO_REF_NAME = re.compile(
    r"^-|^@$|^/|/$|//|\.$|\.\.|@\{|[\x00-\x20\x7f~^:?*\[\\]"  # of the whole name
    r"|(^|/)\.|\.lock(/|$)"  # of each part between slashes
)


def check_known_names(documents: Mapping[Address, Document]) -> Iterator[FieldProblem]:
    """Find built-ins, arguments and metrics that do not exist or do not fit, and what can never happen."""
    for address, document in documents.items():
        match document:
            case Dataset():
                yield from _check_options(address, document.spec.source)
                for index, step in enumerate(document.spec.steps):
                    yield from _check_use(address, ("spec", "steps", index), step, "step", DATASET_STEPS)
            case Model():
                yield from _check_model(address, document, documents)
            case Thresholds():
                for index, gate in enumerate(document.spec.gates):
                    if gate.metric not in METRICS:
                        hint = suggestion(gate.metric, METRICS, limit=len(METRICS))
                        message = f"there is no metric {gate.metric!r}"
                        yield FieldProblem(address, ("spec", "gates", index, "metric"), message, hint)
            case Rollout():
                yield from _check_window(address, document)
            case Repository():
                yield from _check_notifications(address, document)
                yield from _check_follows(address, document)


def check_written_uses(address: Address, body: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """Check the built-ins that a document names whose other fields are wrong, so that all is told at once.

    Args:
        address: The document's.
        body: Its plain values, of whatever type they are.
    """
    spec = body.get("spec")
    if not isinstance(spec, Mapping):
        return
    steps = spec.get("steps") if address.kind == "dataset" else None
    written: list[tuple[Field, Any]] = [
        (("spec", "steps", index), step) for index, step in enumerate(steps if isinstance(steps, list) else ())
    ]
    if address.kind == "model":
        written.append((("spec", "architecture"), spec.get("architecture")))
    for field, value in written:
        try:
            use = Use.model_validate(value)
        except ValidationError:
            continue
        if field[-1] == "architecture":
            yield from _check_use(address, field, use, "architecture", ARCHITECTURES)
        else:
            yield from _check_use(address, field, use, "step", DATASET_STEPS)


def _check_window(address: Address, rollout: Rollout) -> Iterator[FieldProblem]:
    window = rollout.spec.window
    # Any time does: the look ahead spans decades.
    if window is not None and in_window(window, datetime(2024, 1, 1, tzinfo=UTC)) == (False, None):
        message = f"no date fits {window.cron!r}, so this window never opens"
        hint = "its fields are minute, hour, day of month, month and day of week"
        yield FieldProblem(address, ("spec", "window", "cron"), message, hint)


def _check_notifications(address: Address, repository: Repository) -> Iterator[FieldProblem]:
    """A misspelt kind or reason would keep the receiver from ever being told."""
    kinds = {kind.lower() for kind in KINDS}
    for index, notification in enumerate(repository.spec.notifications):
        field: Field = ("spec", "notifications", index)
        for at, kind in enumerate(notification.kinds):
            if kind.lower() not in kinds:
                hint = suggestion(kind, KINDS)
                yield FieldProblem(address, (*field, "kinds", at), f"there is no kind {kind!r}", hint)
        for at, reason in enumerate(notification.reasons):
            if current_reason(reason) not in REASONS:
                hint = suggestion(reason, REASONS, limit=0).replace("known: , …", "docs/reference/status.md lists them")
                yield FieldProblem(address, (*field, "reasons", at), f"there is no reason {reason!r}", hint)


def _check_follows(address: Address, repository: Repository) -> Iterator[FieldProblem]:
    for index, environment in enumerate(repository.spec.environments):
        field: Field = ("spec", "environments", index, "follow")
        follow = environment.follow
        for kind, name in (("branch", follow.branch), ("tag", follow.tag)):
            if name is not None and _NO_REF_NAME.search(name):
                message = f"{name!r} is no name that Git allows for a {kind}"
                yield FieldProblem(address, (*field, kind), message, "see git check-ref-format")
        if follow.semver is not None and not _is_range(follow.semver):
            message = f"{follow.semver!r} is no range of versions"
            hint = 'write it as in ">=1.4.0 <2.0.0", "^1.2" or "~1.4.2"'
            yield FieldProblem(address, (*field, "semver"), message, hint)


def _is_range(text: str) -> bool:
    from semantic_version import NpmSpec

    try:
        NpmSpec(text)
    except ValueError:
        return False
    return bool(text.strip())


def _check_use(
    address: Address, field: Field, use: Use, what: str, known: Mapping[str, type[SpecModel]]
) -> Iterator[FieldProblem]:
    if means_code(use.use):
        return
    arguments = known.get(use.use)
    if arguments is None:
        hint = f"{suggestion(use.use, known)}; your own: code/file.py:name"
        yield FieldProblem(address, (*field, "use"), f"there is no built-in {what} {use.use!r}", hint)
        return
    yield from _check_arguments(address, field, use.with_, use.use, arguments)


def _check_arguments(
    address: Address, field: Field, values: Mapping[str, Any], use: str, arguments: type[SpecModel]
) -> Iterator[FieldProblem]:
    try:
        arguments.model_validate(values)
    except ValidationError as error:
        names = [info.alias or name for name, info in arguments.model_fields.items()]
        found = [((*field, "with", *_path(detail, values)), detail) for detail in error.errors(include_url=False)]
        # The branches of a union fail at one place, and a list also for what is wrong inside it: say the inmost once.
        outer = {at[:length] for at, _ in found for length in range(len(at))}
        once = {at: detail for at, detail in reversed(found) if at not in outer}
        for at in sorted(once, key=str):
            yield _wrong_argument(address, at, use, once[at], names)


def _check_options(address: Address, source: Source) -> Iterator[FieldProblem]:
    options = LABEL_FORMATS.get(source.format)
    if options is not None:
        yield from _check_arguments(address, ("spec", "source"), source.with_, f"format {source.format}", options)


def _path(detail: ErrorDetails, written: Mapping[str, Any]) -> Field:
    """Leave out of an error's location what is no part of the value: the names of a union's branches."""
    node: Any = written
    path: list[str | int] = []
    for step in detail["loc"]:
        if isinstance(node, Mapping) and not path:
            path.append(step)
            node = node.get(str(step))
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            path.append(step)
            node = node[step]
    return tuple(path)


def _wrong_argument(address: Address, at: Field, use: str, detail: ErrorDetails, names: list[str]) -> FieldProblem:
    if detail["type"] == "extra_forbidden":
        hint = suggestion(str(at[-1]), names) or "remove it"
        return FieldProblem(address, at, f"{use} takes no such argument", hint, at_key=True)
    if detail["type"] == "missing":
        return FieldProblem(address, at, f"{use} needs this argument", "add it")
    return FieldProblem(address, at, expectation(detail, describe_value(detail["input"])))


def _check_model(address: Address, model: Model, documents: Mapping[Address, Document]) -> Iterator[FieldProblem]:
    spec = model.spec
    if spec.architecture is not None:
        yield from _check_use(address, ("spec", "architecture"), spec.architecture, "architecture", ARCHITECTURES)
        detects = spec.task == "object-detection"
        if spec.architecture.use in ARCHITECTURES and (spec.architecture.use == DETECTOR) != detects:
            field: Field = ("spec", "architecture", "use")
            others = ", ".join(name for name in ARCHITECTURES if (name == DETECTOR) == detects)
            message = f"{spec.architecture.use} does not fit {spec.task}"
            yield FieldProblem(address, field, message, f"use {others}, or your own class")
    declared = TASKS[spec.task]
    fitting = declared.metric_names
    stopping = spec.training.early_stopping if spec.training is not None else None
    watched = tuple(dict.fromkeys(("loss", *declared.watched_names)))
    if stopping is not None and stopping.metric not in watched:
        at: Field = ("spec", "training", "earlyStopping", "metric")
        yield FieldProblem(address, at, f"{stopping.metric} does not fit {spec.task}", _use_one_of(*watched))
    target = Address("thresholds", spec.thresholds or "")
    thresholds = documents.get(target)
    if isinstance(thresholds, Thresholds):
        for index, gate in enumerate(thresholds.spec.gates):
            if gate.metric in METRICS and gate.metric not in (*fitting, *MODEL_METRICS):
                message = (
                    f"{gate.metric} is not measured for model {model.metadata.name!r}, whose task is {spec.task}, "
                    "so this gate can never pass"
                )
                close = nearest(gate.metric, fitting)
                hint = f"did you mean {close}?" if close is not None else _use_one_of(*fitting)
                yield FieldProblem(target, ("spec", "gates", index, "metric"), message, hint)


def _use_one_of(*names: str) -> str:
    return f"use one of {', '.join(names)}"
