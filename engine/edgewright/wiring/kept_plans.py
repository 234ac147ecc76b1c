"""Plans that found nothing to do, kept from one command to the next (``kept``). Called by the command line.

A plan is kept only where it follows from the commit and from files of ours alone: SQLite, stored files, the published
repository. Whatever else it may rest on (the time, sources outside Git, pinned libraries, another database, a remote
repository, an environment's own branch or tag) is asked again by every plan. What costs time is imported where it is
used: a plan that is found needs none of it.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.errors import EdgewrightError
from edgewright.kept import Grounds, KeptAnswers, stat_of
from edgewright.source.git.repositories import GitRepository
from edgewright.wiring.folders import STATE_FOLDER

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.core.gates import GateOutcome
    from edgewright.core.planning.plan import Note, Plan
    from edgewright.wiring.workspace import Workspace

_LOCAL = re.compile(r"^(?![a-z][a-z0-9+.-]*://|[^/:@\s]+@[^/:\s]+:)", re.IGNORECASE)


class KeptPlan:
    """The plan of one commit of a repository on this machine."""

    def __init__(
        self,
        repo: str | Path,
        *,
        ref: str | None = None,
        state: str | None = None,
        env: str | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Find out which plan is asked for; arguments as of ``Workspace``."""
        self._begun_ns = clock_ns()
        self._question: Mapping[str, str] | None = None
        folder = state or os.environ.get("EDGEWRIGHT_HOME")
        if _LOCAL.match(str(repo)) is None or "://" in (state or "") or (env and ref is None):
            return
        try:
            repository = GitRepository(repo)
            commit = repository.commit(ref)
        except EdgewrightError:
            return  # whoever plans finds the same, and says it
        place = Path(folder).expanduser().absolute() if folder else repository.root / STATE_FOLDER
        self._answers = KeptAnswers(place / "cache")
        self._question = {
            "what": "plan",
            "root": str(repository.root),
            "folder": str(place),
            "environment": env or "",
            "commit": commit,
        }

    def find(self) -> "FoundPlan | None":
        """Find the plan, if everything that it rests on is as it was."""
        if self._question is None:
            return None
        found = self._answers.find(self._question)
        return FoundPlan(self._question["commit"], found) if found is not None else None

    def note(self, workspace: "Workspace") -> None:
        """Have what is looked for noted; before the plan is computed."""
        if self._question is not None:
            workspace.blobs.looked_for = {}

    def keep(self, workspace: "Workspace", found: "Plan") -> bool:
        """Keep a plan that was computed in this workspace, if it may be; returns whether it was."""
        from edgewright.core.planning.plan import PlanSummary

        if self._question is None or found.commit != self._question["commit"]:
            return False
        if found.steps or found.depends_on_time or found.summary != PlanSummary():
            return False
        grounds = _grounds(workspace)
        return grounds is not None and self._answers.keep(self._question, _answer(found), grounds, self._begun_ns)


class FoundPlan:
    """A plan that was kept, and still holds."""

    def __init__(self, commit: str, answer: Any) -> None:
        self._commit = commit
        self._answer = answer

    @property
    def line(self) -> str | None:
        """All that there is to say of it; None where there are notes, too."""
        return None if self._answer["notes"] else str(self._answer["summary"])

    def plan(self, now: datetime) -> "Plan":
        """Return it whole, as of now."""
        from edgewright.core.address import Address
        from edgewright.core.gates import GateOutcome
        from edgewright.core.planning.plan import Note, Plan, identify

        def gates(rows: list[list[Any]]) -> tuple[GateOutcome, ...]:
            return tuple(GateOutcome(*row) for row in rows)

        return Plan(
            commit=self._commit,
            observed_digest=self._answer["observed"],
            plan_id=identify(self._commit, self._answer["observed"], now),
            steps=(),
            notes=tuple(
                Note(Address(kind, name), severity, reason, message, gates(rows))
                for kind, name, severity, reason, message, rows in self._answer["notes"]
            ),
            verdicts={Address(kind, name): gates(rows) for kind, name, rows in self._answer["verdicts"]},
        )


def _grounds(workspace: "Workspace") -> Grounds | None:
    """List every file that the last observation rests on; None where it rests on more."""
    from edgewright.delivery.agent.driver import AgentDelivery
    from edgewright.reconcile.observer import looks_elsewhere

    file, looked_for = workspace.state.file, workspace.blobs.looked_for
    if workspace.observed is None or file is None or looked_for is None:
        return None
    desired, delivery = workspace.observed
    repository = delivery.repository
    if looks_elsewhere(desired) or not isinstance(repository, AgentDelivery) or repository.damaged():
        return None
    read, published = repository.looked_at()
    read += [f"{file}{suffix}" for suffix in ("", "-wal", "-journal")]
    return Grounds(
        {_absolute(path): stat_of(path) for path in read},
        {_absolute(path): size for path, size in (*looked_for.items(), *published.items())},
    )


def _absolute(path: str) -> str:
    return path if path.startswith("/") else str(Path(path).absolute())


def _answer(found: "Plan") -> Mapping[str, Any]:
    from edgewright.render.plan_words import summary_text

    return {
        "summary": summary_text(found),
        "observed": found.observed_digest,
        "notes": [_note_row(note) for note in found.notes],
        "verdicts": [[*address, _rows(outcomes)] for address, outcomes in found.verdicts.items()],
    }


def _note_row(note: "Note") -> list[Any]:
    return [*note.address, note.severity, note.reason, note.message, _rows(note.gates)]


def _rows(outcomes: "Sequence[GateOutcome]") -> list[list[Any]]:
    return [[one.gate, one.passed, one.value, one.limit, one.detail] for one in outcomes]
