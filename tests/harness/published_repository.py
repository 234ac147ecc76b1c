"""A published repository with its keys and devices, for the tests of its integrity, its attackers and its crashes."""

import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from devices.tuf import TufDevice
from edgewright import durable
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright_wire.canonical import digest_bytes

CONFIG = b"threshold = 0.8\n"
CONFIGS = {digest_bytes(CONFIG): CONFIG}


class RepositorySite:
    """A repository with its keys below one folder, and devices that trust its first root."""

    def __init__(self, folder: Path, *, bins: int = 2) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.metadata = self.repository / "metadata"
        self.now = datetime.now(UTC)
        self.delivery = AgentDelivery(self.repository, folder / "reports", folder / "keys", lambda: self.now, bins=bins)

    def device(self, name: str = "device") -> TufDevice:
        return TufDevice(self.repository, self.folder / name, (self.metadata / "1.root.json").read_bytes())

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.repository)): path.read_bytes()
            for path in self.repository.rglob("*")
            if path.is_file()
        }


def copied(site: RepositorySite) -> RepositorySite:
    """Copy a site, byte by byte."""
    number = sum(1 for _ in site.folder.parent.iterdir())
    folder = site.folder.parent / f"{site.folder.name}-{number}"
    shutil.copytree(site.folder, folder)
    return RepositorySite(folder)


def operations(call: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the durable operations of a call, each with its file's name."""
    seen: list[tuple[str, str]] = []
    with durable.watched(lambda operation, path: seen.append((operation, path.name))):
        call()
    return seen


def killed_at(number: int, call: Callable[[], object]) -> None:
    """Run a call in a child process that is killed just before one of its durable operations."""
    child = os.fork()
    if child == 0:
        left = iter(range(number))

        def watch(operation: str, path: Path) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with durable.watched(watch):
                call()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"
