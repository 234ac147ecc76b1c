"""Four update systems in one rollout, as ``make demo-mixed`` runs it: every one of its claims must hold, and nothing of
it may be left on the machine.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are another distribution, for few tests
import pytest

from clients import require_client, require_root
from harness.profiles import THOROUGH
from paths import ROOT

PROGRAMS = ("sshd", "ssh-keygen", "swupdate", "mender", "openssl", "unshare", "setpriv")
BROKEN = ("agent", "ssh", "ddi", "mender") if THOROUGH else ("ddi", "mender")
"""Kinds of devices that break; how each driver tells of it, its conformance suite tries, too."""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")


@pytest.mark.e2e
@pytest.mark.xdist_group("e2e")
@pytest.mark.timeout(900)
def test_every_story_of_the_mixed_demo_comes_true() -> None:
    for program in PROGRAMS:
        require_client(program)
    require_root("make mount namespaces", *NAMESPACES, "true")

    # Not pytest's: devices' sockets are in it, and their names may not be long.
    with tempfile.TemporaryDirectory(prefix="mixed-") as folder:
        code, told = _run(Path(folder), seconds=850)
        assert code == 0, told[-12_000:]
        assert "What was claimed and what was seen" in told
        assert list(Path(folder).glob("edgewright-*")) == []
        assert _processes(folder) == []
        assert folder not in Path("/proc/self/mounts").read_text("utf-8")


def _run(folder: Path, *, seconds: float) -> tuple[int, str]:
    log = folder / "told"
    with log.open("wb") as file:
        demo = subprocess.Popen(
            [sys.executable, "-m", "examples.demo.mixed", "--broken", *BROKEN],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = demo.wait(seconds)
    finally:
        if demo.poll() is None:  # its devices and its controller go with it
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    return code, log.read_text("utf-8", errors="replace")


def _processes(folder: str) -> list[str]:
    """Those that were started with something of the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = [*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()]
        if process.pid != os.getpid() and any(folder in word for word in words):
            found.append(" ".join(process.info["cmdline"] or ()))
    return found
