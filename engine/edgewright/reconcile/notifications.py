"""Sends notifications to receivers: continues in history after the event each was notified of last.

At least once: a receiver's place in history moves after it was told, so a crash between the two tells it one thing
twice, with the same id. Its place also stays before what the limit left out until a notice has said how many those
were. How full its limit is, is remembered by this process only. Called by the controller.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from edgewright.core.status.events import Event
from edgewright.core.status.notifications import Bucket, Notification, consider, opens_at, overdue
from edgewright.core.status.source import repository_address
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.ports import Notifier, StateReader, StateWriter
from edgewright.reconcile.backoff import Backoff
from edgewright_schemas.notifications import NotificationReceiver

FAILED = "NoticeFailed"
_PAGE = 200
_PAGES = 50
"""At most so many for one receiver before the others have their turn."""
_REFUSALS = 5
"""After so many of the same notice it is left out and counted, so that it does not stand in the way of the next."""


@dataclass
class _Desk:
    """State of one receiver in this process."""

    read_to: int
    """Number of the newest event that was decided on."""
    stored: int
    """Its place in history, as the store has it."""
    bucket: Bucket = field(default_factory=Bucket)
    refused: int = 0
    """How often the notice that is next was refused."""
    until: datetime | None = None
    """Not to be tried before."""


class Dispatcher:
    """Notifies all receivers of one environment."""

    def __init__(
        self,
        reader: StateReader,
        writer: StateWriter,
        notifiers: Mapping[str, Notifier],
        specs: Iterable[NotificationReceiver],
        clock: Callable[[], datetime],
        *,
        environment: str = "",
        backoff: Backoff | None = None,
    ) -> None:
        """Remember who is told how; nothing is read yet.

        Args:
            reader: Has the history, and each receiver's place in it.
            writer: Takes the places.
            notifiers: By receiver's name.
            specs: What each is told; one without a notifier is left alone.
            clock: Gives aware UTC times.
            environment: Named in notices; empty where there is only one.
            backoff: When a receiver that failed is tried again; 5 s to 15 min by default.
        """
        self._reader = reader
        self._writer = writer
        self._notifiers = notifiers
        self._specs = tuple(specs)
        self._clock = clock
        self._environment = environment
        self._backoff = backoff or Backoff(clock, first=timedelta(seconds=5), longest=timedelta(minutes=15))
        self._desks: dict[str, _Desk] = {}
        self.problems: dict[str, str] = {}
        """What is wrong with receivers that cannot be told now, by name."""

    def dispatch(self) -> datetime | None:
        """Notify every receiver of its new events; one that cannot be reached keeps its cursor and backs off.

        Returns:
            When to look again, also if nothing happens; None: only a new event makes anything due.

        Raises:
            LeaseLost, StateError, Transient: As the state store.
        """
        self._find_places()
        due = [self._serve(spec) for spec in self._specs if spec.name in self._notifiers]
        return min((when for when in due if when is not None), default=None)

    def _find_places(self) -> None:
        """Start new receivers at the newest event, and move removed ones along, so that history can be pruned."""
        places, newest = self._reader.notified(), self._reader.last_event()
        declared = {spec.name for spec in self._specs}
        for name in sorted(declared | places.keys()):
            if name not in places or (name not in declared and places[name] < newest):
                self._writer.set_notified(name, newest)
            if name in declared and name not in self._desks:
                place = places.get(name, newest)
                self._desks[name] = _Desk(read_to=place, stored=place)

    def _serve(self, spec: NotificationReceiver) -> datetime | None:
        """Notify one receiver, and return the time of its next turn."""
        desk = self._desks[spec.name]
        if desk.until is not None and self._clock() < desk.until:
            return desk.until
        for _ in range(_PAGES):
            page = self._reader.events_after(desk.read_to, limit=_PAGE)
            for number, event in page:
                if not self._tell(spec, desk, number, event):
                    self._store(spec, desk)
                    return desk.until
            self._store(spec, desk)
            if len(page) < _PAGE:
                return self._close(spec, desk)
        return self._clock()

    def _tell(self, spec: NotificationReceiver, desk: _Desk, number: int, event: Event) -> bool:
        """Decide on one event, and send what is to be sent; False when that failed."""
        now = self._clock()
        notice, bucket = consider(spec, number, event, now, desk.bucket, environment=self._environment)
        if notice is not None and not self._send(spec, desk, notice):
            if desk.refused < _REFUSALS:
                return False
            left_out = desk.bucket.suppressed + 1
            desk.bucket = replace(desk.bucket, suppressed=left_out, worst=notice.severity, last=number)
            desk.read_to, desk.refused = number, 0
            return False
        desk.bucket, desk.read_to = bucket, number
        if notice is not None:
            self._store(spec, desk)
        return True

    def _close(self, spec: NotificationReceiver, desk: _Desk) -> datetime | None:
        """Send the number of suppressed notifications if that is due; else return the time at which it will be."""
        notice, bucket = overdue(spec, self._clock(), desk.bucket, environment=self._environment)
        if notice is not None:
            if not self._send(spec, desk, notice):
                return desk.until
            desk.bucket = bucket
            self._store(spec, desk)
        return opens_at(spec.limit, desk.bucket)

    def _send(self, spec: NotificationReceiver, desk: _Desk, notice: Notification) -> bool:
        try:
            self._notifiers[spec.name].send(notice)
        except (NotificationUnavailable, NotificationError) as error:
            desk.refused += isinstance(error, NotificationError)
            desk.until = self._backoff.failed(spec.name, error)
            if spec.name not in self.problems:
                message = f"receiver {spec.name} cannot be told: {error.message}"
                event = Event(self._clock(), FAILED, str(repository_address()), message, {"receiver": spec.name})
                self._writer.add_events([event])
            self.problems[spec.name] = error.message
            return False
        desk.refused, desk.until = 0, None
        self._backoff.succeeded(spec.name)
        self.problems.pop(spec.name, None)
        return True

    def _store(self, spec: NotificationReceiver, desk: _Desk) -> None:
        """Move a receiver's place, up to what it was told or was told the number of."""
        if not desk.bucket.suppressed and desk.stored < desk.read_to:
            self._writer.set_notified(spec.name, desk.read_to)
            desk.stored = desk.read_to
