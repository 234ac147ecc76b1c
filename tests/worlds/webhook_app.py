"""The controller's application on a real server, and what is sent to it."""

import socket
from typing import Any

import httpx
from fastapi import APIRouter

from edgewright.controller.health import Heartbeats, ProcessHealth
from edgewright.controller.wakeups import Debouncer
from edgewright.secret import Secret
from edgewright.server.app import HookSettings, create_app
from edgewright.server.hooks.webhooks import RepositoryNames
from edgewright.server.serving import Serving
from samples.forge_payloads import ForgeName, payload, sign

SECRET = "correct horse battery staple"
PATIENCE = 30.0
SETTINGS = HookSettings((Secret(SECRET),), RepositoryNames.of(["acme/shelves"]), max_bytes=100_000)


class Place:
    """A served application, and what it woke."""

    def __init__(
        self, settings: HookSettings = SETTINGS, *routers: APIRouter, wakeups: Debouncer | None = None
    ) -> None:
        self.now = 0.0
        self.wakeups = wakeups or Debouncer(quiet=0.1, most=1.0)
        self.health = ProcessHealth(Heartbeats(lambda: self.now), role="active")
        self.serving = Serving(create_app(settings, self.wakeups, self.health, routers=routers), stop_seconds=1)
        self.address = self.serving.start()
        self.client = httpx.Client(base_url=self.address.url, timeout=PATIENCE, trust_env=False)

    def close(self) -> None:
        self.client.close()
        self.serving.stop()

    def send(self, forge: ForgeName, headers: dict[str, str], body: Any) -> httpx.Response:
        return self.client.post(f"/hooks/{forge}", headers=headers, content=body)

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back until the server closes the connection."""
        with socket.create_connection((self.address.host, self.address.port), PATIENCE) as connection:
            connection.sendall(data)
            return _rest(connection)


def _rest(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def delivery(forge: ForgeName = "github", event: Any = "push", **facts: Any) -> tuple[dict[str, str], bytes]:
    headers, body = payload(forge, event, **facts)
    return sign(forge, SECRET, headers, body), body
