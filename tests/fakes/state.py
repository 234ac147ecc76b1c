"""A state store in memory, for tests of what is driven through ports.StateReader and ports.StateWriter.

It passes the same suite as SqlState (tests/contract/state). Handles made from one Memory see the same environment, as
processes do; each may try to take the lease. ``Memory.other`` is another environment of the same store.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.fleet.presence import is_doubtful
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState, RolloutSummary, summarize
from edgewright.core.status.conditions import Condition
from edgewright.errors import LeaseHeld, LeaseLost, StateError
from edgewright.ports import DeviceAssignment, Event, Intent
from edgewright_wire.messages import Assignment, Report
from fakes.state_tables import Memory, SharedTables, Tables

T = TypeVar("T")


class InMemoryLease:
    """Implements ports.Lease."""

    def __init__(self, state: "InMemoryState", fence: int, ttl: timedelta, clock: Callable[[], datetime]) -> None:
        self._state = state
        self._ttl = ttl
        self._clock = clock
        self.fence = fence

    def renew(self) -> None:
        if self._state.memory.fence != self.fence:
            raise LeaseLost("another process has taken over the lease of this environment")
        self._state.memory.expires_at = self._clock() + self._ttl

    def release(self) -> None:
        self._state.fence = None
        if self._state.memory.fence == self.fence:
            self._state.memory.fence += 1
            self._state.memory.holder = ""


class InMemoryState:
    """Implements ports.StateReader and ports.StateWriter."""

    def __init__(self, memory: Memory | None = None, *, leased: bool = True) -> None:
        """Open a store.

        Args:
            memory: The store; a new one by default.
            leased: Hold the lease already, for tests that are not about it.
        """
        self.memory = memory or Memory()
        self.fence: int | None = self.memory.fence if leased else None

    def acquire(self, holder: str, ttl: timedelta, clock: Callable[[], datetime]) -> InMemoryLease:
        """Take the lease, as edgewright.state.lease.acquire does."""
        now = clock()
        if self.memory.holder and self.memory.expires_at and self.memory.expires_at > now:
            raise LeaseHeld(f"the state is in use by {self.memory.holder}, until {self.memory.expires_at}")
        self.memory.fence += 1
        self.memory.holder = holder
        self.memory.expires_at = now + ttl
        self.fence = self.memory.fence
        return InMemoryLease(self, self.fence, ttl, clock)

    def artifacts(self, fingerprints: Iterable[str] | None = None) -> Mapping[str, Artifact]:
        made = self.memory.store.tables.artifacts
        wanted = made.keys() if fingerprints is None else {*fingerprints}
        return {a.fingerprint: a for a in sorted(made.values(), key=_age) if a.fingerprint in wanted}

    def package(self, digest: str) -> Artifact | None:
        return next((a for a in self.artifacts().values() if (a.action, a.digest) == (Action.PACKAGE, digest)), None)

    def champions(self) -> Mapping[str, Champion]:
        return _sorted(self.memory.tables.champions)

    def rollout_summaries(self) -> Mapping[Address, RolloutSummary]:
        return {address: summarize(state) for address, state in sorted(self.memory.tables.rollouts.items())}

    def rollout(self, address: Address) -> RolloutState | None:
        return self.memory.tables.rollouts.get(address)

    def assignments(self, devices: Iterable[str] | None = None) -> Mapping[str, DeviceAssignment]:
        return _chosen(self.memory.tables.assignments, devices)

    def unpublished(self) -> Sequence[Assignment]:
        entries = self.memory.tables.assignments
        return [entries[device].assignment for device in sorted(entries) if not entries[device].published]

    def reports(self, devices: Iterable[str] | None = None) -> Mapping[str, Report]:
        return _chosen(self.memory.tables.reports, devices)

    def managed(self) -> Mapping[Address, bool]:
        return dict(sorted(self.memory.tables.managed.items()))

    def failures(self) -> Mapping[str, str]:
        return _sorted(self.memory.store.tables.failures)

    def open_intents(self) -> Sequence[Intent]:
        found = [intent for intent, outcome in self.memory.tables.intents.values() if outcome is None]
        return sorted(found, key=lambda intent: (intent.at, intent.name))

    def plan_used(self, plan_id: str) -> datetime | None:
        return self.memory.tables.plans.get(plan_id)

    def events(self, *, limit: int = 100, address: str | None = None) -> Sequence[Event]:
        found = [e for _, e in reversed(self.memory.tables.events) if address is None or e.address == address]
        return found[:limit]

    def last_revision(self) -> str | None:
        return self.memory.tables.revision

    def enrolled(self) -> Mapping[str, Mapping[str, str]]:
        return _sorted(self.memory.tables.enrolled)

    def requested_controls(self) -> Mapping[Address, Controls]:
        return dict(sorted(self.memory.tables.controls.items()))

    def durations(self) -> Mapping[tuple[Action, str], timedelta]:
        return {(a.action, str(a.address)): timedelta(seconds=a.seconds) for a in self.artifacts().values()}

    def version(self) -> str:
        return f"{self.memory.version}-{self.memory.store.version}"

    def report_sequences(self) -> Mapping[str, int]:
        return {device: report.sequence for device, report in self.memory.tables.reports.items()}

    def accepted_revision(self) -> str | None:
        return self.memory.tables.accepted

    def conditions(self) -> Mapping[Address, Sequence[Condition]]:
        return dict(sorted(self.memory.tables.conditions.items()))

    def events_after(self, cursor: int, *, limit: int = 100) -> Sequence[tuple[int, Event]]:
        return [(number, event) for number, event in self.memory.tables.events if number > cursor][:limit]

    def last_event(self) -> int:
        return self.memory.tables.last_event

    def notified(self) -> Mapping[str, int]:
        return _sorted(self.memory.tables.notified)

    def signals(self) -> Mapping[str, int]:
        return _sorted(self.memory.tables.signals)

    def record_artifact(self, artifact: Artifact) -> None:
        with self._write_shared() as tables:
            tables.artifacts[artifact.fingerprint] = artifact
            tables.failures.pop(artifact.fingerprint, None)

    def forget_artifacts(self, fingerprints: Iterable[str]) -> None:
        with self._write_shared() as tables:
            for fingerprint in fingerprints:
                tables.artifacts.pop(fingerprint, None)

    def record_failure(self, fingerprint: str, message: str) -> None:
        with self._write_shared() as tables:
            tables.failures[fingerprint] = message

    def set_champion(self, model: str, champion: Champion) -> None:
        with self._write() as tables:
            tables.champions[model] = champion

    def save_rollout(self, address: Address, state: RolloutState) -> None:
        self.save_rollout_with_assignments(address, state, (), ())

    def save_rollout_with_assignments(
        self,
        address: Address,
        state: RolloutState,
        assignments: Sequence[Assignment],
        events: Sequence[Event],
        champion: tuple[str, Champion] | None = None,
    ) -> None:
        with self._write() as tables:
            if champion is not None:
                tables.champions[champion[0]] = champion[1]
            tables.rollouts[address] = replace(state, devices=_sorted(state.devices))
            _append(tables, events)
            for assignment in assignments:
                known = tables.assignments.get(assignment.device)
                if known is not None and known.assignment == assignment:
                    continue
                if known is not None and assignment.version <= known.assignment.version:
                    raise StateError(f"device {assignment.device} was assigned {known.assignment.version} already")
                tables.assignments[assignment.device] = DeviceAssignment(assignment, published=False)

    def mark_published(self, versions: Mapping[str, int]) -> None:
        with self._write() as tables:
            for device, version in versions.items():
                known = tables.assignments.get(device)
                if known is not None and known.assignment.version == version:
                    tables.assignments[device] = replace(known, published=True)

    def record_reports(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        with self._write(leased=False) as tables:
            for report in reports:
                known = tables.reports.get(report.device)
                if (
                    known is None
                    or report.sequence > known.sequence
                    or (report.sequence < known.sequence and report.sent_at > known.sent_at)
                    or (report.sequence < known.sequence and now is not None and is_doubtful(known, now))
                ):
                    tables.reports[report.device] = report

    def take_inbox(self, devices: Collection[str], now: datetime | None = None) -> None:
        """Do nothing: only a database has an inbox."""

    def set_managed(self, resources: Mapping[Address, bool]) -> None:
        with self._write() as tables:
            tables.managed = dict(resources)

    def begin(self, intent: Intent) -> None:
        with self._write() as tables:
            _, outcome = tables.intents.get(intent.name, (intent, "new"))
            if outcome is not None:
                tables.intents[intent.name] = (intent, None)

    def finish(self, name: str, outcome: str) -> None:
        with self._write() as tables:
            known = tables.intents.get(name)
            if known is not None and known[1] is None:
                tables.intents[name] = (known[0], outcome)

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        with self._write() as tables:
            unused = plan_id not in tables.plans
            tables.plans.setdefault(plan_id, at)
        return unused

    def add_events(self, events: Sequence[Event]) -> None:
        with self._write() as tables:
            _append(tables, events)

    def set_last_revision(self, revision: str) -> None:
        with self._write() as tables:
            tables.revision = revision

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        with self._write(leased=False) as tables:
            tables.enrolled |= {device: dict(labels) for device, labels in devices.items()}

    def unenroll(self, devices: Iterable[str]) -> None:
        with self._write(leased=False) as tables:
            for device in devices:
                tables.enrolled.pop(device, None)

    def request_controls(self, address: Address, controls: Controls) -> None:
        with self._write(leased=False) as tables:
            tables.controls[address] = controls

    def take_controls(self, taken: Mapping[Address, Controls]) -> None:
        with self._write() as tables:
            for address, controls in taken.items():
                if tables.controls.get(address) == controls:
                    del tables.controls[address]

    def accept_revision(self, revision: str) -> None:
        with self._write() as tables:
            tables.accepted = revision

    def set_conditions(self, conditions: Mapping[Address, Sequence[Condition]]) -> None:
        with self._write() as tables:
            tables.conditions = {address: tuple(found) for address, found in conditions.items() if found}

    def set_notified(self, receiver: str, cursor: int) -> None:
        with self._write() as tables:
            tables.notified[receiver] = cursor

    def signal(self, name: str) -> None:
        with self._write(leased=False) as tables:
            tables.signals[name] = tables.signals.get(name, 0) + 1

    def prune_history(self, *, keep: int) -> int:
        with self._write() as tables:
            told = min(tables.notified.values(), default=tables.last_event)
            before = len(tables.events)
            old = [number for number, _ in tables.events[: max(before - keep, 0)] if number <= told]
            tables.events = tables.events[len(old) :]
            if tables.events and tables.events[0][0] > 1:
                first = tables.events[0][1].at
                tables.intents = {n: i for n, i in tables.intents.items() if i[1] is None or i[0].at >= first}
                tables.plans = {plan: at for plan, at in tables.plans.items() if at >= first}
        return len(old)

    @contextmanager
    def _write(self, *, leased: bool = True) -> Iterator[Tables]:
        """Give a copy of the tables that replaces them at the end, or leaves no trace."""
        self._check(leased)
        with self.memory.store.writing:
            tables = self.memory.tables.copied()
            yield tables
            if tables != self.memory.tables:
                self.memory.tables = tables
                self.memory.version += 1

    @contextmanager
    def _write_shared(self) -> Iterator[SharedTables]:
        """Do the same for what environments share."""
        self._check(leased=True)
        store = self.memory.store
        with store.writing:
            tables = store.tables.copied()
            yield tables
            if tables != store.tables:
                store.tables = tables
                store.version += 1

    def _check(self, leased: bool) -> None:
        if self.fence is None and leased:
            raise StateError("the state store would be written without its lease")
        if self.fence is not None and self.fence != self.memory.fence:
            raise LeaseLost("another process has taken over the lease of this environment")


def _append(tables: Tables, events: Sequence[Event]) -> None:
    tables.events += enumerate(events, tables.last_event + 1)
    tables.last_event += len(events)


def _age(artifact: Artifact) -> tuple[str, str]:
    made = artifact.created_at
    return (made.astimezone(UTC).isoformat(timespec="microseconds") if made else "", artifact.fingerprint)


def _sorted(table: Mapping[str, T]) -> dict[str, T]:
    return dict(sorted(table.items()))


def _chosen(table: Mapping[str, T], devices: Iterable[str] | None) -> dict[str, T]:
    wanted = table.keys() if devices is None else set(devices)
    return {device: table[device] for device in sorted(wanted) if device in table}
