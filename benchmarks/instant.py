"""A builder and devices that are done at once, so that a large repository can be applied whole in a minute.

What they make is small but of the real shape: planner, state store, publisher and rollouts cannot tell. Called by
``workload``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edgewright.core.artifact import Action
from edgewright.delivery.agent import AgentDelivery
from edgewright.ports import BuildTask, Built, Cancel, Progress
from edgewright_wire import package
from edgewright_wire.canonical import canonical_json, digest_bytes, digest_json
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Assignment, ModelReport, Phase, ProbeResult, Report

_FILES: Mapping[Action, tuple[str, ...]] = {
    Action.BUILD_DATASET: ("train.parquet", "validation.parquet", "test.parquet", "schema.json"),
    Action.TRAIN: ("weights.pt", "history.json"),
    Action.EXPORT: ("model.fp32.onnx", "model.int8.onnx"),
    Action.EVALUATE: ("evidence.json",),
}
_FIGURES = {"accuracy": 0.97, "f1Macro": 0.96, "precisionMacro": 0.96, "recallMacro": 0.96, "loss": 0.08}
_SLICES = tuple(f"store=store-{number}" for number in range(6))
_VARIANTS = ("fp32", "int8")


class InstantBuilder:
    """Implements ports.Builder for datasets and trained models; what a step makes follows from its fingerprint."""

    def build(self, task: BuildTask, progress: Callable[[Progress], None], cancel: Cancel) -> Built:
        """Make the artifact of a step; see ports.Builder.build."""
        out = task.workdir / "out"
        out.mkdir(parents=True, exist_ok=True)
        if task.action is Action.PACKAGE:
            return _package(task, out)
        files = {}
        for name in _FILES[task.action]:
            files[name] = out / name
            files[name].write_text(f"{task.fingerprint} {name}")
        return Built(digest_json(["output of", task.fingerprint]), files, _facts(task))


def _facts(task: BuildTask) -> dict[str, Any]:
    match task.action:
        case Action.BUILD_DATASET:
            return {
                "rows": {"train": 80, "validation": 10, "test": 10},
                "columns": {"weight": {"type": "number"}, "label": {"type": "category", "values": ["a", "b"]}},
                "features": ["weight"],
                "label": "label",
                "slices": {"store": [name.partition("=")[2] for name in _SLICES]},
                "inputShape": [1],
                "contentDigest": digest_json(task.fingerprint),
            }
        case Action.TRAIN:
            return {"epochs": 10, "bestEpoch": 8, "metrics": _FIGURES, "parameters": 642, "architecture": "mlp"}
        case Action.EXPORT:
            described = {v: {"digest": digest_json([task.fingerprint, v]), "size": 5000} for v in _VARIANTS}
            return {"variants": described, "parity": dict.fromkeys(_VARIANTS, 1e-6), "inputShape": [1]}
        case _:
            slices = dict.fromkeys(_SLICES, _FIGURES)
            evidence = {"overall": _FIGURES, "slices": slices, "sizeBytes": 5000, "latencyP95Ms": 0.4, "rows": 10}
            return {"variants": dict.fromkeys(_VARIANTS, evidence)}


def _package(task: BuildTask, out: Path) -> Built:
    variant = str(task.params["variant"])
    contents = {
        "config.json": b"{}",
        package.MODEL_FILE: f"{task.fingerprint} {variant}".encode(),
        package.GOLDEN_FILE: b"golden",
        package.LABELS_FILE: b'["a","b"]',
        package.CARD_FILE: b"# card\n",
    }
    described = {
        name: {"digest": digest_bytes(data), "size": len(data), "annotations": {package.FILEPATH: name}}
        for name, data in contents.items()
    }
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": package.MANIFEST_TYPE,
            "artifactType": package.ARTIFACT_TYPE,
            "config": {"mediaType": package.CONFIG_TYPE, **described.pop("config.json")},
            "layers": [{"mediaType": package.WEIGHT_TYPE, **layer} for layer in described.values()],
        }
    )
    contents["manifest.json"] = manifest
    for name, data in contents.items():
        (out / name).write_bytes(data)
    facts = {
        "manifestDigest": digest_bytes(manifest),
        "manifestSize": len(manifest),
        "packageSize": sum(map(len, contents.values())),
        "variant": variant,
        "sizeBytes": len(contents[package.MODEL_FILE]),
    }
    return Built(digest_bytes(manifest), {name: out / name for name in contents}, facts)


class ObedientDevices(AgentDelivery):
    """The real delivery, with devices behind it that run what they are assigned the moment it is published."""

    def __init__(self, repository: Path, reports: Path, keys: Path, clock: Callable[[], datetime]) -> None:
        super().__init__(repository, reports, keys, clock)
        self._reports = reports
        self._now = clock

    def switch_on(self, devices: Iterable[str]) -> None:
        """Let every device report for the first time: it runs nothing yet."""
        self._reports.mkdir(parents=True, exist_ok=True)
        for device in devices:
            self._say(Report(device=device, sequence=1, sent_at=self._now(), agent_version="1"))

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Publish the assignments; the devices verify them."""
        super().assign(assignments, configs)
        for assignment in assignments:
            self._say(
                Report(
                    device=assignment.device,
                    sequence=assignment.version + 1,
                    sent_at=self._now(),
                    agent_version="1",
                    device_class="lane",
                    assignment_version=assignment.version,
                    models=tuple(_verified(model, self._now()) for model in assignment.models),
                )
            )

    def _say(self, report: Report) -> None:
        (self._reports / report_name(report.device)).write_bytes(report.to_bytes())


def _verified(assigned: Any, now: datetime) -> ModelReport:
    digest = assigned.package.digest
    return ModelReport(
        model=assigned.model,
        phase=Phase.VERIFIED,
        release=assigned.release,
        installed=digest,
        active=digest,
        active_release=assigned.release,
        verified=digest,
        probe=ProbeResult(passed=True, samples=16, max_error=1e-6, atol=0.05, latency_p95_ms=1.0, runtime="none"),
        since=now,
    )
