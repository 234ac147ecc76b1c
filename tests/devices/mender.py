"""Devices whose client asks a Mender server."""

from pathlib import Path

import httpx

from devices.with_installer import InstallingDevice
from rigs.base import Behaviour
from servers.mender_server import MenderServer, now


class MenderClient:
    """A device with Mender's client, and an inventory that shows evidence, as edgewright's update module has it."""

    def __init__(self, server: MenderServer, id_: str, folder: Path) -> None:
        self.behaviour = Behaviour.HONEST
        self.disk = InstallingDevice(folder)
        self.known = server.accept(id_)
        self._server = server
        self._serial = id_
        self._fetching = ""
        self._inventory: dict[str, str] | None = {}
        """The messages still to be sent; None: nothing."""
        self._log: tuple[str, str] | None = None
        """The deployment that failed, and what is still to be sent of it."""

    def step(self) -> bool:
        """Do one thing; whether there was any."""
        if self.behaviour is Behaviour.SILENT:
            return False
        headers = {"Authorization": f"Bearer {self.known.id}"}
        with httpx.Client(headers=headers, base_url=f"{self._server.url}/api/devices", timeout=10) as http:
            if self._log is not None:
                (failed, log), self._log = self._log, None
                messages = [{"level": "error", "message": log, "timestamp": now()}]
                path = f"/v1/deployments/device/deployments/{failed}/log"
                http.put(path, json={"messages": messages}).raise_for_status()
                return True
            if self._inventory is not None:
                attributes = {"edgewright_id": self._serial, "device_type": "edge", **self._inventory}
                body = [{"name": name, "value": value} for name, value in attributes.items()]
                http.patch("/v1/inventory/device/attributes", json=body).raise_for_status()
                self._inventory = None
                return True
            answer = http.post("/v2/deployments/device/deployments/next", json={"device_provides": {}})
            answer.raise_for_status()
            if answer.status_code == 204:
                self._fetching = ""
                return False
            return self._deploy(http, answer.json()["id"], answer.json()["artifact"]["source"]["uri"])

    def _deploy(self, http: httpx.Client, deployment: str, uri: str) -> bool:
        if self._fetching != deployment:
            self._fetching = deployment
            self._say(http, deployment, "downloading")
            return True
        if self.behaviour is Behaviour.STALLS:
            return False
        artifact = http.get(uri).raise_for_status().content
        self._fetching = ""
        if not self._say(http, deployment, "installing"):
            return True
        log, done = "Installation failed: checksum does not match", False
        if self.behaviour is Behaviour.LIES:
            done = True
        elif self.behaviour is not Behaviour.CORRUPTS:
            self.disk.refuses = self.behaviour is Behaviour.REFUSES
            done, log = self.disk.install(artifact)
            self._inventory = {"edgewright_evidence_reader": log}
        if not done:
            self._log = (deployment, log)
        self._say(http, deployment, "success" if done else "failure")
        return True

    def _say(self, http: httpx.Client, deployment: str, status: str) -> bool:
        path = f"/v1/deployments/device/deployments/{deployment}/status"
        return http.put(path, json={"status": status}).status_code == 204
