"""A published repository behind the agent API."""

import httpx

from edgewright_wire.messages import Assignment
from servers.agent_server import PATIENCE, AgentSite

TIMESTAMP = "metadata/timestamp.json"


class Place:
    """A served repository with a package and some assignments."""

    def __init__(self, site: AgentSite, url: str) -> None:
        self.site = site
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False)

    def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        return self.client.request(
            method, f"{self.url}/{path}", headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    def assign(self, version: int) -> None:
        """Publish something new: the timestamp changes."""
        self.site.repository.assign([Assignment(device="lane-1", version=version)], {})

    def files(self) -> list[str]:
        found = [path for path in self.site.published.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return sorted(str(path.relative_to(self.site.published)) for path in found)
