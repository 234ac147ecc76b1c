"""The agent's TUF client against a simulated repository."""

import json
from pathlib import Path

from edgewright_agent.main import main
from servers.repository_server import Repository
from servers.tuf_simulator import TufSimulator

CHAIN = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
"""What a first refresh asks for."""


class Client:
    """The client under test, and the server it talks to."""

    def __init__(self, path: Path, url: str, server: Repository, simulator: TufSimulator) -> None:
        self.metadata = path / "client" / "metadata"
        self.targets = path / "client" / "targets"
        self.simulator = simulator
        self._root = path / "initial_root.json"
        self._url = url
        self._server = server

    def init(self, root: bytes | None = None) -> int:
        self._root.write_bytes(self.simulator.first_root if root is None else root)
        return main(["tuf", "--metadata-dir", str(self.metadata), "init", str(self._root)])

    def arguments(self) -> list[str]:
        return ["tuf", "--metadata-url", f"{self._url}/metadata/", "--metadata-dir", str(self.metadata)]

    def refresh(self) -> int:
        return main([*self.arguments(), "refresh"])

    def download(self, *names: str) -> int:
        wanted = [word for name in names for word in ("--target-name", name)]
        where = ["--target-dir", str(self.targets), "--target-base-url", f"{self._url}/targets/"]
        return main([*self.arguments(), *wanted, *where, "download"])

    def versions(self) -> dict[str, int]:
        """What is trusted, by role."""
        return {
            path.name.removesuffix(".json"): json.loads(path.read_bytes())["signed"]["version"]
            for path in self.metadata.glob("*.json")
        }

    def downloads(self) -> list[bytes]:
        """Everything in the directory of targets."""
        return sorted(path.read_bytes() for path in self.targets.rglob("*")) if self.targets.is_dir() else []

    def asked(self) -> list[str]:
        """What was asked for since the last time."""
        paths = [path.removeprefix("metadata/") for path in self._server.paths()]
        self._server.asked.clear()
        return paths
