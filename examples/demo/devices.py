"""Devices of several makes on one machine: our agent, an sshd, SWUpdate, Mender's client, each a set of real processes.

Each has a mount namespace of its own: it finds everything where a real device has it, and the machine's own files stay
as they are. That needs root.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from examples.demo.bench import EXAMPLES

from edgewright_wire.slots import ACTIVE, MARKER_FILE, MODELS

MODEL = "shelf-stock"
ROOT = "/srv/edgewright"
"""The fleet's ``delivery.root``: where devices without the agent have their models."""
BIN = Path(sys.executable).parent
"""Where this environment's programs are: the devices' installer is one of them."""
RUNTIME, RUNTIME_FOLDER = "accelerator:Accelerator", EXAMPLES / "mixed/devices"
PROGRAMS = ("sshd", "ssh-keygen", "swupdate", "mender", "openssl", "unshare", "setpriv")
"""What the devices, and whoever sets them up, need on this machine."""


@dataclass(frozen=True)
class Running:
    """What a device has on its disk."""

    release: str
    alert_below: float
    """What the configuration beside the model says."""
    is_whole: bool
    """Whether every file that belongs to it is there."""


@dataclass
class Device(ABC):
    """One device."""

    namespaces: ClassVar[tuple[str, ...]] = ("--mount",)
    id: str
    folder: Path
    """What is on its disk: ``root`` in it is where its models are."""
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def root(self) -> Path:
        """Where its models are."""
        return self.folder / "root"

    @abstractmethod
    def command(self) -> list[str]:
        """What runs on it."""

    def prepare(self) -> None:
        """Set it up, once."""
        self.root.mkdir(parents=True, exist_ok=True)
        settings = {"runtime": RUNTIME, "python_path": [str(RUNTIME_FOLDER)]}
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        (self.root / "installer.toml").write_text("".join(lines))

    def mounts(self) -> Mapping[str, Path]:
        """Places of the machine that are the device's own, and what is there."""
        return {ROOT: self.root}

    # ── power ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Switch it on."""
        script = ["set -e", "mount --make-rprivate /"]
        for place, source in self.mounts().items():
            if not Path(place).exists():  # then it is made in a file system of the device's own, and gone with it
                script += [f"mount -t tmpfs none '{Path(place).parent}'", f"mkdir -p '{place}'"]
            script += [f"mount --bind '{source}' '{place}'"]
        script.append('exec "$@"')
        temporary = self.folder / "tmp"  # sockets too: each device has its own
        temporary.mkdir(exist_ok=True)
        # Devices go when this program goes, whatever becomes of it.
        own = ["setpriv", "--pdeathsig", "KILL", "unshare", *self.namespaces, "sh", "-c", "\n".join(script), "device"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*own, *self.command()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                restore_signals=False,  # SIGPIPE is ignored, as systemd has it: SWUpdate dies of it
                env={
                    **os.environ,
                    "PATH": f"{BIN}:{os.environ['PATH']}",
                    "OMP_NUM_THREADS": "1",
                    "TMPDIR": str(temporary),
                },
            )

    def stop(self) -> None:
        """Pull its plug: whatever runs on it ends at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    # ── what is on it ─────────────────────────────────────────────────────────────────────────────────────────

    def runs(self) -> Running | None:
        """Look at its disk, as it is now: what is active there."""
        slot = self.root / MODELS / MODEL / ACTIVE
        try:
            marker = json.loads((slot / MARKER_FILE).read_bytes())
            config = (slot / "shelf.toml").read_text()
            whole = all((slot / file["name"]).stat().st_size == file["size"] for file in marker["files"])
        except FileNotFoundError:
            return None
        alert = next(line.split("=")[1].strip() for line in config.splitlines() if line.startswith("alert_below"))
        return Running(str(marker["assignment"]["release"]), float(alert), whole)

    def break_down(self) -> None:
        """Let its accelerator compute something else from now on."""
        (self.root / "broken").touch()

    def mend(self) -> None:
        """Let it compute as it should again."""
        (self.root / "broken").unlink(missing_ok=True)


@dataclass
class AgentDevice(Device):
    """Runs edgewright-agent, over HTTPS."""

    options: list[str] = field(default_factory=list)
    """Of ``edgewright-agent init``: server, root, certificate authority."""
    fingerprint: str | None = None
    """Of its key: what an operator compares; None before it has asked."""

    def prepare(self) -> None:
        init = ["init", "--dir", self.root, "--device", self.id, *self.options]
        self._agent(*map(str, init), "--runtime", RUNTIME, "--python-path", str(RUNTIME_FOLDER)).check_returncode()

    def ask(self) -> None:
        """Ask once to be let in."""
        self.fingerprint = json.loads(self._agent("enroll", "--config", self._config, "-o", "json").stdout)[
            "fingerprint"
        ]

    def mounts(self) -> Mapping[str, Path]:
        return {}

    def command(self) -> list[str]:
        return [sys.executable, "-m", "edgewright_agent", "run", "--config", self._config]

    @property
    def _config(self) -> str:
        return str(self.root / "agent.toml")

    def _agent(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "edgewright_agent", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


@dataclass
class SshDevice(Device):
    """Has an sshd and no agent."""

    # Each connection is a session of its own; with the namespace's first process all of them end.
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    address: str = "127.0.0.11"
    port: int = 22
    authorized: str = ""
    """The controller's public key."""

    @property
    def host_key(self) -> str:
        """Its public host key, as an inventory has it."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def prepare(self) -> None:
        super().prepare()
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key")]
        subprocess.run(keygen, check=True)
        (self.folder / "authorized_keys").write_text(self.authorized)
        (self.folder / "empty").mkdir()
        (self.folder / "nothing").touch()
        (self.folder / "sshd_config").write_text(
            f"""ListenAddress {self.address}:{self.port}
HostKey {self.folder}/host_key
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100:30:200
SetEnv PATH={BIN}:/usr/local/bin:/usr/bin:/bin OMP_NUM_THREADS=1
Subsystem sftp internal-sftp
"""
        )

    def mounts(self) -> Mapping[str, Path]:
        # Where sshd separates its privileges: it is there only while a system's own sshd runs.
        own = {"/run/sshd": self.folder / "empty"}
        for name in (".bashrc", ".profile"):  # of whoever has this machine: they may take their time
            if (Path.home() / name).exists():
                own[str(Path.home() / name)] = self.folder / "nothing"
        return {**super().mounts(), **own}

    def command(self) -> list[str]:
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd"
        return [sshd, "-D", "-e", "-f", f"{self.folder}/sshd_config"]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            first = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for process in first:  # the parent ends when nothing of the namespace is left
                os.kill(int(process), signal.SIGKILL)
            if first:
                self.process.wait()
        super().stop()


@dataclass
class SwupdateDevice(Device):
    """Was shipped with SWUpdate, which asks edgewright what it takes for hawkBit."""

    url: str = ""
    certificate: Path = Path()
    """Signs its bundles: ``bundles.crt``."""
    authority: Path = Path()
    """Signs the server's certificate."""
    token: str = ""
    """Its target token."""

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "swupdate.cfg").write_text(
            f"""globals :
{{
	public-key-file = "{self.certificate}";
	loglevel = 3;
}};
suricatta :
{{
	tenant = "DEFAULT";
	id = "{self.id}";
	url = "{self.url}";
	polldelay = 1;
	targettoken = "{self.token}";
	cafile = "{self.authority}";
}};
"""
        )

    def command(self) -> list[str]:
        return ["swupdate", "-f", f"{self.folder}/swupdate.cfg", "-H", "edge:1.0", "-u", ""]


@dataclass
class MenderDevice(Device):
    """Was shipped with Mender's client, which asks edgewright what it takes for its server."""

    url: str = ""
    key: Path = Path()
    """Public key that artifacts are signed for."""
    authority: Path = Path()

    def prepare(self) -> None:
        super().prepare()
        for name in ("etc", "share/identity", "lib"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "etc/artifact_info").write_text("artifact_name=factory\n")
        (self.folder / "etc/device_type").write_text("device_type=edgewright\n")
        settings = {
            "DBus": {"Enabled": False},
            "ServerURL": self.url,
            "ServerCertificate": str(self.authority),
            "UpdatePollIntervalSeconds": 1,
            "InventoryPollIntervalSeconds": 20,
            "RetryPollIntervalSeconds": 1,
            "DeviceTypeFile": "/etc/mender/device_type",
            "ArtifactVerifyKey": str(self.key),
        }
        (self.folder / "etc/mender.conf").write_text(json.dumps(settings, indent=1))
        identity = self.folder / "share/identity/mender-device-identity"
        identity.write_text(f"#!/bin/sh\necho edgewright_id={self.id}\n")
        identity.chmod(0o755)
        agent = [sys.executable, "-m", "edgewright_agent", "mender-module", "--dir", ROOT]
        agent += ["--into", str(self.folder / "share"), "--agent", str(BIN / "edgewright-agent")]
        subprocess.run(agent, check=True, stdout=subprocess.PIPE)

    @property
    def fingerprint(self) -> str | None:
        """Of the key it has made: what an operator compares; None before it has."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

        from edgewright_wire.canonical import digest_bytes

        try:
            key = load_pem_private_key((self.folder / "lib/mender-agent.pem").read_bytes(), None)
        except (OSError, ValueError):
            return None
        return digest_bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def mounts(self) -> Mapping[str, Path]:
        own = {"/etc/mender": self.folder / "etc", "/usr/share/mender": self.folder / "share"}
        return {**super().mounts(), **own, "/var/lib/mender": self.folder / "lib"}

    def command(self) -> list[str]:
        return ["mender", "--config", "/etc/mender/mender.conf", "--data", "/var/lib/mender", "--no-syslog", "daemon"]
