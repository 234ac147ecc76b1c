"""Debian's SWUpdate as a device, in Suricata mode: it polls, downloads, installs and reports by itself."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clients import require_client

PATIENCE = 90.0


@dataclass
class SwupdateClient:
    """One device.

    Several run at once, each with its own folder for sockets; their paths must be short.
    """

    name: str
    url: str
    token: str
    root: Path
    certificate: Path
    options: str = ""
    """More arguments for Suricata mode."""
    kind: str = "k"
    """Which token: ``k`` its own, ``g`` a gateway's."""
    configuration: Path | None = None
    clock: str = ""
    """Where its clock starts, as ``1972-03-01 00:00:00``; by default it is right."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._program = require_client("swupdate")
        self._folder = Path(tempfile.mkdtemp(prefix="swu-"))
        self.log = self._folder / "log"

    @property
    def active(self) -> Path:
        return self.root / "models/reader/active"

    def start(self) -> None:
        """Start it, or start it again."""
        suricata = f"-t DEFAULT -u {self.url} -i {self.name} -{self.kind} {self.token} -w 1 {self.options}"
        command = [self._program, "-H", "edge:1.0", "-k", str(self.certificate), "-l", "3", "-u", suricata]
        if self.configuration is not None:
            command[1:1] = ["-f", str(self.configuration)]
        clock = {}
        if self.clock:
            require_client("faketime")
            (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
            clock = {"LD_PRELOAD": str(library), "FAKETIME": f"@{self.clock}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        # A group of its own, so that what it started can be ended with it. SIGPIPE stays ignored, as systemd has it for
        # services: on a busy machine one part of SWUpdate goes away before another has answered it.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self._folder), **clock},
                process_group=0,
                restore_signals=False,
            )

    def kill(self) -> None:
        """End it and what it started, as a power cut does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def says(self) -> str:
        """The end of its log, for a test that fails."""
        ended = f"it ended: {code}\n" if self._process and (code := self._process.poll()) is not None else ""
        return ended + (self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "")


def until(met: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for something that another process brings about.

    Raises:
        AssertionError: It did not come.
    """
    end = time.monotonic() + patience
    while not met():
        assert time.monotonic() < end, f"{what}: not within {patience:.0f} s"
        time.sleep(0.05)
