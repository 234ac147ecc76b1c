"""Runs git on repositories of our own, bounded in time, without anybody's configuration. Called by the modules of
``mirrors``, ``local``, ``merging`` and ``verification``.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgewright.errors import SourceError, StorageFull

_KEPT_VARIABLES = frozenset({"GIT_EXEC_PATH", "GIT_SSL_CAINFO"})
_CHOOSE_CONFIGURATION = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
_PATIENCE = 3.0
"""Seconds between asking a process group to end and ending it."""
AGAIN = "try again later; edgewright serve does so by itself"
"""The hint that goes with what may pass."""
SECONDS = 300.0
"""How long a command may take that talks to nobody."""


class GitFailed(Exception):
    """Git ended with an error; internal to ``source``, where it becomes one of ``errors``."""

    def __init__(self, code: int, reason: str, output: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        """What it said on stderr."""
        self.output = output


class GitTimedOut(GitFailed):
    """Git did not end in time, or was stopped."""


def environment(configuration: Mapping[str, str] | None = None, *, personal: bool = False) -> dict[str, str]:
    """Make the environment of a git command.

    Args:
        configuration: Settings that overrule all others, by name.
        personal: Whether the user's own configuration applies as well, as for proxies and credential helpers.
    """
    kept = _KEPT_VARIABLES | (set(_CHOOSE_CONFIGURATION) if personal else set())
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in kept}
    # Messages are told apart by their words, so they must be in English.
    variables |= {"LC_ALL": "C", "LANGUAGE": "", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
    if not personal:
        variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    settings = {
        "core.hooksPath": os.devnull,
        "core.fsmonitor": "false",
        "core.fsync": "all",
        "gc.auto": "0",
        "maintenance.auto": "false",
        "protocol.ext.allow": "never",
        **(configuration or {}),
    }
    variables["GIT_CONFIG_COUNT"] = str(len(settings))
    for index, (name, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    return variables


class Commands:
    """Runs git commands on one repository; ``stop`` ends the one that runs."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(
        self,
        git_dir: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
        given: str = "",
        passed: Sequence[int] = (),
    ) -> str:
        """Run one, and return what it prints.

        Args:
            git_dir: The repository.
            arguments: Of git.
            variables: The environment; by default ``environment()``.
            seconds: After which it, and all that it started, is ended.
            given: What it reads from stdin.
            passed: File descriptors that it and its children hold open, such as a lock's.

        Raises:
            GitFailed: It fails (GitTimedOut: in time).
            SourceError: The git program is not installed.
        """
        try:
            process = subprocess.Popen(
                ["git", "--git-dir", str(git_dir), *arguments],
                cwd=git_dir if git_dir.is_dir() else git_dir.parent,
                env=dict(variables) if variables is not None else environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=passed,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise SourceError("the git program is not installed", hint="install git") from error
        with self._lock:
            self._running.add(process)
        try:
            output, errors = process.communicate(given.encode("utf-8", "surrogateescape"), seconds)
        except subprocess.TimeoutExpired as error:
            raise GitTimedOut(-1, f"no answer within {seconds:g} seconds", "") from error
        finally:
            with self._lock:
                self._running.discard(process)
            _end(process)
        text = output.decode("utf-8", "surrogateescape")
        if process.returncode:
            reason = errors.decode("utf-8", "replace").strip()
            if "No space left on device" in reason or "Disk quota exceeded" in reason:
                raise StorageFull(f"git cannot write {git_dir}: {reason.splitlines()[-1]}", hint="free space there")
            if process.returncode < 0:
                raise GitTimedOut(process.returncode, reason or "git was stopped", text)
            raise GitFailed(process.returncode, reason, text)
        return text

    def stop(self) -> None:
        """End what runs; whoever waits for it gets GitTimedOut."""
        with self._lock:
            for process in self._running:
                _signal(process, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group, if any of it still runs."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_PATIENCE)
        _signal(process, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
