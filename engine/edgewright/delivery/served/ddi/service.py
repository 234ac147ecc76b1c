"""Serves devices of one environment: bytes in, answers out. Called by ``server.ddi_routes``.

Nothing is kept between calls but in the stores, so that several controllers may serve the same devices.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof, Route
from edgewright.core.fleet.twins import Job, Stage, Twin
from edgewright.delivery.bundles.cache import BuiltBundle
from edgewright.delivery.bundles.maker import BundleMaker
from edgewright.delivery.bundles.orders import BundleOrder, ReadFile
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.served.ddi import actions, answers
from edgewright.delivery.served.ddi.answers import DeviceAddress
from edgewright.delivery.served.ddi.authentication import SYSTEM, AuthenticatedDevice, Authenticator, NotServed
from edgewright.delivery.served.ddi.downloads import Sending, send
from edgewright.delivery.served.ddi.messages import (
    Feedback,
    Malformed,
    apply_attributes,
    read_attributes,
    read_feedback,
)
from edgewright.errors import EdgewrightError
from edgewright.ports import IdentityStore, TwinStore
from edgewright_schemas.delivery import DdiSettings

log = logging.getLogger(__name__)

ASK_AGAIN = timedelta(days=1)
"""How old a device's attributes may become before it is asked for them."""
NO_BUNDLE = "BundleFailed"
_ATTRIBUTES_AT = "attributesAt"
_DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and where."""

    tenant: str
    device: str
    authorization: str
    """The header; empty where there is none."""
    asked_at: str
    """The address the device used for us, without a path."""


@dataclass(frozen=True, slots=True)
class DdiResponse:
    """Status and JSON."""

    status: int = 200
    content: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class DdiService:
    """The server side of the driver.

    Args:
        environment: Its name.
        twins: Keeps what is known of devices.
        identities: Keeps tokens' digests.
        routes: The way to every device.
        depot: What is published.
        cache: Folder for built bundles.
        keys: Folder of the keys.
        clock: Gives aware UTC times.
        wake: Told of news for rollouts.
        url: Where devices reach us; None: where they ask.
        read: Reads files of the repository that fleets name.
    """

    def __init__(
        self,
        *,
        environment: str,
        twins: TwinStore,
        identities: IdentityStore,
        routes: Callable[[], Mapping[str, Route]],
        depot: Depot,
        cache: Path,
        keys: Path,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        url: str | None,
        read: ReadFile,
    ) -> None:
        self.environment = environment
        self._twins = twins
        self._routes = routes
        self._clock = clock
        self._wake = wake
        self._url = url.rstrip("/") if url else None
        self._maker = BundleMaker(cache, keys, depot, read, lambda: offered_bundles(twins))
        self._doors = Authenticator(identities, routes, clock)

    # ── resources ─────────────────────────────────────────────────────────────────────────────────────────────

    def base(self, call: Call) -> DdiResponse:
        """``GET /{tenant}/controller/v1/{id}``: what is due."""
        return self._answered(call, lambda visitor: self._base(call, visitor))

    def deployment(self, call: Call, number: str) -> DdiResponse:
        """``GET …/deploymentBase/{action}``: what to install."""
        return self._answered(call, lambda visitor: self._deployment(call, visitor, number))

    def feedback(self, call: Call, number: str, body: bytes) -> DdiResponse:
        """``POST …/deploymentBase/{action}/feedback``: how it goes."""
        return self._answered(call, lambda visitor: self._feedback(visitor, number, body))

    def cancelation(self, call: Call, number: str) -> DdiResponse:
        """``GET …/cancelAction/{action}``: what is called off."""
        return self._answered(call, lambda visitor: self._cancelation(visitor, number))

    def cancelation_feedback(self, call: Call, number: str, body: bytes) -> DdiResponse:
        """``POST …/cancelAction/{action}/feedback``: whether it was in time."""
        return self._answered(call, lambda visitor: self._cancelation_feedback(visitor, number, body))

    def attributes(self, call: Call, body: bytes) -> DdiResponse:
        """``PUT …/configData``: what the device says of itself."""
        return self._answered(call, lambda visitor: self._attributes(visitor, body))

    def installed(self, call: Call, number: str) -> DdiResponse:
        """``GET …/installedBase/{action}``: what the device has installed last."""
        return self._answered(call, lambda visitor: self._installed(call, visitor, number))

    def download(
        self, call: Call, number: str, name: str, headers: Mapping[str, str], *, only_head: bool = False
    ) -> DdiResponse | Sending:
        """``GET …/softwaremodules/{action}/artifacts/{name}``: a bundle's bytes."""
        found: list[Sending] = []

        def sending(visitor: AuthenticatedDevice) -> DdiResponse:
            outcome = self._download(visitor, number, name, headers, only_head=only_head)
            if isinstance(outcome, Sending):
                found.append(outcome)
                return DdiResponse()
            return outcome

        answer = self._answered(call, sending)
        return found[0] if found else answer

    # ── what is behind them ───────────────────────────────────────────────────────────────────────────────────

    def _base(self, call: Call, visitor: AuthenticatedDevice) -> DdiResponse:
        place, route = self._place(call), visitor.route
        if visitor.pending is not None:
            return DdiResponse(content=answers.base(place, DdiSettings().poll, due={"configData": None}))
        poll = _settings(route).poll
        known = self._known(visitor)
        if known is None:
            return DdiResponse(content=answers.base(place, poll, due={}))
        now = self._clock()
        expected, problem = twins.seen(known, now), None
        if expected.job is not None and not actions.is_called_off(expected):
            try:
                self._bundle(route, expected.job)
            except EdgewrightError as error:
                problem = error
                log.warning("device %s: there is no bundle for it: %s", visitor.device, error)
        twin = self._see(visitor, known, now, problem)
        return DdiResponse(content=answers.base(place, poll, due=_due(twin, now, can_offer=problem is None)))

    def _see(self, visitor: AuthenticatedDevice, known: Twin, now: datetime, problem: EdgewrightError | None) -> Twin:
        def seeing(twin: Twin) -> Twin:
            if problem is None:
                return twins.seen(twin, now)
            lasts = (twin.reason, twin.message) == (NO_BUNDLE, problem.message)
            if lasts and twin.last_seen is not None and now - twin.last_seen < twins.HEARTBEAT:
                return twin
            return twins.troubled(twins.seen(twin, now), NO_BUNDLE, problem.message)

        return known if seeing(known) == known else self._change(visitor.device, seeing)

    def _deployment(self, call: Call, visitor: AuthenticatedDevice, number: str) -> DdiResponse:
        twin, action = self._open(visitor, number)
        job = twin.job
        if job is None or actions.is_called_off(twin):
            return DdiResponse(410, {"error": "the action was called off"})
        bundle = self._bundle(visitor.route, job)
        now = self._clock()
        twin = self._change(visitor.device, lambda twin: actions.offered(twin, action, bundle.key, now))
        order = _order(visitor.route, job)
        return DdiResponse(content=answers.deployment(self._place(call), job, order, bundle))

    def _feedback(self, visitor: AuthenticatedDevice, number: str, body: bytes) -> DdiResponse:
        said = read_feedback(body)
        _, action = self._open(visitor, number, settled=True)
        self._check(said, action)
        now, wanted = self._clock(), _proof(visitor.route)
        self._change(visitor.device, lambda twin: actions.told(twin, action, said, wanted, now))
        return DdiResponse()

    def _cancelation(self, visitor: AuthenticatedDevice, number: str) -> DdiResponse:
        twin, action = self._open(visitor, number)
        if not actions.is_called_off(twin):
            return DdiResponse(404, {"error": "the action was not called off"})
        return DdiResponse(content=answers.cancelation(action))

    def _cancelation_feedback(self, visitor: AuthenticatedDevice, number: str, body: bytes) -> DdiResponse:
        said = read_feedback(body)
        twin, action = self._open(visitor, number)
        self._check(said, action)
        if twin.job is None or twin.job.stage is not Stage.CANCELLING:
            return DdiResponse(404, {"error": "the action was not called off"})
        now, wanted = self._clock(), _proof(visitor.route)
        self._change(visitor.device, lambda twin: actions.told_of_cancelation(twin, action, said, wanted, now))
        return DdiResponse()

    def _attributes(self, visitor: AuthenticatedDevice, body: bytes) -> DdiResponse:
        said = read_attributes(body)
        if visitor.pending is not None:
            self._doors.describe(visitor, said)
        elif self._known(visitor) is not None:
            now = self._clock()

            def describing(twin: Twin) -> Twin:
                facts = apply_attributes(twin.facts, said)
                changed = twins.seen(twin, now, facts=facts, device_class=facts.get("class", ""))
                return replace(changed, memo={**changed.memo, _ATTRIBUTES_AT: now.isoformat()})

            self._change(visitor.device, describing)
        return DdiResponse()

    def _installed(self, call: Call, visitor: AuthenticatedDevice, number: str) -> DdiResponse:
        twin = self._known(visitor)
        action = _parsed(number)
        running = next((model for model in twin.models if model.installed is not None), None) if twin else None
        if twin is None or running is None or actions.standing(twin, action) is not actions.ActionStatus.CLOSED:
            return DdiResponse(404, {"error": "nothing was installed by this action"})
        now = self._clock()
        job = Job(action, running.model, running.installed, 0, Stage.INSTALLING, now)
        bundle, order = self._bundle(visitor.route, job), _order(visitor.route, job)
        return DdiResponse(content=answers.deployment(self._place(call), job, order, bundle))

    def _download(
        self, visitor: AuthenticatedDevice, number: str, name: str, headers: Mapping[str, str], *, only_head: bool
    ) -> DdiResponse | Sending:
        twin, action = self._open(visitor, number)
        if twin.job is None or actions.is_called_off(twin):
            return DdiResponse(410, {"error": "the action was called off"})
        bundle = self._bundle(visitor.route, twin.job)
        if name != bundle.name:
            return DdiResponse(404, {"error": "there is no such artifact"})

        def sent() -> None:
            self._change(visitor.device, lambda twin: actions.fetched(twin, action, self._clock()))

        if not only_head:
            self._change(visitor.device, lambda twin: actions.fetching(twin, action, self._clock()))
        try:
            return send(bundle, headers, only_head=only_head, sent=sent)
        except OSError as error:
            log.warning("the bundle %s cannot be read: %s", bundle.path, error)
            return DdiResponse(503, {"error": "the artifact is being built"}, {"Retry-After": "5"})

    # ── common to them ────────────────────────────────────────────────────────────────────────────────────────

    def _answered(self, call: Call, work: Callable[[AuthenticatedDevice], DdiResponse]) -> DdiResponse:
        try:
            if _DEVICE.fullmatch(call.device) is None:
                raise NotServed(401, "this is no device")
            return work(self._doors.admit(call.device, call.authorization))
        except NotServed as refused:
            return DdiResponse(refused.status, {"error": refused.message})
        except Malformed as error:
            return DdiResponse(400, {"error": str(error)})
        except EdgewrightError as error:
            log.error("device %s cannot be served: %s", call.device, error)
            return DdiResponse(503, {"error": "this cannot be answered now"}, {"Retry-After": "30"})

    def _known(self, visitor: AuthenticatedDevice) -> Twin | None:
        """Find the device's twin, or begin one; None where another update system reaches it."""
        twin = self._twins.twin(visitor.device)
        is_ours = twin is not None and twin.system == SYSTEM
        if visitor.route is None and not is_ours and (twin is not None or visitor.device in self._routes()):
            return None
        return twin if is_ours else Twin(visitor.device, SYSTEM)

    def _open(self, visitor: AuthenticatedDevice, number: str, *, settled: bool = False) -> tuple[Twin, int]:
        """Find an action that is open.

        Raises:
            NotServed: There is none such, or it has ended.
        """
        twin, action = self._known(visitor) if visitor.pending is None else None, _parsed(number)
        match actions.standing(twin, action):
            case actions.ActionStatus.OPEN:
                pass
            case actions.ActionStatus.SETTLED if settled:
                pass
            case actions.ActionStatus.UNKNOWN:
                raise NotServed(404, "there is no such action")
            case _:
                raise NotServed(410, "the action has ended")
        assert twin is not None
        return twin, action

    def _check(self, said: Feedback, action: int) -> None:
        if said.number not in {None, action}:
            raise Malformed("the body is of another action")

    def _bundle(self, route: Route | None, job: Job) -> BuiltBundle:
        return self._maker.make(_order(route, job))

    def _change(self, device: str, work: Callable[[Twin], Twin]) -> Twin:
        """Change a twin, and wake whoever has to do with what is new."""
        before: list[Twin] = []

        def noticing(twin: Twin) -> Twin:
            before[:] = [twin]
            return work(twin)

        after = self._twins.change(device, SYSTEM, noticing)
        assert after is not None
        if _is_news(before[0], after):
            self._wake()
        return after

    def _place(self, call: Call) -> DeviceAddress:
        return DeviceAddress(self._url or call.asked_at, call.tenant, call.device)


def offered_bundles(store: TwinStore) -> frozenset[str]:
    """Keys of the bundles that devices are fetching."""
    return frozenset(actions.notes_of(twin).bundle for twin in store.twins(SYSTEM) if twin.job is not None)


def _order(route: Route | None, job: Job) -> BundleOrder:
    if route is None:
        raise NotServed(404, "no fleet has this device")
    return BundleOrder(job.model, job.target, route.delivery)


def _settings(route: Route | None) -> DdiSettings:
    return (route.delivery.ddi if route is not None else None) or DdiSettings()


def _proof(route: Route | None) -> Proof:
    return route.proof if route is not None else Proof.VERIFIED


def _parsed(number: str) -> int:
    if _NUMBER.fullmatch(number) is None:
        raise NotServed(404, "there is no such action")
    return int(number)


def _due(twin: Twin, now: datetime, *, can_offer: bool) -> dict[str, int | None]:
    """What a device has to look at: an action or its cancelation, and whether its attributes are wanted."""
    due: dict[str, int | None] = {}
    if twin.job is not None and actions.is_called_off(twin):
        due["cancelAction"] = twin.job.number
    elif twin.job is not None and can_offer:
        due["deploymentBase"] = twin.job.number
    said_at = twin.memo.get(_ATTRIBUTES_AT)
    if not isinstance(said_at, str) or now - datetime.fromisoformat(said_at) >= ASK_AGAIN:
        due["configData"] = None
    return due


def _is_news(before: Twin, after: Twin) -> bool:
    def told(twin: Twin) -> tuple[object, ...]:
        return twin.models, twin.taken, twin.job is None, twin.reason, twin.message, twin.last_seen is None

    return told(before) != told(after)
