"""What the controller tells others, beside its work and never in its way: commit statuses, notices."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from edgewright.controller.controller import Controller
from edgewright.controller.health import Vitals
from edgewright.controller.loops import Loop
from edgewright.controller.statuses import StatusReporter
from edgewright.core.address import Address
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.ports import Forge
from edgewright.reconcile.notifications import Dispatcher

_EVERY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an environment that this process leads stood after its last pass."""

    controller: Controller
    desired: Snapshot
    conditions: Mapping[Address, Sequence[Condition]]


class Standings:
    """The last pass of each environment. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Standing] = {}

    def put(self, standing: Standing) -> bool:
        """Take note of a pass; whether it is the first at its revision."""
        name = standing.controller.station.name
        with self._lock:
            before = self._found.get(name)
            self._found[name] = standing
        return before is None or before.desired.revision != standing.desired.revision

    def led(self) -> dict[str, Standing]:
        """By environment, those that this process leads now."""
        with self._lock:
            return {name: found for name, found in self._found.items() if found.controller.role == "active"}


class Outbound(Loop):
    """Tells the forge and the receivers of notifications."""

    def __init__(
        self, standings: Standings, forge: Forge | None, vitals: Vitals, clock: Callable[[], datetime]
    ) -> None:
        super().__init__("errands", vitals, clock)
        self._standings = standings
        self._reporter = StatusReporter(forge, clock) if forge is not None else None
        self._dispatchers: dict[str, tuple[str, Dispatcher]] = {}

    def work(self) -> datetime:
        """Tell what is new of every environment."""
        until = self.clock() + _EVERY
        for name, standing in self._standings.led().items():
            self.guard(f"status {name}".strip(), partial(self._report, name, standing))
            again = self.guard(f"notices {name}".strip(), partial(self._dispatch, name, standing))
            until = min(until, again or until)
        return until

    def _report(self, name: str, standing: Standing) -> None:
        if self._reporter is not None:
            self._reporter.report(name, standing.desired.revision, standing.conditions)

    def _dispatch(self, name: str, standing: Standing) -> datetime | None:
        revision = standing.desired.revision
        if name not in self._dispatchers or self._dispatchers[name][0] != revision:
            self._dispatchers[name] = (revision, standing.controller.station.dispatcher(standing.desired))
        return self._dispatchers[name][1].dispatch()
