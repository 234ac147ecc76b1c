"""What the controller does for people, beside its work and never in its way: previews, commit statuses, notices.

Two threads: previews take seconds each; statuses and notices should not wait for them.
"""

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog

from edgewright.apply.backing_off import Backoff
from edgewright.apply.notifying import Dispatcher
from edgewright.core.address import Address
from edgewright.core.conditions import Condition
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError
from edgewright.ports import Event, Forge, Upstream
from edgewright.server.controller import Controller
from edgewright.server.health import Vitals
from edgewright.server.previews import Previewer, PreviewTarget
from edgewright.server.statuses import StatusReporter
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Previews

PREVIEWS = "previews"
NOTICES = "notices"
_PREVIEWS_EVERY = timedelta(minutes=2)
"""How often open pull requests are listed without being told."""
_NOTICES_EVERY = timedelta(seconds=30)
_ALIVE_WITHIN = timedelta(minutes=30)
_SLICE_SECONDS = 5.0


@dataclass
class _Standing:
    """How an environment stood after its last pass."""

    controller: Controller
    desired: Snapshot
    conditions: Mapping[Address, Sequence[Condition]]


@dataclass
class Errands:
    """Everything done beside the work."""

    upstream: Upstream
    forge: Forge | None
    vitals: Vitals
    clock: Callable[[], datetime]
    _standings: dict[str, _Standing] = field(default_factory=dict)
    _dispatchers: dict[str, tuple[str, Dispatcher | None]] = field(default_factory=dict)
    _numbers: set[int] = field(default_factory=set)
    _all: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _asked: threading.Event = field(default_factory=threading.Event)
    _news: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = structlog.get_logger("edgewright.errands")
        self._backoff = Backoff(self.clock)
        self._reporter: StatusReporter | None = None
        self._previewer: Previewer | None = None
        if self.forge is not None:
            self._reporter = StatusReporter(self.forge, self.clock)
            self._previewer = Previewer(
                self.upstream, self.forge, self._targets, self.clock, settings=self._settings, report=self._trouble
            )

    # ── from other threads ────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin."""
        loops = [(NOTICES, self._tell)]
        if self._previewer is not None:
            loops.append((PREVIEWS, self._preview))
        for name, loop in loops:
            self.vitals.heartbeats.expect(name, _ALIVE_WITHIN)
            self._threads.append(threading.Thread(target=loop, name=name))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        self._asked.set()
        self._news.set()
        for thread in self._threads:
            thread.join()
        for name in (NOTICES, PREVIEWS):
            self.vitals.heartbeats.forget(name)
        if self.forge is not None:
            self.forge.close()

    def ask_previews(self, numbers: Set[int] | None) -> None:
        """Look at these pull requests soon; None: at all that are open."""
        with self._lock:
            self._numbers |= numbers or set()
            self._all = self._all or numbers is None
        self._asked.set()

    def rested(
        self, controller: Controller, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]]
    ) -> None:
        """Take note of how an environment stands after a pass."""
        name = controller.station.name
        with self._lock:
            before = self._standings.get(name)
            self._standings[name] = _Standing(controller, desired, conditions)
            if before is None or before.desired.revision != desired.revision:
                self._all = True
                self._asked.set()
        self._news.set()

    def wake(self) -> None:
        """Say that history was written."""
        self._news.set()

    # ── statuses and notices ──────────────────────────────────────────────────────────────────────────────────

    def _tell(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            until = self.clock() + _NOTICES_EVERY
            with self._lock:
                standings = dict(self._standings)
            for name, standing in standings.items():
                if standing.controller.role == "active":
                    self._guard(f"status {name}".strip(), partial(self._report, standing))
                    again = self._guard(f"notices {name}".strip(), partial(self._dispatch, name, standing))
                    until = min(until, again or until)
            self._rest(self._news, until, NOTICES)

    def _report(self, standing: _Standing) -> None:
        if self._reporter is not None:
            name = standing.controller.station.name
            self._reporter.report(name, standing.desired.revision, standing.conditions)

    def _dispatch(self, name: str, standing: _Standing) -> datetime | None:
        revision, dispatcher = self._dispatchers.get(name, ("", None))
        if revision != standing.desired.revision:
            dispatcher = standing.controller.station.dispatcher(standing.desired)
            self._dispatchers[name] = (standing.desired.revision, dispatcher)
        return dispatcher.dispatch() if dispatcher is not None else None

    # ── previews ──────────────────────────────────────────────────────────────────────────────────────────────

    def _preview(self) -> None:
        due = self.clock()
        while not self._stop.is_set():
            self._asked.clear()
            until = due
            if not self._targets():
                until = self.clock() + _PREVIEWS_EVERY
            elif (again := self._backoff.until(PREVIEWS)) is not None:
                until = again
            else:
                numbers = self._take(everything=self.clock() >= due)
                if numbers is None:
                    due = self.clock() + _PREVIEWS_EVERY
                if numbers is None or numbers:
                    self._guard(PREVIEWS, partial(self._preview_now, numbers))
                    continue
            self._rest(self._asked, until, PREVIEWS)

    def _take(self, *, everything: bool) -> Set[int] | None:
        """The pull requests that were asked for; None for all."""
        with self._lock:
            numbers, everything = self._numbers, self._all or everything
            self._numbers, self._all = set(), False
        return None if everything else numbers

    def _preview_now(self, numbers: Set[int] | None) -> None:
        assert self._previewer is not None
        self._previewer.preview_all(numbers)

    def _targets(self) -> Sequence[PreviewTarget]:
        """The environments that this process leads; others are previewed by who leads them."""
        return [_target(standing, self.upstream) for standing in self._led()]

    def _led(self) -> list[_Standing]:
        with self._lock:
            return [standing for standing in self._standings.values() if standing.controller.role == "active"]

    def _settings(self) -> Previews:
        repository = next((found for s in self._led() if (found := s.desired.repository()) is not None), None)
        return repository.spec.previews if repository else Previews()

    def _trouble(self, event: Event) -> None:
        """Keep what a preview could not do in the history of the environments it was for."""
        for standing in self._led():
            standing.controller.station.writer.add_events([event])
        self._news.set()

    # ── both ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _guard(self, what: str, act: Callable[[], datetime | None]) -> datetime | None:
        """Run an errand; one that fails stands in nobody's way, and is tried again later."""
        if (waiting := self._backoff.until(what)) is not None:
            return waiting
        try:
            again = act()
        except EdgewrightError as error:
            until = self._backoff.failed(what, error)
            self.log.warning("errand failed", what=what, error=error.message, hint=error.hint or None)
            return until
        except Exception:
            self.log.exception("unexpected error", what=what)
            return self._backoff.failed(what)
        self._backoff.succeeded(what)
        return again

    def _rest(self, event: threading.Event, until: datetime, name: str) -> None:
        while not self._stop.is_set() and (left := (until - self.clock()).total_seconds()) > 0:
            self.vitals.heartbeats.beat(name)
            if event.wait(min(left, _SLICE_SECONDS)):
                break


def _target(standing: _Standing, upstream: Upstream) -> PreviewTarget:
    station = standing.controller.station
    follow = standing.controller.followed.follow
    return PreviewTarget(
        environment=station.name,
        follow=follow or Follow(branch=upstream.default_branch()),
        plan=station.plan,
        in_force=lambda: standing.desired,
        revision=lambda: standing.desired.revision,
        state=station.reader.version,
    )
