"""Admission of devices: an operator's decisions about the keys that ask, and tokens that admit without an operator.

Enrollment tokens admit agents; devices that speak hawkBit's device API each have a token, or share their gateway's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edgewright.core.fleet.routes import find_routes
from edgewright.core.status.devices import TokenStatus
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.ports import Identity, IdentityStatus
from edgewright.secret import Secret
from edgewright.services.devices import check_device, named_environment
from edgewright.services.environment import DeviceEnvironment, EnrollmentToken

LONGEST_LIFE = timedelta(days=365)
_HAWKBIT = "ddi"
"""The update system of devices that speak hawkBit's device API."""


@dataclass(frozen=True, slots=True)
class PendingKey:
    """A key that waits for an operator."""

    identity: Identity
    other_key: str | None
    """The key that the device is known by now."""


def list_pending(environment: DeviceEnvironment) -> Sequence[PendingKey]:
    """List the keys that wait for an operator, oldest first. Raises as ``named_environment``."""
    named_environment(environment)
    admission = environment.admission
    found = []
    for identity in admission.identities(status=IdentityStatus.PENDING):
        accepted = admission.identities(identity.device, IdentityStatus.ACCEPTED)
        found.append(PendingKey(identity, next((each.key for each in accepted if each.key != identity.key), None)))
    return sorted(found, key=lambda each: (each.identity.asked_at, each.identity.device))


@dataclass(frozen=True, slots=True)
class Approved:
    """A key that was approved."""

    identity: Identity
    retired: Sequence[str]
    """Keys of the same device and system that were accepted until now."""


def approve(
    environment: DeviceEnvironment,
    device: str,
    fingerprint: str | None,
    labels: Mapping[str, str],
    as_device: str | None = None,
) -> Approved:
    """Accept a key as a device's, and enroll the device; its other key is retired.

    Args:
        environment: The environment.
        device: The device that the key speaks for.
        fingerprint: The beginning of the key; needed where several ask, or for one that was decided before.
        labels: Count before those the device was enrolled with, and these before what it says of itself.
        as_device: The inventory's id, where a Mender client says another.

    Raises:
        DeliveryError: There is no such key, or more than one, or it cannot be this device's.
        EdgewrightError: As ``named_environment``.
    """
    named_environment(environment)
    admission = environment.admission
    key = admission.find(device, fingerprint, [IdentityStatus.PENDING] if fingerprint is None else list(IdentityStatus))
    before = admission.identities(as_device or device, IdentityStatus.ACCEPTED)
    decided = admission.approve(key, labels, as_device)
    return Approved(decided, [each.key for each in before if each.key != key.key and each.system == key.system])


def reject(environment: DeviceEnvironment, device: str, fingerprint: str | None) -> Identity:
    """Reject a key for good. Raises as ``approve``."""
    named_environment(environment)
    key = environment.admission.find(device, fingerprint, [IdentityStatus.PENDING])
    environment.admission.reject(key)
    return replace(key, status=IdentityStatus.REJECTED)


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────


def make_token(
    environment: DeviceEnvironment,
    *,
    uses: int,
    life: timedelta,
    labels: Mapping[str, str],
    allowed: Sequence[str] = (),
) -> tuple[Secret, TokenStatus]:
    """Make an enrollment token; only its digest is kept. Raises as ``named_environment``.

    Args:
        environment: The environment.
        uses: Devices that it admits.
        life: How long.
        labels: Of every device it admits.
        allowed: Labels that such a device may say of itself, ``name`` or ``name=value``.
    """
    named_environment(environment)
    environment.make_folder()
    now = environment.clock()
    secret, token = environment.tokens.make(uses=uses, life=life, labels=labels, now=now, allowed=allowed)
    return secret, _status(token, now)


def list_tokens(environment: DeviceEnvironment) -> Sequence[TokenStatus]:
    """List the enrollment tokens, oldest first. Raises as ``named_environment``."""
    named_environment(environment)
    now = environment.clock()
    return [_status(token, now) for token in environment.tokens.tokens()]


def _status(token: EnrollmentToken, now: datetime) -> TokenStatus:
    return TokenStatus(
        name=token.name,
        made_at=token.made_at,
        expires=token.expires,
        uses=token.uses,
        admitted=sorted(token.used.values()),
        labels=token.labels,
        allowed=token.allowed,
        problem=token.problem(now),
    )


def revoke_token(environment: DeviceEnvironment, name: str) -> None:
    """Revoke an enrollment token; devices that it admitted stay.

    Raises:
        EdgewrightError: There is no such token; or as ``named_environment``.
    """
    named_environment(environment)
    if not environment.tokens.revoke(name, environment.clock()):
        raise EdgewrightError(f"there is no token {name}", hint="edgewright devices token --list shows them")


def issue_device_token(environment: DeviceEnvironment, device: str) -> Secret:
    """Make the token of one device that speaks hawkBit's device API; those before it are revoked.

    Raises:
        EdgewrightError: No fleet has the device, or it is reached by another update system; or as
            ``named_environment``.
    """
    check_device(device)
    desired = named_environment(environment)
    routes = find_routes(desired, environment.state.enrolled())
    ours = [name for name, route in routes.items() if route.delivery.type == _HAWKBIT]
    route = routes.get(device)
    if route is None:
        nearest = suggestion(device, ours)
        raise EdgewrightError(
            f"no fleet has a device {device}",
            hint=nearest or f"list it in the inventory of a fleet with delivery: {{type: {_HAWKBIT}}}, and commit that",
        )
    if route.delivery.type != _HAWKBIT:
        agents = "; a token that admits agents names no device: edgewright devices token"
        raise EdgewrightError(
            f"device {device} of fleet/{route.fleet} is reached by {route.delivery.type}, and this is a token for "
            f"hawkBit's device API",
            hint=f"edgewright devices list shows how each is reached{agents * (route.delivery.type == 'agent')}",
        )
    environment.make_folder()
    return environment.issue_device_token(device)


def issue_gateway_token(environment: DeviceEnvironment, gateway: str) -> Secret:
    """Make the token of all such devices behind a gateway; those before it are revoked.

    Raises:
        DeliveryError: The name cannot be used.
        EdgewrightError: As ``named_environment``.
    """
    named_environment(environment)
    environment.make_folder()
    return environment.issue_gateway_token(gateway)
