"""A whole run in memory: every port of the reconciler is a fake, and devices answer at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgewright.core.planning.observed import SourceState
from edgewright.core.planning.plan import Plan, Step, step_id
from edgewright.core.planning.planner import plan
from edgewright.errors import EdgewrightError
from edgewright.ports import Progress
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.device_configs import Configurator
from edgewright.reconcile.listener import NullListener
from edgewright.reconcile.observer import Observer
from edgewright.reconcile.publisher import Publisher
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.rollouts import RolloutDriver
from edgewright.reconcile.run import RunContext, RunOptions, RunResult
from edgewright.wiring.config_renderer import TemplateRenderer
from edgewright_schemas.dataset import Source
from edgewright_wire.messages import Assignment, ModelReport, Report
from edgewright_wire.messages import Phase as DevicePhase
from fakes.blobs import InMemoryBlobs
from fakes.builder import FakeBuilder
from fakes.delivery import InMemoryDelivery
from fakes.source import MemorySource
from fakes.state import InMemoryState

HEAD = "apiVersion: edgewright.dev/v1alpha1\n"


def model(name: str, *, epochs: int = 3, thresholds: bool = True) -> dict[str, str]:
    """A model on the shared dataset."""
    gated = ", thresholds: good" if thresholds else ""
    return {
        f"specs/model-{name}.yaml": f"{HEAD}kind: Model\nmetadata: {{name: {name}}}\n"
        f"spec: {{task: tabular-classification, dataset: tags, architecture: {{use: mlp}}, "
        f"training: {{epochs: {epochs}}}{gated}}}\n"
    }


def rollout(name: str) -> dict[str, str]:
    """Its rollout: one device, then all."""
    return {
        f"specs/rollout-{name}.yaml": f"{HEAD}kind: Rollout\nmetadata: {{name: {name}}}\n"
        f"spec: {{model: {name}, fleet: lanes, waves: [{{percent: 50}}, {{percent: 100}}]}}\n"
    }


FILES: Mapping[str, str] = {
    "data/tags.csv": "weight,label\n1,x\n",
    "templates/lane.toml.j2": "id = '{{ device.id }}'\n",
    "fleets/lanes.csv": "id,store\nlane-1,a\nlane-2,b\n",
    "specs/dataset.yaml": f"{HEAD}kind: Dataset\nmetadata: {{name: tags}}\nspec: {{source: {{uri: data/tags.csv, "
    "format: csv}, columns: {weight: {type: number}, label: {type: category}}}\n",
    "specs/thresholds.yaml": f"{HEAD}kind: Thresholds\nmetadata: {{name: good}}\n"
    "spec: {gates: [{metric: accuracy, min: 0.95}, {metric: accuracy, maxDegradation: 0.01, against: champion}]}\n",
    "specs/fleet.yaml": f"{HEAD}kind: Fleet\nmetadata: {{name: lanes}}\nspec: {{inventory: fleets/lanes.csv, "
    "config: {template: templates/lane.toml.j2, path: lane.toml}}\n",
    **model("reader"),
    **rollout("reader"),
}
"""A whole repository: one dataset, one gated model, two devices with a configuration each, two waves."""


class Devices(InMemoryDelivery):
    """A delivery whose devices take up, verify and report what they are assigned before anyone looks."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.clock = clock
        self.online: set[str] = {"lane-1", "lane-2"}
        self.refused: set[str] = set()
        """Devices that refuse whatever is new to them."""
        self.down: EdgewrightError | None = None
        """What reading the delivery fails with."""
        self._sequence = 0
        self._said: dict[str, int] = {}

    def published(self) -> frozenset[str]:
        if self.down is not None:
            raise self.down
        return super().published()

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        if self.down is not None:
            raise self.down
        for device in sorted(self.online):
            assignment = self.assignments.get(device)
            version = assignment.version if assignment else 0
            if self._said.get(device) != version:
                self._said[device] = version
                self._sequence += 1
                self.report(self._report(device, assignment))
        return super().observe(known)

    def hush(self, *devices: str) -> None:
        """Take devices off the network."""
        self.online -= set(devices)

    def _report(self, device: str, assignment: Assignment | None) -> Report:
        phase = DevicePhase.FAILED if device in self.refused else DevicePhase.VERIFIED
        verified = phase is DevicePhase.VERIFIED
        models = tuple(
            ModelReport(
                model=slot.model,
                phase=phase,
                release=slot.release,
                installed=slot.package.digest,
                active=slot.package.digest if verified else None,
                active_release=slot.release if verified else None,
                verified=slot.package.digest if verified else None,
                reason="" if verified else "ProbeMismatch",
            )
            for slot in (assignment.models if assignment else ())
        )
        return Report(
            device=device,
            sequence=self._sequence,
            sent_at=self.clock(),
            agent_version="0.1.0",
            assignment_version=assignment.version if assignment else 0,
            models=models,
        )


class Log(NullListener):
    """Remembers what a run said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.on_progress: Callable[[Progress], None] = lambda progress: None

    def started(self, step: Step) -> None:
        self.lines.append(f"started {step_id(step)}")

    def progressed(self, progress: Progress) -> None:
        self.on_progress(progress)

    def done(self, step: Step, seconds: float) -> None:
        self.lines.append(f"done {step_id(step)}")

    def failed(self, step: Step, error: EdgewrightError, retry_in: float | None) -> None:
        again = "given up" if retry_in is None else "again"
        self.lines.append(f"failed {step_id(step)}, {again}: {error.message}")


class NoSources:
    """Implements ports.SourceObserver: nothing outside Git is there."""

    def observe(self, source: Source) -> SourceState:
        return SourceState(None, "not there")


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass
class World:
    """Everything a run touches; runs come and go, it stays."""

    folder: Path
    files: Mapping[str, str] = field(default_factory=lambda: FILES)
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        self.source = MemorySource(self.files)
        self.state = InMemoryState(leased=False)
        self.blobs = InMemoryBlobs(self.folder / "blobs")
        self.builder = FakeBuilder()
        self.devices = Devices(self.clock)
        self.log = Log()

    def plan(self) -> Plan:
        """Plan, as a person would before approving."""
        desired = self.source.snapshot()
        return plan(desired, self._observer().observe(desired), self.clock())

    def _observer(self) -> Observer:
        return Observer(self.state, self.blobs, self.devices, NoSources())

    def reconciler(self) -> Reconciler:
        """Wire a run, with the lease."""
        lease = self.state.acquire("test", timedelta(hours=1), self.clock)
        context = RunContext(self.state, self.state, self.log, self.clock)
        configurator = Configurator(context, self.source, self.blobs, TemplateRenderer())
        return Reconciler(
            context=context,
            source=self.source,
            observer=self._observer(),
            delivery=self.devices,
            build_runner=BuildRunner(context, self.blobs, self.builder, self.folder / "work"),
            publisher=Publisher(context, self.blobs, self.devices),
            rollout_driver=RolloutDriver(context, configurator, self.devices, self.devices),
            lease=lease,
        )

    def run(self, **options: object) -> RunResult:
        """Run once; a run that does not end by itself is a failure after a while."""
        reconciler = self.reconciler()
        until = self.clock() + timedelta(seconds=30)
        try:
            return reconciler.run(RunOptions(**{"until": until, **options}))  # type: ignore[arg-type]  # by name, from tests
        finally:
            reconciler.lease.release()

    def work(self) -> list[str]:
        """List the build steps begun so far, and forget them."""
        done = [f"{action} {name}" for action, name in self.builder.work]
        self.builder.tasks.clear()
        return done

    def running(self) -> dict[str, dict[str, str]]:
        """Say which release each device has been assigned, by model."""
        return {
            device: {slot.model: slot.release for slot in assignment.models}
            for device, assignment in sorted(self.devices.assignments.items())
        }

    def reasons(self, address: str) -> list[str]:
        """List what history says happened to a resource, oldest first."""
        return [event.reason for event in reversed(self.state.events(address=address))]
