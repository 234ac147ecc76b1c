"""hawkBit's management API, as far as it is used: targets, software modules, distribution sets, actions.

As documented at https://eclipse.dev/hawkbit/rest-api/mgmt/ (version 1; hawkBit 0.3 to 1.0). Lists come in pages of at
most 500; ``q`` is FIQL. Called by ``sync`` and its parts.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgewright.delivery.relayed.client import ServerAccount, ServerClient, listed
from edgewright.errors import DeliveryError
from edgewright.http.limits import Limits
from edgewright.http.response import Response
from edgewright.secret import Secret

PAGE = 500
_MOST_PAGES = 400
_STATUSES = 100
_MOST_STATUSES = 10
"""Entries on a page of an action's history, each with up to 50 messages, and pages: hawkBit keeps 1000 by default."""
_TARGET_ACTION = re.compile(r"/targets/([^/?]+)/actions/(\d+)")
_SET = re.compile(r"/distributionsets/(\d+)")

RIGHTS = (
    "in hawkBit, give the user READ_, CREATE_ and UPDATE_TARGET, and READ_, CREATE_ and UPDATE_REPOSITORY; see "
    "docs/how-to/existing-servers.md"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A device, as hawkBit knows it."""

    id: str
    asked_at: int
    """When it last asked hawkBit, milliseconds since 1970; 0: never."""


@dataclass(frozen=True, slots=True)
class Action:
    """One assignment of a distribution set to a target."""

    id: int
    target: str
    status: str
    """In detail: ``running``, ``retrieved``, ``download``, ``finished``, ``error``, ``canceling``, ``canceled``, …"""
    set_id: int | None = None


class Hawkbit:
    """One server, as one user. Calls raise as those of ``ServerClient`` do."""

    def __init__(self, url: str, user: str, password: Secret, limits: Limits | None = None) -> None:
        credentials = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
        account = ServerAccount(f"hawkBit at {url}", f"the user {user}", password, RIGHTS)
        self.name = account.server
        self._client = ServerClient(
            account, url.rstrip("/") + "/rest/v1", {"Authorization": f"Basic {credentials}"}, limits
        )

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    # ── targets ───────────────────────────────────────────────────────────────────────────────────────────────

    def targets(self, query: str) -> Iterator[Target]:
        """Find targets."""
        for each in self._listed("/targets", query):
            asked = each.get("lastControllerRequestAt")
            yield Target(str(each.get("controllerId", "")), asked if isinstance(asked, int) else 0)

    def create_targets(self, devices: Sequence[str]) -> bool:
        """Create targets, all or none; False when one of them is there already."""
        body = [{"controllerId": device, "name": device} for device in devices]
        return self._client.send("POST", "/targets", body, expect=[409]).status != 409

    # ── what is installed ─────────────────────────────────────────────────────────────────────────────────────

    def module(self, name: str, version: str) -> int | None:
        """Find a software module."""
        return _id(self._listed("/softwaremodules", f'name=="{name}";version=="{version}"'), name, version)

    def create_module(self, name: str, version: str, kind: str, about: str) -> int | None:
        """Create a software module; None where there is one of this name and version, perhaps deleted."""
        body = {"name": name, "version": version, "type": kind, "vendor": "edgewright", "description": about}
        return self._created("/softwaremodules", body)

    def artifacts(self, module: int) -> frozenset[str]:
        """List the files of a software module, by name."""
        found = listed(self._client.get(f"/softwaremodules/{module}/artifacts"))
        return frozenset(str(each.get("providedFilename", "")) for each in found)

    def upload(self, module: int, file: Path, name: str) -> None:
        """Upload a file; one of that name that is there stays."""
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path = f"/softwaremodules/{module}/artifacts"
        self._client.upload(path, {"filename": name, "sha256sum": digest}, "file", file, name, expect=[409])

    def distribution_set(self, name: str, version: str) -> int | None:
        """Find a distribution set."""
        return _id(self._listed("/distributionsets", f'name=="{name}";version=="{version}"'), name, version)

    def create_set(self, name: str, version: str, kind: str, module: int, about: str) -> int | None:
        """Create a distribution set of one module; None as for a module."""
        body = {"name": name, "version": version, "type": kind, "description": about, "modules": [{"id": module}]}
        return self._created("/distributionsets", body)

    # ── actions ───────────────────────────────────────────────────────────────────────────────────────────────

    def assign(self, set_id: int, devices: Sequence[str]) -> Mapping[str, int]:
        """Assign a distribution set to many targets at once.

        Returns:
            The new action of each target; none for a target that has this set assigned already, or is not there.
        """
        body = [{"id": device, "type": "forced"} for device in devices]
        response = self._client.send("POST", f"/distributionsets/{set_id}/assignedTargets", body)
        answer = response.body if isinstance(response.body, dict) else {}
        created = [_action(each) for each in answer.get("assignedActions") or [] if isinstance(each, dict)]
        return {action.target: action.id for action in created if action is not None}

    def actions(self, query: str) -> Iterator[Action]:
        """Find actions."""
        for each in self._listed("/actions", query, representation="full"):
            if (action := _action(each)) is not None:
                yield action

    def messages(self, device: str, action: int) -> list[str]:
        """Return the messages of an action, oldest first."""
        path = f"/targets/{quote(device, safe='')}/actions/{action}/status"
        entries = self._listed(path, "", _STATUSES, most=_MOST_STATUSES, missing_is_empty=True, sort="id:ASC")
        return [str(words) for entry in entries for words in entry.get("messages") or []]

    def cancel(self, device: str, action: int, *, force: bool) -> bool:
        """Cancel an action, or quit one that is being cancelled; False when it cannot be, or is gone."""
        path = f"/targets/{quote(device, safe='')}/actions/{action}"
        return self._client.delete(path, {"force": "true"} if force else None, expect=[404, 405]).status < 300

    def _listed(
        self,
        path: str,
        query: str,
        page: int = PAGE,
        *,
        most: int = _MOST_PAGES,
        missing_is_empty: bool = False,
        **params: str,
    ) -> Iterator[dict[str, Any]]:
        seen = 0
        for _ in range(most):
            asked: dict[str, str | int] = {"limit": page, "offset": seen, **params}
            response = self._client.get(
                path, asked | {"q": query} if query else asked, expect=[404] if missing_is_empty else []
            )
            if response.status == 404:
                return
            found = listed(response, "content")
            yield from found
            seen += len(found)
            if not found or seen >= _total(response):
                return

    def _created(self, path: str, body: Mapping[str, Any]) -> int | None:
        response = self._client.send("POST", path, [body], expect=[409])
        if response.status == 409:
            return None
        for each in listed(response):
            if isinstance(each.get("id"), int):
                return int(each["id"])
        raise DeliveryError(f"{self.name} created something at {path} and did not say its id")


def among(field: str, values: Iterable[str | int]) -> str:
    """FIQL: a field is one of these; they need no quotes."""
    return f"{field}=in=({','.join(str(value) for value in values)})"


def _id(found: Iterable[Mapping[str, Any]], name: str, version: str) -> int | None:
    """The id of what has exactly this name and version: hawkBit compares without regard to case."""
    own = (each for each in found if (each.get("name"), each.get("version")) == (name, version))
    return next((int(each["id"]) for each in own if isinstance(each.get("id"), int)), None)


def _total(response: Response) -> int:
    total = response.body.get("total") if isinstance(response.body, dict) else None
    return total if isinstance(total, int) else 0


def _action(each: Mapping[str, Any]) -> Action | None:
    """Read an action; whose it is stands in its address alone."""
    links = each.get("_links") if isinstance(each.get("_links"), dict) else {}
    found = _TARGET_ACTION.search(_href(links, "self"))
    if found is None:
        return None
    of_set = _SET.search(_href(links, "distributionset"))
    status = str(each.get("detailStatus") or each.get("status") or "")
    return Action(int(found[2]), found[1], status.lower(), int(of_set[1]) if of_set else None)


def _href(links: Any, name: str) -> str:
    link = links.get(name)
    return str(link.get("href", "")) if isinstance(link, dict) else ""
