"""A published repository behind a server that tests control, and the agent's client."""

from collections.abc import Callable
from pathlib import Path

from edgewright_agent.http.client import HttpClient
from edgewright_agent.repository.http_transport import HttpRepository
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Blob
from servers.agent_api import AgentServer

DATA = bytes(range(256)) * 2000
BLOB = Blob(digest=digest_bytes(DATA), size=len(DATA))
TIMESTAMP = "metadata/timestamp.json"


def client(timeout: float = 10.0, ca: Path | None = None) -> HttpClient:
    return HttpClient("RepositoryUnreachable", timeout, ca)


def repository(server: AgentServer, discarded: Callable[[int], None] = lambda _: None) -> HttpRepository:
    return HttpRepository(f"{server.url}/repository", client(), discarded)


def read(reader: HttpRepository, path: str, offset: int = 0) -> bytes:
    return b"".join(reader.read(path, offset))
