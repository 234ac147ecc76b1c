"""Devices behind another update system's server: they unpack a bundle, and give it to the real installer."""

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from edgewright.delivery.relayed.bundling import Order
from edgewright.delivery.repository.depot import Depot
from edgewright.errors import DeliveryError
from edgewright_agent.durable import Disk
from edgewright_agent.models.installer import Installer
from edgewright_agent.models.payload import read_order
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.runtime import OnnxRuntime
from edgewright_schemas.delivery import Delivery
from edgewright_wire.evidence import Evidence
from edgewright_wire.messages import Phase

ORDER_FILE = "order.json"


class TarBundler:
    """The simplest bundle: a payload and its order in a tar. Implements servers.bundling.Bundler."""

    def __init__(self, depot: Depot, folder: Path, suffix: str) -> None:
        self._depot = depot
        self._folder = folder
        self._suffix = suffix
        self.built: list[str] = []
        self.key = "key 1"
        """Signs bundles; empty: it is missing."""

    def recipe(self, delivery: Delivery) -> str:
        if not self.key:
            raise DeliveryError("there is no key to sign bundles with", hint="make one")
        return self.key

    def build(self, order: Order) -> Path:
        self.built.append(order.name)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{order.name}{self._suffix}"
        said = {"model": order.model, "nonce": order.nonce, "name": order.name, "remove": order.target is None}
        files = {ORDER_FILE: json.dumps(said).encode()}
        if order.target is not None:
            files |= {file.name: file.read() for file in self._depot.payload(order.target)}
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return path


def order_in(bundle: bytes) -> dict[str, object]:
    """Return the order in a bundle."""
    with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
        member = tar.extractfile(ORDER_FILE)
        assert member is not None
        return dict(json.load(member))


class InstallingDevice:
    """One device's disk, and its installer."""

    def __init__(self, folder: Path, model: str = "reader") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.model = model
        self.refuses = False
        self.switches = 0
        self._runtime = OnnxRuntime()

    @property
    def _active(self) -> Path:
        return self.folder / "models" / self.model / "active"

    def runs(self) -> str | None:
        """The release that is active."""
        return next((r.active_release for r in self._installer().installed() if r.model == self.model), None)

    def file(self, name: str) -> bytes | None:
        path = self._active / name
        return path.read_bytes() if path.exists() else None

    def install(self, bundle: bytes) -> tuple[bool, str]:
        """Carry out what a bundle orders: whether it worked, and the evidence."""
        before = self.runs()
        order = order_in(bundle)
        installer = self._installer()
        if order["remove"]:
            report = installer.uninstall(str(order["model"]))
        else:
            payload = self.folder.with_name(f"{self.folder.name}-payload")
            with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
                tar.extractall(payload, filter="data")
            report = installer.install(read_order(payload), payload)
        self.switches += self.runs() != before
        evidence = Evidence(nonce=str(order["nonce"]), model=report).to_bytes().decode()
        return report.phase is not Phase.FAILED, evidence

    def _installer(self) -> Installer:
        prober = _RefusingProber(self._runtime) if self.refuses else InProcessProber(self._runtime)
        return Installer(self.folder, Disk(sync=lambda _: None), prober, lambda: datetime.now(UTC))


class _RefusingProber(InProcessProber):
    """Computes something else than was expected."""

    def probe(self, slot: Path) -> ProbeOutcome:
        return ProbeOutcome(False, 5, 0.001, "skewed 1.0", 0.5, reason="ProbeMismatch", message="5 of 5 samples differ")
