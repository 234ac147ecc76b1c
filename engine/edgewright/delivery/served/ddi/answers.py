"""Writes what devices are answered, in the shapes of hawkBit's device API. Pure; called by ``desk``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from edgewright.core.fleet.twins import Job
from edgewright.delivery.bundles.cache import BuiltBundle
from edgewright.delivery.bundles.orders import BundleOrder

_LONGEST_SLEEP = timedelta(hours=23, minutes=59, seconds=59)
"""Clients read the interval as a time of day."""


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """Where a device finds its resources."""

    url: str
    """The controller's, without a slash at its end."""
    tenant: str
    device: str

    def of(self, *parts: object) -> str:
        """The address of a resource."""
        named = "/".join(quote(str(part), safe="") for part in (self.device, *parts))
        return f"{self.url}/{quote(self.tenant, safe='')}/controller/v1/{named}"


def base(place: DeviceAddress, poll: timedelta, *, due: Mapping[str, int | None]) -> dict[str, Any]:
    """The base resource.

    Args:
        place: The device's.
        poll: How often it shall ask.
        due: What it has to look at: the resource's name, and the action where it is of one.
    """
    seconds = int(min(max(poll, timedelta(seconds=1)), _LONGEST_SLEEP).total_seconds())
    sleep = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    links = {
        name: {"href": place.of(name) if number is None else place.of(name, number)} for name, number in due.items()
    }
    return {"config": {"polling": {"sleep": sleep}}, "_links": links}


def deployment(place: DeviceAddress, job: Job, order: BundleOrder, bundle: BuiltBundle) -> dict[str, Any]:
    """A deployment of one bundle, which is not optional; in which hours, the rollout's window has decided."""
    address = place.of("softwaremodules", job.number, "artifacts", bundle.name)
    kinds = ["download", "download-http"] if address.startswith("http:") else ["download"]
    artifact = {
        "filename": bundle.name,
        "size": bundle.size,
        "hashes": {"sha1": bundle.sha1, "md5": bundle.md5, "sha256": bundle.sha256},
        "_links": {kind: {"href": address} for kind in kinds},
    }
    chunk = {"part": "bApp", "name": order.model, "version": order.version, "artifacts": [artifact]}
    return {
        "id": str(job.number),
        "deployment": {
            "download": "forced",
            "update": "forced",
            "maintenanceWindow": "available",
            "chunks": [chunk],
        },
    }


def cancelation(number: int) -> dict[str, Any]:
    """An action that is called off."""
    return {"id": str(number), "cancelAction": {"stopId": str(number)}}
