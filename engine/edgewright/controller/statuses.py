"""Commit statuses: the progress of the revision being applied, shown beside the commit. Called by ``outbound``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from edgewright.core.address import Address
from edgewright.core.review.previews import status_context
from edgewright.core.status.conditions import Condition
from edgewright.errors import EdgewrightError, ForgeUnavailable
from edgewright.ports import ForgeWriter, StatusState

CONTEXT = "edgewright"
_OF_PREVIEWS = "plan"
"""An environment of this name must not overwrite the status of previews."""
_BACKOFF = timedelta(minutes=1)
_NAMED = 3
"""Most resources a description names before it only counts them."""
_log = structlog.get_logger(__name__)

Conditions = Mapping[Address, Sequence[Condition]]
CommitStatus = tuple[StatusState, str]


class StatusReporter:
    """Sends commit statuses to a forge when they change; an error of the forge never reaches the caller."""

    def __init__(self, forge: ForgeWriter, clock: Callable[[], datetime], *, url: str = "", folder: str = "") -> None:
        """Wire it; ``url`` is the link of the status, if there is one, ``folder`` that of the specs."""
        self._forge = forge
        self._clock = clock
        self._url = url
        self._folder = folder
        self._sent: dict[str, tuple[str, CommitStatus]] = {}
        self._resume_at: datetime | None = None
        self._last_error = ""

    def report(self, environment: str, revision: str, conditions: Conditions, *, unreadable: str = "") -> CommitStatus:
        """Report the status of a revision in an environment; sent only when it differs from the last one sent.

        Args:
            environment: Its name; empty where the repository declares none.
            revision: The commit being applied.
            conditions: Conditions of each resource.
            unreadable: The error, if the conditions could not be read.

        Returns:
            The state and the description, sent or not. An unsent status is sent by a later call.
        """
        status: CommitStatus = (
            ("error", f"the status is unknown: {unreadable}") if unreadable else summarize(revision, conditions)
        )
        now = self._clock()
        if self._sent.get(environment) == (revision, status) or (self._resume_at is not None and now < self._resume_at):
            return status
        name = f"{environment} environment" if environment == _OF_PREVIEWS else environment
        context = status_context(f"{CONTEXT}/{name}" if name else CONTEXT, self._folder)
        try:
            self._forge.set_status(revision, context, status[0], status[1], self._url)
        except ForgeUnavailable as error:
            wait = timedelta(seconds=error.retry_after) if error.retry_after is not None else _BACKOFF
            self._back_off(error, now + wait)
        except EdgewrightError as error:
            self._back_off(error, now + _BACKOFF)
        else:
            self._sent[environment] = (revision, status)
            self._resume_at, self._last_error = None, ""
        return status

    def _back_off(self, error: EdgewrightError, resume_at: datetime) -> None:
        self._resume_at = resume_at
        if self._last_error != error.message:
            self._last_error = error.message
            _log.warning("cannot send the commit status", message=error.message, hint=error.hint)


def summarize(revision: str, conditions: Conditions) -> CommitStatus:
    """Summarize a revision: failure when a resource is stalled, success only when all are ready at it."""
    stalled = [a for a in sorted(conditions) if _holds(conditions[a], "Stalled")]
    if stalled:
        return "failure", f"{_names(stalled)}: {_message(conditions[stalled[0]], 'Stalled')}"
    if any(_unknown(each) for each in conditions.values()):
        unknown = [a for a in sorted(conditions) if _unknown(conditions[a])]
        return "error", f"the status of {_names(unknown)} is unknown"
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
