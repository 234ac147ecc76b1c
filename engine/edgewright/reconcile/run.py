"""Options, shared context and result of a run. Used by all of ``reconcile``, and by what starts or shows runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgewright.core.config_drift import CONFIG_DRIFTED
from edgewright.core.planning.plan import Note, Plan
from edgewright.errors import EdgewrightError
from edgewright.ports import Event, StateReader, StateWriter
from edgewright.reconcile.listener import Listener


@dataclass(frozen=True, slots=True)
class RunContext:
    """Shared context of a run's parts: the state store, the listener and the clock."""

    reader: StateReader
    writer: StateWriter
    listener: Listener
    clock: Callable[[], datetime]
    """Gives aware UTC times."""

    def announce(self, events: Sequence[Event]) -> None:
        """Pass events that are stored on to the listener."""
        for event in events:
            self.listener.happened(event)

    def record(self, events: Sequence[Event]) -> None:
        """Append events to history, and pass them on to the listener.

        Raises:
            LeaseLost, StorageFull: As ports.HistoryWriter.
        """
        self.writer.add_events(events)
        self.announce(events)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that did not succeed in this run."""

    step: str
    error: EdgewrightError


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run."""

    plan: Plan
    """The last one: what is still to do."""
    failures: tuple[Failure, ...] = ()
    timed_out: bool = False
    stopped: bool = False
    """By a person; everything can be resumed."""
    superseded_by: str | None = None
    """A newer revision this run was not allowed to take up."""

    @property
    def converged(self) -> bool:
        """True where reality matches the specs."""
        return self.plan.empty and not self.failures and not self.blocked and not self.waiting

    @property
    def blocked(self) -> tuple[Note, ...]:
        """Notes on what needs a change of the specs."""
        return tuple(note for note in self.plan.notes if note.severity == "blocked")

    @property
    def drifted(self) -> tuple[Note, ...]:
        """Notes on drift that was not repaired."""
        return tuple(note for note in self.plan.notes if note.reason == CONFIG_DRIFTED)

    @property
    def waiting(self) -> tuple[Note, ...]:
        """Notes on what needs time or a person."""
        return tuple(note for note in self.plan.notes if note.severity == "waiting")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run."""

    allowed: frozenset[str] | None = None
    """Ids of the steps of an approved plan, with all that follows from starting a rollout; None: whatever is
    needed."""
    revision: str | None = None
    """The revision that was approved; None: whatever the source is at."""
    follow: bool = False
    """Take up a newer revision that appears during the run."""
    continuous: bool = False
    """Run until stopped: retry failed steps with backoff, and take up newer revisions."""
    drift: bool = True
    """Scan for drift, at once and then at the specs' interval; off for a plan that was approved without a scan."""
    until: datetime | None = None
    retry_failures: bool = False
    jobs: int = 2
