"""A spec repository and its devices, as whole processes: what end-to-end tests and their like drive.

::

    with Fleet.of_example("retail", tmp_path) as fleet:
        fleet.start_agents()
        fleet.edgewright("apply", "--yes", "--timeout", "90s").expect(0)
        fleet.wait_verified("price-tag-reader")

Everything goes through the programs a user runs: ``edgewright``, ``edgewright-agent`` and ``git``. Every process
has a session of its own and is ended by its own id when the block ends, however it ends.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from paths import ROOT
from samples.repositories import commit, run_git

T = TypeVar("T")

EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent
POLL = "300ms"
"""How often agents look for something new; as short as twelve of them on two cores bear."""
HEARTBEAT = "3s"
"""How often they report when nothing changes; well below every ``offlineAfter`` of the examples."""
PATIENCE = 240.0
"""Seconds anything may take before it counts as hung: machines that run many tests at once are slow."""
_EVERY, _REST, _TAIL = 0.1, 1.0, 30


def wait_for(
    what: str, probe: Callable[[], T | None], *, seconds: float = PATIENCE, why: Callable[[], str] = lambda: ""
) -> T:
    """Ask until there is an answer.

    Args:
        what: What is waited for, for the message.
        probe: Gives the answer, or None (or False) while there is none.
        seconds: The deadline.
        why: Says how things stand, when the deadline has passed.

    Raises:
        AssertionError: The deadline passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still waiting for {what}\n{why()}")
        # A probe may be a command that takes half a second of one core: what is waited for needs it more.
        time.sleep(max(_EVERY, min(_REST, 3 * (time.monotonic() - asked))))


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    arguments: tuple[str, ...]
    code: int
    """The exit code; negative for a signal."""
    stdout: str
    stderr: str
    around: Callable[[], str] = field(default=lambda: "", repr=False)
    """Says how the devices stand, for the message of a failure."""

    def expect(self, code: int = 0) -> Self:
        """Hold it to an exit code.

        Raises:
            AssertionError: It ended with another; everything it printed is in the message.
        """
        if self.code != code:
            raise AssertionError(f"expected exit code {code}\n{self}\n{self.around()}")
        return self

    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.stdout)

    def __str__(self) -> str:
        command = " ".join(self.arguments)
        return f"$ {command}\nexit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Running:
    """A process with a session of its own and its output in a file."""

    def __init__(
        self, arguments: Iterable[str | Path], folder: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.log = log
        self._file: IO[bytes] = log.open("ab")
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it at once, as a power cut does; its children too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._file.close()

    def ask(self) -> None:
        """Ask it to end, as a service manager does."""
        if self.alive:
            self.process.terminate()

    def ended(self, seconds: float = 20.0) -> int:
        """Wait until it has ended, after it was asked to; kill it when it does not. Returns the exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()
        return self.process.returncode

    def text(self) -> str:
        """What it printed so far."""
        return self.log.read_text("utf-8", errors="replace")


class Device:
    """One device: its agent's folder, and the agent while it runs."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self.log = folder.parent / f"{name}.log"
        self._environment = environment
        self._running: Running | None = None

    @property
    def running(self) -> Running | None:
        """The agent's process, when it runs."""
        return self._running if self._running is not None and self._running.alive else None

    def start(self, **variables: str) -> Running:
        """Start the agent; environment variables may be added."""
        assert self.running is None, f"the agent of {self.name} runs already"
        arguments: list[str | Path] = [BIN / "edgewright-agent", "run", "--config", self.folder / "agent.toml"]
        self._running = Running(arguments, self.folder, self.log, {**self._environment, **variables})
        return self._running

    def stop(self) -> None:
        """Switch the device off softly."""
        if self._running is not None:
            self._running.ask()
            self._running.ended()

    def kill(self) -> None:
        """Cut its power."""
        if self._running is not None:
            self._running.kill()

    def status(self) -> dict[str, Any]:
        """What the device says of itself, asked on the device."""
        arguments: list[str | Path] = [
            BIN / "edgewright-agent",
            "status",
            "--config",
            self.folder / "agent.toml",
            "-o",
            "json",
        ]
        done = subprocess.run(arguments, env=dict(self._environment), check=True, capture_output=True, timeout=PATIENCE)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


class Fleet:
    """A spec repository in a folder of its own, and the devices of its inventories.

    Args:
        root: The spec repository; Git knows it already.
        home: Where devices and logs are kept.
    """

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.home = home
        self.devices: dict[str, Device] = {}
        self._started: list[Running] = []
        self.environment = _environment(home)

    @classmethod
    def of_example(
        cls, name: str, folder: Path, *, edits: Callable[[Path], None] = lambda root: None, keys: bool = True
    ) -> Self:
        """Copy an example, commit it, and make its signing keys.

        Args:
            name: The example's folder below ``examples/``.
            folder: An empty folder.
            edits: Changes the copy before it is committed.
            keys: Whether to make keys as well, with ``edgewright init . --keys-only``.
        """
        root = folder / "specs"
        shutil.copytree(EXAMPLES / name, root, ignore=shutil.ignore_patterns(".edgewright", "__pycache__"))
        edits(root)
        run_git(root, "init", "-q", "-b", "main")
        commit(root, f"The {name} example")
        fleet = cls(root, folder)
        if keys:
            fleet.edgewright("init", ".", "--keys-only").expect(0)
        return fleet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process that this fleet started; all are asked before any is waited for."""
        running = [d.running for d in self.devices.values()] + [p for p in self._started if p.alive]
        found = [process for process in running if process is not None]
        for process in found:
            process.ask()
        for process in found:
            process.ended()

    # ── the control plane ─────────────────────────────────────────────────────────────────────────────────────

    def edgewright(self, *arguments: str, seconds: float = PATIENCE, **variables: str) -> Ran:
        """Run ``edgewright`` in the repository, to its end; it is killed with its children when it takes too long."""
        command = ["edgewright", *arguments]
        process = subprocess.Popen(
            [BIN / "edgewright", *arguments],
            cwd=self.root,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Ran(tuple(command), process.returncode, stdout, stderr, self.logs)

    def in_background(self, *arguments: str, **variables: str) -> Running:
        """Start ``edgewright`` and return; its output is in a log."""
        log = self.home / f"edgewright-{len(self._started)}.log"
        running = Running([BIN / "edgewright", *arguments], self.root, log, {**self.environment, **variables})
        self._started.append(running)
        return running

    def commit(self, message: str) -> str:
        """Commit every change of the work tree; returns the commit."""
        return commit(self.root, message)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that occurs exactly once in a file."""
        file = self.root / path
        text = file.read_text("utf-8")
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times, not once"
        file.write_text(text.replace(old, new), "utf-8")

    def plan(self, *arguments: str) -> dict[str, Any]:
        """The plan as JSON."""
        found: dict[str, Any] = self.edgewright("plan", "-o", "json", *arguments).expect(0).json()
        return found

    def rollout(self, name: str) -> dict[str, Any]:
        """How a rollout stands, as JSON."""
        found: dict[str, Any] = self.edgewright("rollout", "status", name, "-o", "json").expect(0).json()
        return found

    def listed(self) -> list[dict[str, Any]]:
        """Every device with what it is assigned and what it says it runs, as JSON."""
        found: list[dict[str, Any]] = self.edgewright("devices", "list", "-o", "json").expect(0).json()
        return found

    def happened(self, reason: str) -> list[dict[str, Any]]:
        """Events of one kind, newest first, as JSON."""
        found = self.edgewright("history", "--limit", "10000", "-o", "json").expect(0).json()
        return [event for event in found if event["reason"] == reason]

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────────────

    def start_agents(self, *names: str, options: Iterable[str] = ()) -> None:
        """Set up and start devices: those named, or all of the inventories.

        Args:
            names: Ids of devices.
            options: More arguments for ``edgewright-agent init``; the last of two alike wins.
        """
        classes = {row["device"]: row["labels"].get("class", "") for row in self.listed()}
        for name in names or classes:
            if name not in self.devices:
                self.set_up(name, device_class=classes.get(name, ""), options=options)
            self.devices[name].start()

    def set_up(self, name: str, *, device_class: str = "", options: Iterable[str] = ()) -> Device:
        """Run ``edgewright-agent init`` for a device; its agent does not run yet."""
        folder = self.home / "devices" / name
        state = self.root / ".edgewright"
        arguments = [
            *("init", "--dir", folder, "--device", name, "--poll", POLL, "--heartbeat", HEARTBEAT),
            *("--repository", state / "repository", "--reports", state / "reports"),
            *("--root", state / "repository/metadata/root.json"),
            *(("--device-class", device_class) if device_class else ()),
            *options,
        ]
        done = subprocess.run(
            [BIN / "edgewright-agent", *arguments],
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"edgewright-agent init for {name}:\n{done.stdout}{done.stderr}"
        self.devices[name] = Device(name, folder, self.environment)
        return self.devices[name]

    def verified(self, model: str) -> dict[str, str | None]:
        """By device, the package it says it runs and has verified; None for none."""
        return {
            row["device"]: next((m["verified"] for m in row["models"] if m["model"] == model), None)
            for row in self.listed()
        }

    def wait_verified(self, model: str, *names: str, package: str | None = None, seconds: float = PATIENCE) -> str:
        """Wait until devices (those named, or all started) run one verified package; returns its digest.

        Args:
            model: The model's name.
            names: Ids of devices.
            package: The digest it must be; by default any, the same on all.
            seconds: The deadline.
        """
        wanted = set(names or self.devices)

        def probe() -> str | None:
            found = {digest for device, digest in self.verified(model).items() if device in wanted}
            only = found.pop() if len(found) == 1 else None
            return only if package in {None, only} else None

        return wait_for(f"{model} on {', '.join(sorted(wanted))}", probe, seconds=seconds, why=self.logs)

    def logs(self) -> str:
        """The last lines of every log, for messages of failures."""
        texts = [f"--- {device.name}\n{_tail(device.log)}" for device in self.devices.values() if device.log.exists()]
        texts += [f"--- {running.log.name}\n{_tail(running.log)}" for running in self._started]
        return "\n".join(texts)


def _environment(home: Path) -> dict[str, str]:
    """This process's environment, less what would make a run depend on the machine or on another run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "EDGEWRIGHT_"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]),
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "OMP_NUM_THREADS": "1",
    }


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-_TAIL:])
