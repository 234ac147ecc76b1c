"""Admission of devices: the keys that ask to be accepted, and an operator's decisions about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgewright.ports import Identity, IdentityStatus
from edgewright.services.devices import named_environment
from edgewright.services.environment import DeviceEnvironment


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
