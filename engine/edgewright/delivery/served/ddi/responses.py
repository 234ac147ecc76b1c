"""Builds responses to devices, in the shapes of hawkBit's device API. Pure; called by ``service``."""

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
    """The address of a device's resources."""

    url: str
    """The controller's, without a slash at its end."""
    tenant: str
    device: str

    def of(self, *parts: object) -> str:
        """Return the URL of a resource."""
        named = "/".join(quote(str(part), safe="") for part in (self.device, *parts))
        return f"{self.url}/{quote(self.tenant, safe='')}/controller/v1/{named}"


def base_resource(address: DeviceAddress, poll: timedelta, *, due: Mapping[str, int | None]) -> dict[str, Any]:
    """Build the base resource.

    Args:
        address: The device's.
        poll: Its polling interval.
        due: Links to resources that wait for it: their names, and the actions of those that have one.
    """
    seconds = int(min(max(poll, timedelta(seconds=1)), _LONGEST_SLEEP).total_seconds())
    sleep = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    links = {
        name: {"href": address.of(name) if number is None else address.of(name, number)} for name, number in due.items()
    }
    return {"config": {"polling": {"sleep": sleep}}, "_links": links}


def deployment(address: DeviceAddress, job: Job, order: BundleOrder, bundle: BuiltBundle) -> dict[str, Any]:
    """Build a deployment of one bundle. It is forced: the rollout's window has decided its hours already."""
    url = address.of("softwaremodules", job.number, "artifacts", bundle.name)
    kinds = ["download", "download-http"] if url.startswith("http:") else ["download"]
    artifact = {
        "filename": bundle.name,
        "size": bundle.size,
        "hashes": {"sha1": bundle.sha1, "md5": bundle.md5, "sha256": bundle.sha256},
        "_links": {kind: {"href": url} for kind in kinds},
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


def cancellation(number: int) -> dict[str, Any]:
    """Build the cancellation of an action."""
    return {"id": str(number), "cancelAction": {"stopId": str(number)}}
