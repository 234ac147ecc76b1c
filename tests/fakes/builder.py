"""A builder that builds nothing: it makes deterministic artifacts at once. Passes tests/contract/builder."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgewright.core.artifact import Action
from edgewright.core.facts import ExportFacts, Facts, parse_facts
from edgewright.errors import Cancelled, EdgewrightError
from edgewright.ports import BuildTask, Built, Cancel, Progress
from edgewright_wire import package
from edgewright_wire.canonical import canonical_json, digest_bytes, digest_json

Work = tuple[Action, str]
"""A step's action and the name of its resource."""

METRICS = {"accuracy": 0.99, "f1Macro": 0.99, "loss": 0.05, "latencyP50Ms": 1.0, "latencyP95Ms": 2.0}
FILES: Mapping[Action, tuple[str, ...]] = {
    Action.BUILD_DATASET: ("train.parquet", "validation.parquet", "test.parquet", "schema.json"),
    Action.TRAIN: ("weights.pt", "history.json"),
    Action.IMPORT: ("model.onnx",),
    Action.COMMAND: ("model.onnx",),
    Action.EVALUATE: ("evidence.json",),
}


class FakeBuilder:
    """Implements ports.Builder. What a step makes follows from its fingerprint, or from ``contents``."""

    def __init__(self) -> None:
        self.contents: dict[Work, str] = {}
        """Makes two fingerprints of a step come to the same output."""
        self.metrics: dict[str, dict[str, float]] = {}
        """Figures of a model's evaluation, by its name; METRICS otherwise."""
        self.slices: dict[str, list[str]] = {}
        """Values of each column that evaluations are cut into; every slice has the model's own figures."""
        self.failures: dict[Work, EdgewrightError] = {}
        """What a step raises, every time, until it is taken out."""
        self.held: set[Work] = set()
        """Steps that go on until they are cancelled."""
        self.started = threading.Event()
        """Set when a held step has started."""
        self.tasks: list[BuildTask] = []
        """Every task begun, in order."""
        self.workdirs: list[Path] = []
        """The folder each of them was given."""
        self._lock = threading.Lock()

    @property
    def work(self) -> list[Work]:
        """What was begun, in order."""
        return [(task.action, task.address.name) for task in self.tasks]

    def build(
        self, task: BuildTask, workdir: Path, progress: Callable[[Progress], None], cancel: Cancel
    ) -> Built[Facts]:
        """Make the artifact of a step; see ports.Builder.build."""
        if cancel.is_set():
            raise Cancelled(f"{task.action} of {task.address} was cancelled before it started")
        with self._lock:
            self.tasks.append(task)
            self.workdirs.append(workdir)
        work = (task.action, task.address.name)
        progress(Progress(task.address, task.action, 0, 1, "step"))
        if work in self.failures:
            raise self.failures[work]
        if work in self.held:
            self.started.set()
            cancel.wait()
            raise Cancelled(f"{task.action} of {task.address} was cancelled")
        content = self.contents.get(work, task.fingerprint)
        out = workdir / "out"
        out.mkdir(parents=True, exist_ok=True)
        built = self._make(task, content, out)
        progress(Progress(task.address, task.action, 1, 1, "step", self._figures(task)))
        return built

    def _make(self, task: BuildTask, content: str, out: Path) -> Built[Facts]:
        name = task.address.name
        match task.action:
            case Action.EXPORT:
                return self._export(task, content, out)
            case Action.PACKAGE:
                return self._package(task, content, out)
            case Action.BUILD_DATASET:
                facts: dict[str, Any] = {
                    "rows": {"train": 80, "validation": 10, "test": 10},
                    "columns": {"image": {"type": "image"}, "label": {"type": "category", "values": ["a", "b"]}},
                    "features": ["image"],
                    "label": "label",
                    "slices": self.slices,
                    "inputShape": [1, 8, 8],
                    "contentDigest": digest_json(content),
                }
            case Action.TRAIN:
                facts = {"epochs": 1, "bestEpoch": 1, "metrics": self.metrics.get(name, METRICS), "parameters": 10}
                facts |= {"architecture": "small-cnn"}
            case Action.EVALUATE:
                figures = self.metrics.get(name, METRICS)
                export = task.inputs.get("export")
                variants = [*export.facts.variants] if export and isinstance(export.facts, ExportFacts) else ["fp32"]
                facts = {"variants": {variant: self._evidence(figures) for variant in variants}}
            case _:
                facts = {"parameters": 10}
        files = {}
        for file in FILES[task.action]:
            files[file] = out / file
            files[file].write_text(json.dumps([name, file, content]))
        if task.action is Action.EVALUATE:
            matrix = {variant: {**found, "confusion": [[4, 1], [0, 5]]} for variant, found in facts["variants"].items()}
            evidence = {"classes": ["a", "b"], "variants": matrix, "content": content}
            files["evidence.json"].write_text(json.dumps(evidence))
        digest = digest_json([task.action, name, content, facts])
        return Built(digest, files, parse_facts(task.action, facts), {"fake": "1"})

    def _export(self, task: BuildTask, content: str, out: Path) -> Built[Facts]:
        variants = ["fp32"]
        if task.spec.get("package", {}).get("quantization", {}).get("mode", "none") != "none":
            variants.append("int8")
        files, described = {}, {}
        for variant in variants:
            data = f"{task.address.name} {variant} {content}".encode()
            files[f"model.{variant}.onnx"] = out / f"model.{variant}.onnx"
            files[f"model.{variant}.onnx"].write_bytes(data)
            described[variant] = {"digest": digest_bytes(data), "size": len(data), "precision": variant}
        facts = {
            "variants": described,
            "parity": dict.fromkeys(variants, 0.0),
            "inputName": "input",
            "outputName": "output",
            "inputShape": [1, 8, 8],
            "inputType": "float32",
        }
        digest = digest_json([task.address.name, "export", content])
        return Built(digest, files, parse_facts(task.action, facts), {"fake": "1"})

    def _package(self, task: BuildTask, content: str, out: Path) -> Built[Facts]:
        variant = str(task.params.get("variant") or "fp32")
        contents = {
            "config.json": b"{}",
            package.MODEL_FILE: f"{task.address.name} {variant} {content}".encode(),
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
        digest = digest_bytes(manifest)
        size = sum(map(len, contents.values()))
        facts = {
            "manifestDigest": digest,
            "manifestSize": len(manifest),
            "packageSize": size,
            "variant": variant,
            "sizeBytes": len(contents[package.MODEL_FILE]),
        }
        return Built(digest, {name: out / name for name in contents}, parse_facts(task.action, facts), {"fake": "1"})

    def _figures(self, task: BuildTask) -> Mapping[str, float]:
        return self.metrics.get(task.address.name, METRICS) if task.action is Action.TRAIN else {}

    def _evidence(self, figures: Mapping[str, float]) -> dict[str, Any]:
        size = figures.get("sizeBytes", 1000)
        overall = {**figures, "sizeBytes": size}
        p95 = figures.get("latencyP95Ms", 2.0)
        slices = {f"{column}={value}": dict(figures) for column, values in self.slices.items() for value in values}
        return {"overall": overall, "slices": slices, "sizeBytes": size, "latencyP95Ms": p95, "rows": 10}
