"""A controller that takes reports, and strangers that send them."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx

from servers.agent_server import PATIENCE, AgentSite

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def report(device: str, sequence: int, **fields: Any) -> dict[str, Any]:
    return {"device": device, "sequence": sequence, "sentAt": NOW.isoformat(), "agentVersion": "1", **fields}


def body(*reports: dict[str, Any]) -> bytes:
    return json.dumps({"reports": reports}).encode()


class Place:
    def __init__(self, site: AgentSite, url: str) -> None:
        self.site = site
        self.url = f"{url}/reports"
        self.client = httpx.Client(timeout=PATIENCE, trust_env=False)

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        named = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.client.post(self.url, content=content, headers=named)

    def kept(self) -> dict[str, int]:
        return {each.device: each.sequence for each in self.site.inbox.newer({})}
