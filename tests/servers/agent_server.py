"""The agent API on a real server, store and repository: what agents meet when they come by HTTP.

``python -m servers.agent_server FOLDER`` serves it in a process of its own, which tests may kill.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgewright.controller.health import ProcessHealth
from edgewright.controller.wakeups import Debouncer
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.identity.certificates import issue_server_certificate
from edgewright.delivery.identity.credentials import create_credentials, load_devices_ca
from edgewright.delivery.repository.keys import create_keys
from edgewright.ports import IdentityStatus
from edgewright.server.app import HookSettings, create_app
from edgewright.server.devices.agent_app import AgentApp
from edgewright.server.devices.agent_service import AgentService
from edgewright.server.devices.peers import Peers
from edgewright.server.serving import Serving
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities, SqlInbox

INSECURE = Peers(insecure=True)
PATIENCE = 30


@dataclass
class AgentSite:
    """One environment's folders, store and published repository; serve it with ``served``."""

    folder: Path
    database: str | Path | None = None
    now: datetime | None = None
    """None: it is what the clock says."""
    listed: set[str] = field(default_factory=set)
    devices: int = 10
    life: timedelta = timedelta(days=7)
    woken: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.keys = self.folder / "keys"
        self.published = self.folder / "repository"
        self.repository = AgentDelivery(self.published, self.folder / "reports", self.keys)
        if not self.keys.exists():
            create_keys(self.keys)
            create_credentials(self.keys)
            self.repository.create()
        self.state = SqlState(self.database or self.folder / "state.db")
        self.identities = SqlIdentities(self.state)
        self.inbox = SqlInbox(self.state)
        self.authority = load_devices_ca(self.keys)

    def clock(self) -> datetime:
        return self.now or datetime.now(UTC)

    def desk(self) -> AgentService:
        return AgentService(
            environment="",
            repository=self.published,
            keys=self.keys,
            identities=self.identities,
            registry=self.state,
            inbox=self.inbox,
            devices=lambda: self.devices,
            listed=lambda device: device in self.listed,
            wake=self.woken.set,
            clock=self.clock,
            life=self.life,
        )

    @contextmanager
    def served(self, peers: Peers = INSECURE, *, tls: bool = False, port: int = 0) -> Iterator[Serving]:
        """Serve it, in front of a controller's other routes."""
        with self.desk() as desk:
            app = AgentApp({"": desk}.get, peers, create_app(HookSettings(), Debouncer(), ProcessHealth(role="active")))
            serving = Serving(
                app,
                port=port,
                tls=self.server_certificate() if tls else None,
                clients=lambda: self.authority.certificate_pem if tls else b"",
                instant=app.instant,
                stop_seconds=2,
            )
            with ExitStack() as stack:
                serving.start()
                stack.callback(serving.stop)
                stack.callback(desk.polls.close)
                yield serving

    def server_certificate(self) -> tuple[Path, Path]:
        chain, key = self.folder / "server.crt", self.folder / "server.key"
        if not chain.exists():
            made = issue_server_certificate(
                self.authority, ["localhost", "127.0.0.1"], datetime.now(UTC), timedelta(days=2)
            )
            chain.write_text(made[0])
            key.write_bytes(made[1])
        return chain, key

    def decide(self, device: str, status: IdentityStatus = IdentityStatus.ACCEPTED) -> None:
        """Decide about the newest key of a device, as an operator would."""
        key = self.identities.identities(system="agent", device=device)[-1]
        self.identities.decide("agent", key.key, status, self.clock())

    def close(self) -> None:
        self.state.close()


def base(serving: Serving) -> str:
    """Where agents ask."""
    return f"{serving.address.url}/agent/default"


def kept(site: AgentSite) -> dict[str, int]:
    """The sequence of each device's newest report."""
    return {each.device: each.sequence for each in site.inbox.newer({})}


def main() -> None:
    """Serve a folder until the process is ended, and say where."""
    site = AgentSite(Path(sys.argv[1]))
    with site.served() as serving:
        sys.stdout.write(base(serving) + "\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
