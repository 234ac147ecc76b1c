"""A shop chain on one machine: the example's repository, its command line, and its devices as real processes."""

import csv
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import IO, Any

from examples.demo.bench import EXAMPLES, Bench, wait_for


@dataclass
class Lab(Bench):
    """One copy of the retail example with twelve devices."""

    example = EXAMPLES / "retail"
    _agents: dict[str, tuple["subprocess.Popen[bytes]", IO[bytes]]] = field(default_factory=dict)

    @property
    def devices(self) -> list[dict[str, str]]:
        """The inventory."""
        with (self.repo / "fleets/stores.csv").open() as file:
            return list(csv.DictReader(file))

    def prepare(self) -> None:
        """Copy the example, commit it, make keys."""
        self.copy()
        self.edit("specs/rollout.yaml", "offlineAfter: 2m", "offlineAfter: 15s")  # the demo does not wait for so long
        self.commit("Declare the price tag reader")
        self.edgewright("init", ".", "--keys-only")

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────────────

    def start_all(self) -> None:
        """Set every device up and switch it on."""
        for device in self.devices:
            self._install(device)
            self.start(device["id"])
        reports = self.repo / ".edgewright/reports"
        wait_for("the devices' first reports", lambda: len(list(reports.glob("*.json"))) == len(self.devices))

    def _install(self, device: dict[str, str]) -> None:
        state = self.repo / ".edgewright"
        options = ["--dir", self.folder / device["id"], "--device", device["id"], "--device-class", device["class"]]
        options += ["--repository", state / "repository", "--reports", state / "reports"]
        options += ["--root", state / "repository/metadata/root.json", "--poll", "1s", "--heartbeat", "3s"]
        if device["class"] == "npu-camera":
            options += ["--runtime", "npu:Npu", "--python-path", self.example / "devices"]
        ran = self.run(sys.executable, "-m", "edgewright_agent", "init", *map(str, options))
        if ran.code != 0:
            raise RuntimeError(ran.stderr)

    def start(self, device: str) -> None:
        """Switch a device on: a process of its own."""
        log = (self.folder / f"{device}.log").open("ab")
        config = str(self.folder / device / "agent.toml")
        command = [sys.executable, "-m", "edgewright_agent", "run", "--config", config]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._agents[device] = (process, log)

    def stop(self, device: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Pull a device's plug."""
        process, log = self._agents.pop(device)
        process.send_signal(how)
        process.wait()
        log.close()

    def stop_all(self) -> None:
        """Switch every device off."""
        for device in list(self._agents):
            self.stop(device, signal.SIGTERM)

    def running(self) -> dict[str, str | None]:
        """Say which package each device has active, by its own report."""
        rows = self.edgewright("devices", "list", "-o", "json").json()
        return {
            row["device"]: next((m["verified"] for m in row["models"] if m["verified"] == m["active"]), None)
            for row in rows
        }

    def rollout(self) -> Any:
        """Say where the rollout stands."""
        return self.edgewright("rollout", "status", "price-tag-reader", "-o", "json").json()
