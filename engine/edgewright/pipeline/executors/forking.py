"""Workers forked by a server that has imported torch and the exporter already: the parent's side of it.

Starting Python and importing torch anew for each step costs more than training a small model. Where forking a process
with such libraries is not safe (anything but Linux), or the server cannot be had, workers are started one by one.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from edgewright.pipeline.runner.preloading import needed_after, needed_by
from edgewright.pipeline.runner.tasks import StagedTask

SUPPORTED = sys.platform == "linux"
_STARTING_SECONDS = 120.0
"""How long a forked worker may take to exist: the server imports, under load, before it forks."""


class WorkerProcess(Protocol):
    """A worker as its executor follows it; subprocess.Popen is one."""

    pid: int
    """Of the process and its group."""

    @property
    def returncode(self) -> int | None:
        """Return the exit code as far as it is known."""

    def poll(self) -> int | None:
        """Return the exit code once it has ended; negative for a signal."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """


class ServerLost(Exception):
    """The fork server ended before it forked the worker."""


class ForkServerClient:
    """Starts a fork server when the first worker is asked for, and another when it is gone; it ends with this object.

    Safe to call from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._environment: Mapping[str, str] = {}
        self._finalizer: weakref.finalize[[socket.socket, subprocess.Popen[bytes]], ForkServerClient] | None = None

    def start(
        self,
        task: StagedTask,
        file: Path,
        environment: Mapping[str, str],
        pipes: tuple[int, int],
        log: int,
    ) -> "ForkedWorker":
        """Fork a worker.

        Args:
            task: What the worker does; the server imports what that needs first, and what the next steps need later.
            file: Absolute path of the task file.
            environment: Of the worker; another one than the server's starts another server.
            pipes: Descriptors the worker writes progress to, and by which it notices the end of this process.
            log: Descriptor of the file that takes what the worker prints.

        Raises:
            ServerLost: Twice in a row the server could not be started, or ended before it forked.
        """
        request = {
            "needs": needed_by(task),
            "ahead": needed_after(task),
            "task": str(file),
            "folder": str(task.checkout.absolute()),
        }
        packet = json.dumps(request).encode()
        try:
            return self._start(packet, environment, [*pipes, log])
        except ServerLost:
            return self._start(packet, environment, [*pipes, log])

    def _start(self, packet: bytes, environment: Mapping[str, str], fds: list[int]) -> "ForkedWorker":
        status_read, status_write = os.pipe()
        try:
            with self._lock:
                try:
                    control = self._server(environment)
                    socket.send_fds(control, [packet], [*fds, status_write])
                except OSError:
                    self._drop()
                    raise
        except OSError as error:
            os.close(status_read)
            raise ServerLost(str(error)) from error
        finally:
            os.close(status_write)
        try:
            return ForkedWorker(status_read)
        except ServerLost:
            with self._lock:
                if self._control is control:  # not one that another thread has started since
                    self._drop()
            raise

    def _server(self, environment: Mapping[str, str]) -> socket.socket:
        if self._control is not None and self._environment == environment:
            return self._control
        self._drop()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "edgewright.pipeline.runner.fork_server", str(its.fileno())],
                    cwd="/",
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(its.fileno(),),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._finalizer = weakref.finalize(self, _end_server, ours, process)
        self._control, self._environment = ours, dict(environment)
        return ours

    def _drop(self) -> None:
        """End the server; another is started when the next worker is asked for."""
        if self._finalizer is not None:
            self._finalizer()
        self._control = self._finalizer = None


def _end_server(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    """Close the socket, upon which the server ends; kill it where it does not."""
    control.close()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ForkedWorker:
    """A worker that the fork server has forked, followed through its status pipe."""

    def __init__(self, status: int) -> None:
        """Wait for the worker to exist.

        Raises:
            ServerLost: No worker came of the request.
        """
        os.set_blocking(status, False)
        self._status = status
        self._finalizer = weakref.finalize(self, os.close, status)
        self._text = b""
        self.returncode: int | None = None
        self.pid = 0
        deadline = time.monotonic() + _STARTING_SECONDS
        while not self.pid and self._finalizer.alive and time.monotonic() < deadline:
            self._read(1.0)
        if not self.pid:
            self._finalizer()
            raise ServerLost("the fork server ended before it forked the worker")

    def poll(self) -> int | None:
        """Return the exit code once it has ended; negative for a signal."""
        self._read(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self._read(left)
        return self.returncode

    def _read(self, timeout: float) -> None:
        if not self._finalizer.alive:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            if not selector.select(timeout):
                return
        data = os.read(self._status, 512)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"pid":
                self.pid = int(number)
            else:
                self.returncode = int(number)
        if not data:
            self._finalizer()
            if self.pid and self.returncode is None:
                self._end_without_server()

    def _end_without_server(self) -> None:
        """End a worker whose exit code nobody can learn any more."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.returncode = -signal.SIGKILL
