"""The whole process: fetches Git for every environment and runs a controller for each declared one.

Webhooks trigger the wake-ups; a poll with jitter finds changes that no webhook announced. A standby passes the
webhooks it receives on to the active controller through the store.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from edgewright.controller.controller import Controller
from edgewright.controller.environment import Environment
from edgewright.controller.health import ProcessHealth
from edgewright.controller.loops import Loop
from edgewright.controller.outbound import FinishedPass, LastPasses, Outbound
from edgewright.controller.preview_loop import PreviewLoop
from edgewright.controller.wakeups import Debouncer, Wakeup
from edgewright.core.address import Address
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.errors import EdgewrightError, Transient
from edgewright.ports import Fetched, Upstream
from edgewright.reconcile.accepted import SIGNED, declared_by
from edgewright.reconcile.backoff import Backoff, Deadline
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Repository

FETCH_SIGNAL = "fetch"
_FETCHING = "fetch"
_SIGNALS_SECONDS = 2.0
"""How often the store is checked for signals of a standby."""
_GRACE_SECONDS = 1.0
"""How long a fetch may still run after a stop."""
_ALIVE_WITHIN = timedelta(minutes=15)
"""Longer than the timeout of any fetch, even of a large repository over a slow line."""
_DISK_SECONDS = 10.0
_JITTER = 0.2


@dataclass
class Supervisor:
    """Owns every loop of the process; ``run`` is the fetch loop itself."""

    upstream: Upstream
    open_environment: Callable[[str], Environment]
    wakeups: Debouncer
    health: ProcessHealth
    clock: Callable[[], datetime]
    outbound: Outbound
    passes: LastPasses
    previews: PreviewLoop | None
    anchor: Callable[[], str | None] = lambda: None
    """Returns a revision that any environment of the store accepted with a signature, in accepted_revision's format."""
    only: Sequence[str] = ()
    """Environments to serve; by default all declared ones."""
    interval: timedelta | None = None
    """Time between polls, in place of the declared one."""
    jobs: int = 2
    accept: str | None = None
    disk_trouble: Callable[[], str] = lambda: ""
    """Says what is wrong with the disk of the state folder; empty where nothing is."""
    controllers: dict[str, Controller] = field(default_factory=dict)
    _follows: tuple[Follow, ...] = ()
    _declared: Repository | None = None
    _discovered: bool = False
    """Whether the declared environments are known."""
    _signals: dict[str, int] = field(default_factory=dict)
    _disk_due: float = 0.0
    _disk_said: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.log = structlog.get_logger("edgewright.supervisor")

    def stop(self) -> None:
        """Stop every loop soon, leaving everything resumable. Safe in a signal handler."""
        self._stop.set()
        self.wakeups.close()

    def wake(self, environment: str) -> None:
        """Wake the controller of an environment, for news of its devices. Safe from any thread."""
        if (controller := self.controllers.get(environment)) is not None:
            controller.wake()

    def run(self) -> None:
        """Fetch and reconcile until ``stop`` is called."""
        self.health.heartbeats.expect(_FETCHING, _ALIVE_WITHIN)
        backoff = Backoff(self.clock)
        threading.Thread(target=self._cancel_fetches, name="stop", daemon=True).start()
        for loop in self._loops():
            loop.start()
        try:
            while not self._stop.is_set():
                until = self._fetch(backoff)
                self._check_disk()
                self._update_role()
                wakeup = self._wait(until)
                if wakeup is not None:
                    self._handle(wakeup)
        finally:
            self._end()

    def _loops(self) -> list[Loop]:
        return [self.outbound, *([self.previews] if self.previews is not None else [])]

    def _end(self) -> None:
        self.health.role = "stopping"
        for controller in self.controllers.values():
            controller.stop()
        for controller in self.controllers.values():
            controller.join()
        for loop in self._loops():
            loop.stop()
        self._ended.set()
        self.upstream.close()
        self.health.heartbeats.forget(_FETCHING)

    def _cancel_fetches(self) -> None:
        """Cancel running fetches after a stop: a remote may keep them waiting for minutes."""
        self._stop.wait()
        while not self._ended.wait(_GRACE_SECONDS):
            self.upstream.close()

    # ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, backoff: Backoff) -> datetime:
        """Fetch once and return the time of the next poll."""
        fetched, error = Fetched(), None
        try:
            by_ref = (controller.followed.follow for controller in self.controllers.values())
            fetched = self.upstream.fetch(dict.fromkeys([*self._follows, *filter(None, by_ref)]))
            self._discover(fetch=True)
            if self.previews is not None:
                self.previews.fetched()
            backoff.succeeded(_FETCHING)
            self.health.report("git", True)
        except EdgewrightError as failure:
            if self._stop.is_set():
                return self.clock()
            error = failure
            self.log.warning("cannot fetch", error=failure.message, hint=failure.hint or None)
            what = "does not answer" if isinstance(failure, Transient) else "cannot be used; see the log"
            self._discover_from_mirror()
            self.health.report("git", self._discovered, f"the repository {what}")
        except Exception as failure:
            self.log.exception("unexpected error")
            error = EdgewrightError(f"unexpected {type(failure).__name__}", hint="see the log of the controller")
            self.health.report("git", False, "unexpected error; see the log")
        self.health.heartbeats.beat(_FETCHING)
        for controller in self.controllers.values():
            follow = controller.followed.follow
            rewritten = bool(fetched.rewritten) and (follow is None or str(follow) in fetched.rewritten)
            controller.followed.fetched(rewritten=rewritten, error=error)
            controller.wake()
        if error is not None:
            return min(backoff.failed(_FETCHING, error), self._next_poll())
        return self._next_poll()

    def _discover_from_mirror(self) -> None:
        """Start from the mirror of an earlier process: accepted revisions stay applied while the repository is away."""
        if not self._discovered:
            try:
                self._discover(fetch=False)
            except EdgewrightError as error:
                self.log.warning("there is no earlier fetch to start from", error=error.message)

    def _discover(self, *, fetch: bool) -> None:
        """Read the declared environments and the refs they follow, fetch those, and run a controller for each.

        Raises:
            EdgewrightError: The declaration cannot be read; running controllers go on.
        """
        revision = self.upstream.resolve(None)
        anchor = next((kept for kept in self._accepted() if kept.endswith(SIGNED)), "")
        anchor = anchor or self.anchor() or ""
        self._declared = declared_by(self.upstream, revision, anchor.removesuffix(SIGNED) or None)
        if self.previews is not None:
            self.previews.declare(self._declared)
        declared = self._declared.spec.environments if self._declared else ()
        wanted = [environment for environment in declared if not self.only or environment.name in self.only]
        follows = tuple(dict.fromkeys(environment.follow for environment in wanted))
        if follows != self._follows:
            if fetch:
                self.upstream.fetch(follows)
            self._follows = follows
        if not self._discovered:
            self._log_followed()
        self._discovered = True
        names = [environment.name for environment in wanted] if declared or self.only else [""]
        missing = sorted(set(self.only) - {environment.name for environment in declared})
        self.health.report(
            "environments", not missing, "an environment named by --env is not declared" if missing else ""
        )
        if missing:
            self.log.error("--env names environments that are not declared", environments=missing)
        self._keep_controllers(names)

    def _log_followed(self) -> None:
        """Log once which branch declares what is managed."""
        try:
            self.log.info("following", branch=self.upstream.default_branch())
        except EdgewrightError:
            hint = "check a branch out before the start, or name one with --ref"
            self.log.warning("HEAD leads to no branch: whatever is checked out there is followed", hint=hint)

    def _accepted(self) -> list[str]:
        return [c.environment.reader.accepted_revision() or "" for c in self.controllers.values()]

    def _keep_controllers(self, names: Sequence[str]) -> None:
        for name in set(self.controllers) - set(names):
            self.log.warning("environment is no longer declared; its devices keep their models", environment=name)
            controller = self.controllers.pop(name)
            controller.stop()
            controller.join()
        for name in names:
            if name not in self.controllers:
                self.controllers[name] = controller = Controller(
                    self.open_environment(name),
                    self.health,
                    self.clock,
                    self._pass_finished,
                    self.outbound.wake,
                    jobs=self.jobs,
                    accept=self.accept,
                )
                controller.start()
        self.accept = None  # environments declared later must not start from the revision trusted today

    def _next_poll(self) -> datetime:
        interval = self.interval
        if interval is None:
            spec = self._declared.spec if self._declared else None
            mine = [e.reconciliation for e in spec.environments if e.reconciliation] if spec else []
            both = [*mine, *([spec.reconciliation] if spec else [])]
            interval = min((r.interval for r in both), default=timedelta(minutes=1))
        return self.clock() + interval * (1 + random.uniform(-_JITTER, _JITTER))  # noqa: S311 - nothing secret

    # ── wake-ups ──────────────────────────────────────────────────────────────────────────────────────────────

    def _wait(self, until: datetime) -> Wakeup | None:
        """Wait for a webhook, for a signal of a standby, or until it is time to poll."""
        deadline = Deadline(until, self.clock)
        while not self._stop.is_set() and (left := deadline.left()) > 0:
            if (wakeup := self.wakeups.wait(min(left, _SIGNALS_SECONDS))) is not None:
                return wakeup
            self.health.heartbeats.beat(_FETCHING)
            self._check_disk()
            self._update_role()
            if self._take_signals():
                # The signal names no pull requests. It is not passed on: two controllers would signal each other
                # for ever.
                self._request_previews(None)
                return None
        return None

    def _take_signals(self) -> bool:
        found = False
        for name, controller in self.controllers.items():
            if controller.role != "active":
                continue
            try:
                count = controller.environment.reader.signals().get(FETCH_SIGNAL, 0)
            except EdgewrightError:
                continue
            found |= self._signals.get(name, count) != count
            self._signals[name] = count
        return found

    def _handle(self, wakeup: Wakeup) -> None:
        """Pass a wake-up on: pull requests to the previews, everything to the active controller of each standby."""
        self._request_previews(None if wakeup.overflowed else wakeup.numbers)
        for controller in self.controllers.values():
            if controller.role == "standby":
                try:
                    controller.environment.writer.signal(FETCH_SIGNAL)
                except EdgewrightError as error:
                    self.log.warning("cannot signal the active controller", error=error.message)

    def _pass_finished(
        self, controller: Controller, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]]
    ) -> None:
        if self.passes.record(FinishedPass(controller, desired, conditions)):
            self._request_previews(None)
        self.outbound.wake()

    def _request_previews(self, numbers: Set[int] | None) -> None:
        if self.previews is not None:
            self.previews.request(numbers)

    def _check_disk(self) -> None:
        if (now := time.monotonic()) >= self._disk_due:
            self._disk_due = now + _DISK_SECONDS
            trouble = self.disk_trouble()
            if trouble and not self._disk_said:
                self.log.error("the disk of the state folder", trouble=trouble)
            self._disk_said = bool(trouble)
            self.health.report("disk", not trouble, trouble)

    def _update_role(self) -> None:
        """Set the role of the process: active where any of its environments is."""
        roles = {controller.role for controller in self.controllers.values()}
        if "active" in roles:
            self.health.role = "active"
        elif "standby" in roles:
            self.health.role = "standby"
