"""Devices that have nothing but sshd: each with its own address, host key, home, root folder and programs.

Programs that a device runs for the controller can be replaced by ones that behave: they read how from the device's
file ``behaviour``, each time.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clients import require_client
from paths import TESTS
from rigs.base import Behaviour
from samples.agent_packages import MODEL

PYTHON = Path(sys.executable)
AGENT = PYTHON.parent / "edgewright-agent"
_address = itertools.count(1)


def make_key(path: Path, *options: str) -> Path:
    """Make a key pair without a passphrase, unless the options say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    passphrase = () if "-N" in options else ("-N", "")
    command = ["ssh-keygen", "-q", "-t", "ed25519", *passphrase, *options, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def loopback_address() -> str:
    """An address of this process's own; sshd cannot be asked for any free port."""
    number, mine = next(_address), os.getpid()
    return f"127.{1 + mine // 250 % 250}.{1 + mine % 250}.{1 + number % 250}"


def user() -> str:
    """Return the user of the tests."""
    return subprocess.check_output(["id", "-un"], text=True).strip()


@dataclass
class SshDevice:
    """One device.

    Args:
        id: Its name.
        folder: Everything of it.
        authorized: Public key that is let in.
        options: More of sshd_config.
    """

    id: str
    folder: Path
    authorized: Path
    options: Mapping[str, str] = field(default_factory=dict)
    path: str = "/usr/bin:/bin:/usr/sbin:/sbin"
    address: str = field(default_factory=loopback_address)
    also: tuple[str, ...] = ()
    """More addresses."""
    port: int = 0
    _sshd: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        for folder in (self.bin, self.home, self.folder / "keys"):
            folder.mkdir(parents=True)
        self.behave(Behaviour.HONEST)
        make_key(self.host_key)
        self.authorized_keys.write_bytes(self.authorized.read_bytes())

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def root(self) -> Path:
        """Folder of the models."""
        return self.folder / "root"

    @property
    def host_key(self) -> Path:
        return self.folder / "keys/host"

    @property
    def authorized_keys(self) -> Path:
        return self.folder / "keys/authorized"

    @property
    def public_host_key(self) -> str:
        """As an inventory has it."""
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    @property
    def known_hosts(self) -> str:
        """A line of a file of host keys."""
        return f"[{self.address}]:{self.port} {self.public_host_key}\n"

    @property
    def ssh(self) -> dict[str, object]:
        """As an inventory has it."""
        return {"host": self.address, "port": self.port, "user": user(), "hostKey": self.public_host_key}

    # ── sshd ──────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Switch it on."""
        sshd = require_client("sshd")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        if not self.port:
            with socket.socket() as probe:
                probe.bind((self.address, 0))
                self.port = probe.getsockname()[1]
        options = {
            "HostKey": f'"{self.host_key}"',
            "AuthorizedKeysFile": f'"{self.authorized_keys}"',
            "SetEnv": f'"HOME={self.home}" "PATH={self.bin}:{self.path}"',
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "LogLevel": "VERBOSE",
            **self.options,
        }
        listen = [f"ListenAddress={address}:{self.port}" for address in (self.address, *self.also)]
        given = [*listen, *(f"{name}={value}" for name, value in options.items())]
        command = [sshd, "-D", "-e", "-f", "/dev/null", *(word for option in given for word in ("-o", option))]
        self._sshd = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        log, said = self._sshd.stderr, list[str]()
        assert log is not None
        for line in log:
            if "Server listening" in line:
                break
            said.append(line)
        else:
            raise AssertionError(f"sshd of {self.id} did not start: {said}")
        threading.Thread(target=self._keep_log, args=(self._sshd,), daemon=True).start()

    def _keep_log(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr, (self.folder / "sshd.log").open("a") as file:
            for line in process.stderr:
                file.write(line)
                file.flush()

    def stop(self) -> None:
        """Switch it off."""
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait()
            self._sshd = None

    def restart(self) -> None:
        """Switch it off and on."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Return the log of sshd."""
        file = self.folder / "sshd.log"
        return file.read_text() if file.exists() else ""

    # ── behaviour ─────────────────────────────────────────────────────────────────────────────────────────────

    def behave(self, how: Behaviour) -> None:
        beside = self.folder / "behaviour.new"
        beside.write_text(f"{how}\n")
        beside.replace(self.folder / "behaviour")

    def program(self, name: str, script: str) -> None:
        """Give the device a program; ``$how`` is how it behaves, ``real NAME`` runs the machine's own."""
        path = self.bin / name
        path.write_text(
            f"#!/bin/sh\nread -r how <'{self.folder}/behaviour'\ndevice='{self.folder}'\nroot='{self.root}'\n"
            f'real() {{ PATH={self.path} "$@"; }}\n{script}'
        )
        path.chmod(0o755)

    def plain(self) -> None:
        """Give it an application, as a systemd unit, and programs that misbehave when asked to."""
        self._takes_files()
        self.program(
            "mv",
            'case "$*" in "-T .active.new active") [ $how = lies ] && exit 0\n'
            '  real mv "$@" && echo >>$device/switches; exit;; esac\nreal mv "$@"\n',
        )
        self.program("systemctl", '[ "$1 $how" = "is-active refuses" ] && exit 3\necho "$*" >>$device/units\n')

    def proving(self) -> None:
        """Give it the installer, and programs that misbehave when asked to."""
        self._takes_files()
        lie = self.folder / "lie.py"
        lie.write_text(_LIE)
        self.program(
            "edgewright-agent",
            f"""\
case "$how $1" in
  "refuses install") set -- "$@" --runtime fakes.agent_runtimes:LackingRuntime --python-path '{TESTS}';;
  "lies install") exec '{PYTHON}' '{lie}' "$@";;
esac
seen() {{ ls -id "$root/models/{MODEL}/active" 2>/dev/null; }}
before=$(seen)
OMP_NUM_THREADS=1 '{AGENT}' "$@"; code=$?
[ "$before" = "$(seen)" ] || [ -z "$(seen)" ] || echo >>$device/switches
exit $code
""",
        )

    def _takes_files(self) -> None:
        self.program(
            "tar",
            """\
tries=0
while [ "$how" = stalls ] && [ $tries -lt 600 ]; do
  real sleep 0.1; tries=$((tries + 1)); read -r how <$device/behaviour
done
real tar "$@"; code=$?
[ "$how" = corrupts ] && for file in *; do [ -f "$file" ] && echo x >>"$file"; done
exit $code
""",
        )

    # ── looking at the device ─────────────────────────────────────────────────────────────────────────────────

    def active(self, model: str = MODEL) -> Path:
        return self.root / "models" / model / "active"

    def runs(self, model: str = MODEL) -> str | None:
        """The release that is active."""
        marker = self.active(model) / "release.json"
        return json.loads(marker.read_bytes())["assignment"]["release"] if marker.exists() else None

    def file(self, name: str) -> bytes | None:
        path = self.active() / name
        return path.read_bytes() if path.exists() else None

    @property
    def switches(self) -> int:
        """Number of changes of the active slot."""
        file = self.folder / "switches"
        return len(file.read_text().splitlines()) if file.exists() else 0

    @property
    def units(self) -> list[str]:
        """Return the calls of systemctl."""
        file = self.folder / "units"
        return file.read_text().splitlines() if file.exists() else []


@dataclass(frozen=True)
class Fleet:
    """Many hosts with one port, one host key and a root folder each."""

    folder: Path
    addresses: tuple[str, ...]
    port: int
    user: str
    public_host_key: str

    def root(self, number: int) -> Path:
        return self.folder / f"root-{number}"


@contextmanager
def many(folder: Path, count: int, authorized: Path) -> Iterator[Fleet]:
    """Run hosts on so many loopback addresses; one sshd listens on some of them."""
    network = loopback_address().rsplit(".", 1)[0]
    addresses = [f"{network}.{number}" for number in range(1, count + 1)]
    at_once = 14  # sshd's own limit is 16
    devices: list[SshDevice] = []
    try:
        for start in range(0, count, at_once):
            first, *others = addresses[start : start + at_once]
            device = SshDevice(
                f"hosts-{start}", folder / f"hosts-{start}", authorized, address=first, also=tuple(others)
            )
            device.port = devices[0].port if devices else 0
            if devices:
                shutil.copy(devices[0].host_key, device.host_key)
                shutil.copy(devices[0].host_key.with_suffix(".pub"), device.host_key.with_suffix(".pub"))
            device.options = {"MaxStartups": "500:30:1000", "LogLevel": "INFO"}
            device.start()
            devices.append(device)
        yield Fleet(folder, tuple(addresses), devices[0].port, user(), devices[0].public_host_key)
    finally:
        for device in devices:
            device.stop()


_LIE = """\
import json, sys
from pathlib import Path
from edgewright_wire.evidence import Evidence
from edgewright_wire.messages import ModelAssignment, ModelReport, Phase, ProbeResult

said = dict(zip(sys.argv[2::2], sys.argv[3::2]))
wanted = ModelAssignment.from_bytes((Path(said["--from"]) / "assignment.json").read_bytes())
probe = ProbeResult(passed=True, samples=5, max_error=0.0, atol=0.001, runtime="honest 1.0")
digest = wanted.package.digest
report = ModelReport(model=wanted.model, phase=Phase.VERIFIED, release=wanted.release, installed=digest, active=digest,
                     active_release=wanted.release, verified=digest, probe=probe)
print(Evidence(nonce=said["--nonce"], model=report).to_bytes().decode())
"""
