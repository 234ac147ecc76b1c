"""Twins of devices without our agent, devices' identities, and the inbox of reports. Implemented by ``state``.

Devices speak at any time, to any controller: none of this needs the lease, and none of it counts as a change of the
store's version.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from edgewright.core.fleet.enrollment import IdentityStatus
from edgewright.core.fleet.twins import Twin
from edgewright_wire.messages import Report


class TwinStore(Protocol):
    """Keeps twins. Each change is one durable transaction, alone on its device."""

    def twin(self, device: str) -> Twin | None:
        """Find a device."""
        ...

    def twins(self, system: str | None = None, *, since: Mapping[str, int] | None = None) -> Sequence[Twin]:
        """List twins in order of device: of one system; with ``since``, only those whose sequence is another."""
        ...

    def change_all(self, devices: Sequence[str], system: str, work: Callable[[Twin], Twin | None]) -> None:
        """As ``change``, for many devices in one transaction."""
        ...

    def change(self, device: str, system: str, work: Callable[[Twin], Twin | None]) -> Twin | None:
        """Read, change and write one device as a whole; ``work`` may run again, and None removes it.

        A device that is not there yet, or belongs to another system, is given as a new twin of ``system``.

        Raises:
            Whatever ``work`` raises; nothing is written then.
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """One key (or token) that says it is a device's."""

    system: str
    device: str
    key: str
    """``sha256:…`` of the public key or the token; never a secret itself."""
    status: IdentityStatus
    asked_at: datetime
    decided_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the device says of itself; believed only when it is accepted."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What the system needs to know again: a public key in PEM, a certificate's serial and end."""


class IdentityStore(Protocol):
    """Keeps who devices are."""

    def ask(self, identity: Identity) -> Identity:
        """Add a key that asks to be believed; one that is known stays as it stands, with newer labels and detail."""
        ...

    def identity(self, system: str, key: str) -> Identity | None:
        """Find a key."""
        ...

    def known(self, system: str, keys: Collection[str]) -> Mapping[str, Identity]:
        """Find many keys at once; those that are not known are left out."""
        ...

    def identities(
        self, *, system: str | None = None, device: str | None = None, status: IdentityStatus | None = None
    ) -> Sequence[Identity]:
        """List keys, in order of device and time."""
        ...

    def count(self, system: str, status: IdentityStatus) -> int:
        """Count keys without reading them."""
        ...

    def decide(self, system: str, key: str, status: IdentityStatus, at: datetime) -> Identity | None:
        """Accept or reject a key; None where it is unknown. Accepting one retires the device's others of the system."""
        ...

    def note(self, system: str, key: str, detail: Mapping[str, Any]) -> None:
        """Add to what is kept with a key."""
        ...

    def change(
        self, system: str, device: str, work: Callable[[Sequence[Identity]], Iterable[Identity]]
    ) -> Sequence[Identity]:
        """Read all keys of a device, and write those that ``work`` gives, as a whole; gives all there are then.

        ``work`` gets them in order of time, may run again, and gives new or changed ones. A key that belongs to
        another device stays with it.

        Raises:
            Whatever ``work`` raises; nothing is written then.
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        ...

    def forget(self, system: str, keys: Collection[str]) -> None:
        """Remove keys."""
        ...


class ReportInbox(Protocol):
    """Takes agents' reports from any controller's HTTP server."""

    def put(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        """Store the newest report of each device in one transaction; durable when it returns.

        Newest as in DeviceStateWriter.record_reports.
        """
        ...

    def newer(self, known: Mapping[str, int]) -> Sequence[Report]:
        """List reports that differ in sequence from what is known, in order of device."""
        ...

    def pending(self, known: Mapping[str, int]) -> Sequence[str]:
        """List the devices of such reports, without reading these."""
        ...
