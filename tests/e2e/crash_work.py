"""A small world to crash in: specs, a builder that counts what it does, devices that read what is published.

Everything else is real: the reconciler, the workspace's wiring, the state store, blobs, signing. What must be known
after a crash lies in files below the workspace's folder, written by whoever did it.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from devices.tuf import TufDevice
from e2e.crash_points import Fuse, FusedBlobs, FusedDelivery, FusedState
from edgewright import durable
from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.config_drift import RepositoryInspection
from edgewright.core.facts import Facts
from edgewright.core.fleet.routes import Capability
from edgewright.core.rollout.state import RolloutState
from edgewright.errors import Cancelled
from edgewright.ports import BuildTask, Built, Cancel, DeliveryReader, Progress
from edgewright.reconcile.listener import Listener, NullListener
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.run import RunOptions, RunResult
from edgewright.wiring.workspace import Workspace
from edgewright_wire.layout import METADATA
from edgewright_wire.messages import Assignment, ModelReport, Phase, Report
from fakes.builder import FakeBuilder
from samples.repositories import HEADER, MODEL, make_repository

EPOCHS = 3
ROLLOUT = Address("rollout", "reader")
DEVICES = ("d1", "d2", "d3")
FILES: Mapping[str, str] = {
    "edgewright.yaml": HEADER
    + "kind: Repository\nmetadata: {name: crash}\nspec: {paths: [specs], delivery: {bins: 2}}\n",
    "specs/dataset.yaml": HEADER
    + "kind: Dataset\nmetadata: {name: tags}\nspec:\n  source: {uri: data/tags.csv, format: csv}\n"
    + "  columns: {weight: {type: number}, label: {type: category}}\n",
    "specs/model.yaml": MODEL,
    "specs/thresholds.yaml": HEADER
    + "kind: Thresholds\nmetadata: {name: reader}\nspec:\n  gates:\n    - {metric: accuracy, min: 0.9}\n",
    "specs/fleet.yaml": HEADER
    + "kind: Fleet\nmetadata: {name: stores}\nspec:\n  inventory: fleets/stores.csv\n"
    + "  config: {template: templates/lane.toml.j2, path: lane.toml}\n",
    "specs/rollout.yaml": HEADER
    + "kind: Rollout\nmetadata: {name: reader}\nspec:\n  model: reader\n  fleet: stores\n"
    + "  waves: [{select: {matchLabels: {ring: canary}}}, {percent: 100}]\n",
    "data/tags.csv": "weight,label\n1,x\n",
    "fleets/stores.csv": "id,ring\nd1,canary\nd2,rest\nd3,rest\n",
    "templates/lane.toml.j2": "id = {{ device.id }}\n",
}
SWITCHED_OFF = "off.txt"
"""Lists devices that do nothing."""
_WORK_LOG = "work.log"
_DEVICE_LOG = "devices.log"


def make_world(folder: Path) -> Path:
    """Make the spec repository with its keys and an empty published repository, as ``edgewright init`` does."""
    from edgewright.delivery.repository.keys import create_keys

    root = make_repository(folder, FILES)
    workspace = Workspace(root)
    create_keys(workspace.keys)
    workspace.repository(workspace.source.snapshot()).create()
    return root


class CountingBuilder:
    """Implements ports.Builder: FakeBuilder's artifacts, and for training epochs with a checkpoint after each.

    Every epoch that begins, and every other step, is a line of the work log.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._fake = FakeBuilder()

    def build(
        self, task: BuildTask, workdir: Path, progress: Callable[[Progress], None], cancel: Cancel
    ) -> Built[Facts]:
        if task.action is not Action.TRAIN:
            note(self._log, f"{task.action} {task.address}")
            return self._fake.build(task, workdir, progress, cancel)
        checkpoint = workdir / "checkpoint"
        checkpoint.mkdir(parents=True, exist_ok=True)
        file = checkpoint / "epochs"
        for epoch in range(int(file.read_text()) + 1 if file.exists() else 1, EPOCHS + 1):
            if cancel.is_set():
                raise Cancelled(f"{task.address} was cancelled")
            note(self._log, f"{task.action} {task.address} epoch {epoch}")
            durable.write_atomic(file, str(epoch).encode())
            progress(Progress(task.address, task.action, epoch, EPOCHS, "epoch"))
        return self._fake.build(task, workdir, progress, cancel)


class Devices:
    """Implements ports.DeliveryReader: before reports are collected, every device does what an agent does.

    They look at what is published through python-tuf's client, fetch and check it, and drop a report. They are not
    part of the control plane: their files are not counted as points.
    """

    def __init__(self, real: DeliveryReader, folder: Path) -> None:
        state = folder / ".edgewright"
        self._real = real
        self._repository = state / "repository"
        self._reports = state / "reports"
        self._home = folder / "site"
        self._log = folder / _DEVICE_LOG
        self._off = folder / SWITCHED_OFF
        self._seen = b""

    def published(self) -> frozenset[str]:
        return self._real.published()

    def assigned(self) -> Mapping[str, int]:
        return self._real.assigned()

    def damaged(self) -> Mapping[str, str]:
        return self._real.damaged()

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        return self._real.inspect(configs, budget)

    def capabilities(self, devices: Collection[str]) -> Mapping[str, Capability]:
        return self._real.capabilities(devices)

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        timestamp = (self._repository / METADATA / "timestamp.json").read_bytes()
        if timestamp != self._seen:
            client = tuf_client(self._repository, self._home)
            switched_off = lines(self._off)
            present = [device for device in DEVICES if device not in switched_off]
            for device, assigned in client.assignments(present).items():
                self._poll(device, assigned, client)
            self._seen = timestamp
        return self._real.observe(known)

    def in_inbox(self, known: Mapping[str, int]) -> Sequence[str]:
        return self._real.in_inbox(known)

    def _poll(self, device: str, assigned: Assignment | None, client: TufDevice) -> None:
        """Take an assignment up, once; a device that was never assigned anything says that it is there."""
        self._reports.mkdir(exist_ok=True)
        place = self._reports / f"{device}.json"
        before = Report.from_bytes(place.read_bytes()) if place.exists() else None
        version = assigned.version if assigned else 0
        if before is not None and before.assignment_version == version:
            return
        assert before is None or version > before.assignment_version, "a device was taken back"
        models = []
        for model in assigned.models if assigned else ():
            manifest = client.manifest(model.package.digest)
            assert manifest is not None, "an assignment names a package that devices cannot fetch"
            described = json.loads(manifest)
            for part in (described["config"], *described["layers"]):
                client.blob(part["digest"])
            if model.config is not None:
                client.blob(model.config.digest)
            package = model.package.digest
            models.append(
                ModelReport(
                    model=model.model,
                    phase=Phase.VERIFIED,
                    release=model.release,
                    installed=package,
                    active=package,
                    active_release=model.release,
                    verified=package,
                )
            )
        report = Report(
            device=device,
            sequence=before.sequence + 1 if before else 1,
            sent_at=datetime.now(UTC),
            agent_version="0.1.0",
            assignment_version=version,
            models=tuple(models),
        )
        if models:
            note(self._log, f"{device} version {version}: {', '.join(m.release or '' for m in models)}")
        beside = place.with_suffix(".part")
        beside.write_bytes(report.to_bytes())
        beside.replace(place)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run that was not killed has ended."""

    outcome: RunResult
    points: tuple[str, ...]


def apply(folder: Path, fuse: Fuse, *, simulated: bool = True, listener: Listener | None = None) -> Ended:
    """Do what ``edgewright apply --yes`` does, with a fuse in every write side.

    Args:
        folder: The spec repository.
        fuse: Ends this process at its point.
        simulated: Whether CountingBuilder builds and Devices answer; otherwise all is as the command wires it.
        listener: Is told what happens.
    """
    workspace = Workspace(folder)
    desired = workspace.source.snapshot()
    with workspace.lease("edgewright apply") as lease, durable.watched(fuse.file), workspace.state:
        reconciler = _fused(workspace.reconciler(desired, lease, listener or NullListener()), fuse)
        if simulated:
            devices = Devices(reconciler.delivery, folder)
            build_runner = replace(reconciler.build_runner, builder=CountingBuilder(folder / _WORK_LOG))
            observer = replace(reconciler.observer, delivery=devices)
            reconciler = replace(reconciler, delivery=devices, observer=observer, build_runner=build_runner)
        outcome = reconciler.run(RunOptions(follow=True))
    return Ended(outcome, tuple(fuse.names))


def _fused(made: Reconciler, fuse: Fuse) -> Reconciler:
    """Put a fuse before every write side of what the composition root made."""
    context = replace(made.context, writer=FusedState(made.context.writer, fuse))
    blobs = FusedBlobs(made.build_runner.blobs, fuse)
    delivery = FusedDelivery(made.publisher.delivery, fuse)
    configurator = replace(made.rollout_driver.configurator, context=context, blobs=blobs)
    return replace(
        made,
        context=context,
        build_runner=replace(made.build_runner, context=context, blobs=blobs),
        publisher=replace(made.publisher, context=context, delivery=delivery),
        rollout_driver=replace(made.rollout_driver, context=context, configurator=configurator, device_writer=delivery),
    )


def facts(folder: Path) -> dict[str, Any]:
    """Everything that must come out alike, however often the way there was cut off; JSON values."""
    workspace = Workspace(folder)
    desired = workspace.source.snapshot()
    repository = folder / ".edgewright/repository"
    newcomer = tuf_client(repository, folder / "newcomer")
    with workspace.state as state:
        rollout = state.rollout(ROLLOUT)
        found = {
            "artifacts": {
                fingerprint: [artifact.digest, {name: file.digest for name, file in sorted(artifact.files.items())}]
                for fingerprint, artifact in sorted(state.artifacts().items())
            },
            "champions": TypeAdapter(dict[str, Any]).dump_python(dict(state.champions()), mode="json"),
            "rollout": _timeless(TypeAdapter(RolloutState | None).dump_python(rollout, mode="json")),
            "intents": [intent.name for intent in state.open_intents()],
            "assigned": {
                device: [entry.published, entry.assignment.version, entry.assignment.to_bytes().decode()]
                for device, entry in sorted(state.assignments().items())
            },
            "fetched": {device: _text(its) for device, its in newcomer.assignments(DEVICES).items()},
            "published": sorted(workspace.delivery(desired).published()),
            "inventory": sorted(map(str, state.managed())),
            "revision": state.last_revision(),
            "failures": dict(state.failures()),
            "happened": sorted(
                f"{event.address} {event.reason} {event.message}"
                for event in state.events(limit=1000)
                if event.address == str(ROLLOUT)
            ),
            "plan": [str(step) for step in _plan_left(workspace)],
            "working": sorted(path.name for path in (folder / ".edgewright/work").glob("*")),
        }
    found["taken"] = sorted(lines(folder / _DEVICE_LOG))
    return found


def work(folder: Path) -> Counter[str]:
    """How often each epoch and each other step was begun."""
    return Counter(lines(folder / _WORK_LOG))


def tuf_client(repository: Path, home: Path) -> TufDevice:
    """python-tuf's own client, which trusts the repository's first root."""
    return TufDevice(repository, home, (repository / METADATA / "1.root.json").read_bytes())


def note(log: Path, line: str) -> None:
    """Append a line."""
    with log.open("a") as file:
        file.write(line + "\n")


def lines(log: Path) -> list[str]:
    """Read what was noted."""
    return log.read_text().splitlines() if log.exists() else []


def _plan_left(workspace: Workspace) -> Iterable[object]:
    from edgewright.core.planning.planner import plan

    desired = workspace.source.snapshot()
    return plan(desired, workspace.reality(desired).observe(desired), workspace.clock()).steps


def _text(assignment: Assignment | None) -> str | None:
    return assignment.to_bytes().decode() if assignment else None


def _timeless(value: Any) -> Any:
    """Take the moments out of JSON values."""
    if isinstance(value, dict):
        moments = {"since", "assigned_at", "wave_since", "at"}
        return {
            k: _timeless(v)
            for k, v in value.items()
            if k not in moments and not k.endswith(("_at", "_since")) and not k.endswith("since")
        }
    return [_timeless(v) for v in value] if isinstance(value, list) else value
