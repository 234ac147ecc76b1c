"""A controller and eight devices of five makes on one machine: the example ``mixed``, as an operator would set it up.

Whatever can be done by a command a user has is done by it.
"""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from examples.demo.bench import EXAMPLES, Bench, wait_for
from examples.demo.controllers import HOST, Controller
from examples.demo.devices import (
    MODEL,
    PROGRAMS,
    AgentDevice,
    Device,
    MenderDevice,
    Running,
    SshDevice,
    SwupdateDevice,
)

D = TypeVar("D", bound=Device)
LONGEST = 300.0
"""Seconds that a rollout may take; machines that do other things as well are slow."""
QUIET = 10.0
"""Seconds after which a rollout is asked how it stands, though the controller's log has no news of it."""
INVENTORY = "fleets/stores.csv"


@dataclass
class MixedLab(Bench):
    """The example, its controller and its devices."""

    example = EXAMPLES / "mixed"
    devices: dict[str, Device] = field(default_factory=dict)
    controller: Controller | None = None
    port: int = 0
    _starts: int = 0
    _token: Path = Path()

    @property
    def url(self) -> str:
        """Where devices reach the controller."""
        return f"https://{HOST}:{self.port}"

    @property
    def state(self) -> Path:
        """Where keys and what is published are."""
        return self.repo / ".edgewright"

    def of(self, kind: type[D]) -> list[D]:
        """The devices of a kind."""
        return [device for device in self.devices.values() if isinstance(device, kind)]

    # ── what an operator does ─────────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Make the repository, its keys and the server's certificate; set the devices up."""
        self.copy()
        self.commit("Declare the shelf sensors")
        self.edgewright("init", ".", "--keys-only").well()
        key = self.state / "keys/ssh/id_ed25519"
        key.parent.mkdir()
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)).well()
        self.edgewright("devices", "server-certificate", HOST, "--out", str(self.folder / "tls")).well()
        public = self.run("openssl", "x509", "-in", str(self.state / "keys/bundles.crt"), "-noout", "-pubkey").well()
        (self.folder / "bundles.pub").write_text(public.stdout)
        self._token = self.folder / "token"
        self._token.write_text(self.edgewright("devices", "token", "--uses", "1", "--expires", "1h").well().stdout)
        self.port = free_port(HOST)
        self._set_up()

    def _set_up(self) -> None:
        """Set devices up; where those are that are gone to, and by which key they are known, is written down."""
        path = self.repo / INVENTORY
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            device = self.devices[row["id"]] = self._device(row)
            device.folder.mkdir()
            device.prepare()
            if isinstance(device, SshDevice):
                row["ssh.port"], row["ssh.hostKey"] = str(device.port), device.host_key
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self.commit("Note the devices' ports and host keys")

    def _device(self, row: dict[str, str]) -> Device:
        name, folder = row["id"], self.folder / row["id"]
        authority = self.folder / "tls/ca.crt"
        match row["class"]:
            case "shelf":
                root = self.state / "repository/metadata/root.json"
                options = ["--server", f"{self.url}/agent/default", "--ca", str(authority), "--root", str(root)]
                options += ["--poll", "1s", "--heartbeat", "5s", "--long-poll", "20s"]
                options += ["--token-file", str(self._token)] if row["ring"] != "canary" else []
                return AgentDevice(name, folder, options=options)
            case "pi" | "sign":
                key, address = (self.state / "keys/ssh/id_ed25519.pub").read_text(), row["ssh.host"]
                return SshDevice(name, folder, address=address, port=free_port(address), authorized=key)
            case "gateway":
                token = self.edgewright("devices", "token", name).well().stdout.strip()
                signer = self.state / "keys/bundles.crt"
                return SwupdateDevice(name, folder, url=self.url, certificate=signer, authority=authority, token=token)
            case "handheld":
                return MenderDevice(name, folder, url=self.url, key=self.folder / "bundles.pub", authority=authority)
            case other:
                raise ValueError(f"nobody here knows what a {other} is")

    def asking(self) -> list[AgentDevice | MenderDevice]:
        """The devices that an operator has to let in; others hold a token."""
        agents = [device for device in self.of(AgentDevice) if "--token-file" not in device.options]
        return [*agents, *self.of(MenderDevice)]

    def let_in(self) -> list[str]:
        """Approve the keys that ask, of devices that say themselves that these are theirs; gives those devices."""
        wanted = {device.id: device for device in self.asking()}

        def pending() -> dict[str, str]:
            return {row["device"]: row["key"] for row in self.edgewright("devices", "pending", "-o", "json").json()}

        wait_for("devices that ask", lambda: wanted.keys() <= pending().keys(), every=0.5)
        found = [name for name, key in pending().items() if name in wanted and wanted[name].fingerprint == key]
        for name in found:
            self.edgewright("devices", "approve", name, "--fingerprint", str(wanted[name].fingerprint)).well()
        return found

    # ── power ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start_controller(self) -> None:
        """Start the controller, and wait until it listens."""
        self._starts += 1
        self.controller = Controller(self.repo, self.port, self.folder / f"controller-{self._starts}.log")
        self.controller.wait()

    def stop_all(self) -> None:
        """Switch everything off."""
        with ExitStack() as stack:
            for device in self.devices.values():
                stack.callback(device.stop)
            if self.controller is not None:
                stack.callback(self.controller.stop)

    # ── how things stand ──────────────────────────────────────────────────────────────────────────────────────

    def rollout(self) -> Any:
        """Say where the rollout stands; empty before it has begun."""
        ran = self.edgewright("rollout", "status", MODEL, "-o", "json")
        return ran.json() if ran.code == 0 else {}

    def wait_rollout(self, what: str, found: Callable[[Any], bool]) -> Any:
        """Wait until the rollout stands so; gives how it stands in any case. It is asked when the log has news."""
        assert self.controller is not None
        until = time.monotonic() + LONGEST
        while True:
            told = self.controller.phases
            stands = self.rollout()
            if stands and found(stands):
                return stands
            if time.monotonic() > until:
                sys.stderr.write(f"gave up waiting for {what}\n")
                return stands
            asked = time.monotonic()
            while self.controller.phases == told and time.monotonic() < asked + QUIET:
                time.sleep(0.1)

    def standings(self) -> dict[str, dict[str, Any]]:
        """Return what ``edgewright status --devices`` shows of each device, with its state in the one rollout."""
        rows = self.edgewright("status", "--devices", "-o", "json").json()
        return {
            row["device"]: {
                **row,
                "state": next((rollout["state"] for rollout in row["rollouts"]), None),
                "shown": next((model["shown"] for model in row["models"] if model["model"] == MODEL), None),
            }
            for row in rows
        }

    def running(self) -> dict[str, Running | None]:
        """What each device has active, by its own disk."""
        return {name: device.runs() for name, device in self.devices.items()}


def free_port(address: str) -> int:
    """Find a port of an address that nobody listens on."""
    with closing(socket.socket()) as found:
        found.bind((address, 0))
        return int(found.getsockname()[1])


def missing() -> list[str]:
    """Say what this machine lacks for such devices."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    lacking = [f"the program {each}" for each in PROGRAMS if shutil.which(each, path=folders) is None]
    if os.geteuid() != 0:
        lacking.append("root, because each device gets a mount namespace of its own")
    elif not lacking:
        command = ["unshare", *SshDevice.namespaces, "true"]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            lacking.append(f"namespaces: {tried.stderr.strip()}")
    return lacking
