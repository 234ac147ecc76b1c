"""The device API of a Mender server for one environment: bytes in, answers out. Called by ``server.mender_routes``.

What follows from what a device says is decided in ``conversation``; here are the effects: keys, the store, artifacts.
Nothing is kept in memory, so any controller may answer any request.

Raises (all methods): StateError, StateUnavailable, StorageFull, DeliveryError, DeliveryUnavailable, where the store or
what is published cannot be used.
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
from edgewright.delivery.served.mender import answers, tokens
from edgewright.delivery.served.mender.answers import MenderResponse
from edgewright.delivery.served.mender.artifacts import write_artifact
from edgewright.delivery.served.mender.authentication import NotSigned, check_signature, device_of
from edgewright.delivery.served.mender.conversation import STATUSES, Conversation, artifact_of, deployment_id
from edgewright.delivery.served.mender.driver import SYSTEM
from edgewright.delivery.served.mender.messages import (
    AuthRequest,
    Malformed,
    read_attributes,
    read_log,
    read_provides,
    read_status,
)
from edgewright.delivery.served.mender.orders import MenderOrder, compose
from edgewright.delivery.served.mender.tokens import NoToken, TokenPurpose
from edgewright.delivery.twin_driver import Routes
from edgewright.ports import Identity, IdentityStatus, IdentityStore, TwinStore
from edgewright_schemas.delivery import MenderSettings
from edgewright_wire.canonical import canonical_json

TOKEN_LIFE = timedelta(hours=12)
LINK_LIFE = timedelta(hours=24)
"""How long a link to an artifact counts, if its deployment does not end before."""
MOST_PENDING = 1000
"""Keys that may wait to be believed: strangers shall not fill the store."""
FORGOTTEN_AFTER = timedelta(days=7)
"""A key that has waited so long makes place for others; its device may ask again."""
DEPLOYMENTS = "/api/devices/v1/deployments/device/deployments"
_MOST_MODELS = 100


class MenderService:
    """Answers the devices of one environment.

    Args:
        environment: Its name; empty in a repository without environments.
        twins: Keeps the devices.
        identities: Keeps whose keys are believed.
        routes: The way to every device.
        depot: What is published.
        keys: The folder of keys: ``bundles.pem`` signs artifacts, ``mender-jwt.pem`` tokens.
        clock: Gives aware UTC times.
        wake: Called when there is news for rollouts.
        url: Where devices reach this controller; None: where their requests say that they have reached it.

    Raises:
        DeliveryError: A key is not there, or cannot be used.
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

    # ── who is there ──────────────────────────────────────────────────────────────────────────────────────────────

    def authenticate(self, request: AuthRequest, signature: str, body: bytes, peer: str) -> MenderResponse:
        """Give a device a token, once somebody has accepted its key.

        Args:
            request: What it says.
            signature: The header ``X-MEN-Signature``.
            body: The bytes that were signed.
            peer: The address it asks from; operators see it.
        """
        try:
            key = check_signature(request.pubkey, signature, body)
        except NotSigned as error:
            return answers.refusal(answers.UNAUTHORIZED, str(error))
        known = self._identities.identity(SYSTEM, key.fingerprint)
        now = self._clock()
        if known is None:
            if self._is_full(now):
                return answers.refusal(answers.UNAUTHORIZED, "too many devices wait to be accepted; come again later")
            claims, detail = device_of(request.id_data, self._routes()), {"publicKey": key.pem, "peer": peer}
            asks = Identity(SYSTEM, claims, key.fingerprint, IdentityStatus.PENDING, now, None, request.id_data, detail)
            known = self._identities.ask(asks)
        if known.standing is IdentityStatus.PENDING:
            message = f"device {known.device} with the key {known.key} waits to be accepted"
            return answers.refusal(answers.UNAUTHORIZED, message, known.device)
        if known.standing is not IdentityStatus.ACCEPTED:
            return answers.refusal(answers.UNAUTHORIZED, f"the key {known.key} is {known.standing}", known.device)
        token = tokens.issue(self._token_key, TokenPurpose.DEVICE, self.environment, known.key, now + TOKEN_LIFE)
        return MenderResponse(answers.OK, {"Content-Type": "application/jwt"}, token.encode(), device=known.device)

    def _is_full(self, now: datetime) -> bool:
        """Whether too many keys wait; those that have waited for long make place."""
        pending = self._identities.identities(system=SYSTEM, standing=IdentityStatus.PENDING)
        if len(pending) < MOST_PENDING:
            return False
        old = [identity.key for identity in pending if now - identity.asked_at > FORGOTTEN_AFTER]
        self._identities.forget(SYSTEM, old)
        return not old

    def is_ours(self, token: str) -> bool:
        """Whether a token was made here and counts; quick, and no look at the store."""
        try:
            tokens.check(self._token_key, token, TokenPurpose.DEVICE, self.environment, self._clock())
        except NoToken:
            return False
        return True

    def _device(self, token: str) -> str:
        """Say whose token it is.

        Raises:
            NoToken: It does not count, or its device is not accepted any more.
        """
        claims = tokens.check(self._token_key, token, TokenPurpose.DEVICE, self.environment, self._clock())
        known = self._identities.identity(SYSTEM, claims.sub)
        if known is None or known.standing is not IdentityStatus.ACCEPTED:
            raise NoToken("the device is not accepted any more")
        return known.device

    # ── what it is to do ──────────────────────────────────────────────────────────────────────────────────────────

    def next_deployment(self, token: str, body: bytes | None, asked: Mapping[str, str], base: str) -> MenderResponse:
        """Tell a device what to install, if there is anything.

        Args:
            token: The device's.
            body: What it says it has (API v2); None: it asks as older clients do (v1).
            asked: Parameters of the request (v1).
            base: How it has reached us: scheme and host.
        """
        return self._answered(token, lambda device: self._next_deployment(device, body, asked, base))

    def _next_deployment(self, device: str, body: bytes | None, asked: Mapping[str, str], base: str) -> MenderResponse:
        provides = read_provides(body) if body is not None else None
        route = self._routes().get(device)
        talk, settings = self._talk(route), _settings(route)
        is_type = (asked if provides is None else provides).get("device_type", settings.device_type)
        unfit = f"its device type is {is_type[:100]}, and its fleet declares {settings.device_type}"

        def ask(twin: Twin) -> Twin:
            twin = talk.asked(twin, provides)
            for _ in range(_MOST_MODELS):
                job = talk.offered(twin)
                if job is None or is_type == settings.device_type:
                    break
                twin = twins.fail(twin, job.number, talk.now, "Incompatible", unfit)
            return twin

        twin = self._change(device, route, ask)
        job = talk.offered(twin) if twin is not None else None
        if job is None or is_type != settings.device_type:
            return answers.empty(device)
        id_, until = deployment_id(self.environment, device, job), talk.now + LINK_LIFE
        link = tokens.issue(self._token_key, TokenPurpose.ARTIFACT, self.environment, device, until, job.number)
        artifact = {
            "artifact_name": artifact_of(id_, job),
            "device_types_compatible": [settings.device_type],
            "source": {
                "uri": f"{(self._url or base).rstrip('/')}{DEPLOYMENTS}/{id_}/artifact?token={link}",
                "expire": until.isoformat(timespec="seconds").replace("+00:00", "Z"),
            },
        }
        return MenderResponse(
            answers.OK, answers.JSON, canonical_json({"id": id_, "artifact": artifact}), device=device
        )

    def artifact(self, id_: str, token: str, wanted: str = "", unless: str = "") -> MenderResponse:
        """Send the artifact of a deployment, or a part of it, to whoever has the link to it.

        Args:
            id_: The deployment's.
            token: From the link.
            wanted: The header ``Range``.
            unless: The header ``If-Range``.
        """
        try:
            claims = tokens.check(self._token_key, token, TokenPurpose.ARTIFACT, self.environment, self._clock())
        except NoToken as error:
            return answers.refusal(answers.UNAUTHORIZED, str(error))
        device = claims.sub
        if not self._identities.identities(system=SYSTEM, device=device, standing=IdentityStatus.ACCEPTED):
            return answers.refusal(answers.UNAUTHORIZED, "the device is not accepted any more", device)
        twin, route = self._twins.twin(device), self._routes().get(device)
        job = twin.job if twin is not None and twin.system == SYSTEM else None
        is_ours = route is not None and route.delivery.type == SYSTEM
        if route is None or not is_ours or job is None or deployment_id(self.environment, device, job) != id_:
            return answers.refusal(answers.GONE, "this deployment has ended", device)
        order = MenderOrder(job.model, job.target, route.delivery.root, id_)
        content = compose(order, artifact_of(id_, job), _settings(route), self._depot)
        pieces = write_artifact(content, self._bundle_key)
        pieces.check()
        return answers.file(pieces, pieces.tag(), wanted, unless, device)

    # ── what it says of it ────────────────────────────────────────────────────────────────────────────────────────

    def status(self, token: str, id_: str, body: bytes) -> MenderResponse:
        """Take in how far a device is with a deployment; 409 tells it to stop."""
        return self._answered(token, lambda device: self._status(device, id_, body))

    def _status(self, device: str, id_: str, body: bytes) -> MenderResponse:
        status = read_status(body).status
        if status not in STATUSES:
            raise Malformed(f"status: {status} is none of {', '.join(STATUSES)}")
        if not _is_uuid(id_):
            return answers.refusal(answers.NOT_FOUND, "there is no such deployment", device)
        route = self._routes().get(device)
        talk = self._talk(route)
        stops: list[bool] = []

        def report(twin: Twin) -> Twin:
            twin, stop = talk.reported(twin, id_, status)
            stops.append(stop)
            return twin

        self._change(device, route, report)
        if stops and not stops[-1]:
            return answers.empty(device)
        return answers.refusal(answers.CONFLICT, "this deployment was aborted", device)

    def log(self, token: str, id_: str, body: bytes) -> MenderResponse:
        """Take in the log of a deployment."""
        return self._answered(token, lambda device: self._log(device, id_, body))

    def _log(self, device: str, id_: str, body: bytes) -> MenderResponse:
        messages, route = read_log(body), self._routes().get(device)
        talk = self._talk(route)
        self._change(device, route, lambda twin: talk.logged(twin, id_, messages))
        return answers.empty(device)

    def inventory(self, token: str, body: bytes, *, whole: bool) -> MenderResponse:
        """Take in attributes of a device; ``whole``: they replace those it sent before."""
        return self._answered(token, lambda device: self._inventory(device, body, whole=whole))

    def _inventory(self, device: str, body: bytes, *, whole: bool) -> MenderResponse:
        attributes, route = read_attributes(body), self._routes().get(device)
        talk = self._talk(route)
        self._change(device, route, lambda twin: talk.listed(twin, attributes, whole=whole))
        # Clients take 204 for an error here.
        return MenderResponse(answers.OK, device=device)

    # ── common to all ─────────────────────────────────────────────────────────────────────────────────────────────

    def _answered(self, token: str, work: Callable[[str], MenderResponse]) -> MenderResponse:
        """Do something for the device whose token it is."""
        try:
            device = self._device(token)
        except NoToken as error:
            return answers.refusal(answers.UNAUTHORIZED, str(error))
        try:
            return work(device)
        except Malformed as error:
            return answers.refusal(answers.BAD_REQUEST, str(error), device)

    def _talk(self, route: Route | None) -> Conversation:
        return Conversation(self.environment, route.proof if route is not None else Proof.INSTALLED, self._clock())

    def _change(self, device: str, route: Route | None, work: Callable[[Twin], Twin]) -> Twin | None:
        """Change a device as a whole; None: another update system has it, and nothing is changed."""
        known = self._twins.twin(device) if route is None else None
        system = route.delivery.type if route is not None else known.system if known is not None else SYSTEM
        if system != SYSTEM:
            return None
        before: list[Twin] = []

        def change(twin: Twin) -> Twin:
            before.append(twin)
            return work(twin)

        after = self._twins.change(device, SYSTEM, change)
        if after is not None and _essence(after) != _essence(before[-1]):
            self._wake()
        return after


def _essence(twin: Twin) -> Twin:
    """A device without what says no more than that it is there."""
    return replace(twin, sequence=0, last_seen=None, facts={}, memo={})


def _settings(route: Route | None) -> MenderSettings:
    return (route.delivery.mender if route is not None else None) or MenderSettings()


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
