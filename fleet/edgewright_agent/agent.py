"""The agent's loop: observe → decide → perform one action → persist → again. Called by ``main``.

What may pass by itself never ends the loop: it is shown in the report and tried again with backoff, while everything
else goes on.
"""

import dataclasses
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from pydantic import ValidationError

from edgewright_agent import __version__
from edgewright_agent.backoff import CLEAN, POLL, REPORT, Schedule
from edgewright_agent.decide import (
    Accept,
    Action,
    Clean,
    Deactivate,
    DeviceView,
    Fetch,
    FetchManifest,
    ModelView,
    Poll,
    Probe,
    Refusal,
    Reject,
    Remove,
    Report,
    Sleep,
    Stage,
    Switch,
    Verify,
    consider,
    decide,
    held_up,
)
from edgewright_agent.durable import Disk
from edgewright_agent.errors import Transient, Untrusted, local_error
from edgewright_agent.limits import FetchLimits
from edgewright_agent.models.actions import ActionRunner, ModelAction, StateStore, next_sequence
from edgewright_agent.models.observer import Observer
from edgewright_agent.models.state import StateFile
from edgewright_agent.probing.prober import Prober
from edgewright_agent.reports import model_reports
from edgewright_agent.repository.blobs import Blobs
from edgewright_agent.repository.transport import ReportDrop, RepositoryReader, Watch
from edgewright_agent.repository.trust import LOOK_AGAIN, TrustedRepository
from edgewright_agent.settings import Settings
from edgewright_wire.messages import Assignment, Phase
from edgewright_wire.messages import Report as ReportMessage

log = logging.getLogger(__name__)

STATE_FILE = "state.json"
BLOBS = "blobs"
TUF = "tuf"


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the agent: repository, reports, prober, disk and clocks."""

    repository: RepositoryReader
    reports: ReportDrop
    prober: Prober
    disk: Disk
    now: Callable[[], datetime]
    """The wall clock, aware."""
    clock: Callable[[], float]
    """Monotonic seconds, above 0."""
    jitter: Callable[[], float] = random.random
    """0 to 1."""
    watch: Watch | None = None
    """What says when to look at the repository; without it, it is polled."""
    limits: FetchLimits = field(default_factory=FetchLimits)


class Agent:
    """One device.

    Args:
        settings: As in agent.toml.
        root: The trusted root metadata the device was set up with.
        ports: The world.
        stopped: Whether to end; long actions look at it.

    Raises:
        LocalError: The disk refuses.
    """

    def __init__(
        self, settings: Settings, root: bytes, ports: Ports, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._schedule = Schedule(settings.retry, settings.retry_max, 5 * settings.poll)
        self._trust = TrustedRepository(
            settings.directory / TUF, root, ports.repository, ports.now, ports.clock, ports.disk
        )
        self._memory = StateStore(StateFile(settings.directory / STATE_FILE, ports.disk))
        self._blobs = Blobs(settings.directory / BLOBS, ports.disk, ports.limits, ports.clock)
        self._observer = Observer(settings.directory, self._blobs, ports.disk)
        self._hands = ActionRunner(
            directory=settings.directory,
            memory=self._memory,
            observer=self._observer,
            blobs=self._blobs,
            manifests=self._trust,
            repository=ports.repository,
            prober=ports.prober,
            stopped=stopped,
        )
        self._start = secrets.token_hex(8)
        self._memory.belong_to(settings.device)
        self._offered: Assignment | None = None
        self._said: ReportMessage | None = None
        self.polled = False
        """Whether the repository has been asked since the start, with whatever answer."""
        self.throttled = False
        """Whether, when nothing was due last, that was only because blobs may come no faster."""

    @property
    def settled(self) -> bool:
        """True when the device reported every assigned model as verified."""
        models = self.report().models
        return not self._schedule.troubles and all(model.phase is Phase.VERIFIED for model in models)

    def clean_up(self) -> None:
        """Remove what a crash left half written; only the agent that runs may, before its first step.

        Raises:
            LocalError: The disk refuses.
        """
        self._blobs.clean_up()

    def report(self) -> ReportMessage:
        """Return the device's report as of now.

        Raises:
            LocalError: The disk refuses.
        """
        return self._report(self._view())

    def step(self) -> Sleep | None:
        """Do one thing; or return for how long nothing is due.

        Raises:
            LocalError: The disk cannot even be looked at.
        """
        if self._ports.watch is not None and self._ports.watch.changed():
            self._schedule.set(POLL, 0.0)
        view = self._view()
        said_all = self._said is not None and _body(self._report(view)) == _body(self._said)
        if not said_all and REPORT not in self._schedule.troubles:
            view = dataclasses.replace(view, report_at=0.0)
        action = decide(view, self._offered, self._ports.clock())
        if isinstance(action, Sleep):
            self.throttled = bool(held_up(view, self._ports.clock())) and not self._window_closed()
            if not self.throttled:
                self._blobs.hang_up()
            return action
        log.debug("%s", action)
        subject = _subject(action)
        try:
            done = self._perform(action, view)
        except Transient as error:
            self._failed(subject, error)
        else:
            if done:
                self._schedule.passed(subject)
        return None

    def _failed(self, subject: str, error: Transient) -> None:
        wait = self._schedule.failed(subject, error, self._ports.clock(), self._ports.jitter())
        log.warning("%s: %s: %s (again in %.1f s)", subject.strip(":"), error.reason, error.message, wait)

    def _view(self) -> DeviceView:
        try:
            view = self._observer.view(self._settings.device, self._memory.state)
        except OSError as error:
            raise local_error(error, "looking at the device's models") from error
        models = dict(view.models)
        for name, due in self._schedule.waiting().items():
            models[name] = dataclasses.replace(models.get(name, ModelView(name)), retry_at=due)
        return dataclasses.replace(
            view,
            models=models,
            poll_at=self._schedule.due(POLL),
            report_at=self._schedule.due(REPORT),
            clean_at=self._schedule.due(CLEAN),
            fetch_at=self._ports.limits.due(self._ports.clock(), self._local()),
        )

    def _local(self) -> datetime:
        """The wall clock, in the device's time zone."""
        return self._ports.now().astimezone()

    def _window_closed(self) -> Refusal | None:
        return self._ports.limits.refusal(self._local())

    def _report(self, view: DeviceView) -> ReportMessage:
        now = self._ports.now()
        state = self._memory.state
        trouble = self._schedule.troubles.get(POLL, Refusal("", ""))
        return ReportMessage(
            device=self._settings.device,
            sequence=next_sequence(state.sequence, now),
            sent_at=now,
            agent_version=__version__,
            device_class=self._settings.device_class,
            assignment_version=view.accepted.version if view.accepted is not None else 0,
            models=model_reports(view, state, self._troubles(view), now),
            reason=trouble.reason,
            message=trouble.message[:2000],
            start=self._start,
        )

    def _troubles(self, view: DeviceView) -> dict[str, Refusal]:
        """By model, what hinders it now."""
        closed = self._window_closed()
        held = held_up(view, self._ports.clock()) if closed is not None else frozenset()
        return {**self._schedule.troubles, **{model: closed for model in held if closed is not None}}

    # ── actions that concern the whole device ─────────────────────────────────────────────────────────────────

    def _perform(self, action: ModelAction | Clean | Poll | Accept | Report, view: DeviceView) -> bool:
        match action:
            case Poll():
                self._poll()
            case Accept(assignment):
                self._accept(assignment)
            case Report():
                self._send(self._report(view))
            case _:
                return self._hands.perform(action, view)
        return True

    def _poll(self) -> None:
        self.polled = True
        self._offered = None
        data = self._trust.assignment(self._settings.device)
        if data is not None:
            try:
                offered = Assignment.from_bytes(data)
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in problem["loc"])
                raise Untrusted(
                    "InvalidAssignment", f"the assignment cannot be read: {where}: {problem['msg']}"
                ) from error
            refusal = consider(self._settings.device, self._memory.state.accepted, offered)
            if refusal is not None:
                raise Untrusted(refusal.reason, refusal.message)
            self._offered = offered
        pause = LOOK_AGAIN.total_seconds() if self._ports.watch is not None else self._settings.poll
        self._schedule.set(POLL, self._ports.clock() + pause)

    def _accept(self, assignment: Assignment) -> None:
        self._offered = None
        self._memory.accept(assignment)
        for model in list(self._schedule.waiting()):
            self._schedule.passed(model)
        log.info("accepted assignment %d", assignment.version)

    def _send(self, report: ReportMessage) -> None:
        self._memory.about_to_send(report.sequence, report.models)
        self._ports.reports.send(self._settings.device, report.to_bytes())
        self._said = report
        self._schedule.set(REPORT, self._ports.clock() + self._settings.heartbeat)


def _body(report: ReportMessage) -> ReportMessage:
    """Return the part of a report whose change is sent at once."""
    models = tuple(model.model_copy(update={"since": None}) for model in report.models)
    return report.model_copy(update={"sequence": 1, "sent_at": datetime.min, "models": models})


def _subject(action: Action) -> str:
    match action:
        case Poll() | Accept():
            return POLL
        case Report():
            return REPORT
        case Clean() | Sleep():
            return CLEAN
        case Stage(target) | Probe(target) | Switch(target) | Verify(target) | Reject(target):
            return target.model
        case FetchManifest(model) | Fetch(model) | Deactivate(model) | Remove(model):
            return model
        case _:
            assert_never(action)
