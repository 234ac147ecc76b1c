"""The package step: what devices fetch, as an OCI artifact after CNCF ModelPack. Run by the worker.

Reads roles ``export``, ``dataset`` and ``evaluation``; params ``variant`` and ``name``, and where they are given
``title``, ``revision`` and ``createdAt``. What it writes is in docs/reference/artifacts.md. The same inputs give the
same manifest digest.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgewright.core.facts import DatasetFacts, ExportedVariant, ExportFacts, PackageFacts
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.export.onnx_runtime import FP32, OnnxModel, variant_file
from edgewright.pipeline.packaging.card import make_card
from edgewright.pipeline.packaging.golden import golden_samples
from edgewright.pipeline.packaging.manifest import Description, Part, make_config, make_manifest
from edgewright.pipeline.packaging.tolerance import golden_tolerance
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.pipeline.tasks.registry import task_of
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec
from edgewright_wire.canonical import canonical_json, digest_bytes
from edgewright_wire.package import (
    CARD_FILE,
    DATASET_TYPE,
    DOC_TYPE,
    GOLDEN_FILE,
    LABELS_FILE,
    MODEL_FILE,
    WEIGHT_CONFIG_TYPE,
    WEIGHT_TYPE,
)

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.json"
_STEPS = 3


def build(context: StepContext) -> Built[PackageFacts]:
    """Package one variant.

    Raises:
        StepFailed: The export or the evidence has no such variant, or the evidence is of another file; or a golden
            sample gives no finite number, or their tolerance would let a constant pass.
    """
    task, spec = context.task, ModelSpec.model_validate(context.task.spec)
    variant = str(task.params["variant"])
    path, evidence = _variant_path(task.inputs["export"], variant), _evidence(task.inputs["evaluation"], variant)
    exported, dataset = context.facts("export", ExportFacts), context.facts("dataset", DatasetFacts)
    _check_same_file(path, exported.variants[variant])
    context.progress(0, _STEPS, "part")
    test = load_split(task.inputs["dataset"], dataset, "test")
    chosen = task_of(spec.task).golden_rows(test.labels, spec.package.golden.samples)
    golden = golden_samples(OnnxModel(path), test.features, chosen)
    context.progress(1, _STEPS, "part")
    atol = golden_tolerance(spec.package.golden, golden.expected)
    description = _describe(context, spec, variant, exported, dataset, atol)
    parts = [
        Part(MODEL_FILE, WEIGHT_TYPE, path.read_bytes()),
        Part(GOLDEN_FILE, DATASET_TYPE, golden.to_bytes()),
        Part(LABELS_FILE, WEIGHT_CONFIG_TYPE, canonical_json(dataset.label_values or {"target": dataset.label})),
        Part(CARD_FILE, DOC_TYPE, make_card(description, spec, variant, exported, dataset, evidence, len(golden))),
    ]
    context.progress(2, _STEPS, "part")
    config = make_config(description, parts)
    manifest = make_manifest(description, config, parts)
    written = {MANIFEST_FILE: manifest, CONFIG_FILE: config, **{part.path: part.data for part in parts}}
    for name, data in written.items():
        (context.out / name).write_bytes(data)
    context.progress(_STEPS, _STEPS, "part")
    return Built(
        digest=digest_bytes(manifest),
        files={name: context.out / name for name in written},
        facts=PackageFacts(
            manifest_digest=digest_bytes(manifest),
            manifest_size=len(manifest),
            package_size=sum(len(data) for data in written.values()),
            variant=variant,
            size_bytes=path.stat().st_size,
            golden_samples=len(golden),
            golden_atol=atol,
        ),
        environment={name: version(name) for name in ("numpy", "onnxruntime")},
    )


def _variant_path(files: Mapping[str, Path], variant: str) -> Path:
    name = variant_file(variant)
    if name not in files:
        raise StepFailed(
            f"the export has no variant {variant}", hint=f"it made {', '.join(sorted(files)) or 'nothing'}"
        )
    return files[name]


def _evidence(files: Mapping[str, Path], variant: str) -> dict[str, Any]:
    evidence: dict[str, Any] = json.loads(files["evidence.json"].read_bytes())
    if variant not in evidence["variants"]:
        raise StepFailed(
            f"variant {variant} was not evaluated, and what was not evaluated is not packaged",
            hint="run apply again to evaluate it",
        )
    return evidence


def _check_same_file(path: Path, exported: ExportedVariant) -> None:
    wanted = exported.digest
    found = digest_file(path)
    if found != wanted:
        raise StepFailed(
            f"{path.name} is {found}, but {wanted} was exported and evaluated",
            hint="run apply again to export it again",
        )


def _describe(
    context: StepContext, spec: ModelSpec, variant: str, exported: ExportFacts, dataset: DatasetFacts, atol: float
) -> Description:
    task = context.task
    params: Mapping[str, Any] = task.params
    return Description(
        name=str(params.get("name") or task.address.name),
        task=spec.task,
        architecture=spec.architecture.use if spec.architecture is not None else "",
        parameters=exported.parameters,
        precision=exported.variants[variant].precision,
        quantization=spec.package.quantization.mode if variant != FP32 else "",
        atol=atol,
        input_name=exported.input_name,
        output_name=exported.output_name,
        image=dataset.columns[dataset.features[0]].type == "image",
        title=str(params.get("title") or ""),
        revision=str(params.get("revision") or ""),
        created_at=str(params.get("createdAt") or ""),
    )
