"""A published repository over real HTTP, and an agent that serves from it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, SuccinctRoles, Timestamp

from edgewright_agent.durable import Disk
from edgewright_agent.handle import ModelHandle
from edgewright_agent.http.client import HttpClient
from edgewright_agent.repository.http_transport import HttpRepository
from edgewright_wire.layout import BIN_PREFIX, assignment_target
from edgewright_wire.messages import Phase, Report
from fakes.agent_ports import Device, MemoryDrop
from fakes.agent_runtimes import LinearRuntime
from samples.agent_packages import FEATURES, MODEL, a_package, assignment, target, weights
from servers.repository_server import Repository
from servers.tuf_repository import BITS, TufRepository

DEVICE = "dev-1"
BIN = SuccinctRoles([], 1, BITS, BIN_PREFIX).get_role_for_target(assignment_target(DEVICE))


class Scene:
    """A device that runs package 1, assigned as 2, from a repository behind HTTP."""

    def __init__(self, path: Path, repository: TufRepository, url: str, server: Repository) -> None:
        self.path = path
        self.repository = repository
        self.server = server
        self.url = url
        self.repository.add_package(package := a_package(1))
        self.repository.assign(assignment(DEVICE, 2, target(package)))
        self.device = self.start()
        assert self.device.poll().models[0].verified == package.digest

    def start(self, disk: Disk | None = None, drop: MemoryDrop | None = None) -> Device:
        """A new process on the same device."""
        client = HttpClient("RepositoryUnreachable", 10.0)
        return Device(
            self.path / "device",
            self.repository.path,
            self.repository.root,
            reader=HttpRepository(self.url, client),
            disk=disk,
            reports=drop,
        )

    def file(self, role: str, version: int | None = None) -> Path:
        """Where the repository keeps a role, its newest version or another one."""
        prefix = "" if role == Timestamp.type else f"{version or self.repository.version}."
        return self.repository.path / "metadata" / f"{prefix}{role}.json"

    def resign(self, role: str, change: Callable[..., None], signer: CryptoSigner | None = None) -> None:
        """Change a role's newest version with a key, the one of whoever publishes if no other is given."""
        metadata = Metadata.from_bytes(self.file(role).read_bytes())
        change(metadata.signed)
        metadata.sign(signer or self.repository.online)
        self.file(role).write_bytes(metadata.to_bytes())

    def update(self, version: int = 5) -> None:
        """Publish an honest update."""
        self.repository.add_package(package := a_package(version))
        self.repository.assign(assignment(DEVICE, version, target(package)))

    def refuses(self, reason: str) -> Report:
        """The reason is reported, what serves goes on serving, and nothing else is believed."""
        report = self.device.poll()
        assert report.reason == reason, (report.reason, report.message)
        assert report.message
        assert report.assignment_version == 2
        assert (report.models[0].phase, report.models[0].verified) == (Phase.VERIFIED, a_package(1).digest)
        self.serves(1)
        return report

    def serves(self, version: int) -> None:
        inputs = np.ones((1, FEATURES), np.float32)
        outputs = ModelHandle(self.device.directory, MODEL, LinearRuntime()).run(inputs)
        np.testing.assert_allclose(outputs, inputs @ weights(version), rtol=1e-5)

    def recovers(self, version: int = 9) -> None:
        self.update(version)
        self.device.sleep(400.0)
        report = self.device.poll()
        assert (report.reason, report.assignment_version) == ("", version), report.message
        assert report.models[0].verified == a_package(version).digest
