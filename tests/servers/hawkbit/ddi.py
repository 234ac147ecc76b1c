"""The API that devices speak to a hawkBit (DDI), and devices that speak it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from devices.with_installer import InstallingDevice
from rigs.base import Behaviour
from servers.api_server import Question, Reply, milliseconds
from servers.hawkbit.state import OWN, Action, Target

if TYPE_CHECKING:  # the server has the device API as a part
    from servers.hawkbit.server import HawkbitServer

_CONTROLLER = re.compile(r"/DEFAULT/controller/v1/([^/]+)(/.*)?")
_MARKUP = re.compile(r"<[A-Za-z/!?]")
"""hawkBit refuses messages with such in them."""


class DeviceApi:
    def __init__(self, server: "HawkbitServer") -> None:
        self._server = server

    def answer(self, question: Question) -> Reply:
        found = _CONTROLLER.fullmatch(question.path)
        target = self._server.state.targets.get(found[1]) if found else None
        if found is None or target is None:
            return Reply(404)
        if question.headers.get("authorization") != f"TargetToken {target.token}":
            return Reply(401)
        rest = found[2] or ""
        if not rest:
            return self._base(target)
        if part := re.fullmatch(r"/(deploymentBase|cancelAction)/(\d+)(/feedback)?", rest):
            action = self._server.state.actions.get(int(part[2]))
            if action is not None and action.target == target.id:
                return self._of_action(action, part[1], question if part[3] else None)
        if part := re.fullmatch(r"/softwaremodules/(\d+)/artifacts/(.+)", rest):
            module = self._server.state.modules[int(part[1])]
            return next((Reply(200, each.content) for each in module.artifacts if each.name == part[2]), Reply(404))
        return Reply(404)

    def _of_action(self, action: Action, kind: str, feedback: Question | None) -> Reply:
        if feedback is not None:
            return self._feedback(action, kind == "cancelAction", feedback.json())
        if kind == "cancelAction":
            return Reply(200, {"id": str(action.id), "cancelAction": {"stopId": str(action.id)}})
        return self._deployment(action)

    def _base(self, target: Target) -> Reply:
        target.asked_at = milliseconds()
        here = f"{self._server.url}/DEFAULT/controller/v1/{target.id}"
        links: dict[str, Any] = {}
        waiting = self._server.state.open_of(target.id)
        if waiting:
            oldest = waiting[0]
            kind = "cancelAction" if oldest.status == "canceling" else "deploymentBase"
            links[kind] = {"href": f"{here}/{kind}/{oldest.id}"}
        return Reply(200, {"config": {"polling": {"sleep": self._server.polling}}, "_links": links})

    def _deployment(self, action: Action) -> Reply:
        if not action.active:
            return Reply(404)
        state = self._server.state
        if action.status == "running":
            state.say(action, "retrieved", [OWN + "Target retrieved update action and should start now the download."])
            action.status = "retrieved"
        chunks = []
        for id_ in state.sets[action.set_id].modules:
            module = state.modules[id_]
            here = f"{self._server.url}/DEFAULT/controller/v1/{action.target}/softwaremodules/{id_}/artifacts"
            artifacts = [
                {
                    "filename": each.name,
                    "size": len(each.content),
                    "hashes": each.hashes,
                    "_links": {"download-http": {"href": f"{here}/{each.name}"}},
                }
                for each in module.artifacts
            ]
            chunks.append({"part": "bApp", "name": module.name, "version": module.version, "artifacts": artifacts})
        deployment = {"download": "forced", "update": "forced", "chunks": chunks}
        return Reply(200, {"id": str(action.id), "deployment": deployment})

    def _feedback(self, action: Action, of_cancel: bool, body: dict[str, Any]) -> Reply:
        if not action.active:
            return Reply(410)
        status, state = body["status"], self._server.state
        details = status.get("details", [])
        if len(details) > 50 or any(_MARKUP.search(each) for each in details):
            return Reply(400, {"errorCode": "hawkbit.server.error.repo.constraintViolation"})
        execution, finished = status["execution"], status["result"]["finished"]
        if execution != "closed":
            state.say(action, "download" if execution == "download" else "running", details)
        elif of_cancel and finished == "success":
            state.close(action, "canceled", [*details, OWN + "Cancellation completion is finished sucessfully."])
        elif of_cancel:
            state.say(action, "cancel_rejected", details)
            action.status = "running"
        else:
            state.close(action, "finished" if finished == "success" else "error", details)
        return Reply(200)


class HawkbitDevice:
    """A device whose client asks a hawkBit."""

    def __init__(self, server: "HawkbitServer", id_: str, folder: Path) -> None:
        self.id = id_
        self.behaviour = Behaviour.HONEST
        self.disk = InstallingDevice(folder)
        self._server = server
        self._fetching: int | None = None

    def step(self) -> bool:
        """Do one thing; whether there was any."""
        target = self._server.state.targets.get(self.id)
        if self.behaviour is Behaviour.SILENT or target is None:
            return False
        first = target.asked_at is None
        headers = {"Authorization": f"TargetToken {target.token}"}
        with httpx.Client(headers=headers, timeout=10) as http:
            base = http.get(f"{self._server.url}/DEFAULT/controller/v1/{self.id}").raise_for_status().json()
            links = base["_links"]
            if "cancelAction" in links:
                self._fetching = None
                href = links["cancelAction"]["href"]
                http.post(f"{href}/feedback", json=_says("closed", "success", ["stopped"])).raise_for_status()
                return True
            if "deploymentBase" in links:
                return self._deploy(http, links["deploymentBase"]["href"])
        return first

    def _deploy(self, http: httpx.Client, href: str) -> bool:
        deployment = http.get(href).raise_for_status().json()
        feedback, number = f"{href}/feedback", int(deployment["id"])
        if self._fetching != number:
            self._fetching = number
            http.post(feedback, json=_says("download", "none", ["downloading"])).raise_for_status()
            return True
        if self.behaviour is Behaviour.STALLS:
            return False
        (artifact,) = deployment["deployment"]["chunks"][0]["artifacts"]
        bundle = http.get(artifact["_links"]["download-http"]["href"]).raise_for_status().content
        self._fetching = None
        if self.behaviour is Behaviour.CORRUPTS:
            done, details = False, [f"[streaming] sha256 of {artifact['filename']} does not match"]
        elif self.behaviour is Behaviour.LIES:
            done, details = True, ["Software updated successfully"]
        else:
            self.disk.refuses = self.behaviour is Behaviour.REFUSES
            done, evidence = self.disk.install(bundle)
            details = ["[script] begin", f"[script] {evidence}", "Software updated" if done else "Image invalid"]
        answer = http.post(feedback, json=_says("closed", "success" if done else "failure", details))
        assert answer.status_code in {200, 410}, answer.text
        return True


def _says(execution: str, finished: str, details: list[str]) -> dict[str, Any]:
    return {"status": {"execution": execution, "result": {"finished": finished}, "details": details}}
