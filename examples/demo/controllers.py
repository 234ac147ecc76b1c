"""``edgewright serve`` as a process, over TLS, for the labs whose devices come over the network."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.demo.bench import wait_for

HOST = "127.0.0.1"


class Controller:
    """One controller; it runs from the moment it is made.

    Args:
        repo: The spec repository; ``tls`` lies beside it.
        port: Where it listens: the next one listens where the one before did, as devices expect.
        log: Where its log goes.
    """

    def __init__(self, repo: Path, port: int, log: Path) -> None:
        self._log = log
        command = ["setpriv", "--pdeathsig", "KILL"]  # it goes when this program goes, whatever becomes of that
        command += [sys.executable, "-m", "edgewright.cli.main", "serve", "--host", HOST, "--port", str(port)]
        command += ["--tls-cert", "../tls/server.crt", "--tls-key", "../tls/server.key"]
        command += ["--interval", "1s", "--log", "json"]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, cwd=repo, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def wait(self) -> None:
        """Wait until it listens.

        Raises:
            RuntimeError: It has ended, or does not come to that.
        """

        def ready() -> bool:
            return self._process.poll() is not None or any(line.get("event") == "serving" for line in self.log())

        if not wait_for("the controller", ready) or self._process.poll() is not None:
            raise RuntimeError(f"the controller does not start:\n{self._log.read_text()}")

    @property
    def phases(self) -> int:
        """How often it has told that a rollout has come to another phase or wave."""
        return self._log.read_text().count('"event": "rollout"')

    def log(self) -> Iterator[dict[str, Any]]:
        """What it has logged so far."""
        for line in self._log.read_text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end; it ends what it has started."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
