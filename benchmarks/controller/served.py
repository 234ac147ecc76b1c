"""``edgewright serve`` as a process that is watched from outside: its log with the times lines came at, its memory, its
processor time. Called by ``hooks`` and ``devices_served``.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PATIENCE = 120.0
_END = 30.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log."""

    at: float
    """Of ``time.perf_counter``, when it was read."""
    said: Mapping[str, Any]


@dataclass
class Served:
    """One controller; it polls once an hour, so only webhooks wake it."""

    repository: str
    """Its address."""
    state: Path
    variables: Mapping[str, str]
    options: Sequence[str] = ()
    """More of the command line."""
    _lines: list[Line] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        program = Path(sys.executable).parent / "edgewright"
        command = [str(program), "serve", "--repo", self.repository, "--state", str(self.state)]
        self._begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--interval", "1h", "--log", "json", *self.options],
            env={**os.environ, **self.variables},
            cwd=self.state.parent,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return str(self.wait(lambda line: line.said.get("event") == "serving").said["url"])

    def wait(self, is_it: Callable[[Line], bool]) -> Line:
        """Wait for a line of the log.

        Raises:
            RuntimeError: It did not come.
        """
        until = time.monotonic() + _PATIENCE
        with self._changed:
            while (found := next(filter(is_it, self._lines), None)) is None:
                if self._process.poll() is not None or not self._changed.wait(until - time.monotonic()):
                    last = "\n".join(str(line.said) for line in self._lines[-20:])
                    raise RuntimeError(f"the controller did not say what was waited for; it said last:\n{last}")
            return found

    def since_start(self) -> float:
        """Seconds since the process began."""
        return time.perf_counter() - self._begun

    @property
    def pid(self) -> int:
        """The controller's process."""
        return self._process.pid

    def memory_mib(self) -> float:
        """Resident memory, with that of the processes it keeps."""
        return sum(_resident_mib(pid) for pid in (self._process.pid, *_children(self._process.pid)))

    def cpu_seconds(self) -> float:
        """Processor time so far, of the controller itself."""
        fields = _about(self._process.pid, "stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            at = time.perf_counter()
            if text.startswith("{"):
                with self._changed:
                    self._lines.append(Line(at, json.loads(text)))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def _about(pid: int, file: str) -> str:
    """Read what Linux says of a process (man proc)."""
    return Path(f"/proc/{pid}/{file}").read_text()


def _resident_mib(pid: int) -> float:
    line = next(line for line in _about(pid, "status").splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [*found, *(grandchild for child in found for grandchild in _children(child))]
