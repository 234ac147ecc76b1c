"""The device API of a Mender server for one environment: bytes in, responses out.

Called by ``server.devices.mender_routes``. ``conversation`` decides how a request changes a twin; this module has the
effects: keys, the store, artifacts. No state is kept in memory, so any controller may answer any request.

Raises (all methods): StateError, StateUnavailable, StorageFull, DeliveryError, DeliveryUnavailable, where the store or
the published repository cannot be used.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof, Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.identity.credentials import load_bundle_keys, load_token_key
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.served.errors import MalformedMessage
from edgewright.delivery.served.mender import responses, tokens
from edgewright.delivery.served.mender.artifacts import write_artifact
from edgewright.delivery.served.mender.authentication import SignatureRejected, check_signature, device_of
from edgewright.delivery.served.mender.conversation import STATUSES, DeviceConversation, artifact_of, deployment_id
from edgewright.delivery.served.mender.driver import SYSTEM
from edgewright.delivery.served.mender.messages import (
    AuthRequest,
    read_attributes,
    read_log,
    read_provides,
    read_status,
)
from edgewright.delivery.served.mender.orders import MenderOrder, compose_artifact
from edgewright.delivery.served.mender.responses import MenderResponse
from edgewright.delivery.served.mender.tokens import TokenPurpose, TokenRejected
from edgewright.delivery.served.twin_changes import change_and_wake
from edgewright.delivery.twin_driver import Routes
from edgewright.ports import Identity, IdentityStatus, IdentityStore, TwinStore
from edgewright_schemas.delivery import MenderSettings
from edgewright_wire.canonical import canonical_json

TOKEN_LIFE = timedelta(hours=12)
LINK_LIFE = timedelta(hours=24)
"""Lifetime of a link to an artifact, if its deployment does not end before."""
MAX_PENDING = 1000
"""Keys that may wait to be accepted: strangers must not fill the store."""
FORGOTTEN_AFTER = timedelta(days=7)
"""A key that has waited so long is forgotten when too many wait; its device may ask again."""
DEPLOYMENTS = "/api/devices/v1/deployments/device/deployments"
_MOST_MODELS = 100
_FORGET_INTERVAL = timedelta(minutes=1)
"""How often it is looked which of the keys that wait may be forgotten: all of them are read for it."""


class MenderService:
    """Answers the devices of one environment.

    Args:
        environment: Its name; empty in a repository without environments.
        twins: Stores the twins.
        identities: Stores devices' keys.
        routes: Gives the route to every device.
        depot: The published packages and configurations.
        keys: The folder of keys: ``bundles.pem`` signs artifacts, ``mender-jwt.pem`` tokens.
        clock: Gives aware UTC times.
        wake: Called when there is news for rollouts.
        url: The controller's URL for devices; None: the one of their requests.

    Raises:
        DeliveryError: A key is missing, or cannot be used.
    """

    def __init__(
        self,
        environment: str,
        twins: TwinStore,
        identities: IdentityStore,
        routes: Routes,
        depot: Depot,
        keys: Path,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        url: str | None = None,
    ) -> None:
        self.environment = environment
        self._twins = twins
        self._identities = identities
        self._routes = routes
        self._depot = depot
        self._bundle_key = load_bundle_keys(keys).key
        self._token_key = load_token_key(keys).key
        self._clock = clock
        self._wake = wake
        self._url = url
        self._forgot: datetime | None = None

    # ── authentication ──────────────────────────────────────────────────────────────────────────────────────────────

    def authenticate(self, request: AuthRequest, signature: str, body: bytes, peer: str) -> MenderResponse:
        """Issue a token to a device whose key is accepted; else queue the key for an operator.

        Args:
            request: The parsed body.
            signature: The header ``X-MEN-Signature``.
            body: The bytes that were signed.
            peer: The sender's address; operators see it.
        """
        try:
            key = check_signature(request.pubkey, signature, body)
        except SignatureRejected as error:
            return responses.refusal(responses.UNAUTHORIZED, str(error))
        known = self._identities.identity(SYSTEM, key.fingerprint)
        now = self._clock()
        if known is None:
            if self._is_full(now):
                return responses.refusal(
                    responses.UNAUTHORIZED, "too many devices wait to be accepted; come again later"
                )
            claims, detail = device_of(request.id_data, self._routes()), {"publicKey": key.pem, "peer": peer}
            asks = Identity(SYSTEM, claims, key.fingerprint, IdentityStatus.PENDING, now, None, request.id_data, detail)
            known = self._identities.ask(asks)
        if known.status is IdentityStatus.PENDING:
            message = f"device {known.device} with the key {known.key} waits to be accepted"
            return responses.refusal(responses.UNAUTHORIZED, message, known.device)
        if known.status is not IdentityStatus.ACCEPTED:
            return responses.refusal(responses.UNAUTHORIZED, f"the key {known.key} is {known.status}", known.device)
        token = tokens.issue_token(self._token_key, TokenPurpose.DEVICE, self.environment, known.key, now + TOKEN_LIFE)
        return MenderResponse(responses.OK, {"Content-Type": "application/jwt"}, token.encode(), device=known.device)

    def _is_full(self, now: datetime) -> bool:
        """Return True if too many keys wait; forgets those that have waited for long first."""
        if self._identities.count(SYSTEM, IdentityStatus.PENDING) < MAX_PENDING:
            return False
        if self._forgot is not None and abs(now - self._forgot) < _FORGET_INTERVAL:
            return True
        self._forgot = now
        pending = self._identities.identities(system=SYSTEM, status=IdentityStatus.PENDING)
        old = [identity.key for identity in pending if now - identity.asked_at > FORGOTTEN_AFTER]
        self._identities.forget(SYSTEM, old)
        return not old

    def is_ours(self, token: str) -> bool:
        """Return True if a token is valid; quick, without reading the store."""
        try:
            tokens.check_token(self._token_key, token, TokenPurpose.DEVICE, self.environment, self._clock())
        except TokenRejected:
            return False
        return True

    def _device(self, token: str) -> str:
        """Return the device of a token.

        Raises:
            TokenRejected: It is not valid, or its device is not accepted any more.
        """
        claims = tokens.check_token(self._token_key, token, TokenPurpose.DEVICE, self.environment, self._clock())
        known = self._identities.identity(SYSTEM, claims.sub)
        if known is None or known.status is not IdentityStatus.ACCEPTED:
            raise TokenRejected("the device is not accepted any more")
        return known.device

    # ── deployments ──────────────────────────────────────────────────────────────────────────────────────────

    def next_deployment(self, token: str, body: bytes | None, asked: Mapping[str, str], base: str) -> MenderResponse:
        """Answer a poll with the device's next deployment, or none.

        Args:
            token: The device's.
            body: Its ``device_provides`` (API v2); None: a poll of an older client (v1).
            asked: Parameters of the request (v1).
            base: Scheme and host of the request's URL.
        """
        return self._respond(token, lambda device: self._next_deployment(device, body, asked, base))

    def _next_deployment(self, device: str, body: bytes | None, asked: Mapping[str, str], base: str) -> MenderResponse:
        provides = read_provides(body) if body is not None else None
        route = self._routes().get(device)
        conversation, settings = self._conversation(route), _settings(route)
        device_type = (asked if provides is None else provides).get("device_type", settings.device_type)
        mismatch = f"its device type is {device_type[:100]}, and its fleet declares {settings.device_type}"

        def ask(twin: Twin) -> Twin:
            twin = conversation.asked(twin, provides)
            for _ in range(_MOST_MODELS):
                job = conversation.offered(twin)
                if job is None or device_type == settings.device_type:
                    break
                twin = twins.fail(twin, job.number, conversation.now, "Incompatible", mismatch)
            return twin

        twin = self._change(device, route, ask)
        job = conversation.offered(twin) if twin is not None else None
        if job is None or device_type != settings.device_type:
            return responses.empty(device)
        id_, until = deployment_id(self.environment, device, job), conversation.now + LINK_LIFE
        link = tokens.issue_token(self._token_key, TokenPurpose.ARTIFACT, self.environment, device, until, job.number)
        artifact = {
            "artifact_name": artifact_of(id_, job),
            "device_types_compatible": [settings.device_type],
            "source": {
                "uri": f"{(self._url or base).rstrip('/')}{DEPLOYMENTS}/{id_}/artifact?token={link}",
                "expire": until.isoformat(timespec="seconds").replace("+00:00", "Z"),
            },
        }
        return MenderResponse(
            responses.OK, responses.JSON, canonical_json({"id": id_, "artifact": artifact}), device=device
        )

    def artifact(self, id_: str, token: str, range_: str = "", if_range: str = "") -> MenderResponse:
        """Send the artifact of a deployment, or a range of it, to the holder of its link.

        Args:
            id_: The deployment's.
            token: From the link.
            range_: The header ``Range``.
            if_range: The header ``If-Range``.
        """
        try:
            claims = tokens.check_token(self._token_key, token, TokenPurpose.ARTIFACT, self.environment, self._clock())
        except TokenRejected as error:
            return responses.refusal(responses.UNAUTHORIZED, str(error))
        device = claims.sub
        if not self._identities.identities(system=SYSTEM, device=device, status=IdentityStatus.ACCEPTED):
            return responses.refusal(responses.UNAUTHORIZED, "the device is not accepted any more", device)
        twin, route = self._twins.twin(device), self._routes().get(device)
        job = twin.job if twin is not None and twin.system == SYSTEM else None
        if twin is not None and job is not None and DeviceConversation.awaits_log(twin, job):
            job = None
        is_ours = route is not None and route.delivery.type == SYSTEM
        if route is None or not is_ours or job is None or deployment_id(self.environment, device, job) != id_:
            return responses.refusal(responses.GONE, "this deployment has ended", device)
        order = MenderOrder(job.model, job.target, route.delivery.root, id_)
        content = compose_artifact(order, artifact_of(id_, job), _settings(route), self._depot)
        artifact_file = write_artifact(content, self._bundle_key)
        artifact_file.check()
        return responses.file(artifact_file, artifact_file.tag(), range_, if_range, device)

    # ── status, log and inventory ─────────────────────────────────────────────────────────────────────────────

    def status(self, token: str, id_: str, body: bytes) -> MenderResponse:
        """Accept a status report of a deployment; 409 makes the client stop."""
        return self._respond(token, lambda device: self._status(device, id_, body))

    def _status(self, device: str, id_: str, body: bytes) -> MenderResponse:
        status = read_status(body).status
        if status not in STATUSES:
            raise MalformedMessage(f"status: {status} is none of {', '.join(STATUSES)}")
        if not _is_uuid(id_):
            return responses.refusal(responses.NOT_FOUND, "there is no such deployment", device)
        route = self._routes().get(device)
        conversation = self._conversation(route)
        stops: list[bool] = []

        def report(twin: Twin) -> Twin:
            twin, stop = conversation.reported(twin, id_, status)
            stops.append(stop)
            return twin

        self._change(device, route, report)
        if stops and not stops[-1]:
            return responses.empty(device)
        return responses.refusal(responses.CONFLICT, "this deployment was aborted", device)

    def log(self, token: str, id_: str, body: bytes) -> MenderResponse:
        """Accept the log of a deployment."""
        return self._respond(token, lambda device: self._log(device, id_, body))

    def _log(self, device: str, id_: str, body: bytes) -> MenderResponse:
        messages, route = read_log(body), self._routes().get(device)
        conversation = self._conversation(route)
        self._change(device, route, lambda twin: conversation.logged(twin, id_, messages))
        return responses.empty(device)

    def inventory(self, token: str, body: bytes, *, whole: bool) -> MenderResponse:
        """Accept inventory attributes of a device; ``whole``: they replace those it sent before."""
        return self._respond(token, lambda device: self._inventory(device, body, whole=whole))

    def _inventory(self, device: str, body: bytes, *, whole: bool) -> MenderResponse:
        attributes, route = read_attributes(body), self._routes().get(device)
        conversation = self._conversation(route)
        self._change(device, route, lambda twin: conversation.listed(twin, attributes, whole=whole))
        # Clients take 204 for an error here.
        return MenderResponse(responses.OK, device=device)

    # ── common to all ─────────────────────────────────────────────────────────────────────────────────────────────

    def _respond(self, token: str, work: Callable[[str], MenderResponse]) -> MenderResponse:
        """Authenticate a device, and respond to its request."""
        try:
            device = self._device(token)
        except TokenRejected as error:
            return responses.refusal(responses.UNAUTHORIZED, str(error))
        try:
            return work(device)
        except MalformedMessage as error:
            return responses.refusal(responses.BAD_REQUEST, str(error), device)

    def _conversation(self, route: Route | None) -> DeviceConversation:
        return DeviceConversation(
            self.environment, route.proof if route is not None else Proof.INSTALLED, self._clock()
        )

    def _change(self, device: str, route: Route | None, work: Callable[[Twin], Twin]) -> Twin | None:
        """Change a device's twin; None: another update system has the device, and nothing is changed."""
        known = self._twins.twin(device) if route is None else None
        system = route.delivery.type if route is not None else known.system if known is not None else SYSTEM
        if system != SYSTEM:
            return None
        return change_and_wake(self._twins, device, SYSTEM, work, news=_news, wake=self._wake)


def _news(twin: Twin) -> Twin:
    """Return the part of a twin that rollouts or people see."""
    return replace(twin, sequence=0, last_seen=None, facts={}, memo={})


def _settings(route: Route | None) -> MenderSettings:
    return (route.delivery.mender if route is not None else None) or MenderSettings()


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
