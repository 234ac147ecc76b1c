"""Pushing a file to many hosts over SSH, beside other tools that do the same: a section of the devices page.

Called by ``devices``; ``python -m benchmarks.devices.ssh`` measures and prints it alone. The hosts are loopback
addresses of this machine, served by real sshd processes, so that hosts and tools share its cores.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peer
from benchmarks.measuring import Figures, Run, alternate, run
from benchmarks.page import heading, met, seconds, table
from benchmarks.preparing import folder, say

HOSTS = 40
AT_ONCE = 20
FILE_BYTES = 2 * 1024 * 1024
TIMES = 3
FABRIC_GOAL, PYINFRA_GOAL, ANSIBLE_GOAL = 1.3, 2.0, 6.0
_LISTENS = 14
"""Addresses of one sshd, which takes at most 16."""
_SWITCH = "mv model.new model && ln -s model active.new && mv -T active.new active"
_Row = tuple[str, Figures, float | None, bool]
"""Name, runs, goal, and whether that is the most we may take of it."""
_PUSH = (sys.executable, "-m", "benchmarks.devices.ssh_push")


@dataclass(frozen=True, slots=True)
class Pushes:
    """Each tool's runs, in turns."""

    edgewright: Figures
    fabric: Figures
    pyinfra: Figures
    ansible: Figures
    hosts: int
    versions: str
    load: float
    """Of the machine, before."""


def measure(times: int = TIMES, hosts: int = HOSTS) -> Pushes:
    """Measure all of them."""
    load = os.getloadavg()[0]
    peer.install(sys.executable)
    with folder() as made, _hosts(made, hosts) as plan:
        run([*_PUSH, "prepare", str(plan)], peer.ROOT)
        tools = (
            lambda: run([*_PUSH, "edgewright", str(plan)], peer.ROOT, _environment(made)),
            lambda: run([*_PUSH, "fabric", str(plan)], peer.ROOT, _environment(made)),
            _pyinfra(made, plan),
            _ansible(made, plan),
        )
        say(f"pushing to {hosts} hosts over SSH")
        ours, bare, pyinfra, ansible = alternate(times, *(_fresh(made, hosts, tool) for tool in tools))
    return Pushes(ours, bare, pyinfra, ansible, hosts, _versions(), load)


def section(found: Pushes) -> Iterator[str]:
    """Write the section."""
    yield from heading("Pushing over SSH")
    yield f"{found.hosts} hosts, {AT_ONCE} at once, {FILE_BYTES >> 20} MiB each: upload, verify its sha256 there,"
    yield "switch a symbolic link. Whole processes, start-up included, in turns; medians. The hosts are loopback"
    yield "addresses of the machine, and share its cores with the tool."
    yield f"{found.versions}. Load before: {found.load:.1f}."
    yield "edgewright also checks host keys, looks at what is there, syncs to the disk and keeps its state durably."
    yield ""
    rows: list[_Row] = [
        ("edgewright", found.edgewright, None, False),
        ("bare loop over Fabric", found.fabric, FABRIC_GOAL, True),
        ("pyinfra", found.pyinfra, PYINFRA_GOAL, False),
        ("Ansible, pipelining", found.ansible, ANSIBLE_GOAL, False),
    ]
    head = ("tool", "time", "shortest", "processor time", "ratio", "goal", "met")
    yield from table(head, _rows(rows, found.edgewright))


def _rows(rows: Sequence[_Row], ours: Figures) -> Iterator[tuple[str, ...]]:
    for name, figures, goal, is_bound in rows:
        shown = (name, seconds(figures.seconds), seconds(figures.best), seconds(figures.cpu_seconds))
        if goal is None:
            yield (*shown, "–", "–", "–")
        elif is_bound:
            ratio = ours.seconds / figures.seconds
            yield (*shown, f"we take {ratio:.2f} of it", f"at most {goal}", met(ratio <= goal))
        else:
            ratio = figures.seconds / ours.seconds
            yield (*shown, f"takes {ratio:.2f} times ours", f"at least {goal:g}", met(ratio >= goal))


# ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _hosts(made: Path, count: int) -> Iterator[Path]:
    """Run sshd on so many addresses; gives the plan's file."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made / name)], check=True)
    (made / "home").mkdir()
    hosts = [f"127.0.83.{number}" for number in range(1, count + 1)]
    port, user = _free_port(hosts[0]), subprocess.check_output(["id", "-un"], text=True).strip()
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    content = os.urandom(FILE_BYTES)
    (made / "model").write_bytes(content)
    host_key = " ".join((made / "host.pub").read_text().split()[:2])
    (made / "known_hosts").write_text("".join(f"[{host}]:{port} {host_key}\n" for host in hosts))
    plan: dict[str, Any] = {
        "folder": str(made),
        "roots": str(made / "roots"),
        "hosts": hosts,
        "port": port,
        "user": user,
        "key": str(made / "client"),
        "host_key": host_key,
        "file": str(made / "model"),
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "at_once": AT_ONCE,
    }
    (made / "plan.json").write_text(json.dumps(plan))
    with contextlib.ExitStack() as stack:
        for start in range(0, count, _LISTENS):
            stack.enter_context(_sshd(made, hosts[start : start + _LISTENS], port))
        yield made / "plan.json"


@contextlib.contextmanager
def _sshd(made: Path, hosts: Sequence[str], port: int) -> Iterator[None]:
    options = [
        f"HostKey={made / 'host'}",
        f"AuthorizedKeysFile={made / 'client.pub'}",
        # What a user's own shell does at its start is no part of what is measured.
        f"SetEnv=HOME={made / 'home'}",
        "Subsystem=sftp internal-sftp",
        "MaxStartups=500:30:1000",
        "PidFile=none",
        "UsePAM=no",
        "StrictModes=no",
        "PasswordAuthentication=no",
        "LogLevel=ERROR",
        *(f"ListenAddress={host}:{port}" for host in hosts),
    ]
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        raise RuntimeError("sshd is not installed")
    command = [sshd, "-D", "-e", "-f", "/dev/null", *(word for option in options for word in ("-o", option))]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for host in hosts:
                _wait(host, port, process)
            yield
        finally:
            process.terminate()


def _wait(host: str, port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no sshd on {host}:{port}")


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _fresh(made: Path, hosts: int, tool: Callable[[], Run]) -> Callable[[], Run]:
    """Run a tool on hosts that have nothing yet, and see that afterwards each has it."""

    def measured() -> Run:
        roots = made / "roots"
        shutil.rmtree(roots, ignore_errors=True)
        roots.mkdir()
        ran = tool()
        wanted = hashlib.sha256((made / "model").read_bytes()).digest()
        for number in range(hosts):
            root = roots / str(number)
            link = root / "active" if (root / "active").exists() else root / "models/reader/active/model.onnx"
            if not link.exists() or hashlib.sha256(link.read_bytes()).digest() != wanted:
                raise RuntimeError(f"host {number} has no such file: {ran.output[-2000:]}")
        return ran

    return measured


# ── other tools ───────────────────────────────────────────────────────────────────────────────────────────────


def _environment(made: Path) -> dict[str, str]:
    quiet = {"ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_NOCOLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **quiet, "HOME": str(made / "home"), "ANSIBLE_CONFIG": str(made / "ansible.cfg")}


def _pyinfra(made: Path, plan: Path) -> Callable[[], Run]:
    settings = json.loads(plan.read_text())
    known = str(made / "known_hosts")
    data = {"ssh_port": settings["port"], "ssh_user": settings["user"], "ssh_key": settings["key"]}
    hosts = [
        (host, {**data, "ssh_known_hosts_file": known, "root": f"{settings['roots']}/{number}"})
        for number, host in enumerate(settings["hosts"])
    ]
    (made / "inventory.py").write_text(f"hosts = {hosts!r}\n")
    digest = settings["digest"].removeprefix("sha256:")
    (made / "deploy.py").write_text(
        "from pyinfra import host\nfrom pyinfra.operations import files, server\n"
        "root = host.data.root\n"
        f"files.put(src={settings['file']!r}, dest=f'{{root}}/model.new', create_remote_dir=True)\n"
        f"""server.shell(commands=[f"echo '{digest}  {{root}}/model.new' | sha256sum -c -"])\n"""
        f"server.shell(commands=[f'cd {{root}} && {_SWITCH}'])\n"
    )
    program = str(peer.ENVIRONMENT / "bin/pyinfra")
    command = [program, "-y", "--parallel", str(AT_ONCE), str(made / "inventory.py"), str(made / "deploy.py")]
    return lambda: run(command, made, _environment(made))


def _ansible(made: Path, plan: Path) -> Callable[[], Run]:
    settings = json.loads(plan.read_text())
    lines = [f"{host} root={settings['roots']}/{number}" for number, host in enumerate(settings["hosts"])]
    (made / "hosts.ini").write_text("[all]\n" + "\n".join(lines) + "\n")
    (made / "ansible.cfg").write_text(
        f"[defaults]\nforks = {AT_ONCE}\nremote_user = {settings['user']}\nremote_port = {settings['port']}\n"
        f"private_key_file = {settings['key']}\ninterpreter_python = {sys.executable}\n[ssh_connection]\n"
        f"pipelining = True\nssh_args = -o UserKnownHostsFile={made / 'known_hosts'} -o ControlMaster=auto "
        f"-o ControlPersist=5s\ncontrol_path_dir = {made / 'cm'}\n"
    )
    digest = settings["digest"].removeprefix("sha256:")
    (made / "push.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - file: {path: '{{ root }}', state: directory}\n"
        f"    - copy: {{src: {settings['file']}, dest: '{{{{ root }}}}/model.new'}}\n"
        f"    - shell: echo '{digest}  {{{{ root }}}}/model.new' | sha256sum -c -\n"
        f"    - shell: cd {{{{ root }}}} && {_SWITCH}\n"
    )
    program = str(peer.ENVIRONMENT / "bin/ansible-playbook")
    return lambda: run([program, "-i", str(made / "hosts.ini"), str(made / "push.yml")], made, _environment(made))


def _versions() -> str:
    from importlib.metadata import version

    pip = [str(peer.ENVIRONMENT / "bin/python"), "-m", "pip", "list", "--format=json"]
    listed = {each["name"]: each["version"] for each in json.loads(subprocess.check_output(pip, text=True))}
    ours = f"Fabric {version('fabric')}, paramiko {version('paramiko')}"
    return f"{ours}, pyinfra {listed['pyinfra']}, ansible-core {listed['ansible-core']}"


if __name__ == "__main__":
    print("\n".join(section(measure())))
