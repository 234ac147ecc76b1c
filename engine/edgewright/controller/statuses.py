"""Commit statuses: how far the revision being applied has got, beside the commit itself. Called by the controller."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from edgewright.core.address import Address
from edgewright.core.status.conditions import Condition
from edgewright.errors import EdgewrightError, ForgeUnavailable
from edgewright.ports import ForgeWriter, StatusState

CONTEXT = "edgewright"
_BACKOFF = timedelta(minutes=1)
_NAMED = 3
"""Resources a description names before it only counts."""
_log = structlog.get_logger(__name__)

Conditions = Mapping[Address, Sequence[Condition]]
Said = tuple[StatusState, str]


class StatusReporter:
    """Tells a forge when something changed. What the forge does about it never reaches the caller."""

    def __init__(self, forge: ForgeWriter, clock: Callable[[], datetime], *, url: str = "") -> None:
        """Wire it; ``url`` is where more is to be seen, if anywhere."""
        self._forge = forge
        self._clock = clock
        self._url = url
        self._told: dict[str, tuple[str, Said]] = {}
        self._resume_at: datetime | None = None
        self._trouble = ""

    def report(self, environment: str, revision: str, conditions: Conditions, *, unreadable: str = "") -> Said:
        """Say how a revision stands in an environment; told only when that differs from what was told last.

        Args:
            environment: Its name; empty where the repository declares none.
            revision: The commit being applied.
            conditions: How each resource stands.
            unreadable: Why the conditions could not be read, if they could not.

        Returns:
            The state and the description, told or not. What was not told is told by a later call.
        """
        said: Said = ("error", f"cannot tell: {unreadable}") if unreadable else standing(revision, conditions)
        now = self._clock()
        if self._told.get(environment) == (revision, said) or (self._resume_at is not None and now < self._resume_at):
            return said
        context = f"{CONTEXT}/{environment}" if environment else CONTEXT
        try:
            self._forge.set_status(revision, context, said[0], said[1], self._url)
        except ForgeUnavailable as error:
            wait = timedelta(seconds=error.retry_after) if error.retry_after is not None else _BACKOFF
            self._fault(error, now + wait)
        except EdgewrightError as error:
            self._fault(error, now + _BACKOFF)
        else:
            self._told[environment] = (revision, said)
            self._resume_at, self._trouble = None, ""
        return said

    def _fault(self, error: EdgewrightError, resume_at: datetime) -> None:
        self._resume_at = resume_at
        if self._trouble != error.message:
            self._trouble = error.message
            _log.warning("status.not_told", message=error.message, hint=error.hint)


def standing(revision: str, conditions: Conditions) -> Said:
    """Judge a revision: failure when something is stalled, success only when everything is ready at it."""
    stalled = [a for a in sorted(conditions) if _holds(conditions[a], "Stalled")]
    if stalled:
        return "failure", f"{_names(stalled)}: {_message(conditions[stalled[0]], 'Stalled')}"
    if any(_unknown(each) for each in conditions.values()):
        unknown = [a for a in sorted(conditions) if _unknown(conditions[a])]
        return "error", f"cannot tell how {_names(unknown)} stands"
    late = [a for a in sorted(conditions) if not _ready_at(conditions[a], revision)]
    if late or not conditions:
        left = f"{len(conditions) - len(late)} of {len(conditions)} ready" if conditions else "about to begin"
        return "pending", f"{left}: {_names(late)}" if late else left
    count = len(conditions)
    return "success", "1 resource is ready" if count == 1 else f"all {count} resources are ready"


def _holds(conditions: Sequence[Condition], type_: str) -> bool:
    return any(condition.type == type_ and condition.status == "True" for condition in conditions)


def _unknown(conditions: Sequence[Condition]) -> bool:
    return any(condition.type == "Ready" and condition.status == "Unknown" for condition in conditions)


def _ready_at(conditions: Sequence[Condition], revision: str) -> bool:
    return any(c.type == "Ready" and c.status == "True" and c.observed_revision == revision for c in conditions)


def _message(conditions: Sequence[Condition], type_: str) -> str:
    found = next(condition for condition in conditions if condition.type == type_)
    return found.message or found.reason


def _names(addresses: Sequence[Address]) -> str:
    more = len(addresses) - _NAMED
    return ", ".join(map(str, addresses[:_NAMED])) + (f" and {more} more" if more > 0 else "")
