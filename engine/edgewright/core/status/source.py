"""Status of the source, and changes since conditions were computed last. Called by the controller.

What is in force stays in force while something newer is refused or cannot be fetched: every condition names both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edgewright.core.address import Address
from edgewright.core.status.conditions import Condition, Headline, conditions_for, headline
from edgewright.core.status.events import Event

SourceReason = Literal[
    "",
    "Fetching",
    "Progressing",
    "SourceUnavailable",
    "HistoryRewritten",
    "TagIgnored",
    "SourceRefused",
    "RefMissing",
    "SignatureMissing",
    "SignatureUnknown",
    "SignatureRevoked",
    "SignatureExpired",
    "SignatureBad",
    "SpecInvalid",
]
"""Empty: there is no problem."""

_GOES_ON = frozenset({"Fetching", "Progressing", "SourceUnavailable"})
"""Ends by itself."""
_IS_FINE = frozenset({"", "HistoryRewritten", "TagIgnored"})
_CHANGE_OF_REASON_IS_NEWS: frozenset[Headline] = frozenset({"Stalled"})


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Status of the source of the specs."""

    in_force: str | None
    """The revision that was accepted last; None before the first."""
    candidate: str | None = None
    """The revision that is newer and not in force (yet): refused, or being looked at."""
    reason: SourceReason = ""
    message: str = ""
    """What the problem is, and what to do about it; without revisions, which are added."""
    since: datetime | None = None
    """When it began to stand like this; None where the conditions before know it."""
    fetched_at: datetime | None = None
    """When the source answered last."""


def repository_address(name: str = "") -> Address:
    """Name the repository's own conditions."""
    return Address("repository", name or "repository")


def repository_conditions(
    status: SourceStatus, *, now: datetime, before: Sequence[Condition] = ()
) -> tuple[Condition, ...]:
    """Derive the repository's Ready, Reconciling and Stalled, in this order.

    Args:
        status: Where its source stands.
        now: Aware; when a status changed that ``before`` has otherwise and of which ``status`` does not say when.
        before: The conditions derived last.
    """
    state: Headline = "Stalled"
    if status.reason in _GOES_ON or (status.reason in _IS_FINE and status.in_force is None):
        state = "Reconciling"
    elif status.reason in _IS_FINE:
        state = "Ready"
    reason = status.reason or ("UpToDate" if status.in_force else "Fetching")
    return conditions_for(
        state, reason, _message(status), revision=status.in_force or "", now=status.since or now, before=before
    )


def _message(status: SourceStatus) -> str:
    parts = [f"{_short(status.in_force)} is in force" if status.in_force else "no revision is in force yet"]
    if status.candidate is not None and status.candidate != status.in_force:
        what = "is being taken up" if status.reason in {*_GOES_ON, *_IS_FINE} else "is refused"
        parts.append(f"{_short(status.candidate)} {what}")
    text = ", ".join(parts)
    if status.message:
        text += f": {status.message}"
    if status.reason == "SourceUnavailable" and status.fetched_at is not None:
        text += f" (it answered last at {status.fetched_at:%Y-%m-%d %H:%M:%S %Z})".replace(" )", ")")
    return text


def _short(revision: str | None) -> str:
    return (revision or "")[:12]


def transitions(
    before: Mapping[Address, Sequence[Condition]],
    after: Mapping[Address, Sequence[Condition]],
    now: datetime,
    revision: str,
) -> list[Event]:
    """List an event for each resource that stands otherwise than before.

    A message that changes while the status does not is no event, nor is a new resource that gets ready, nor one that
    is gone (pruning says so). A stalled resource is one anew when it is for another reason.
    """
    found = []
    for address in sorted(after):
        was, is_ = headline(before.get(address, ())), headline(after[address])
        if is_ is None:
            continue
        known: Headline | Literal[""] = was.type if was is not None else ""
        new_reason = was is not None and was.reason != is_.reason and is_.type in _CHANGE_OF_REASON_IS_NEWS
        if (known == is_.type and not new_reason) or (not known and is_.type != "Stalled"):
            continue
        data = {"from": known, "to": is_.type}
        found.append(Event(now, is_.reason, str(address), is_.message, data, revision))
    return found
