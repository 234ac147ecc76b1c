"""Assignments, reports and enrolled devices in the state store. Implemented by ``state``.

Devices themselves are reached through ``deliveries``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from edgewright_wire.messages import Assignment, Report


@dataclass(frozen=True, slots=True)
class DeviceAssignment:
    """The newest assignment of a device."""

    assignment: Assignment
    published: bool
    """True once the delivery has confirmed it. An unconfirmed one is published again."""


class DeviceStateReader(Protocol):
    """Reads assignments, reports and enrolled devices of one environment."""

    def assignments(self, devices: Iterable[str] | None = None) -> Mapping[str, DeviceAssignment]:
        """Return the assignments of devices; of all devices by default."""
        ...

    def unpublished(self) -> Sequence[Assignment]:
        """List assignments that are not confirmed to be published, in the devices' order."""
        ...

    def reports(self, devices: Iterable[str] | None = None) -> Mapping[str, Report]:
        """Return the newest report of each device that ever reported."""
        ...

    def report_sequences(self) -> Mapping[str, int]:
        """Return the sequence of each device's newest report, without reading the reports."""
        ...

    def enrolled(self) -> Mapping[str, Mapping[str, str]]:
        """Return the labels of enrolled devices, by id."""
        ...


class DeviceStateWriter(Protocol):
    """Writes assignments, reports and enrolled devices of one environment. Raises as ports.StateWriter."""

    def mark_published(self, versions: Mapping[str, int]) -> None:
        """Confirm that the assignments of these versions are published, by device."""
        ...

    def record_reports(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        """Store each device's newest report; needs no lease.

        An older sequence is ignored unless it was sent later (the device lost its count with its disk), or the time of
        the stored report is too far from ``now`` to be believed.
        """
        ...

    def take_inbox(self, devices: Collection[str], now: datetime | None = None) -> None:
        """Move the reports of these devices out of the store's inbox, as ``record_reports`` does; needs no lease.

        Reports are not parsed. One that comes in meanwhile stays in the inbox.
        """
        ...

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        """Add devices, or replace the labels of known ones; needs no lease."""
        ...

    def unenroll(self, devices: Iterable[str]) -> None:
        """Remove devices; needs no lease.

        Their assignments and reports stay, so that versions keep growing if they return.
        """
        ...
