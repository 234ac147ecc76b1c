"""A Mender server on this machine: its management API, and the API its devices speak, over HTTP.

As documented at https://docs.mender.io/api/: codes, field names, uniqueness, paging, and the life of deployments.
``legacy`` leaves out what version 2 of the deployments API added.
"""

import io
import json
import re
import tarfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices.with_installer import order_in
from servers.api_server import ApiServer, Question, Reply
from servers.hawkbit.server import form_of

TOKEN = "personal-access-token-of-edgewright"
_MANAGEMENT = "/api/management"
_DEPLOYMENTS = r"/v1/deployments/deployments"
_ENDED = frozenset({"success", "failure", "aborted", "noartifact", "already-installed", "decommissioned"})
_LARGEST_PAGE = 500


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass
class MenderDevice:
    """A device, as the server knows it."""

    attributes: dict[tuple[str, str], Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    updated: str = field(default_factory=now)


@dataclass
class Row:
    """One device in a deployment, since it asked for the first time."""

    status: str = "pending"
    substate: str = ""
    log: str = ""


@dataclass
class Deployment:
    name: str
    artifact: str
    devices: list[str]
    force: bool
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=now)
    rows: dict[str, Row] = field(default_factory=dict)
    aborted: bool = False

    @property
    def status(self) -> str:
        if self.aborted or all(id_ in self.rows and self.rows[id_].status in _ENDED for id_ in self.devices):
            return "finished"
        return "inprogress" if self.rows else "pending"


class MenderServer(ApiServer):
    def __init__(self, tls: Path | None = None, *, legacy: bool = False) -> None:
        super().__init__(tls)
        self.token = TOKEN
        self.forbidden: set[str] = set()
        """Parts of paths that the token may not use."""
        self.legacy = legacy
        self.devices: dict[str, MenderDevice] = {}
        self.artifacts: dict[str, bytes] = {}
        self.deployments: dict[str, Deployment] = {}

    def accept(self, serial: str, *, scope: str = "inventory", attribute: str = "edgewright_id") -> MenderDevice:
        """A device is accepted that says this of itself."""
        device = MenderDevice({(scope, attribute): serial, ("identity", "status"): "accepted"})
        self.devices[device.id] = device
        return device

    def of_device(self, id_: str) -> list[Deployment]:
        """Deployments that a device is in, oldest first."""
        return [each for each in self.deployments.values() if id_ in each.devices]

    def answer(self, question: Question) -> Reply:
        if question.path.startswith("/api/devices/"):
            return self._for_device(question)
        if not question.path.startswith(_MANAGEMENT):
            return Reply(404)
        if question.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "unauthorized")
        path = question.path.removeprefix(_MANAGEMENT)
        if any(part in path for part in self.forbidden):
            return _error(403, "access denied (RBAC).")
        for method, pattern, serve in self._routes():
            if method == question.method and (found := re.fullmatch(pattern, path)):
                return serve(question, *found.groups())
        return Reply(404)

    def _routes(self) -> Sequence[tuple[str, str, Callable[..., Reply]]]:
        one = rf"{_DEPLOYMENTS}/([0-9a-f-]+)"
        newer: Sequence[tuple[str, str, Callable[..., Reply]]] = (
            ("GET", "/v2/deployments/deployments", self._list),
            ("GET", "/v2/deployments/artifacts", self._artifacts),
        )
        return (
            ("POST", "/v2/inventory/filters/search", self._search),
            ("GET", "/v1/deployments/artifacts/list", self._artifacts),
            ("POST", "/v1/deployments/artifacts", self._upload),
            ("GET", _DEPLOYMENTS, self._list),
            ("POST", _DEPLOYMENTS, self._create),
            ("DELETE", rf"{_DEPLOYMENTS}/devices/([0-9a-f-]+)", self._abort_device),
            ("GET", one, lambda question, id_: self._of(id_, lambda it: Reply(200, self._shown(it)))),
            ("GET", f"{one}/devices/list", lambda question, id_: self._of(id_, lambda it: _page(question, _rows(it)))),
            ("GET", f"{one}/device_list", lambda question, id_: self._of(id_, lambda it: Reply(200, it.devices))),
            ("GET", f"{one}/devices/([0-9a-f-]+)/log", self._log),
            ("PUT", f"{one}/status", self._abort),
            *(() if self.legacy else newer),
        )

    # ── inventory and artifacts ───────────────────────────────────────────────────────────────────────────────

    def _search(self, question: Question) -> Reply:
        body = question.json() or {}
        found = [each for each in self.devices.values() if all(_fits(term, each) for term in body.get("filters", []))]
        select = {(each["scope"], each["attribute"]) for each in body.get("attributes", [])}
        shown = [
            {
                "id": each.id,
                "updated_ts": each.updated,
                "attributes": [
                    {"scope": scope, "name": name, "value": value}
                    for (scope, name), value in each.attributes.items()
                    if not select or (scope, name) in select
                ],
            }
            for each in found
        ]
        return _cut(shown, int(body.get("page", 1)), int(body.get("per_page", 20)))

    def _artifacts(self, question: Question) -> Reply:
        names = question.all("name")
        found = [name for name in sorted(self.artifacts) if not names or name in names]
        return _page(question, [{"id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "name": name} for name in found])

    def _upload(self, question: Question) -> Reply:
        if question.kind != "multipart/form-data":
            return _error(400, "request Content-Type isn't multipart/form-data")
        parts = form_of(question)
        if list(parts)[-2:] != ["artifact", "artifact:name"]:
            return _error(400, "the artifact has to be the last part of the request")
        name = _name_of(parts["artifact"])
        if name in self.artifacts:
            return _error(409, "an artifact with the same name and depends already exists")
        self.artifacts[name] = parts["artifact"]
        return Reply(201, headers={"Location": f"./management/v1/deployments/artifacts/{uuid.uuid4()}"})

    # ── deployments ───────────────────────────────────────────────────────────────────────────────────────────

    def _create(self, question: Question) -> Reply:
        if question.kind != "application/json":
            return _error(400, "the request is not JSON")
        body = question.json()
        if not body.get("name") or not body.get("artifact_name") or not body.get("devices"):
            return _error(400, "Validating request body: Invalid deployments definition")
        if body["artifact_name"] not in self.artifacts:
            return _error(422, "No artifact for the deployment")
        made = Deployment(body["name"], body["artifact_name"], body["devices"], bool(body.get("force_installation")))
        alike = (made.name, made.artifact, sorted(made.devices))
        for each in self.deployments.values():
            if each.status != "finished" and (each.name, each.artifact, sorted(each.devices)) == alike:
                return _error(
                    409, "Invalid deployment definition: there is already an active deployment with the same parameters"
                )
        self.deployments[made.id] = made
        return Reply(201, headers={"Location": f"./management/v1/deployments/deployments/{made.id}"})

    def _list(self, question: Question) -> Reply:
        found = [
            each
            for each in self.deployments.values()
            if (not question.all("id") or each.id in question.all("id"))
            and (not question.all("name") or each.name in question.all("name"))
            and question.ask("search") in each.name
            and question.ask("status", each.status) == each.status
        ]
        return _page(question, [self._shown(each) for each in found])

    def _shown(self, each: Deployment) -> dict[str, Any]:
        return {
            "id": each.id,
            "name": each.name,
            "artifact_name": each.artifact,
            "status": each.status,
            "created": each.created,
            "device_count": len(each.rows),
        }

    def _of(self, id_: str, serve: Callable[[Deployment], Reply]) -> Reply:
        found = self.deployments.get(id_)
        return serve(found) if found is not None else _error(404, "Resource not found")

    def _log(self, question: Question, id_: str, device: str) -> Reply:
        row = self.deployments[id_].rows.get(device) if id_ in self.deployments else None
        if row is None or not row.log:
            return _error(404, "Resource not found")
        return Reply(200, row.log.encode(), {"Content-Type": "text/plain"})

    def _abort(self, question: Question, id_: str) -> Reply:
        found = self.deployments.get(id_)
        if found is None:
            return _error(404, "Resource not found")
        if question.json() != {"status": "aborted"}:
            return _error(400, "Unexpected deployment status")
        if found.status == "finished":
            return _error(422, "Deployment already finished")
        found.aborted = True
        for row in found.rows.values():
            row.status = row.status if row.status in _ENDED else "aborted"
        return Reply(204)

    def _abort_device(self, question: Question, device: str) -> Reply:
        for each in self.of_device(device):
            if each.status != "finished" and each.rows.get(device, Row()).status not in _ENDED:
                each.rows.setdefault(device, Row()).status = "aborted"
        return Reply(204)

    # ── what devices ask ──────────────────────────────────────────────────────────────────────────────────────

    def _for_device(self, question: Question) -> Reply:
        if question.path.endswith("/authentication/auth_requests"):
            return self._authenticate(question.json())
        if found := re.fullmatch(r"/api/devices/download/(.+)", question.path):
            return Reply(200, self.artifacts[found[1]])  # the link is its own permission
        device = self.devices.get(question.headers.get("authorization", "").removeprefix("Bearer "))
        if device is None:
            return _error(401, "unauthorized")
        return self._known(device, question.path.removeprefix("/api/devices"), question)

    def _known(self, device: MenderDevice, path: str, question: Question) -> Reply:
        if path == "/v1/inventory/device/attributes":
            device.attributes |= {("inventory", each["name"]): each["value"] for each in question.json()}
            device.updated = now()
            return Reply(200)
        if path == "/v2/deployments/device/deployments/next":
            device.attributes["system", "check_in_time"] = now()
            return self._next(device)
        if found := re.fullmatch(r"/v1/deployments/device/deployments/([0-9a-f-]+)/(status|log)", path):
            return self._said(self.deployments[found[1]].rows[device.id], found[2], question)
        return Reply(404)

    def _authenticate(self, body: Mapping[str, Any]) -> Reply:
        """Accept whoever asks, by its identity; here the token is Mender's id of it."""
        identity = {("identity", name): value for name, value in json.loads(body["id_data"]).items()}
        for device in self.devices.values():
            if identity.items() <= device.attributes.items():
                return Reply(200, device.id.encode())
        accepted = MenderDevice({**identity, ("identity", "status"): "accepted"})
        self.devices[accepted.id] = accepted
        return Reply(200, accepted.id.encode())

    def _next(self, device: MenderDevice) -> Reply:
        for each in self.of_device(device.id):
            if each.status != "finished" and each.rows.get(device.id, Row()).status not in _ENDED:
                each.rows.setdefault(device.id, Row())
                source = {"uri": f"{self.url}/api/devices/download/{each.artifact}", "expire": "2099-01-01T00:00:00Z"}
                kinds = ["edgewright"]
                artifact = {"artifact_name": each.artifact, "source": source, "device_types_compatible": kinds}
                return Reply(200, {"id": each.id, "artifact": artifact})
        return Reply(204)

    def _said(self, row: Row, what: str, question: Question) -> Reply:
        if what == "log":
            lines = [f"{each['timestamp']} {each['level']}: {each['message']}" for each in question.json()["messages"]]
            row.log = "\n".join(lines)
            return Reply(204)
        if row.status in _ENDED:
            return _error(409, "deployment aborted")
        row.status = question.json()["status"]
        row.substate = question.json().get("substate", "")
        return Reply(204)


def _name_of(artifact: bytes) -> str:
    """An artifact's name stands in its header; the simplest bundles say it in their order."""
    with tarfile.open(fileobj=io.BytesIO(artifact)) as outer:
        if (header := next((name for name in outer.getnames() if name.startswith("header.tar")), None)) is None:
            return str(order_in(artifact)["name"])
        with tarfile.open(fileobj=outer.extractfile(header)) as inner:
            info = inner.extractfile("header-info")
            assert info is not None
            return str(json.load(info)["artifact_provides"]["artifact_name"])


def _fits(term: Mapping[str, Any], device: MenderDevice) -> bool:
    value = device.attributes.get((term["scope"], term["attribute"]))
    return value in term["value"] if term["type"] == "$in" else bool(value == term["value"])


def _rows(deployment: Deployment) -> list[dict[str, Any]]:
    return [
        {"id": id_, "status": row.status, "substate": row.substate, "log": bool(row.log), "created": deployment.created}
        for id_, row in deployment.rows.items()
    ]


def _page(question: Question, every: Sequence[Any]) -> Reply:
    return _cut(every, int(question.ask("page", "1")), int(question.ask("per_page", "20")))


def _cut(every: Sequence[Any], page: int, per_page: int) -> Reply:
    size = min(per_page, _LARGEST_PAGE)
    return Reply(200, list(every[(page - 1) * size : page * size]), {"X-Total-Count": str(len(every))})


def _error(status: int, message: str) -> Reply:
    return Reply(status, {"error": message, "request_id": str(uuid.uuid4())})
