"""The process as a whole: fetches Git for every environment, keeps a controller for each that is declared.

Webhooks ring the bell; a poll with jitter finds what no webhook told of. What controllers that stand by were told,
they pass on through the store.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from edgewright.controller.controller import Controller
from edgewright.controller.environment import Environment
from edgewright.controller.health import Vitals
from edgewright.controller.loops import Loop
from edgewright.controller.outbound import Outbound, Standing, Standings
from edgewright.controller.preview_loop import Previewing
from edgewright.controller.wakeups import Debouncer, Wakeup
from edgewright.core.address import Address
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.errors import EdgewrightError, Transient
from edgewright.ports import Fetched, Upstream
from edgewright.reconcile.accepted import SIGNED, declared_by
from edgewright.reconcile.backoff import Backoff
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Repository

FETCH_SIGNAL = "fetch"
_FETCHING = "fetch"
_SIGNALS_SECONDS = 2.0
"""How often the store is asked whether a controller that stands by was told something."""
_SOFT_SECONDS = 1.0
"""What a fetch may still take when everything ends."""
_ALIVE_WITHIN = timedelta(minutes=15)
"""A fetch of a large repository over a slow line is bounded by less."""
_JITTER = 0.2


@dataclass
class Supervisor:
    """Everything that runs; ``run`` is the fetch loop."""

    upstream: Upstream
    station_of: Callable[[str], Environment]
    bell: Debouncer
    vitals: Vitals
    clock: Callable[[], datetime]
    errands: Outbound
    standings: Standings
    previewing: Previewing | None
    anchor: Callable[[], str | None] = lambda: None
    """Gives a revision that any environment of the store accepted with a signature, as accepted_revision keeps it."""
    only: Sequence[str] = ()
    """Environments to serve; all that are declared by default."""
    interval: timedelta | None = None
    """Between polls, in place of what is declared."""
    jobs: int = 2
    accept: str | None = None
    controllers: dict[str, Controller] = field(default_factory=dict)
    _follows: tuple[Follow, ...] = ()
    _declared: Repository | None = None
    _discovered: bool = False
    """Whether it is known which environments there are."""
    _signals: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.log = structlog.get_logger("edgewright.supervisor")

    def stop(self) -> None:
        """Ask everything to end soon, leaving all resumable. Safe from a signal handler."""
        self._stop.set()
        self.bell.close()

    def wake(self, environment: str) -> None:
        """Say that an environment's devices have news. Safe from any thread."""
        if (controller := self.controllers.get(environment)) is not None:
            controller.wake()

    def run(self) -> None:
        """Fetch and control until told to stop."""
        self.vitals.heartbeats.expect(_FETCHING, _ALIVE_WITHIN)
        backoff = Backoff(self.clock)
        threading.Thread(target=self._cut_off, name="stop", daemon=True).start()
        for loop in self._loops():
            loop.start()
        try:
            while not self._stop.is_set():
                until = self._fetch(backoff)
                self._update_role()
                rung = self._wait(until)
                if rung is not None:
                    self._heard(rung)
        finally:
            self._end()

    def _loops(self) -> list[Loop]:
        return [self.errands, *([self.previewing] if self.previewing is not None else [])]

    def _end(self) -> None:
        self.vitals.role = "stopping"
        for controller in self.controllers.values():
            controller.stop()
        for controller in self.controllers.values():
            controller.join()
        for loop in self._loops():
            loop.stop()
        self._ended.set()
        self.upstream.close()
        self.vitals.heartbeats.forget(_FETCHING)

    def _cut_off(self) -> None:
        """End the fetches that are under way when everything ends: a remote may keep them waiting for minutes."""
        self._stop.wait()
        while not self._ended.wait(_SOFT_SECONDS):
            self.upstream.close()

    # ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, backoff: Backoff) -> datetime:
        """Fetch once; says when to do so again without being told."""
        fetched, error = Fetched(), None
        try:
            by_ref = (controller.followed.follow for controller in self.controllers.values())
            fetched = self.upstream.fetch(dict.fromkeys([*self._follows, *filter(None, by_ref)]))
            self._discover(fetch=True)
            backoff.succeeded(_FETCHING)
            self.vitals.report("git", True)
        except EdgewrightError as failure:
            if self._stop.is_set():
                return self.clock()
            error = failure
            self.log.warning("cannot fetch", error=failure.message, hint=failure.hint or None)
            what = "does not answer" if isinstance(failure, Transient) else "cannot be taken up; see the log"
            self._discover_from_mirror()
            self.vitals.report("git", self._discovered, f"the repository {what}")
        except Exception as failure:
            self.log.exception("unexpected error")
            error = EdgewrightError(f"unexpected {type(failure).__name__}", hint="see the log of the controller")
            self.vitals.report("git", False, "unexpected error; see the log")
        self.vitals.heartbeats.beat(_FETCHING)
        for controller in self.controllers.values():
            follow = controller.followed.follow
            rewritten = bool(fetched.rewritten) and (follow is None or str(follow) in fetched.rewritten)
            controller.followed.fetched(rewritten=rewritten, error=error)
            controller.wake()
        if error is not None:
            return min(backoff.failed(_FETCHING, error), self._next_poll())
        return self._next_poll()

    def _discover_from_mirror(self) -> None:
        """Begin with what an earlier process fetched: what is in force is kept also while the repository is away."""
        if not self._discovered:
            try:
                self._discover(fetch=False)
            except EdgewrightError as error:
                self.log.warning("nothing was fetched before, either", error=error.message)

    def _discover(self, *, fetch: bool) -> None:
        """Read which environments are declared and what they follow; fetch that, and have a controller for each.

        Raises:
            EdgewrightError: The declaration cannot be read; what runs goes on.
        """
        revision = self.upstream.resolve(None)
        anchor = next((kept for kept in self._accepted() if kept.endswith(SIGNED)), "")
        anchor = anchor or self.anchor() or ""
        self._declared = declared_by(self.upstream, revision, anchor.removesuffix(SIGNED) or None)
        if self.previewing is not None:
            self.previewing.declare(self._declared)
        declared = self._declared.spec.environments if self._declared else ()
        wanted = [environment for environment in declared if not self.only or environment.name in self.only]
        follows = tuple(dict.fromkeys(environment.follow for environment in wanted))
        if follows != self._follows:
            if fetch:
                self.upstream.fetch(follows)
            self._follows = follows
        self._discovered = True
        names = [environment.name for environment in wanted] if declared or self.only else [""]
        missing = sorted(set(self.only) - {environment.name for environment in declared})
        self.vitals.report("environments", not missing, "not all that were named are declared" if missing else "")
        if missing:
            self.log.error("no such environment is declared", environments=missing)
        self._keep_controllers(names)

    def _accepted(self) -> list[str]:
        return [c.station.reader.accepted_revision() or "" for c in self.controllers.values()]

    def _keep_controllers(self, names: Sequence[str]) -> None:
        for name in set(self.controllers) - set(names):
            self.log.warning("environment is no longer declared; its devices keep what they run", environment=name)
            controller = self.controllers.pop(name)
            controller.stop()
            controller.join()
        for name in names:
            if name not in self.controllers:
                self.controllers[name] = controller = Controller(
                    self.station_of(name),
                    self.vitals,
                    self.clock,
                    self._rested,
                    self.errands.wake,
                    jobs=self.jobs,
                    accept=self.accept,
                )
                controller.start()
        self.accept = None  # an environment that is declared later must not begin with what was trusted today

    def _next_poll(self) -> datetime:
        interval = self.interval
        if interval is None:
            spec = self._declared.spec if self._declared else None
            mine = [e.reconciliation for e in spec.environments if e.reconciliation] if spec else []
            both = [*mine, *([spec.reconciliation] if spec else [])]
            interval = min((r.interval for r in both), default=timedelta(minutes=1))
        return self.clock() + interval * (1 + random.uniform(-_JITTER, _JITTER))  # noqa: S311 - nothing secret

    # ── being told ────────────────────────────────────────────────────────────────────────────────────────────

    def _wait(self, until: datetime) -> Wakeup | None:
        """Wait for the bell, for a signal of a controller that stands by, or until it is time to poll."""
        while not self._stop.is_set() and (left := (until - self.clock()).total_seconds()) > 0:
            if (rung := self.bell.wait(min(left, _SIGNALS_SECONDS))) is not None:
                return rung
            self.vitals.heartbeats.beat(_FETCHING)
            self._update_role()
            if self._was_signalled():
                # Which pull requests it was about is not said. It is not passed on, or two would tell each other so
                # for ever.
                self._ask_previews(None)
                return None
        return None

    def _was_signalled(self) -> bool:
        found = False
        for name, controller in self.controllers.items():
            if controller.role != "active":
                continue
            try:
                count = controller.station.reader.signals().get(FETCH_SIGNAL, 0)
            except EdgewrightError:
                continue
            found |= self._signals.get(name, count) != count
            self._signals[name] = count
        return found

    def _heard(self, rung: Wakeup) -> None:
        """Pass on what was rung: pull requests to whoever previews, anything to the controllers that lead."""
        self._ask_previews(None if rung.overflowed else rung.numbers)
        for controller in self.controllers.values():
            if controller.role == "standby":
                try:
                    controller.station.writer.signal(FETCH_SIGNAL)
                except EdgewrightError as error:
                    self.log.warning("cannot tell the active controller", error=error.message)

    def _rested(
        self, controller: Controller, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]]
    ) -> None:
        if self.standings.put(Standing(controller, desired, conditions)):
            self._ask_previews(None)
        self.errands.wake()

    def _ask_previews(self, numbers: Set[int] | None) -> None:
        if self.previewing is not None:
            self.previewing.ask(numbers)

    def _update_role(self) -> None:
        """The process is active where any of its environments is."""
        roles = {controller.role for controller in self.controllers.values()}
        if "active" in roles:
            self.vitals.role = "active"
        elif "standby" in roles:
            self.vitals.role = "standby"
