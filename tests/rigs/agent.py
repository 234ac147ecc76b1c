"""Real agents in this process, over real HTTP, with a real runtime: the rig of the agents' own driver.

Agents are stepped by hand. How a device misbehaves is in what it fetches through and what it computes with.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewright.controller.health import ProcessHealth
from edgewright.controller.wakeups import Debouncer
from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.identity.credentials import create_credentials
from edgewright.ports import Driver
from edgewright.server.app import HookSettings, create_app
from edgewright.server.devices.agent_app import AgentApp
from edgewright.server.devices.agent_service import AgentService
from edgewright.server.devices.peers import Peers
from edgewright.server.serving import Serving
from edgewright_agent.durable import Disk
from edgewright_agent.errors import TransportError
from edgewright_agent.http_wiring import HttpOpener
from edgewright_agent.limits import FetchLimits
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.repository.transport import ReportDrop, RepositoryReader
from edgewright_agent.runtime import Array, OnnxRuntime, Session
from edgewright_agent.settings import Settings
from edgewright_schemas.delivery import Delivery
from edgewright_wire.layout import METADATA
from edgewright_wire.markers import SlotMarker
from edgewright_wire.slots import ACTIVE, MARKER_FILE
from fakes.agent_ports import Device
from rigs.base import Behaviour, Grounded, Grounds, Rig
from samples.agent_packages import MODEL

PATIENCE = 30
TIMESTAMP = f"{METADATA}/timestamp.json"


class _Idle:
    """A session that computes nothing, and says that it did."""

    def run(self, inputs: Array) -> Array:
        return inputs[:, :3] * 0


class Runtime:
    """onnxruntime; or an accelerator that says yes to everything."""

    def __init__(self) -> None:
        self.lies = False
        self._real = OnnxRuntime()

    def load(self, model: Path) -> Session:
        return _Idle() if self.lies else self._real.load(model)

    def describe(self) -> str:
        return self._real.describe()


class MisbehavingAgent:
    """One device; it is the reader, the report drop and the prober of its own agent."""

    def __init__(self, name: str, folder: Path, url: str, root: bytes, published: Path) -> None:
        self.behaviour = Behaviour.HONEST
        self.name = name
        self.installs = 0
        self.timestamp = b""
        """As it was seen last."""
        self.unsent = False
        """True if the last report was refused."""
        disk = Disk(sync=lambda _: None)
        server = f"{url}/agent/default"
        opener = HttpOpener(
            Settings(folder, name, f"{server}/repository", f"{server}/reports", server),
            disk,
            FetchLimits(),
            lambda: False,
        )
        self._reader: RepositoryReader = opener.repository()
        self._drop: ReportDrop = opener.reports()
        self._runtime = Runtime()
        self._prober = InProcessProber(self._runtime)
        self.device = Device(folder, published, root, prober=self, disk=disk, reports=self, reader=self, device=name)

    # ── what the agent reaches the world through ──────────────────────────────────────────────────────────────

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        if path == TIMESTAMP:
            self.timestamp = b"".join(self._reader.read(path, offset))
            yield self.timestamp
            return
        for piece in self._reader.read(path, offset):
            if path.startswith("blobs/") and self.behaviour is Behaviour.STALLS:
                yield piece[:10]
                raise TransportError("RepositoryUnreachable", "the line is down")
            corrupts = path.startswith("blobs/") and self.behaviour is Behaviour.CORRUPTS
            yield bytes(byte ^ 1 for byte in piece) if corrupts else piece

    def send(self, device: str, report: bytes) -> None:
        self.unsent = True
        self._drop.send(device, report)
        self.unsent = False

    def probe(self, slot: Path) -> ProbeOutcome:
        if self.behaviour is Behaviour.REFUSES:
            return ProbeOutcome(False, 0, 0.0, self._runtime.describe(), reason="RunFailed", message="wrong hardware")
        self._runtime.lies = self.behaviour is Behaviour.LIES
        return self._prober.probe(slot)

    def verify(self, device_dir: Path, model: str) -> ProbeOutcome:
        return self._prober.verify(device_dir, model)

    # ── the device ────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, published: bytes) -> bool:
        """Do one thing; False when there is nothing to do but wait."""
        if self.behaviour is Behaviour.SILENT:
            return False
        before = self.active()
        sleep = self.device.agent.step()
        self.installs += self.active() not in {before, None}
        if sleep is None:
            return True
        if self.timestamp == published and not self.unsent:
            return False
        self.device.sleep(max(3.0, sleep.seconds + 0.1))
        return True

    def behave(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.timestamp = b""

    @property
    def slot(self) -> Path:
        return self.device.directory / "models" / MODEL / ACTIVE

    def active(self) -> str | None:
        try:
            return SlotMarker.from_bytes((self.slot / MARKER_FILE).read_bytes()).assignment.release
        except FileNotFoundError:
            return None


class AgentRig(Grounded):
    """The driver, the controller's server, and agents."""

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self.agents: dict[str, MisbehavingAgent] = {}
        create_credentials(grounds.keys)
        self._root = (grounds.folder / "repository/metadata/root.json").read_bytes()
        self._service: AgentService | None = None
        rest = create_app(HookSettings(), Debouncer(), ProcessHealth(role="active"))
        app = AgentApp(lambda name: self._service if name == "" else None, Peers(insecure=True), rest)
        self._serving = Serving(app, instant=app.instant, stop_seconds=1)
        self.open()
        self._url = self._serving.start().url

    def open(self) -> None:
        """Wire the engine on what is there."""
        grounds = self.grounds
        self._driver = AgentDelivery(
            grounds.folder / "repository", grounds.folder / "reports", grounds.keys, inbox=grounds.inbox
        )
        self._service = AgentService(
            environment="",
            repository=grounds.folder / "repository",
            keys=grounds.keys,
            identities=grounds.identities,
            registry=grounds.state,
            inbox=grounds.inbox,
            devices=lambda: len(self.agents),
            listed=lambda device: False,
            wake=lambda: None,
            clock=grounds.now,
        ).__enter__()

    def close(self) -> None:
        """End the service; the address stays, as a load balancer's would."""
        if self._service is not None:
            self._service.__exit__(None, None, None)

    def end(self) -> None:
        self.close()
        self._serving.stop()

    @property
    def driver(self) -> Driver:
        return self._driver

    def add(self, *devices: str) -> None:
        self.grounds.declare(*devices)
        for name in devices:
            folder = self.grounds.folder / "devices" / name
            published = self.grounds.folder / "repository"
            self.agents[name] = MisbehavingAgent(name, folder, self._url, self._root, published)

    def behave(self, device: str, behaviour: Behaviour) -> None:
        self.agents[device].behave(behaviour)

    def step(self) -> bool:
        published = (self.grounds.folder / "repository" / TIMESTAMP).read_bytes()
        self._until_served(published)
        return sum(agent.step(published) for agent in self.agents.values()) > 0

    def _until_served(self, published: bytes) -> None:
        """Wait until the server has noticed what was published; agents that ask a moment earlier see the old."""
        until = time.monotonic() + PATIENCE
        while (
            self._service is None
            or self._service.polls.current is None
            or self._service.polls.current.content != published
        ):
            assert time.monotonic() < until
            threading.Event().wait(0.002)

    def restart(self) -> None:
        self.close()
        self.grounds.close()
        self.grounds.open()
        self.open()

    def runs(self, device: str) -> str | None:
        return self.agents[device].active()

    def file(self, device: str, name: str) -> bytes | None:
        path = self.agents[device].slot / name
        return path.read_bytes() if path.exists() else None

    def installs(self, device: str) -> int:
        return self.agents[device].installs


@contextmanager
def make_rig(folder: Path) -> Iterator[Rig]:
    grounds = Grounds(folder, Delivery())
    rig = AgentRig(grounds)
    try:
        yield rig
    finally:
        rig.end()
        grounds.close()
