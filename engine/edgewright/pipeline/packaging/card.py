"""Model card of a package: its front matter and its tables. Pure; called by ``packaging.step``.

Latencies are left out: they differ from run to run, and the card is part of the package's digest.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from edgewright.core.facts import DatasetFacts, ExportFacts
from edgewright.pipeline.packaging.manifest import Description
from edgewright_schemas.model import ModelSpec
from edgewright_schemas.tasks import HUB_METRICS, TASKS
from edgewright_templates.model_card import render_model_card


def make_card(
    description: Description,
    spec: ModelSpec,
    variant: str,
    exported: ExportFacts,
    dataset: DatasetFacts,
    evidence: Mapping[str, Any],
    golden_samples: int,
) -> bytes:
    """Write the card.

    Args:
        description: What the package says of the model.
        spec: The Model's spec.
        variant: The variant that is packaged.
        exported: Facts of the export.
        dataset: Facts of the dataset.
        evidence: What ``evidence.json`` holds.
        golden_samples: How many golden samples the package has.
    """
    found = evidence["variants"][variant]
    quantization = exported.quantization
    metrics = [name for name in found["overall"] if _is_known(name, found)]
    classes = evidence.get("classes")
    text = render_model_card(
        {
            "front_matter": _front_matter(description, spec, found["overall"], dataset),
            "name": description.name,
            "task": spec.task,
            "task_words": spec.task.replace("-", " ").capitalize(),
            "precision": description.precision,
            "architecture": description.architecture or f"not known ({spec.origin})",
            "parameters": description.parameters,
            "size_bytes": found["sizeBytes"],
            "input_name": exported.input_name,
            "input_type": exported.input_type,
            "input_shape": ["any" if n is None else n for n in exported.input_shape],
            "input_meaning": _input_meaning(exported.input_type, image=description.image),
            "output_name": exported.output_name,
            "output_meaning": f"one number for each of {len(classes)} classes" if classes else "the predicted number",
            "rows": found["rows"],
            "overall": list(found["overall"].items()),
            "slice_metrics": metrics,
            "slices": _slices(found["slices"], metrics),
            "dataset": spec.dataset,
            "dataset_digest": dataset.content_digest,
            "dataset_rows": dataset.rows,
            "features": [] if description.image else list(dataset.features),
            "classes": classes,
            "target": dataset.label,
            "calibration_samples": quantization.calibration_samples if quantization else None,
            "not_quantized": quantization.not_possible if quantization else None,
            "same_class": evidence.get("agreementWithFp32", {}).get(variant, {}).get("sameClass"),
            "golden_samples": golden_samples,
            "atol": description.atol,
        }
    )
    return text.encode("utf-8")


def _is_known(metric: str, found: Mapping[str, Any]) -> bool:
    """Return whether a metric has a value anywhere: of three classes there is no fifth to be among."""
    every = (found["overall"], *found["slices"].values())
    return any(figures.get(metric) is not None for figures in every)


def _slices(slices: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "rows": figures["rows"], "figures": [figures.get(metric) for metric in metrics]}
        for name, figures in sorted(slices.items())
    ]


def _input_meaning(input_type: str, *, image: bool) -> str:
    if not image:
        return ""
    return ": pixels 0 to 255" if input_type == "uint8" else ": pixels scaled to 0…1"


def _front_matter(
    description: Description, spec: ModelSpec, overall: Mapping[str, float | None], dataset: DatasetFacts
) -> str:
    """Write the YAML that the Hugging Face Hub reads; a figure that could not be computed is left out."""
    pipeline = TASKS[spec.task].hub_task
    known = {name: value for name, value in overall.items() if value is not None}
    result = {
        "task": {"type": pipeline},
        "dataset": {
            "type": spec.dataset,
            "name": spec.dataset,
            "split": "test",
            "revision": dataset.content_digest,
        },
        "metrics": [{"type": HUB_METRICS.get(n, n), "value": v, "name": n} for n, v in known.items()],
    }
    tags = ["edgewright", "onnx"] + ([description.precision] if description.quantization else [])
    written = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump(
        {
            "library_name": "onnx",
            "pipeline_tag": pipeline,
            "tags": tags,
            "datasets": [spec.dataset],
            "metrics": [HUB_METRICS.get(n, n) for n in known],
            "model-index": [{"name": description.name, "results": [result]}],
        },
        written,
    )
    return written.getvalue()
