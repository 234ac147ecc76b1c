"""Mender's management API, as far as it is used: the inventory, artifacts and deployments.

As documented at https://docs.mender.io/api/ (management, version 1, and 2 where 1 is deprecated). Lists come in pages
of at most 500, counted from 1. Called by ``sync`` and its parts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgewright.delivery.relayed.client import ServerAccount, ServerClient, listed
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright.http.limits import Limits
from edgewright.http.response import Response
from edgewright.secret import Secret

PAGE = 500
_MOST_PAGES = 200
_DEPLOYMENTS = "/v1/deployments/deployments"
_DEPLOYMENTS_V2 = "/v2/deployments/deployments"

RIGHTS = (
    "give the user of the token the roles Release manager and Deployments manager; see docs/how-to/existing-servers.md"
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device, as Mender's inventory has it."""

    id: str
    """Mender's own."""
    attributes: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """By scope and name."""
    updated_at: datetime | None = None
    """When it last sent its inventory, or asked for work, as far as Mender says."""

    @property
    def status(self) -> str:
        """``accepted``, ``pending``, …; empty where Mender does not say."""
        return str(self.attributes.get(("identity", "status"), ""))

    def texts(self) -> list[str]:
        """Return the values of its attributes as text, ordered by scope and name."""
        return [str(value) for _, value in sorted(self.attributes.items(), key=lambda item: item[0])]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment."""

    id: str
    name: str
    is_finished: bool
    is_dynamic: bool = False
    """It is for whatever devices fit a filter."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one device in a deployment."""

    status: str
    """``pending``, ``downloading``, ``installing``, …, ``success``, ``failure``, ``aborted``, …"""
    substate: str = ""
    has_log: bool = False


class Mender:
    """One server, as one user. Calls raise as those of ``ServerClient`` do."""

    def __init__(self, url: str, token: Secret, limits: Limits | None = None) -> None:
        account = ServerAccount(f"Mender at {url}", "the token", token, RIGHTS)
        self.name = account.server
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        self._client = ServerClient(account, url.rstrip("/") + "/api/management", headers, limits)

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────────────

    def devices(
        self, scope: str, attribute: str, values: Sequence[str], select: Sequence[tuple[str, str]] = ()
    ) -> Iterator[Device]:
        """Find devices by an attribute.

        Args:
            scope: ``inventory``, ``identity`` or ``tags``.
            attribute: Its name.
            values: At most 500; any of these.
            select: Scopes and names of the attributes to give; none: all.
        """
        asked: dict[str, Any] = {
            "per_page": PAGE,
            "filters": [{"scope": scope, "attribute": attribute, "type": "$in", "value": list(values)}],
        }
        if select:
            asked["attributes"] = [{"scope": where, "attribute": name} for where, name in select]
        for number in range(1, _MOST_PAGES + 1):
            response = self._client.send("POST", "/v2/inventory/filters/search", {**asked, "page": number})
            found = listed(response)
            yield from (_device(each) for each in found)
            if len(found) < PAGE:
                return

    # ── artifacts ─────────────────────────────────────────────────────────────────────────────────────────────

    def has_artifact(self, name: str) -> bool:
        """Return whether an artifact of this name exists."""
        response = self._client.get("/v2/deployments/artifacts", {"name": name}, expect=[404, 405])
        if response.status >= 400:
            response = self._client.get("/v1/deployments/artifacts/list", {"name": name, "per_page": PAGE})
        return any(each.get("name") == name for each in listed(response))

    def upload(self, file: Path, description: str) -> None:
        """Upload an artifact; one of its name that is there stays."""
        self._client.upload(
            "/v1/deployments/artifacts", {"description": description}, "artifact", file, file.name, expect=[409]
        )

    # ── deployments ───────────────────────────────────────────────────────────────────────────────────────────

    def deploy(self, name: str, artifact: str, devices: Sequence[str]) -> str | None:
        """Create a deployment; return its id, or None where one like it is under way.

        Raises:
            DeliveryUnavailable: Mender does not know the artifact yet, too.
        """
        body = {"name": name, "artifact_name": artifact, "devices": list(devices), "force_installation": True}
        response = self._client.send("POST", _DEPLOYMENTS, body, expect=[409, 422])
        if response.status == 422:
            raise DeliveryUnavailable(f"{self.name} does not have the artifact {artifact} yet")
        if response.status == 409:
            return None
        id_ = _created_id(response)
        if not id_:
            raise DeliveryError(f"{self.name} created a deployment and did not say its id")
        return id_

    def named(self, names: Sequence[str]) -> list[Deployment]:
        """Find deployments by their names."""
        response = self._client.get(_DEPLOYMENTS_V2, _many("name", names), expect=[404, 405])
        if response.status >= 400:
            responses = [self._client.get(_DEPLOYMENTS, {"search": name, "per_page": PAGE}) for name in names]
            found = [each for one in responses for each in listed(one)]
        else:
            found = listed(response)
        return [each for each in map(_deployment, found) if each.name in names]

    def deployments(self, ids: Sequence[str]) -> list[Deployment]:
        """Find deployments by their ids."""
        response = self._client.get(_DEPLOYMENTS_V2, _many("id", ids), expect=[404, 405])
        if response.status < 400:
            return [_deployment(each) for each in listed(response)]
        responses = [self._client.get(f"{_DEPLOYMENTS}/{quote(id_, safe='')}", expect=[404]) for id_ in ids]
        return [_deployment(one.body) for one in responses if one.status < 400 and isinstance(one.body, dict)]

    def under_way(self) -> Iterator[Deployment]:
        """List every deployment that is not finished, whoever made it."""
        for status in ("pending", "inprogress", "scheduled"):
            for page in self._pages(_DEPLOYMENTS_V2, {"status": status}):
                yield from map(_deployment, listed(page))

    def members(self, deployment: str) -> frozenset[str]:
        """Return the devices that a deployment is for."""
        response = self._client.get(f"{_DEPLOYMENTS}/{quote(deployment, safe='')}/device_list", expect=[404])
        return frozenset(response.body) if response.status < 400 and isinstance(response.body, list) else frozenset()

    def progress(self, deployment: str) -> dict[str, Progress] | None:
        """Return the progress of devices that have asked, by Mender's ids; None: no such deployment."""
        found: dict[str, Progress] = {}
        for response in self._pages(f"{_DEPLOYMENTS}/{quote(deployment, safe='')}/devices/list", {}, missing=True):
            if response.status == 404:
                return None
            for each in listed(response):
                found[str(each.get("id"))] = Progress(
                    str(each.get("status", "")), str(each.get("substate") or ""), bool(each.get("log"))
                )
        return found

    def log(self, deployment: str, device: str) -> str:
        """Return a device's log; empty when it sent none."""
        path = f"{_DEPLOYMENTS}/{quote(deployment, safe='')}/devices/{quote(device, safe='')}/log"
        response = self._client.get(path, expect=[404], kind="text/plain")
        return response.text if response.status < 400 else ""

    def abort(self, deployment: str) -> bool:
        """Abort a deployment; False when there is nothing to abort any more."""
        path = f"{_DEPLOYMENTS}/{quote(deployment, safe='')}/status"
        return self._client.send("PUT", path, {"status": "aborted"}, expect=[404, 422]).status < 300

    def abort_device(self, device: str) -> bool:
        """Abort every deployment of one device, whoever made it; False where Mender cannot."""
        return self._client.delete(f"{_DEPLOYMENTS}/devices/{quote(device, safe='')}", expect=[404, 405]).status < 300

    def _pages(self, path: str, params: Mapping[str, str | int], *, missing: bool = False) -> Iterator[Response]:
        for number in range(1, _MOST_PAGES + 1):
            asked = {**params, "per_page": PAGE, "page": number}
            response = self._client.get(path, asked, expect=[404] if missing else [])
            yield response
            if response.status == 404 or len(listed(response)) < PAGE:
                return


def _created_id(response: Response) -> str:
    """Return the last part of ``Location``: the id of what was created."""
    return response.headers.get("location", "").rstrip("/").rpartition("/")[2]


def _many(name: str, values: Sequence[str]) -> list[tuple[str, str | int]]:
    return [*((name, value) for value in values), ("per_page", PAGE)]


def _device(each: Mapping[str, Any]) -> Device:
    found = [one for one in each.get("attributes") or [] if isinstance(one, dict)]
    attributes = {(str(one.get("scope")), str(one.get("name"))): one.get("value") for one in found}
    moments = [_moment(each.get("updated_ts")), _moment(attributes.get(("system", "check_in_time")))]
    return Device(str(each.get("id")), attributes, max((at for at in moments if at is not None), default=None))


def _deployment(each: Mapping[str, Any]) -> Deployment:
    return Deployment(
        str(each.get("id")), str(each.get("name")), each.get("status") == "finished", bool(each.get("dynamic"))
    )


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
