"""Changes of twins by a server's worker, many in one transaction; records whether there was news."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from edgewright.core.fleet import twins
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.ports import TwinStore

SERVER = "server"
"""In a twin's memo: the server that its notes are about."""
_AT_ONCE = 200
"""Devices in one transaction: others want the database, too."""

Work = Callable[[Twin], Twin]
Item = TypeVar("Item")


class TwinWrites:
    """The twins of one system, as one worker changes them."""

    def __init__(self, store: TwinStore, system: str) -> None:
        self._store = store
        self._system = system
        self._routed: Collection[str] = ()
        self.changed = False
        self.news = False

    def start(self, routed: Collection[str]) -> None:
        """Begin a pass, in which these devices belong to the system."""
        self._routed = routed
        self.changed = self.news = False

    def change(self, devices: Iterable[str], work: Work) -> dict[str, Twin]:
        """Change twins durably; return them as they are now. ``work`` may run again, and must return the same.

        A device that is not routed, and belongs to another system by now, stays as it is.

        Raises:
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        named = list(dict.fromkeys(devices))
        ours = [device for device in named if device in self._routed]
        after: dict[str, Twin] = {}
        for some in chunks(ours, _AT_ONCE):
            after |= self._change(some, work)
        for device in named:
            if device not in self._routed:
                try:
                    after |= self._change([device], _unless_taken(work))
                except _Taken:
                    continue
        return after

    def _change(self, devices: list[str], work: Work) -> dict[str, Twin]:
        seen: dict[str, tuple[Twin, Twin]] = {}

        def note(twin: Twin) -> Twin:
            changed = work(twin)
            seen[twin.device] = (twin, changed)
            return changed

        self._store.change_all(devices, self._system, note)
        self.changed = self.changed or any(before != now for before, now in seen.values())
        self.news = self.news or any(before.sequence != now.sequence for before, now in seen.values())
        return {device: now for device, (_, now) in seen.items()}


class _Taken(Exception):
    """The device belongs to another system."""


def _unless_taken(work: Work) -> Work:
    def guarded(twin: Twin) -> Twin:
        if SERVER not in twin.memo:
            raise _Taken
        return work(twin)

    return guarded


def noted(twin: Twin, **notes: Any) -> Twin:
    """Write into a twin's memo; None removes an entry."""
    memo = {name: value for name, value in {**twin.memo, **notes}.items() if value is not None}
    return twin if memo == twin.memo else replace(twin, memo=memo)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut into lists of at most ``size``."""
    left = list(items)
    for at in range(0, len(left), size):
        yield left[at : at + size]


def dropped(twin: Twin, number: int, now: datetime) -> Twin:
    """End a job that a device has not begun, without having heard of it."""
    return replace(twins.stopped(twin, number, now), last_seen=twin.last_seen)


def asked(twin: Twin, at: datetime, now: datetime, *, device_class: str) -> Twin:
    """Record that a device has polled its server, at a time on the server's clock.

    It has taken up what it is assigned only if that was there for it by then.
    """
    at = min(at, now)
    seen = twins.seen(twin, max(at, twin.last_seen or at), device_class=device_class)
    return seen if _was_there(twin, at) else replace(seen, taken=twin.taken)


def _was_there(twin: Twin, at: datetime) -> bool:
    job = twin.job
    if twin.assignment is None or job is None:
        return twins.next_job(twin, at) is twin
    waits = job.stage in {Stage.WAITING, Stage.CANCELLING}
    return not waits and job.version == twin.assignment.version and at >= job.since
