"""Authenticates devices by a token of their own, or by the one token of all devices behind a gateway.

Called by ``service``. Tokens are issued here, shown once, and stored as their sha256 alone. A device behind a gateway
that no fleet knows waits until an operator approves it; its attributes become its labels.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from edgewright.core.fleet.routes import Route
from edgewright.delivery.served.ddi.messages import Attributes, apply_attributes
from edgewright.errors import DeliveryError
from edgewright.ports import Identity, IdentityStatus, IdentityStore
from edgewright.secret import Secret
from edgewright_schemas.delivery import DdiSettings
from edgewright_wire.canonical import digest_bytes

SYSTEM = "ddi"
GATEWAY = "ddi-gateway"
"""The system of gateways' identities, which are no devices."""
MAX_PENDING = 1000
"""Devices that may wait to be approved; more are refused."""
_LONGEST_TOKEN = 512


class RequestRefused(Exception):
    """A request is refused; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class AuthenticatedDevice:
    """A device whose token was accepted."""

    device: str
    route: Route | None
    """The route to it, where a fleet reaches it by this system."""
    pending: Identity | None = None
    """Its identity while it waits to be approved: it may send attributes, and gets no deployment."""


class Authenticator:
    """Authenticates requests.

    Args:
        identities: Stores tokens' digests.
        routes: Gives the route to every device.
        clock: Gives aware UTC times.
    """

    def __init__(
        self,
        identities: IdentityStore,
        routes: Callable[[], Mapping[str, Route]],
        clock: Callable[[], datetime],
    ) -> None:
        self._identities = identities
        self._routes = routes
        self._clock = clock

    def authenticate(self, device: str, authorization: str) -> AuthenticatedDevice:
        """Authenticate a device.

        Args:
            device: The id that it claims.
            authorization: The header, ``TargetToken …`` or ``GatewayToken …``.

        Raises:
            NotServed: The token is missing, wrong, or of another device; the device was rejected, or no fleet reaches
                it by this system.
        """
        kind, _, token = authorization.strip().partition(" ")
        if not 0 < len(token.strip()) <= _LONGEST_TOKEN:
            raise RequestRefused(401, "a token is needed: TargetToken or GatewayToken")
        match kind.lower():
            case "targettoken":
                return self._by_target(device, token_key(token.strip()))
            case "gatewaytoken":
                return self._by_gateway(device, token_key(token.strip()))
            case _:
                raise RequestRefused(401, "a token is needed: TargetToken or GatewayToken")

    def describe(self, client: AuthenticatedDevice, attributes: Attributes) -> None:
        """Store the attributes of a device that waits, for the operator who approves it.

        Raises:
            MalformedMessage: There would be too many.
        """
        if client.pending is not None:
            labels = apply_attributes(client.pending.labels, attributes)
            self._identities.ask(replace(client.pending, labels=labels))

    def _by_target(self, device: str, key: str) -> AuthenticatedDevice:
        known = self._identities.identity(SYSTEM, key)
        # Looking the digest up leaks nothing about the token; the id is compared in constant time.
        if known is None or not hmac.compare_digest(known.device.encode(), device.encode()):
            raise RequestRefused(401, "this is no token of this device")
        if known.status is not IdentityStatus.ACCEPTED:
            raise RequestRefused(401, "this token is not valid any more")
        route = self._routes().get(device)
        if route is None or route.delivery.type != SYSTEM:
            raise RequestRefused(
                401, "this is no token of this device"
            )  # the same answer as for a wrong token, which leaks nothing
        return AuthenticatedDevice(device, route)

    def _by_gateway(self, device: str, key: str) -> AuthenticatedDevice:
        known = self._identities.identity(GATEWAY, key)
        if known is None or known.status is not IdentityStatus.ACCEPTED:
            raise RequestRefused(401, "this is no token of a gateway")
        route = self._routes().get(device)
        if route is not None and route.delivery.type == SYSTEM:
            if (route.delivery.ddi or DdiSettings()).tokens != "gateway":
                raise RequestRefused(401, "this device needs a token of its own")
            return AuthenticatedDevice(device, route)
        return self._unknown(device)

    def _unknown(self, device: str) -> AuthenticatedDevice:
        key = digest_bytes(f"gateway:{device}".encode())
        known = self._identities.identity(SYSTEM, key)
        if known is None:
            waiting = self._identities.identities(system=SYSTEM, status=IdentityStatus.PENDING)
            if len(waiting) >= MAX_PENDING:
                raise RequestRefused(403, "too many devices wait to be approved")
            known = self._identities.ask(Identity(SYSTEM, device, key, IdentityStatus.PENDING, self._clock()))
        if known.status in {IdentityStatus.REJECTED, IdentityStatus.RETIRED}:
            raise RequestRefused(403, f"this device was {known.status.value}")
        return AuthenticatedDevice(device, None, known if known.status is IdentityStatus.PENDING else None)


def token_key(token: str) -> str:
    """Return the digest that a token is stored under."""
    return digest_bytes(token.encode())


def issue_token(identities: IdentityStore, device: str, now: datetime) -> Secret:
    """Issue a device's token; it is shown once, and revokes the device's earlier tokens.

    Raises:
        DeliveryError: The id cannot be a device's.
    """
    return _issue(identities, SYSTEM, device, now)


def issue_gateway_token(identities: IdentityStore, gateway: str, now: datetime) -> Secret:
    """Issue the token of all devices behind a gateway; it revokes the gateway's earlier tokens.

    Raises:
        DeliveryError: The name cannot be used.
    """
    return _issue(identities, GATEWAY, gateway, now)


def _issue(identities: IdentityStore, system: str, name: str, now: datetime) -> Secret:
    if not name or not name.isprintable():
        raise DeliveryError(f"{name!r} is no name", hint="name a device, or a gateway")
    token = secrets.token_urlsafe(32)
    key = token_key(token)
    identities.ask(Identity(system, name, key, IdentityStatus.PENDING, now))
    identities.decide(system, key, IdentityStatus.ACCEPTED, now)
    return Secret(token)
