"""Results of datasets and models as JSON: the format of ``show``, and of ``results`` in ``status``, ``explain`` and
``apply -o json``.
"""

from typing import Any

from edgewright.core.status.results import DatasetResults, ModelResults, Results
from edgewright.render.plan_json import gate_json


def results_json(found: Results) -> dict[str, Any]:
    """Turn the results of a dataset or model into JSON values."""
    common: dict[str, Any] = {
        "address": str(found.address),
        "current": found.current,
        "createdAt": found.artifact.created_at.isoformat() if found.artifact.created_at else None,
        "seconds": round(found.artifact.seconds, 3),
        "fingerprint": found.artifact.fingerprint,
    }
    return common | (_dataset(found) if isinstance(found, DatasetResults) else _model(found))


def _dataset(found: DatasetResults) -> dict[str, Any]:
    return {"digest": found.artifact.digest, **found.facts.to_json()}


def _model(found: ModelResults) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "dataset": str(found.dataset),
        "packaged": found.packaged,
        "thresholds": found.thresholds,
        "gated": found.gated,
        "gates": [gate_json(outcome) for outcome in found.verdict],
        # Figures of resampled rows are for gates; a thousand for each metric would bury the others.
        "variants": {
            name: {key: value for key, value in evidence.items() if key != "resampled"}
            for name, evidence in found.variants.items()
        },
    }
    if found.confusion is not None:
        shown["classes"] = list(found.classes) if found.classes is not None else None
        for name, counts in found.confusion.items():
            shown["variants"][name]["confusion"] = [list(row) for row in counts]
    return shown
