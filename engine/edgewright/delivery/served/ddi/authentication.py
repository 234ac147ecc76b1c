"""Who a device is: by a token of its own, or by the one token of all devices behind a gateway. Called by ``desk``.

Tokens are made here, shown once, and kept as their sha256 alone. A device that a gateway brings and no fleet knows
waits until somebody approves it; what it says of itself becomes its labels.
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
"""The gateways' own identities; they are no devices'."""
MOST_PENDING = 1000
"""Devices that may wait to be approved; more are turned away."""
_LONGEST_TOKEN = 512


class NotServed(Exception):
    """A request is turned away; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class AuthenticatedDevice:
    """A device that was let in."""

    device: str
    route: Route | None
    """The way to it, where a fleet reaches it by this system."""
    pending: Identity | None = None
    """It waits to be approved: it may say what it is, and is given nothing."""


class Authenticator:
    """Tells devices from others.

    Args:
        identities: Tokens' digests.
        routes: The way to every device.
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

    def admit(self, device: str, authorization: str) -> AuthenticatedDevice:
        """Let a device in.

        Args:
            device: Who it says it is.
            authorization: The header, ``TargetToken …`` or ``GatewayToken …``.

        Raises:
            NotServed: The token is missing, wrong, or of another device; the device was rejected, or no fleet reaches
                it by this system.
        """
        kind, _, token = authorization.strip().partition(" ")
        if not 0 < len(token.strip()) <= _LONGEST_TOKEN:
            raise NotServed(401, "a token is needed: TargetToken or GatewayToken")
        match kind.lower():
            case "targettoken":
                return self._by_target(device, key_of_token(token.strip()))
            case "gatewaytoken":
                return self._by_gateway(device, key_of_token(token.strip()))
            case _:
                raise NotServed(401, "a token is needed: TargetToken or GatewayToken")

    def describe(self, visitor: AuthenticatedDevice, said: Attributes) -> None:
        """Keep what a device that waits says of itself; it is looked at before it is approved.

        Raises:
            Malformed: It would be more than is kept.
        """
        if visitor.pending is not None:
            labels = apply_attributes(visitor.pending.labels, said)
            self._identities.ask(replace(visitor.pending, labels=labels))

    def _by_target(self, device: str, key: str) -> AuthenticatedDevice:
        known = self._identities.identity(SYSTEM, key)
        # The digest was looked up, which tells nobody anything of the token; the id is compared in constant time.
        if known is None or not hmac.compare_digest(known.device.encode(), device.encode()):
            raise NotServed(401, "this is no token of this device")
        if known.standing is not IdentityStatus.ACCEPTED:
            raise NotServed(401, "this token counts no more")
        route = self._routes().get(device)
        if route is None or route.delivery.type != SYSTEM:
            raise NotServed(401, "this is no token of this device")  # as to strangers: who is whose is told to nobody
        return AuthenticatedDevice(device, route)

    def _by_gateway(self, device: str, key: str) -> AuthenticatedDevice:
        known = self._identities.identity(GATEWAY, key)
        if known is None or known.standing is not IdentityStatus.ACCEPTED:
            raise NotServed(401, "this is no token of a gateway")
        route = self._routes().get(device)
        if route is not None and route.delivery.type == SYSTEM:
            if (route.delivery.ddi or DdiSettings()).tokens != "gateway":
                raise NotServed(401, "this device needs a token of its own")
            return AuthenticatedDevice(device, route)
        return self._unknown(device)

    def _unknown(self, device: str) -> AuthenticatedDevice:
        key = digest_bytes(f"gateway:{device}".encode())
        known = self._identities.identity(SYSTEM, key)
        if known is None:
            waiting = self._identities.identities(system=SYSTEM, standing=IdentityStatus.PENDING)
            if len(waiting) >= MOST_PENDING:
                raise NotServed(403, "too many devices wait to be approved")
            known = self._identities.ask(Identity(SYSTEM, device, key, IdentityStatus.PENDING, self._clock()))
        if known.standing in {IdentityStatus.REJECTED, IdentityStatus.RETIRED}:
            raise NotServed(403, f"this device was {known.standing.value}")
        return AuthenticatedDevice(device, None, known if known.standing is IdentityStatus.PENDING else None)


def key_of_token(token: str) -> str:
    """Name a token by its digest, as it is kept."""
    return digest_bytes(token.encode())


def issue_token(identities: IdentityStore, device: str, now: datetime) -> Secret:
    """Make a device's token; it is shown once, and the device's tokens before it count no more.

    Raises:
        DeliveryError: The id is no device's.
    """
    return _issue(identities, SYSTEM, device, now)


def issue_gateway_token(identities: IdentityStore, gateway: str, now: datetime) -> Secret:
    """Make the token that all devices behind a gateway use; the gateway's tokens before it count no more.

    Raises:
        DeliveryError: The name cannot be used.
    """
    return _issue(identities, GATEWAY, gateway, now)


def _issue(identities: IdentityStore, system: str, name: str, now: datetime) -> Secret:
    if not name or not name.isprintable():
        raise DeliveryError(f"{name!r} is no name", hint="name a device, or a gateway")
    token = secrets.token_urlsafe(32)
    key = key_of_token(token)
    identities.ask(Identity(system, name, key, IdentityStatus.PENDING, now))
    identities.decide(system, key, IdentityStatus.ACCEPTED, now)
    return Secret(token)
