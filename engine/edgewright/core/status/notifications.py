"""Notifications: the events that become one, their receivers and limits. Called by ``reconcile.notifications``.

A receiver's ``Bucket`` remembers what it was told within its limit's time. What is above the limit is counted, and
the count travels with the next notice; where none comes, ``overdue`` makes one that says nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256

from edgewright.core.status.events import Event
from edgewright.core.status.reasons import REASONS, Severity, current_reason
from edgewright_schemas.notifications import Limit, NotificationReceiver

_RANK: Mapping[Severity, int] = {"info": 0, "warning": 1, "error": 2}
LEFT_OUT = "NotificationsLeftOut"
_UNKNOWN: Severity = "warning"
"""Of a reason that is not listed: rather told than missed."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver."""

    at: datetime
    severity: Severity
    reason: str
    """One word in CamelCase, as in events."""
    address: str
    message: str
    environment: str = ""
    revision: str = ""
    suppressed: int = 0
    """How many were left out before this one because of the limit."""
    data: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    """The same whenever the same notice is sent again, so that receivers can drop doubles."""


@dataclass(frozen=True, slots=True)
class Told:
    """Message a receiver got, and when it was sent."""

    at: datetime
    address: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """Recent messages of a receiver. ``Bucket()`` is that of one that got none."""

    told: tuple[Told, ...] = ()
    """Oldest first; as many as the limit allows, at most."""
    suppressed: int = 0
    """How many were left out since."""
    worst: Severity = "info"
    """Of those left out."""
    last: int = 0
    """Number of the newest event left out."""


def severity_of(event: Event) -> Severity:
    """Return the severity of an event: by its reason, and good news by what a resource has become."""
    if event.data.get("to") == "Ready":
        return "info"
    known = REASONS.get(current_reason(event.reason))
    if known is not None:
        return known.severity
    return "error" if event.data.get("to") == "Stalled" else _UNKNOWN


def wanted(spec: NotificationReceiver, event: Event) -> bool:
    """Return whether a receiver asked for such events. One that hears of a stall also hears of its end."""
    kind = event.address.partition("/")[0].lower()
    recovered = (event.data.get("from"), event.data.get("to")) == ("Stalled", "Ready")
    return (
        (recovered or _RANK[severity_of(event)] >= _RANK[spec.severity])
        and (not spec.kinds or kind in {name.lower() for name in spec.kinds})
        and (not spec.reasons or current_reason(event.reason) in map(current_reason, spec.reasons))
    )


def consider(
    spec: NotificationReceiver, number: int, event: Event, now: datetime, bucket: Bucket, *, environment: str = ""
) -> tuple[Notification | None, Bucket]:
    """Decide on one event.

    Args:
        spec: The receiver.
        number: The event's number, which with the receiver's name makes the notice's id.
        event: What happened.
        now: When it would be sent; aware.
        bucket: What the receiver was told.
        environment: Where it happened; empty where there is only one.

    Returns:
        What to send, if anything; and the bucket once that is sent.
    """
    bucket = _recent(spec.limit, bucket, now)
    if not wanted(spec, event) or _repeats(event, bucket.told):
        return None, bucket
    severity = severity_of(event)
    if len(bucket.told) >= spec.limit.count:
        worst = max(bucket.worst, severity, key=lambda one: _RANK[one])
        return None, replace(bucket, suppressed=bucket.suppressed + 1, worst=worst, last=number)
    notice = Notification(
        at=event.at,
        severity=severity,
        reason=event.reason,
        address=event.address,
        message=event.message,
        environment=environment,
        revision=event.revision,
        suppressed=bucket.suppressed,
        data={key: str(value) for key, value in event.data.items()},
        id=_id(environment, spec.name, number, event.at, event.reason),
    )
    return notice, Bucket((*bucket.told, Told(now, event.address, event.reason, event.message)))


def select(
    spec: NotificationReceiver,
    events: Iterable[tuple[int, Event]],
    now: datetime,
    bucket: Bucket,
    *,
    environment: str = "",
) -> tuple[Sequence[Notification], Bucket]:
    """Decide on many events at once, oldest first; as ``consider``."""
    notices = []
    for number, event in events:
        notice, bucket = consider(spec, number, event, now, bucket, environment=environment)
        if notice is not None:
            notices.append(notice)
    return notices, bucket


def overdue(
    spec: NotificationReceiver, now: datetime, bucket: Bucket, *, environment: str = ""
) -> tuple[Notification | None, Bucket]:
    """Return how many were left out, when the limit allows a message again and no event carries the count."""
    bucket = _recent(spec.limit, bucket, now)
    if not bucket.suppressed or len(bucket.told) >= spec.limit.count:
        return None, bucket
    what = "1 notice was" if bucket.suppressed == 1 else f"{bucket.suppressed:,} notices were"
    message = f"{what} left out because of this receiver's limit; `edgewright history` shows everything"
    notice = Notification(
        at=now,
        severity=bucket.worst,
        reason=LEFT_OUT,
        address="",
        message=message,
        environment=environment,
        suppressed=bucket.suppressed,
        id=_id(environment, spec.name, bucket.last, LEFT_OUT),
    )
    return notice, Bucket((*bucket.told, Told(now, "", LEFT_OUT, message)))


def opens_at(limit: Limit, bucket: Bucket) -> datetime | None:
    """Return when the omission can be reported; None where nothing was left out, or it can be at once."""
    if not bucket.suppressed or len(bucket.told) < limit.count:
        return None
    return bucket.told[-limit.count].at + limit.per


def _recent(limit: Limit, bucket: Bucket, now: datetime) -> Bucket:
    """Forget what was sent before the limit's time began."""
    told = tuple(one for one in bucket.told if now - one.at < limit.per)
    return bucket if len(told) == len(bucket.told) else replace(bucket, told=told)


def _repeats(event: Event, told: Sequence[Told]) -> bool:
    """Return whether this repeats the receiver's last message about the resource.

    A step that fails is an event, and the resource that stands still because of it another: one notice is enough.
    """
    last = next((one for one in reversed(told) if one.address == event.address), None)
    if last is None or last.reason != event.reason:
        return False
    return last.message == event.message or "to" in event.data


def _id(*parts: object) -> str:
    return sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:32]
