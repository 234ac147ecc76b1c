"""A Git repository of specs, of any size, applied whole: what plans that find nothing to do are measured on.

A fifth of the resources each are datasets, models, thresholds, fleets and rollouts. Everything is applied by the real
reconciler into a real state store, blob store and signed repository; only training and the devices are instant
(``instant``). ``python -m benchmarks.workload FOLDER RESOURCES DEVICES`` is run by ``__main__``.
"""

import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from threading import Lock

from benchmarks.instant import ObedientDevices, instant_builder
from edgewright.delivery.repository.keys import create_keys
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.device_configs import Configurator
from edgewright.reconcile.listener import NullListener
from edgewright.reconcile.observer import Observer
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.rollouts import RolloutDriver
from edgewright.reconcile.run import RunContext, RunOptions
from edgewright.state.lease import acquire
from edgewright.state.store import SqlState, Work
from edgewright.wiring.config_renderer import TemplateRenderer
from edgewright.wiring.workspace import Workspace

KINDS = 5
_STEPS_AT_ONCE = 8
_LEASE = timedelta(minutes=1)
_IDENTITY = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false")

_DOCUMENTS = {
    "datasets": """\
kind: Dataset
metadata: {{name: tags-{n}, labels: {{team: vision}}, description: "Price tags, part {n}"}}
spec:
  source: {{uri: data/{n}.csv, format: csv}}
  columns: {{weight: {{type: number}}, label: {{type: category, values: [a, b]}}}}
  split: {{train: 0.8, validation: 0.1, test: 0.1, seed: 7, groupBy: store}}
  slices: [store]
  checks: [{{rows: {{min: 10}}}}, {{column: label, missing: {{max: 0}}}}]
""",
    "models": """\
kind: Model
metadata: {{name: reader-{n}, labels: {{team: vision}}}}
spec:
  task: tabular-classification
  dataset: tags-{n}
  architecture: {{use: mlp, with: {{hidden: [32, 16]}}}}
  training: {{epochs: 20, batchSize: 64, optimizer: adam, learningRate: 0.001, seed: {n}}}
  package:
    quantization: {{mode: static-int8, calibrationSamples: 80}}
    golden: {{samples: 16, atol: 0.05}}
  thresholds: reader-{n}
""",
    "thresholds": """\
kind: Thresholds
metadata: {{name: reader-{n}}}
spec:
  gates:
    - {{metric: accuracy, min: 0.95}}
    - {{metric: accuracy, slice: {{store: "*"}}, min: 0.90}}
    - {{metric: accuracy, maxDegradation: 0.01, against: champion}}
    - {{metric: sizeBytes, max: 400KiB}}
""",
    "fleets": """\
kind: Fleet
metadata: {{name: stores-{n}}}
spec:
  inventory: inventories/{n}.csv
""",
    "rollouts": """\
kind: Rollout
metadata: {{name: reader-{n}}}
spec:
  model: reader-{n}
  fleet: stores-{n}
  success: {{minRatio: 0.98, deadline: 24h}}
""",
}


def write_repository(folder: Path, resources: int, devices: int) -> list[str]:
    """Commit a repository with so many resources and devices; returns the devices' ids."""
    parts = resources // KINDS
    files = {"edgewright.yaml": "kind: Repository\nmetadata: {name: benchmark}\nspec: {paths: [specs]}\n"}
    named: list[str] = []
    for n in range(parts):
        for kind, text in _DOCUMENTS.items():
            files[f"specs/{kind}/{n:05}.yaml"] = text.format(n=n)
        files[f"data/{n}.csv"] = "store,weight,label\n" + "".join(f"store-{i % 6},{i + n},a\n" for i in range(20))
        ids = [f"lane-{number:06}" for number in range(n * devices // parts, (n + 1) * devices // parts)]
        files[f"inventories/{n}.csv"] = "id,class,ring\n" + "".join(f"{id_},lane,general\n" for id_ in ids)
        named += ids
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"apiVersion: edgewright.dev/v1alpha1\n{text}" if path.endswith(".yaml") else text)
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), (*_IDENTITY, "commit", "-q", "-m", "Everything")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return named


_EDITS = {"thresholds": ("accuracy, min: 0.9", "accuracy, min: 0.90"), "models": ("epochs: 2", "epochs: 12")}


def edit(folder: Path, kind: str, number: int) -> str:
    """Commit a change of one resource: of thresholds, which trains nothing, or of a model; returns the commit."""
    path = f"specs/{kind}/{number:05}.yaml"
    before, after = _EDITS[kind]
    text = (folder / path).read_text()
    assert before in text, path
    (folder / path).write_text(text.replace(before, after, 1))
    for command in (("add", path), (*_IDENTITY, "commit", "-q", "-m", f"Change {path}")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


class _State(SqlState):
    """Lets threads write in turn, so that none waits for the database's lock."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._turn = Lock()

    def _write(self, work: Work, *, leased: bool = True) -> bool:
        with self._turn:
            return super()._write(work, leased=leased)


def apply_all(repository: Path, devices: Iterable[str]) -> None:
    """Bring everything about, until every device has verified its model.

    Raises:
        RuntimeError: The run did not converge.
    """
    workspace = Workspace(repository)
    folder, source, blobs, clock = workspace.folder, workspace.source, workspace.blobs, workspace.clock
    create_keys(workspace.keys)
    delivery = ObedientDevices(folder / "repository", folder / "reports", workspace.keys, clock)
    delivery.create()
    delivery.switch_on(devices)
    with _State(folder / "state.db") as state, acquire(state, "benchmark", _LEASE, clock) as lease:
        context = RunContext(state, state, NullListener(), clock)
        configurator = Configurator(context, source, blobs, TemplateRenderer())
        reconciler = Reconciler(
            context=context,
            source=source,
            observer=Observer(state, blobs, delivery, workspace.sources),
            delivery=delivery,
            build_runner=BuildRunner(context, blobs, instant_builder(), folder / "work"),
            publisher=Publisher(context, blobs, delivery),
            rollout_driver=RolloutDriver(context, configurator, delivery, delivery),
            lease=lease,
        )
        outcome = reconciler.run(RunOptions(jobs=_STEPS_AT_ONCE))
    if not outcome.converged:
        raise RuntimeError(f"the workload did not converge: {outcome.failures[:3]} {outcome.plan.notes[:3]}")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    apply_all(target, write_repository(target, resources=int(sys.argv[2]), devices=int(sys.argv[3])))
