"""Detection of lease holders that have ended; for ``lease`` only."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process, told apart from a later one with the same number, and from one in another container."""

    host: str
    machine: str
    """The boot and the process namespace; empty where the system does not say."""
    pid: int
    started: str
    """When it started, in the system's own ticks; empty where the system does not say."""


def this_process() -> Process:
    """Describe the calling process."""
    return Process(socket.gethostname(), _machine(), os.getpid(), _started(os.getpid()) or "")


def is_dead(process: Process) -> bool:
    """Check whether a process has certainly ended; False for one on another machine."""
    here = this_process()
    if (process.host, process.machine) != (here.host, here.machine):
        return False
    if not here.started:
        return not _signalled(process.pid)
    return _started(process.pid) != process.started


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Read field 22 of /proc/PID/stat, see proc(5); None when there is no such process, or it only waits for burial."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def _signalled(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
