"""The evaluate step: what every variant of a model is worth on the test split. Run by the worker.

Reads roles ``export`` (``model.*.onnx``) and ``dataset``; what it writes is in docs/reference/artifacts.md. The gates
read its facts, people and the package step read ``evidence.json``.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgewright.core.facts import DatasetFacts, EvaluationFacts, ExportFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import Split, load_split
from edgewright.pipeline.evaluation.batching import compute_outputs, problem_text
from edgewright.pipeline.evaluation.resampling import resample
from edgewright.pipeline.evaluation.slices import slices
from edgewright.pipeline.export.onnx_runtime import (
    FP32,
    OnnxModel,
    count_unusable,
    finite_or_none,
    variant_file,
    variants_in_order,
)
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.pipeline.tasks.protocol import Evaluator
from edgewright.pipeline.tasks.registry import task_of
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec
from edgewright_wire.canonical import digest_json

EVIDENCE = "evidence.json"
LATENCY_RUNS = 100
LATENCY_WARM_UP = 10
_LATENCIES = ("latencyP50Ms", "latencyP95Ms")
_LIBRARIES = ("numpy", "onnxruntime", "torch", "torchmetrics")


def build(context: StepContext) -> Built[EvaluationFacts]:
    """Evaluate every variant.

    Raises:
        StepFailed: A variant does not take the dataset's rows, its output does not fit the task, or there is nothing
            to test on.
    """
    task, spec = context.task, ModelSpec.model_validate(context.task.spec)
    facts = context.facts("dataset", DatasetFacts)
    test = load_split(task.inputs["dataset"], facts, "test")
    if not len(test):
        raise StepFailed(
            f"the test split of dataset {spec.dataset} has no rows", hint="raise split.test, or add rows to the source"
        )
    what = task_of(spec.task).configured(spec, facts)
    classes = what.classes(facts, spec.dataset)
    evaluator = what.evaluator(len(classes) if classes is not None else None)
    measured: dict[str, dict[str, Any]] = {}
    predictions: dict[str, torch.Tensor] = {}
    names = variants_in_order(context.facts("export", ExportFacts).variants)
    paths = {name: _variant_path(task.inputs["export"], name) for name in names}
    for done, name in enumerate(names):
        context.progress(done, len(names), "variant")
        model = OnnxModel(paths[name])
        predictions[name], differing = _predictions(evaluator, model, paths[name], name, test)
        size = paths[name].stat().st_size
        measured[name] = {**differing, "sizeBytes": size, **_latency(model, test.features)}
    context.progress(len(names), len(names), "variant")
    reference = FP32 if FP32 in names else names[0]
    evaluator = evaluator.settled(paths[reference], predictions[reference])
    resampled: Sequence[str] = task.params.get("resampled", ())
    variants = {
        name: {
            **_figures(evaluator, predictions[name], test),
            **_resampled(evaluator, predictions[name], test, resampled, facts.content_digest),
            **measured[name],
        }
        for name in names
    }
    evidence = {**_evidence(spec, classes, test, variants, _agreement(evaluator, predictions)), **evaluator.notes}
    path = context.out / EVIDENCE
    path.write_text(json.dumps(evidence, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return Built(
        digest=digest_json(without_latency(evidence)),
        files={EVIDENCE: path},
        facts=EvaluationFacts(variants={name: _small(found) for name, found in variants.items()}),
        environment={name: version(name) for name in _LIBRARIES},
    )


def without_latency(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of an evidence what differs from run to run; what remains names it."""
    variants = {
        name: {key: value for key, value in found.items() if key not in _LATENCIES}
        for name, found in evidence["variants"].items()
    }
    return {**evidence, "variants": variants}


def _variant_path(files: Mapping[str, Path], name: str) -> Path:
    if variant_file(name) not in files:
        raise StepFailed(f"the export has no {variant_file(name)}", hint="run apply again to export the model again")
    return files[variant_file(name)]


def _predictions(
    evaluator: Evaluator, model: OnnxModel, path: Path, name: str, test: Split
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Compute what devices would, and what the evidence says of batches that give something else."""
    outputs = compute_outputs(model, path, test.features)
    predictions = evaluator.predictions(outputs.values, name)
    found = outputs.dependence
    if found is None:
        return predictions, {}
    noted: dict[str, Any] = {"batchDifference": finite_or_none(found.difference)}
    if found.operator:
        noted["operator"] = str(found.operator)
    if found.at_fault:
        labels = torch.from_numpy(test.labels)
        batched, alone = (
            evaluator.headline(each, labels) for each in (evaluator.predictions(found.in_batches, name), predictions)
        )
        noted["problem"] = problem_text(name, found, batched, alone)
    return predictions, {"rowByRow": noted}


def _figures(evaluator: Evaluator, predictions: torch.Tensor, test: Split) -> dict[str, Any]:
    labels = torch.from_numpy(test.labels)
    sliced = {
        key: {**evaluator.figures(predictions[rows], labels[rows]), "rows": len(rows)}
        for key, rows in slices(test.columns)
    }
    return {
        "overall": evaluator.figures(predictions, labels),
        "slices": sliced,
        "rows": len(test),
        "rowsNotFinite": count_unusable(predictions.numpy()),
        "confusion": evaluator.confusion(predictions, labels),
        **evaluator.details(predictions, labels),
    }


def _resampled(
    evaluator: Evaluator, predictions: torch.Tensor, test: Split, metrics: Sequence[str], dataset: str
) -> dict[str, Any]:
    """Compute what gates with a confidence ask for; nothing where none does."""
    if not metrics:
        return {}
    labels = torch.from_numpy(test.labels)
    figures: dict[str, Any] = {}
    for key, rows in (("", torch.arange(len(labels))), *slices(test.columns)):
        weigh = partial(evaluator.weigh, predictions[rows], labels[rows])
        figures[key] = resample(len(rows), f"{dataset} {key}", metrics, weigh)
    return {"resampled": {"rows": digest_json({"dataset": dataset, "split": "test"}), "figures": figures}}


def _latency(model: OnnxModel, features: npt.NDArray[np.float32]) -> dict[str, float | None]:
    found = model.latencies(features, runs=LATENCY_RUNS, warm_up=LATENCY_WARM_UP)
    middle, high = np.percentile(found, [50, 95])
    return {"latencyP50Ms": finite_or_none(middle), "latencyP95Ms": finite_or_none(high)}


def _agreement(evaluator: Evaluator, predictions: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Compare every other variant with fp32; empty when there is no fp32."""
    reference = predictions.get(FP32)
    if reference is None:
        return {}
    return {name: evaluator.agreement(found, reference) for name, found in predictions.items() if name != FP32}


def _evidence(
    spec: ModelSpec,
    classes: Sequence[str] | None,
    test: Split,
    variants: Mapping[str, Any],
    agreement: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "formatVersion": 1,
        "task": spec.task,
        "split": "test",
        "rows": len(test),
        "classes": list(classes) if classes is not None else None,
        "variants": dict(variants),
        "agreementWithFp32": dict(agreement),
    }


def _small(found: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what gates and people need; the rest is in evidence.json."""
    return {key: value for key, value in found.items() if key != "confusion"}
