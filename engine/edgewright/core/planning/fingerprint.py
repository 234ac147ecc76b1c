"""Fingerprints: what each step's output depends on, part by part, and the sha256 over it.

A component is a field's path and its canonical JSON text. Equal components mean equal output, so they are what
``explain`` compares and what a plan gives as its reasons. Names, labels, descriptions and addresses of sources are
left out: they change nothing in the output.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from edgewright.core.artifact import Action
from edgewright_schemas.base import SpecModel, is_code_reference
from edgewright_schemas.dataset import DatasetSpec, Source
from edgewright_schemas.fleet import FleetSpec
from edgewright_schemas.model import ModelSpec, Nms
from edgewright_schemas.tasks import ADDED
from edgewright_schemas.thresholds import Gate
from edgewright_wire.canonical import digest_json

Components = Mapping[str, str]

BUILDER_VERSIONS: Mapping[Action, int] = {
    Action.BUILD_DATASET: 1,
    Action.TRAIN: 1,
    Action.IMPORT: 1,
    Action.COMMAND: 1,
    Action.EXPORT: 1,
    Action.EVALUATE: 2,
    Action.PACKAGE: 2,
}
"""Raised when a builder's output changes for the same input: what it made is made again, except where ``earlier`` says
that the change does not concern it."""

READING = "source.reading"
_FOLDER_READING = "2"
"""Raised when folders are read otherwise, of whose datasets alone it is a part. 2: splits, hidden folders, copies."""

ORDER = "columns.order"
"""The order in which a table's columns are declared, which is that of a model's features."""
FOUND = "dataset.found"
"""Columns whose values, and so the order of outputs or inputs, a dataset takes as it finds them; a part of exports of
models that are not trained here."""
RESAMPLED = "figures.resampled"
"""Metrics of which an evaluation keeps the figures of resampled rows, for gates with a confidence."""
IMPLIED = frozenset({READING, ORDER, FOUND})
"""Parts that earlier versions left out of fingerprints: their absence is no difference."""

_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""As json.dumps, which makes an encoder for each call: a plan writes thousands of leaves."""


def fingerprint(action: Action, components: Components, version: int | None = None) -> str:
    """Name a step's work by everything that can change its output; by today's builder, or an earlier version of it."""
    builder = BUILDER_VERSIONS[action] if version is None else version
    return digest_json({"action": action.value, "builder": builder, "components": dict(components)})


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Walk JSON down to its leaves, as (dotted path, canonical JSON text)."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from flatten(item, f"{path}[{index}]")
    else:
        yield path, _ENCODE(value)


def _fields(model: SpecModel, *, exclude: set[str] | None = None, prefix: str = "") -> dict[str, str]:
    return dict(flatten(model.model_dump(mode="json", by_alias=True, exclude=exclude), prefix))


def _code(use: str, code: Mapping[str, str]) -> dict[str, str]:
    if not is_code_reference(use):
        return {}
    path = use.partition(":")[0]
    return {f"code:{path}": code.get(path, "missing")}


def _inputs(paths: Iterable[str], content: Mapping[str, str]) -> dict[str, str]:
    return {f"inputs:{path}": content.get(path, "missing") for path in paths}


def dataset_components(
    spec: DatasetSpec, source_digest: str, code: Mapping[str, str], content: Mapping[str, str] = MappingProxyType({})
) -> Components:
    """List the components of a dataset's fingerprint; ``source_digest`` stands for the source's content."""
    parts = _fields(spec, exclude={"source"})
    parts["source.format"] = spec.source.format
    parts |= dict(flatten(dict(spec.source.with_), "source.with"))
    parts["source.content"] = source_digest
    if _reads_folder(spec.source):
        parts[READING] = _FOLDER_READING
    if len(order := _feature_order(spec)) > 1:
        parts[ORDER] = _ENCODE(order)
    if spec.source.format == "python":
        parts["source.function"] = spec.source.uri
        parts |= _code(spec.source.uri, code) | _inputs(spec.source.inputs, content)
    for step in spec.steps:
        parts |= _code(step.use, code) | _inputs(step.inputs, content)
    return parts


def _feature_order(spec: DatasetSpec) -> list[str]:
    """List a table's columns that may be features, as declared; none of images, which have one."""
    if any(column.type == "image" for column in spec.columns.values()):
        return []
    aside = {"label", *spec.slices, spec.split.group_by, spec.split.column}
    if "label" not in spec.columns:
        aside.add("target")
    return [name for name in spec.columns if name not in aside]


def columns_found(spec: DatasetSpec) -> list[str]:
    """List the categories that declare no values, of those that a model may get or give."""
    aside = {*spec.slices, spec.split.group_by, spec.split.column}
    return sorted(
        name
        for name, column in spec.columns.items()
        if column.type in ("category", "boxes") and column.values is None and name not in aside
    )


def _reads_folder(source: Source) -> bool:
    """Return whether a source is a folder, as far as its spec tells."""
    if source.format in ("image-folder", "coco", "yolo", "voc"):
        return True
    return source.format != "python" and "." not in source.uri.rpartition("/")[2]


def _architecture_components(spec: ModelSpec, code: Mapping[str, str], content: Mapping[str, str]) -> dict[str, str]:
    if spec.architecture is None:
        return {}
    named = _fields(spec.architecture, prefix="architecture") | _code(spec.architecture.use, code)
    return named | _inputs(spec.architecture.inputs, content)


def origin_components(
    spec: ModelSpec,
    dataset_digest: str,
    code: Mapping[str, str],
    content: Mapping[str, str],
    environment: Mapping[str, str],
) -> Components:
    """List the components of a trained, imported or command-made model's fingerprint.

    The champion a warm start begins from is not part of it: otherwise every promotion would ask for a retrain.
    """
    if spec.source is not None:
        files = {f"source.files:{each.path}": each.digest for each in spec.source.files}
        return {"source.digest": spec.source.digest, **files, **_interface_components(spec)}
    parts = {"task": spec.task, "input.dataset": dataset_digest}
    if spec.command is not None:
        parts |= {"command": json.dumps(spec.command), "output": spec.output}
        return parts | _inputs(spec.inputs, content)
    training = spec.training_or_default
    parts |= _architecture_components(spec, code, content) | _fields(training, prefix="training")
    # Where weights are found changes nothing: their digest names them.
    parts.pop("training.initialize.uri", None)
    parts |= _code(training.loss or "", code)
    if training.environment == "pinned":
        parts |= {f"environment.{name}": version for name, version in environment.items()}
    return parts


def _interface_components(spec: ModelSpec) -> dict[str, str]:
    """List what is declared of a file, without defaults: fields that are added later change nothing of it."""
    if spec.interface is None:
        return {}
    declared = spec.interface.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return dict(flatten(declared, "interface"))


def export_components(
    spec: ModelSpec,
    model_digest: str,
    dataset_digest: str,
    code: Mapping[str, str],
    dataset: DatasetSpec | None = None,
    content: Mapping[str, str] = MappingProxyType({}),
) -> Components:
    """List the components of an export's fingerprint: the model, and the samples for parity and calibration."""
    found = columns_found(dataset) if dataset is not None and spec.origin != "trained" else []
    return {
        "input.model": model_digest,
        "input.dataset": dataset_digest,
        "package.opset": str(spec.package.opset),
        **_fields(
            spec.package.quantization,
            exclude={"parity"} if spec.package.quantization.parity is None else None,
            prefix="package.quantization",
        ),
        **_architecture_components(spec, code, content),
        **({FOUND: _ENCODE(found)} if found else {}),
    }


def evaluate_components(
    task: str, export_digest: str, dataset_digest: str, gates: Iterable[Gate] = (), nms: Nms | None = None
) -> Components:
    """List the components of evidence. The same for candidate and champion, so neither is measured twice.

    Gates are a part as far as they ask for what evaluations of before did not measure.
    """
    asked = list(gates)
    added = sorted({gate.metric for gate in asked if gate.metric in ADDED})
    resampled = sorted({gate.metric for gate in asked if gate.confidence is not None})
    return {
        "task": task,
        "input.export": export_digest,
        "input.dataset": dataset_digest,
        **(_fields(nms, prefix="nms") if nms is not None else {}),
        **({"figures.added": _ENCODE(added)} if added else {}),
        **({RESAMPLED: _ENCODE(resampled)} if resampled else {}),
    }


def package_components(
    name: str, spec: ModelSpec, variant: str, export_digest: str, dataset_digest: str, evaluation_digest: str
) -> Components:
    """List the components of a package's fingerprint."""
    return {
        "name": name,
        "task": spec.task,
        "variant": variant,
        "input.export": export_digest,
        "input.dataset": dataset_digest,
        "input.evaluation": evaluation_digest,
        **_fields(spec.package.golden, exclude=None if spec.package.golden.atol else {"atol"}, prefix="package.golden"),
    }


def config_digest(spec: FleetSpec, content: Mapping[str, str]) -> str | None:
    """Name what a fleet's device configuration is rendered from; None without one."""
    if spec.config is None:
        return None
    template = content.get(spec.config.template, "missing")
    return digest_json({"template": template, "path": spec.config.path, "values": spec.config.values})


def release_fingerprint(package_digest: str, config: str | None) -> str:
    """Name what a rollout puts on devices."""
    return digest_json({"package": package_digest, "config": config})
