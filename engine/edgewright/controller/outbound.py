"""Outbound messages: commit statuses and notifications, sent by a loop of their own.

The controllers record each finished pass and never wait for a forge or a receiver.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from edgewright.controller.controller import Controller
from edgewright.controller.health import ProcessHealth
from edgewright.controller.loops import Loop
from edgewright.controller.statuses import StatusReporter
from edgewright.core.address import Address
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.ports import Forge
from edgewright.reconcile.notifications import Dispatcher

_EVERY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class FinishedPass:
    """The last pass of an environment that this process leads."""

    controller: Controller
    desired: Snapshot
    conditions: Mapping[Address, Sequence[Condition]]


class LastPasses:
    """The last pass of each environment. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, FinishedPass] = {}

    def record(self, finished: FinishedPass) -> bool:
        """Record a pass and return whether it is the first at its revision."""
        name = finished.controller.environment.name
        with self._lock:
            before = self._found.get(name)
            self._found[name] = finished
        return before is None or before.desired.revision != finished.desired.revision

    def led(self) -> dict[str, FinishedPass]:
        """Return the last passes of the environments that this process leads now, by name."""
        with self._lock:
            return {name: found for name, found in self._found.items() if found.controller.role == "active"}


class Outbound(Loop):
    """Sends commit statuses to the forge and notifications to their receivers."""

    def __init__(
        self,
        passes: LastPasses,
        forge: Forge | None,
        health: ProcessHealth,
        clock: Callable[[], datetime],
        *,
        folder: str = "",
    ) -> None:
        """Wire the loop; ``folder`` is that of the specs in the repository."""
        super().__init__("outbound", health, clock)
        self._passes = passes
        self._reporter = StatusReporter(forge, clock, folder=folder) if forge is not None else None
        self._dispatchers: dict[str, tuple[str, Dispatcher]] = {}

    def work(self) -> datetime:
        """Send what is new of every environment."""
        until = self.clock() + _EVERY
        for name, finished in self._passes.led().items():
            self.guard(f"commit status {name}".strip(), partial(self._report, name, finished))
            again = self.guard(f"notifications {name}".strip(), partial(self._dispatch, name, finished))
            until = min(until, again or until)
        return until

    def _report(self, name: str, finished: FinishedPass) -> None:
        if self._reporter is not None:
            self._reporter.report(name, finished.desired.revision, finished.conditions)

    def _dispatch(self, name: str, finished: FinishedPass) -> datetime | None:
        revision = finished.desired.revision
        if name not in self._dispatchers or self._dispatchers[name][0] != revision:
            self._dispatchers[name] = (revision, finished.controller.environment.dispatcher(finished.desired))
        return self._dispatchers[name][1].dispatch()
