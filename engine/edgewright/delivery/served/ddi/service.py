"""Serves the devices of one environment: bytes in, responses out. Called by ``server.devices.ddi_routes``.

All state is in the stores, so that several controllers may serve the same devices.
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
from edgewright.delivery.served.ddi import actions, responses
from edgewright.delivery.served.ddi.authentication import SYSTEM, AuthenticatedDevice, Authenticator, RequestRefused
from edgewright.delivery.served.ddi.downloads import DownloadResponse, download_response
from edgewright.delivery.served.ddi.messages import (
    Feedback,
    apply_attributes,
    read_attributes,
    read_feedback,
)
from edgewright.delivery.served.ddi.responses import DeviceAddress
from edgewright.delivery.served.errors import MalformedMessage
from edgewright.delivery.served.twin_changes import change_and_wake
from edgewright.errors import EdgewrightError
from edgewright.ports import IdentityStore, TwinStore
from edgewright_schemas.delivery import DdiSettings
from edgewright_wire.names import is_device_id

log = logging.getLogger(__name__)

ASK_AGAIN = timedelta(days=1)
"""Age of a device's attributes after which they are requested again."""
NO_BUNDLE = "BundleFailed"
_ATTRIBUTES_AT = "attributesAt"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class DdiRequest:
    """Sender and address of a request."""

    tenant: str
    device: str
    authorization: str
    """The header; empty where there is none."""
    base_url: str
    """The controller's URL as the device uses it, without a path."""


@dataclass(frozen=True, slots=True)
class DdiResponse:
    """Status and JSON."""

    status: int = 200
    content: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class DdiService:
    """The device API of one environment.

    Args:
        environment: Its name.
        twins: Stores the twins.
        identities: Stores tokens' digests.
        routes: Gives the route to every device.
        depot: The published packages and configurations.
        cache: Folder for built bundles.
        keys: Folder of the keys.
        clock: Gives aware UTC times.
        wake: Called when there is news for rollouts.
        url: The controller's URL for devices; None: the one of their requests.
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
        self._authenticator = Authenticator(identities, routes, clock)

    # ── resources ─────────────────────────────────────────────────────────────────────────────────────────────

    def base(self, request: DdiRequest) -> DdiResponse:
        """``GET /{tenant}/controller/v1/{id}``: links to the resources that are due."""
        return self._respond(request, lambda client: self._base(request, client))

    def deployment(self, request: DdiRequest, number: str) -> DdiResponse:
        """``GET …/deploymentBase/{action}``: the bundle to install."""
        return self._respond(request, lambda client: self._deployment(request, client, number))

    def feedback(self, request: DdiRequest, number: str, body: bytes) -> DdiResponse:
        """``POST …/deploymentBase/{action}/feedback``: progress and result."""
        return self._respond(request, lambda client: self._feedback(client, number, body))

    def cancelation(self, request: DdiRequest, number: str) -> DdiResponse:
        """``GET …/cancelAction/{action}``: the action to cancel."""
        return self._respond(request, lambda client: self._cancelation(client, number))

    def cancelation_feedback(self, request: DdiRequest, number: str, body: bytes) -> DdiResponse:
        """``POST …/cancelAction/{action}/feedback``: result of the cancellation."""
        return self._respond(request, lambda client: self._cancelation_feedback(client, number, body))

    def attributes(self, request: DdiRequest, body: bytes) -> DdiResponse:
        """``PUT …/configData``: the device's attributes."""
        return self._respond(request, lambda client: self._attributes(client, body))

    def installed(self, request: DdiRequest, number: str) -> DdiResponse:
        """``GET …/installedBase/{action}``: the bundle that the device installed last."""
        return self._respond(request, lambda client: self._installed(request, client, number))

    def download(
        self, request: DdiRequest, number: str, name: str, headers: Mapping[str, str], *, only_head: bool = False
    ) -> DdiResponse | DownloadResponse:
        """``GET …/softwaremodules/{action}/artifacts/{name}``: a bundle's bytes."""
        found: list[DownloadResponse] = []

        def sending(client: AuthenticatedDevice) -> DdiResponse:
            outcome = self._download(client, number, name, headers, only_head=only_head)
            if isinstance(outcome, DownloadResponse):
                found.append(outcome)
                return DdiResponse()
            return outcome

        answer = self._respond(request, sending)
        return found[0] if found else answer

    # ── their implementation ───────────────────────────────────────────────────────────────────────────────────

    def _base(self, request: DdiRequest, client: AuthenticatedDevice) -> DdiResponse:
        address, route = self._address(request), client.route
        if client.pending is not None:
            return DdiResponse(content=responses.base_resource(address, DdiSettings().poll, due={"configData": None}))
        poll = _settings(route).poll
        known = self._own_twin(client)
        if known is None:
            return DdiResponse(content=responses.base_resource(address, poll, due={}))
        now = self._clock()
        expected, problem = twins.seen(known, now), None
        if expected.job is not None and not actions.is_cancelling(expected):
            try:
                self._bundle(route, expected.job)
            except EdgewrightError as error:
                problem = error
                log.warning("device %s: there is no bundle for it: %s", client.device, error)
        twin = self._record_seen(client, known, now, problem)
        return DdiResponse(
            content=responses.base_resource(address, poll, due=_due(twin, now, can_offer=problem is None))
        )

    def _record_seen(
        self, client: AuthenticatedDevice, known: Twin, now: datetime, problem: EdgewrightError | None
    ) -> Twin:
        def record(twin: Twin) -> Twin:
            if problem is None:
                return twins.seen(twin, now)
            lasts = (twin.reason, twin.message) == (NO_BUNDLE, problem.message)
            if lasts and twin.last_seen is not None and now - twin.last_seen < twins.HEARTBEAT:
                return twin
            return twins.with_problem(twins.seen(twin, now), NO_BUNDLE, problem.message)

        return known if record(known) == known else self._change(client.device, record)

    def _deployment(self, request: DdiRequest, client: AuthenticatedDevice, number: str) -> DdiResponse:
        twin, action = self._open(client, number)
        job = twin.job
        if job is None or actions.is_cancelling(twin):
            return DdiResponse(410, {"error": "the action was cancelled"})
        bundle = self._bundle(client.route, job)
        now = self._clock()
        twin = self._change(client.device, lambda twin: actions.offered(twin, action, bundle.key, now))
        order = _order(client.route, job)
        return DdiResponse(content=responses.deployment(self._address(request), job, order, bundle))

    def _feedback(self, client: AuthenticatedDevice, number: str, body: bytes) -> DdiResponse:
        feedback = read_feedback(body)
        _, action = self._open(client, number, settled=True)
        self._check(feedback, action)
        now, wanted = self._clock(), _proof(client.route)
        self._change(client.device, lambda twin: actions.apply_feedback(twin, action, feedback, wanted, now))
        return DdiResponse()

    def _cancelation(self, client: AuthenticatedDevice, number: str) -> DdiResponse:
        twin, action = self._open(client, number)
        if not actions.is_cancelling(twin):
            return DdiResponse(404, {"error": "the action was not cancelled"})
        return DdiResponse(content=responses.cancellation(action))

    def _cancelation_feedback(self, client: AuthenticatedDevice, number: str, body: bytes) -> DdiResponse:
        feedback = read_feedback(body)
        twin, action = self._open(client, number)
        self._check(feedback, action)
        if twin.job is None or twin.job.stage is not Stage.CANCELLING:
            return DdiResponse(404, {"error": "the action was not cancelled"})
        now, wanted = self._clock(), _proof(client.route)
        self._change(
            client.device, lambda twin: actions.apply_cancellation_feedback(twin, action, feedback, wanted, now)
        )
        return DdiResponse()

    def _attributes(self, client: AuthenticatedDevice, body: bytes) -> DdiResponse:
        feedback = read_attributes(body)
        if client.pending is not None:
            self._authenticator.describe(client, feedback)
        elif self._own_twin(client) is not None:
            now = self._clock()

            def apply(twin: Twin) -> Twin:
                facts = apply_attributes(twin.facts, feedback)
                changed = twins.seen(twin, now, facts=facts, device_class=facts.get("class", ""))
                return replace(changed, memo={**changed.memo, _ATTRIBUTES_AT: now.isoformat()})

            self._change(client.device, apply)
        return DdiResponse()

    def _installed(self, request: DdiRequest, client: AuthenticatedDevice, number: str) -> DdiResponse:
        twin = self._own_twin(client)
        action = _action_number(number)
        running = next((model for model in twin.models if model.installed is not None), None) if twin else None
        if twin is None or running is None or actions.status_of(twin, action) is not actions.ActionStatus.CLOSED:
            return DdiResponse(404, {"error": "nothing was installed by this action"})
        now = self._clock()
        job = Job(action, running.model, running.installed, 0, Stage.INSTALLING, now)
        bundle, order = self._bundle(client.route, job), _order(client.route, job)
        return DdiResponse(content=responses.deployment(self._address(request), job, order, bundle))

    def _download(
        self, client: AuthenticatedDevice, number: str, name: str, headers: Mapping[str, str], *, only_head: bool
    ) -> DdiResponse | DownloadResponse:
        twin, action = self._open(client, number)
        if twin.job is None or actions.is_cancelling(twin):
            return DdiResponse(410, {"error": "the action was cancelled"})
        bundle = self._bundle(client.route, twin.job)
        if name != bundle.name:
            return DdiResponse(404, {"error": "there is no such artifact"})

        def sent() -> None:
            self._change(client.device, lambda twin: actions.fetched(twin, action, self._clock()))

        if not only_head:
            self._change(client.device, lambda twin: actions.fetching(twin, action, self._clock()))
        try:
            return download_response(bundle, headers, only_head=only_head, sent=sent)
        except OSError as error:
            log.warning("the bundle %s cannot be read: %s", bundle.path, error)
            return DdiResponse(503, {"error": "the artifact is being built"}, {"Retry-After": "5"})

    # ── common to them ────────────────────────────────────────────────────────────────────────────────────────

    def _respond(self, request: DdiRequest, work: Callable[[AuthenticatedDevice], DdiResponse]) -> DdiResponse:
        try:
            if not is_device_id(request.device):
                raise RequestRefused(401, "this is no device")
            return work(self._authenticator.authenticate(request.device, request.authorization))
        except RequestRefused as refused:
            return DdiResponse(refused.status, {"error": refused.message})
        except MalformedMessage as error:
            return DdiResponse(400, {"error": str(error)})
        except EdgewrightError as error:
            log.error("device %s cannot be served: %s", request.device, error)
            return DdiResponse(503, {"error": "this cannot be answered now"}, {"Retry-After": "30"})

    def _own_twin(self, client: AuthenticatedDevice) -> Twin | None:
        """Find the device's twin, or create one; None where another update system reaches it."""
        twin = self._twins.twin(client.device)
        is_ours = twin is not None and twin.system == SYSTEM
        if client.route is None and not is_ours and (twin is not None or client.device in self._routes()):
            return None
        return twin if is_ours else Twin(client.device, SYSTEM)

    def _open(self, client: AuthenticatedDevice, number: str, *, settled: bool = False) -> tuple[Twin, int]:
        """Find an open action.

        Raises:
            NotServed: There is none such, or it has ended.
        """
        twin, action = self._own_twin(client) if client.pending is None else None, _action_number(number)
        match actions.status_of(twin, action):
            case actions.ActionStatus.OPEN:
                pass
            case actions.ActionStatus.SETTLED if settled:
                pass
            case actions.ActionStatus.UNKNOWN:
                raise RequestRefused(404, "there is no such action")
            case _:
                raise RequestRefused(410, "the action has ended")
        assert twin is not None
        return twin, action

    def _check(self, feedback: Feedback, action: int) -> None:
        if feedback.number not in {None, action}:
            raise MalformedMessage("the body is of another action")

    def _bundle(self, route: Route | None, job: Job) -> BuiltBundle:
        return self._maker.make(_order(route, job))

    def _change(self, device: str, work: Callable[[Twin], Twin]) -> Twin:
        return change_and_wake(self._twins, device, SYSTEM, work, news=_news, wake=self._wake)

    def _address(self, request: DdiRequest) -> DeviceAddress:
        return DeviceAddress(self._url or request.base_url, request.tenant, request.device)


def offered_bundles(store: TwinStore) -> frozenset[str]:
    """Return the keys of the bundles that devices are fetching."""
    return frozenset(actions.notes_of(twin).bundle for twin in store.twins(SYSTEM) if twin.job is not None)


def _order(route: Route | None, job: Job) -> BundleOrder:
    if route is None:
        raise RequestRefused(404, "no fleet has this device")
    return BundleOrder(job.model, job.target, route.delivery)


def _settings(route: Route | None) -> DdiSettings:
    return (route.delivery.ddi if route is not None else None) or DdiSettings()


def _proof(route: Route | None) -> Proof:
    return route.proof if route is not None else Proof.VERIFIED


def _action_number(number: str) -> int:
    if _NUMBER.fullmatch(number) is None:
        raise RequestRefused(404, "there is no such action")
    return int(number)


def _due(twin: Twin, now: datetime, *, can_offer: bool) -> dict[str, int | None]:
    """List the resources that a device has to fetch or send: an action or its cancellation, and its attributes."""
    due: dict[str, int | None] = {}
    if twin.job is not None and actions.is_cancelling(twin):
        due["cancelAction"] = twin.job.number
    elif twin.job is not None and can_offer:
        due["deploymentBase"] = twin.job.number
    said_at = twin.memo.get(_ATTRIBUTES_AT)
    if not isinstance(said_at, str) or now - datetime.fromisoformat(said_at) >= ASK_AGAIN:
        due["configData"] = None
    return due


def _news(twin: Twin) -> tuple[object, ...]:
    """Return the part of a twin that rollouts or people see."""
    return twin.models, twin.taken, twin.job is None, twin.reason, twin.message, twin.last_seen is None
