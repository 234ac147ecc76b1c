"""A continuous run in virtual time, in the test's own thread: what happens to it is a script, and waits take no time.

Every moment at which a run could be overtaken by events (a plan made, a pass ended, a wait) is a beat, and each event
of the script comes so many beats after the one before it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgewright.core.address import Address
from edgewright.core.planning.plan import Plan
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.errors import DeliveryUnavailable, EdgewrightError, StateUnavailable, StorageFull
from edgewright.ports import PackageContent
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.run import RunOptions
from edgewright_wire.messages import Assignment, ModelAssignment, ModelReport, Report
from edgewright_wire.messages import Phase as DevicePhase
from fakes.builder import FakeBuilder
from fakes.state import InMemoryState
from fakes.state_tables import Memory, SharedTables, Tables
from harness.memory_run import Devices, Log, World

HEARTBEAT = timedelta(seconds=30)


class Crash(BaseException):
    """The process is gone: nothing catches it."""


class Fates:
    """What goes wrong: which parts are down, and after how many writes the process dies."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.writes_left: int | None = None
        self.is_dead = False

    def write(self) -> None:
        """Come by before and after every write; dead processes write nothing more.

        Raises:
            Crash: This was the last one.
        """
        if self.writes_left is not None:
            self.writes_left -= 1
            self.is_dead = self.is_dead or self.writes_left < 0
        if self.is_dead:
            raise Crash

    def restart(self) -> None:
        self.writes_left, self.is_dead = None, False


class FatedState(InMemoryState):
    """A store that may be down, and in the middle of whose writes the process may die."""

    def __init__(self, fates: Fates) -> None:
        super().__init__(Memory(), leased=False)
        self.fates = fates

    @contextmanager
    def _write(self, *, leased: bool = True) -> Iterator[Tables]:
        self._come_by()
        with super()._write(leased=leased) as tables:
            yield tables
        self.fates.write()

    @contextmanager
    def _write_shared(self) -> Iterator[SharedTables]:
        self._come_by()
        with super()._write_shared() as tables:
            yield tables
        self.fates.write()

    def _come_by(self) -> None:
        self.fates.write()
        if "state" in self.fates.down:
            raise StateUnavailable("the database does not answer")

    def reports(self, devices: "Sequence[str] | object" = None) -> Mapping[str, Report]:
        if "state" in self.fates.down:
            raise StateUnavailable("the database does not answer")
        return super().reports(devices)  # type: ignore[arg-type] # as given


class FatedDevices(Devices):
    """Devices that run what they last verified, report now and then, and may be off or refuse what is new to them."""

    def __init__(self, clock: Callable[[], datetime], fates: Fates) -> None:
        super().__init__(clock)
        self.fates = fates
        self.active: dict[str, dict[str, ModelAssignment]] = {}
        """By device and model, what it runs and has verified."""
        self.proven: set[tuple[str, str]] = set()
        """Device and release, of all that was ever verified."""
        self.rejected: set[tuple[str, str]] = set()
        """Model and release, of all that a device ever refused."""
        self._failed: dict[str, set[str]] = {}
        self._taken: dict[str, int] = {}
        self._sent: dict[str, datetime] = {}

    def published(self) -> frozenset[str]:
        self._read()
        return super().published()

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        self._read()
        for device in sorted(self.online):
            assignment = self.assignments.get(device)
            if assignment is not None and self._taken.get(device) != assignment.version:
                self._take(device, assignment)
            elif device in self._sent and self.clock() - self._sent[device] < HEARTBEAT:
                continue
            self._sent[device] = self.clock()
            self._sequence += 1
            self.report(self._say(device, assignment))
        return [r for d, r in sorted(self.reports.items()) if r.sequence > known.get(d, 0)]

    def _take(self, device: str, assignment: Assignment) -> None:
        self._taken[device] = assignment.version
        self._failed[device] = set()
        running = self.active.setdefault(device, {})
        for model in running.keys() - {slot.model for slot in assignment.models}:
            del running[model]
        for slot in assignment.models:
            if device in self.refused and (device, slot.release) not in self.proven:
                self._failed[device].add(slot.model)
                self.rejected.add((slot.model, slot.release))
            else:
                running[slot.model] = slot
                self.proven.add((device, slot.release))

    def _say(self, device: str, assignment: Assignment | None) -> Report:
        models = []
        for slot in assignment.models if assignment else ():
            failed = slot.model in self._failed[device]
            active = self.active[device].get(slot.model)
            package = active.package.digest if active else None
            models.append(
                ModelReport(
                    model=slot.model,
                    phase=DevicePhase.FAILED if failed else DevicePhase.VERIFIED,
                    release=slot.release,
                    installed=slot.package.digest,
                    active=package,
                    active_release=active.release if active else None,
                    verified=package,
                    reason="ProbeMismatch" if failed else "",
                )
            )
        return Report(
            device=device,
            sequence=self._sequence,
            sent_at=self.clock(),
            agent_version="0.1.0",
            assignment_version=assignment.version if assignment else 0,
            models=tuple(models),
        )

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        refused = super().publish(packages)
        self.fates.write()
        return refused

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        super().assign(assignments, configs)
        self.fates.write()

    def _read(self) -> None:
        if "share" in self.fates.down:
            raise DeliveryUnavailable("the share does not answer")

    def _may_fail(self) -> None:
        self.fates.write()
        self._read()


class FatedBuilder(FakeBuilder):
    """A builder that may find no space."""

    def __init__(self, fates: Fates) -> None:
        super().__init__()
        self.fates = fates

    def build(self, task, workdir, progress, cancel):  # type: ignore[no-untyped-def] # as its base
        if "disk" in self.fates.down:
            raise StorageFull("no space is left")
        return super().build(task, workdir, progress, cancel)


class _Steps(threading.Event):
    """Waits by letting virtual time pass; only for threads at work it waits in earnest."""

    def __init__(self, stepped: "Stepped") -> None:
        super().__init__()
        self._stepped = stepped

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._stepped.let_pass(self, timeout or 0.0)
        return self.is_set()


@dataclass
class Event:
    """Something that happens so many beats after what was before it."""

    beats: int
    what: str
    act: Callable[[], None]


class Watching(Log):
    """Tells the beats of a run."""

    def __init__(self, stepped: "Stepped") -> None:
        super().__init__()
        self._stepped = stepped

    def planned(self, plan: Plan) -> None:
        self._stepped.beat()

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        self._stepped.finished(desired, conditions, settled=settled)

    def waiting(self) -> None:
        self._stepped.beat()

    def pass_failed(self, error: EdgewrightError, until: datetime) -> None:
        self.lines.append(f"trouble: {error.message}")
        self._stepped.beat()


@dataclass
class Stepped:
    """A world, and the run in it."""

    folder: Path
    files: Mapping[str, str]
    patience: timedelta = timedelta(hours=3)
    """Virtual time after the last event in which everything must have come to rest."""
    now: datetime = datetime(2026, 3, 2, 12, tzinfo=UTC)
    conditions: Mapping[Address, Sequence[Condition]] = field(default_factory=dict)
    restarts: int = 0
    _script: list[Event] = field(default_factory=list)
    _until: datetime | None = None
    _reconciler: Reconciler | None = None
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.fates = Fates()
        self.world = World(self.folder, self.files, lambda: self.now)
        self.world.state = FatedState(self.fates)
        self.world.devices = self.devices = FatedDevices(lambda: self.now, self.fates)
        self.world.builder = FatedBuilder(self.fates)
        self.world.log = Watching(self)
        self.log: list[str] = []

    def play(self, script: Sequence[Event], done: Callable[[], bool]) -> None:
        """Run, and start again whenever the process dies, until the script is over and ``done`` when at rest."""
        self._script, self._done, self._until = list(script), done, None
        ended = False
        while not ended:
            self.fates.restart()
            self.world.state.memory.holder = ""  # of a process that is dead, which is seen at once
            ended = self._live()

    def _live(self) -> bool:
        self._stopping = False
        try:
            self._reconciler = reconciler = self.world.reconciler()
            reconciler._wake, reconciler._stop = _Steps(self), _Steps(self)
            reconciler.run(RunOptions(continuous=True, jobs=1))
            reconciler.lease.release()
        except Crash:
            self.log.append("crashed")
            self.restarts += 1
            return False
        except EdgewrightError as error:
            self.log.append(f"ended: {error.message}")
            self.restarts += 1
            self.now += timedelta(seconds=5)
            self.beat()
            return False
        return not self._stopping

    def restart(self) -> None:
        """End the process softly, and start it again."""
        self._stopping = True
        if self._reconciler is not None:
            self._reconciler.stop()

    def wake(self) -> None:
        """As a webhook or a poll does."""
        if self._reconciler is not None:
            self._reconciler.wake()

    def let_pass(self, event: threading.Event, seconds: float) -> None:
        """Let virtual time pass, or work go on."""
        pool = self._reconciler._pool if self._reconciler is not None else None
        if pool is not None and pool.busy:
            threading.Event.wait(event, 0.05)
        else:
            self.now += timedelta(seconds=max(seconds, 0.01))
            self.beat()

    def beat(self) -> None:
        """Let happen what is due."""
        while self._script:
            if self._script[0].beats > 0:
                self._script[0].beats -= 1
                return
            event = self._script.pop(0)
            self.log.append(event.what)
            event.act()
            self.wake()
        if self._until is None:
            self._until = self.now + self.patience
        if self.now > self._until and self._reconciler is not None:
            self._reconciler.stop()

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        """End where everything is as it should be."""
        self.conditions = conditions
        if not self._script and settled and self._done() and self._reconciler is not None:
            self._reconciler.stop()
        self.beat()
