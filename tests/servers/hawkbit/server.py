"""A hawkBit on this machine: its management API, and the API its devices speak (DDI), over HTTP.

As documented at https://eclipse.dev/hawkbit/rest-api/: codes, field names, uniqueness, paging, quotas and the life of
actions. ``permissions`` says what the user may.
"""

import base64
import email
import email.policy
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from servers.api_server import ApiServer, Question, Reply
from servers.hawkbit.ddi import DeviceApi
from servers.hawkbit.fiql import BadQuery, Fields, matches
from servers.hawkbit.state import (
    NAMED_FIELDS,
    TARGET_FIELDS,
    Action,
    Artifact,
    DistributionSet,
    HawkbitState,
    Module,
    Target,
    action_fields,
)

USER, PASSWORD = "DEFAULT\\edgewright", "correct horse battery staple"
ALL_PERMISSIONS = frozenset(
    f"{verb}_{what}" for verb in ("READ", "CREATE", "UPDATE", "DELETE") for what in ("TARGET", "REPOSITORY")
)
_PREFIX = "/rest/v1"
_LARGEST_PAGE = 500
_JSON = frozenset({"application/json", "application/hal+json"})
_ERRORS = "hawkbit.server.error."


class HawkbitServer(ApiServer):
    def __init__(self, tls: Path | None = None) -> None:
        super().__init__(tls)
        self.state = HawkbitState()
        self.permissions = ALL_PERMISSIONS
        self.password = PASSWORD
        self.module_types, self.set_types = {"os", "application"}, {"os", "app", "os_app"}
        self.most_targets_assigned = 5000
        self.polling = "00:05:00"
        self.ddi = DeviceApi(self)

    def answer(self, question: Question) -> Reply:
        if not question.path.startswith(_PREFIX):
            return self.ddi.answer(question)
        wanted = "Basic " + base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        if question.headers.get("authorization") != wanted:
            return Reply(401, headers={"WWW-Authenticate": 'Basic realm="hawkBit"'})
        if question.method in {"POST", "PUT"} and question.kind not in _JSON | {"multipart/form-data"}:
            return Reply(415)
        path = question.path.removeprefix(_PREFIX)
        for method, pattern, right, serve in self._routes():
            if method == question.method and (found := re.fullmatch(pattern, path)):
                if right not in self.permissions:
                    return _error(403, "insufficientpermission", "Insufficient Permission")
                return serve(question, *found.groups())
        return Reply(404)

    def _routes(self) -> Sequence[tuple[str, str, str, Callable[..., Reply]]]:
        action = r"/targets/([^/]+)/actions/(\d+)"
        return (
            ("GET", "/targets", "READ_TARGET", self._targets),
            ("POST", "/targets", "CREATE_TARGET", self._create_targets),
            ("DELETE", action, "UPDATE_TARGET", self._cancel),
            ("GET", action + "/status", "READ_TARGET", self._history),
            ("GET", "/actions", "READ_TARGET", self._actions),
            ("GET", "/softwaremodules", "READ_REPOSITORY", self._modules),
            ("POST", "/softwaremodules", "CREATE_REPOSITORY", self._create_modules),
            ("GET", r"/softwaremodules/(\d+)/artifacts", "READ_REPOSITORY", self._artifacts),
            ("POST", r"/softwaremodules/(\d+)/artifacts", "CREATE_REPOSITORY", self._upload),
            ("GET", "/distributionsets", "READ_REPOSITORY", self._sets),
            ("POST", "/distributionsets", "CREATE_REPOSITORY", self._create_sets),
            ("POST", r"/distributionsets/(\d+)/assignedTargets", "UPDATE_TARGET", self._assign),
        )

    # ── targets ───────────────────────────────────────────────────────────────────────────────────────────────

    def _targets(self, question: Question) -> Reply:
        return self._page(question, list(self.state.targets.values()), TARGET_FIELDS, self._target)

    def _target(self, target: Target) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "controllerId": target.id,
            "name": target.id,
            "updateStatus": "registered",
            "securityToken": target.token,
        }
        if target.asked_at is not None:
            shown |= {"lastControllerRequestAt": target.asked_at}
        return shown | {"_links": {"self": {"href": f"{self.url}{_PREFIX}/targets/{target.id}"}}}

    def _create_targets(self, question: Question) -> Reply:
        body = question.json()
        names = [each["controllerId"] for each in body]
        if len(set(names)) != len(names) or any(name in self.state.targets for name in names):
            return _error(409, "repo.entitiyAlreayExists", "The given entity already exists in database")
        for name in names:
            self.state.targets[name] = Target(name)
        return Reply(201, [self._target(self.state.targets[name]) for name in names])

    # ── what is installed ─────────────────────────────────────────────────────────────────────────────────────

    def _modules(self, question: Question) -> Reply:
        there = [module for module in self.state.modules.values() if not module.deleted]
        return self._page(question, there, NAMED_FIELDS, _named)

    def _create_modules(self, question: Question) -> Reply:
        made = []
        for each in question.json():
            if each["type"] not in self.module_types:
                return _error(404, "repo.entitiyNotFound", f"SoftwareModuleType {each['type']} not found")
            taken = {(module.name, module.version, module.type) for module in self.state.modules.values()}
            if (each["name"], each["version"], each["type"]) in taken:
                return _error(409, "repo.entitiyAlreayExists", "The given entity already exists in database")
            made.append(Module(self.state.next_id(), each["name"], each["version"], each["type"]))
        self.state.modules |= {module.id: module for module in made}
        return Reply(201, [_named(module) for module in made])

    def _artifacts(self, question: Question, module: str) -> Reply:
        found = self.state.modules.get(int(module))
        if found is None:
            return _error(404, "repo.entitiyNotFound", f"SoftwareModule {module} not found")
        return Reply(200, [_artifact(each) for each in found.artifacts])

    def _upload(self, question: Question, module: str) -> Reply:
        found = self.state.modules.get(int(module))
        if question.kind != "multipart/form-data":
            return Reply(415)
        if found is None:
            return _error(404, "repo.entitiyNotFound", f"SoftwareModule {module} not found")
        parts = form_of(question)
        if not parts.get("file"):
            return Reply(400)
        name = parts["filename"].decode() if "filename" in parts else parts["file:name"].decode()
        if any(each.name == name for each in found.artifacts):
            return _error(409, "repo.entitiyAlreayExists", "The given entity already exists in database")
        digest = hashlib.sha256(parts["file"]).hexdigest()
        if parts.get("sha256sum", digest.encode()).decode().lower() != digest:
            return _error(400, "artifact.uploadFailed.checksum.sha256.match", "SHA256 does not match")
        artifact = Artifact(self.state.next_id(), name, parts["file"])
        found.artifacts.append(artifact)
        return Reply(201, _artifact(artifact))

    def _sets(self, question: Question) -> Reply:
        there = [each for each in self.state.sets.values() if not each.deleted]
        return self._page(question, there, NAMED_FIELDS, _named)

    def _create_sets(self, question: Question) -> Reply:
        made = []
        for each in question.json():
            modules = [module["id"] for module in each.get("modules", [])]
            if each["type"] not in self.set_types or any(module not in self.state.modules for module in modules):
                return _error(404, "repo.entitiyNotFound", "DistributionSetType or SoftwareModule not found")
            taken = {(known.name, known.version) for known in self.state.sets.values()}
            if (each["name"], each["version"]) in taken:
                return _error(409, "repo.entitiyAlreayExists", "The given entity already exists in database")
            made.append(DistributionSet(self.state.next_id(), each["name"], each["version"], each["type"], modules))
        self.state.sets |= {each.id: each for each in made}
        return Reply(201, [_named(each) for each in made])

    # ── actions ───────────────────────────────────────────────────────────────────────────────────────────────

    def _assign(self, question: Question, set_id: str) -> Reply:
        found = self.state.sets.get(int(set_id))
        if found is None or found.deleted:
            return _error(404, "repo.entitiyNotFound", f"DistributionSet {set_id} not found")
        wanted = question.json()
        if len(wanted) > self.most_targets_assigned:
            return _error(429, "quota.tooManyEntries", "Too many entries have been inserted.")
        made = []
        there = [each for each in wanted if each["id"] in self.state.targets]
        for each in there:
            action = self.state.assign(found.id, each["id"], each.get("type", "forced"))
            if action is not None:
                made.append({"id": action.id, "_links": {"self": {"href": self._of(action)}}})
        counts = {"assigned": len(made), "alreadyAssigned": len(there) - len(made), "total": len(there)}
        return Reply(200, {**counts, "assignedActions": made})

    def _actions(self, question: Question) -> Reply:
        full = question.ask("representation") == "full"
        actions = list(self.state.actions.values())
        return self._page(question, actions, action_fields(self.state), lambda action: self._action(action, full))

    def _action(self, action: Action, full: bool) -> dict[str, Any]:
        links = {"self": {"href": self._of(action)}}
        if full:
            name = f"{self.state.sets[action.set_id].name}:{self.state.sets[action.set_id].version}"
            links["target"] = {"href": f"{self.url}{_PREFIX}/targets/{action.target}", "name": action.target}
            links["distributionset"] = {"href": f"{self.url}{_PREFIX}/distributionsets/{action.set_id}", "name": name}
        kind = "cancel" if action.status in {"canceling", "canceled"} else "update"
        word = "pending" if action.active else "finished"
        return {
            "id": action.id,
            "type": kind,
            "status": word,
            "detailStatus": action.status,
            "forceType": action.type,
            "_links": links,
        }

    def _history(self, question: Question, target: str, action: str) -> Reply:
        found = self._find(target, action)
        if found is None:
            return _error(404, "repo.entitiyNotFound", f"Action {action} not found")
        newest_first = question.ask("sort", "id:DESC").lower().endswith("desc")
        entries = sorted(found.history, key=lambda status: status.id, reverse=newest_first)
        return self._page(
            question,
            entries,
            {},
            lambda each: {"id": each.id, "type": each.type, "messages": each.messages, "reportedAt": each.at},
        )

    def _cancel(self, question: Question, target: str, action: str) -> Reply:
        found = self._find(target, action)
        if found is None:
            return _error(404, "repo.entitiyNotFound", f"Action {action} not found")
        if question.ask("force", "false") == "true":
            done = self.state.quit(found)
            return Reply(204) if done else _error(405, "action.notForceQuitable", "it is not canceled yet")
        return Reply(204) if self.state.cancel(found) else _error(405, "action.notcancelable", "it is not active")

    def _find(self, target: str, action: str) -> Action | None:
        found = self.state.actions.get(int(action))
        return found if found is not None and found.target == target else None

    def _of(self, action: Action) -> str:
        return f"{self.url}{_PREFIX}/targets/{action.target}/actions/{action.id}"

    def _page(
        self, question: Question, every: Sequence[Any], fields: Fields, show: Callable[[Any], dict[str, Any]]
    ) -> Reply:
        query = question.ask("q")
        try:
            found = [each for each in every if not query or matches(query, each, fields)]
        except BadQuery as error:
            return _error(400, "rest.param.rsqlParamSyntax", str(error))
        limit, offset = min(int(question.ask("limit", "50")), _LARGEST_PAGE), int(question.ask("offset", "0"))
        content = [show(each) for each in found[offset : offset + limit]]
        return Reply(200, {"content": content, "total": len(found), "size": len(content)})


def _named(each: Module | DistributionSet) -> dict[str, Any]:
    return {"id": each.id, "name": each.name, "version": each.version, "type": each.type, "deleted": each.deleted}


def _artifact(each: Artifact) -> dict[str, Any]:
    return {"id": each.id, "providedFilename": each.name, "size": len(each.content), "hashes": each.hashes}


def form_of(question: Question) -> dict[str, bytes]:
    """The parts of a form by name, in their order; a file's own name under ``NAME:name``."""
    head = f"Content-Type: {question.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + question.content, policy=email.policy.HTTP)
    parts: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts[name] = content
        if (file := part.get_filename()) is not None:
            parts[f"{name}:name"] = file.encode()
    return parts


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"errorCode": _ERRORS + code, "exceptionClass": "…Exception", "message": message})
