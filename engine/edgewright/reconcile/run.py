"""What a run may do, and how it ended. Called by ``reconciler`` and by what starts runs and shows their end."""

from dataclasses import dataclass
from datetime import datetime

from edgewright.core.config_drift import DRIFTED
from edgewright.core.planning.plan import Note, Plan
from edgewright.errors import EdgewrightError


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that did not succeed in this run."""

    step: str
    error: EdgewrightError


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

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
        """Whether reality matches."""
        return self.plan.empty and not self.failures and not self.blocked and not self.waiting

    @property
    def blocked(self) -> tuple[Note, ...]:
        """What needs a change of the specs."""
        return tuple(note for note in self.plan.notes if note.severity == "blocked")

    @property
    def drifted(self) -> tuple[Note, ...]:
        """What is not as it should be, and was not repaired."""
        return tuple(note for note in self.plan.notes if note.reason == DRIFTED)

    @property
    def waiting(self) -> tuple[Note, ...]:
        """What needs time or a person."""
        return tuple(note for note in self.plan.notes if note.severity == "waiting")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run may do."""

    allowed: frozenset[str] | None = None
    """Ids of the steps of an approved plan, with all that follows from starting a rollout; None: whatever is
    needed."""
    revision: str | None = None
    """The revision that was approved; None: whatever the source is at."""
    follow: bool = False
    """Take up a newer revision that appears during the run."""
    standing: bool = False
    """Go on for ever: what failed is tried again later, and newer revisions are taken up."""
    drift: bool = True
    """Look for drift, at once and then at the specs' interval. A plan approved without a look is held to its steps."""
    until: datetime | None = None
    retry_failures: bool = False
    jobs: int = 2
