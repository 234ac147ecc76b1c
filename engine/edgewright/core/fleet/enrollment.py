"""Enrollment: accepts, queues or refuses a device's key. Pure; called by ``delivery.identity.enrollment``."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from edgewright.core.fleet.membership import declared
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.fleet import Fleet


class IdentityStatus(StrEnum):
    """Trust in a device's key."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETIRED = "retired"
    """It was accepted once; it counts no more."""


class Verdict(StrEnum):
    """Decision on an enrollment request."""

    ISSUE = "issue"
    """The key is believed: certify it."""
    ADMIT = "admit"
    """Believe it from now on, without an operator."""
    PENDING = "Pending"
    """An operator has to say."""
    OTHER_KEY = "OtherKey"
    """As pending; the device is known by another key, and may be somebody else's."""
    OTHER_DEVICE = "OtherDevice"
    """The key belongs to another device."""
    REJECTED = "Rejected"
    RETIRED = "Retired"


def decide(own: IdentityStatus | None, others: Sequence[IdentityStatus], *, vouched: bool) -> Verdict:
    """Decide about a key that asks to enroll.

    Only the first key that a device is ever known by is admitted without an operator: whoever brings a token, or the
    name of a device that is listed, must not take the place of one that was let in, turned away or retired before.

    Args:
        own: How the key stands; None where it is new.
        others: How the device's other keys stand.
        vouched: Whether a token or the inventory speaks for the device.
    """
    match own:
        case IdentityStatus.ACCEPTED:
            return Verdict.ISSUE
        case IdentityStatus.REJECTED:
            return Verdict.REJECTED
        case IdentityStatus.RETIRED:
            return Verdict.RETIRED
        case _ if IdentityStatus.ACCEPTED in others:
            return Verdict.OTHER_KEY
        case _ if vouched and all(other is IdentityStatus.PENDING for other in others):
            return Verdict.ADMIT
        case _:
            return Verdict.PENDING


def admitted_labels(own: Mapping[str, str], allowed: Sequence[str]) -> dict[str, str]:
    """Choose what a device may say of itself where no operator looks at it.

    Args:
        own: What it says.
        allowed: Names, each for every value, or ``name=value``.
    """
    return {name: value for name, value in own.items() if name in allowed or f"{name}={value}" in allowed}


def listed(desired: Snapshot) -> frozenset[str]:
    """List the devices that any fleet's inventory names."""
    fleets = (r.document for r in desired.resources.values() if isinstance(r.document, Fleet))
    return frozenset(device.id for fleet in fleets for device in declared(desired, fleet))
