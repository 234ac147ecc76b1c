"""Sends notifications to receivers: continues in history after the event each was notified of last.

At least once: a receiver's cursor moves after it was notified, so a crash between the two sends one notification
twice, with the same id. The cursor also stays before what the limit suppressed until a notification has given the
number of those. The use of the limit is remembered by this process only. Called by the controller.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from edgewright.core.status.events import Event
from edgewright.core.status.notifications import Bucket, Notification, consider, opens_at, overdue
from edgewright.core.status.source import repository_address
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.ports import HistoryReader, HistoryWriter, Notifier
from edgewright.reconcile.backoff import Backoff
from edgewright_schemas.notifications import NotificationReceiver

FAILED = "NotificationFailed"
_PAGE = 200
_PAGES = 50
"""Pages for one receiver before the others have their turn."""
_REFUSALS = 5
"""Refusals of one notification after which it is suppressed and counted, so that it does not block the next."""


@dataclass
class _Receiver:
    """State of one receiver in this process."""

    read_to: int
    """Number of the newest event that was decided on."""
    stored: int
    """Its cursor in history, as stored."""
    bucket: Bucket = field(default_factory=Bucket)
    refused: int = 0
    """Number of times the next notification was refused."""
    until: datetime | None = None
    """Time before which it is not tried again."""


class Dispatcher:
    """Notifies all receivers of one environment."""

    def __init__(
        self,
        reader: HistoryReader,
        writer: HistoryWriter,
        notifiers: Mapping[str, Notifier],
        specs: Iterable[NotificationReceiver],
        clock: Callable[[], datetime],
        *,
        environment: str = "",
        backoff: Backoff | None = None,
    ) -> None:
        """Create the dispatcher; nothing is read yet.

        Args:
            reader: Reads the history, and each receiver's cursor.
            writer: Stores the cursors.
            notifiers: By receiver's name.
            specs: What each is notified of; one without a notifier is skipped.
            clock: Gives aware UTC times.
            environment: Named in notifications; empty where there is only one.
            backoff: When a receiver that failed is tried again; 5 s to 15 min by default.
        """
        self._reader = reader
        self._writer = writer
        self._notifiers = notifiers
        self._specs = tuple(specs)
        self._clock = clock
        self._environment = environment
        self._backoff = backoff or Backoff(clock, first=timedelta(seconds=5), longest=timedelta(minutes=15))
        self._receivers: dict[str, _Receiver] = {}
        self.problems: dict[str, str] = {}
        """Errors of receivers that cannot be reached now, by name."""

    def dispatch(self) -> datetime | None:
        """Notify every receiver of its new events; one that cannot be reached keeps its cursor and backs off.

        Returns:
            When to look again, also if nothing happens; None: only a new event makes anything due.

        Raises:
            LeaseLost, StateError, Transient: As the state store.
        """
        self._load_cursors()
        due = [self._serve(spec) for spec in self._specs if spec.name in self._notifiers]
        return min((when for when in due if when is not None), default=None)

    def _load_cursors(self) -> None:
        """Start new receivers at the newest event, and move removed ones along, so that history can be pruned."""
        cursors, newest = self._reader.notified(), self._reader.last_event()
        declared = {spec.name for spec in self._specs}
        for name in sorted(declared | cursors.keys()):
            if name not in cursors or (name not in declared and cursors[name] < newest):
                self._writer.set_notified(name, newest)
            if name in declared and name not in self._receivers:
                cursor = cursors.get(name, newest)
                self._receivers[name] = _Receiver(read_to=cursor, stored=cursor)

    def _serve(self, spec: NotificationReceiver) -> datetime | None:
        """Notify one receiver, and return the time of its next turn."""
        receiver = self._receivers[spec.name]
        if receiver.until is not None and self._clock() < receiver.until:
            return receiver.until
        for _ in range(_PAGES):
            page = self._reader.events_after(receiver.read_to, limit=_PAGE)
            for number, event in page:
                if not self._handle(spec, receiver, number, event):
                    self._store(spec, receiver)
                    return receiver.until
            self._store(spec, receiver)
            if len(page) < _PAGE:
                return self._send_overdue(spec, receiver)
        return self._clock()

    def _handle(self, spec: NotificationReceiver, receiver: _Receiver, number: int, event: Event) -> bool:
        """Handle one event, and send its notification, if any; False when that failed."""
        now = self._clock()
        notification, bucket = consider(spec, number, event, now, receiver.bucket, environment=self._environment)
        if notification is not None and not self._send(spec, receiver, notification):
            if receiver.refused < _REFUSALS:
                return False
            left_out = receiver.bucket.suppressed + 1
            receiver.bucket = replace(receiver.bucket, suppressed=left_out, worst=notification.severity, last=number)
            receiver.read_to, receiver.refused = number, 0
            return False
        receiver.bucket, receiver.read_to = bucket, number
        if notification is not None:
            self._store(spec, receiver)
        return True

    def _send_overdue(self, spec: NotificationReceiver, receiver: _Receiver) -> datetime | None:
        """Send the number of suppressed notifications if that is due; else return the time at which it will be."""
        notification, bucket = overdue(spec, self._clock(), receiver.bucket, environment=self._environment)
        if notification is not None:
            if not self._send(spec, receiver, notification):
                return receiver.until
            receiver.bucket = bucket
            self._store(spec, receiver)
        return opens_at(spec.limit, receiver.bucket)

    def _send(self, spec: NotificationReceiver, receiver: _Receiver, notification: Notification) -> bool:
        try:
            self._notifiers[spec.name].send(notification)
        except (NotificationUnavailable, NotificationError) as error:
            receiver.refused += isinstance(error, NotificationError)
            receiver.until = self._backoff.failed(spec.name, error)
            if spec.name not in self.problems:
                message = f"receiver {spec.name} cannot be told: {error.message}"
                event = Event(self._clock(), FAILED, str(repository_address()), message, {"receiver": spec.name})
                self._writer.add_events([event])
            self.problems[spec.name] = error.message
            return False
        receiver.refused, receiver.until = 0, None
        self._backoff.succeeded(spec.name)
        self.problems.pop(spec.name, None)
        return True

    def _store(self, spec: NotificationReceiver, receiver: _Receiver) -> None:
        """Store a receiver's cursor: after what it was notified of, or given the number of."""
        if not receiver.bucket.suppressed and receiver.stored < receiver.read_to:
            self._writer.set_notified(spec.name, receiver.read_to)
            receiver.stored = receiver.read_to
