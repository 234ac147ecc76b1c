"""The fork server of workers: imports what build steps need once, then forks a worker for each task.

``executors.forking`` starts it with one end of a socket pair as its argument. Each packet asks for one worker and
carries four file descriptors: the worker's pipes for progress and for its parent's life, its log, and a pipe for its
status. The worker writes its process id there when it has a session of its own, and this server the exit code. When the
socket closes the server ends; its workers end by themselves, since their pipes to the parent close with it.

A request names the modules its step needs, and those of the steps that come after it: these are imported one by one
while nobody asks for anything, as by then a worker runs on another core. They are our modules and libraries, never the
repository's code, and start no thread: a worker is like a process that was started anew.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edgewright.pipeline.runner import worker

_PACKET_BYTES = 1 << 16
_DESCRIPTORS = 4


@dataclass(frozen=True)
class WorkerRequest:
    """A worker to fork: its task file and folder, and its descriptors."""

    needs: Sequence[str]
    """Modules to import before it is forked."""
    ahead: Sequence[str]
    """Modules to import after that, for the steps that come next."""
    task: str
    folder: str
    progress: int
    lifeline: int
    log: int
    status: int


class ForkServer:
    """Forks workers on request and reports their ends."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._statuses: dict[int, int] = {}
        self._ahead: deque[str] = deque()
        self._importing = self._reaping = False
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)

    def run(self) -> WorkerRequest | None:
        """Serve until the socket closes; return twice for each worker, in its process with what it has to do.

        Returns:
            The request in a forked worker; None in the server once nobody can ask any more.
        """
        signal.signal(signal.SIGCHLD, lambda *_: self._reap() if self._importing else None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(0 if self._ahead else None)}
                if self._wake_read in ready:
                    self._reap()
                if not ready and self._ahead:
                    self._preload([self._ahead.popleft()])
                if self._control not in ready:
                    continue
                request = self._receive()
                if request is None:
                    return None
                self._preload(request.needs)
                if self._forked(request):
                    return request
                self._ahead.extend(request.ahead)

    def _preload(self, modules: Iterable[str]) -> None:
        """Import, and meanwhile tell of workers that end as soon as they do."""
        self._importing = True
        try:
            preload(modules)
        finally:
            self._importing = False

    def _receive(self) -> WorkerRequest | None:
        data, fds, _, _ = socket.recv_fds(self._control, _PACKET_BYTES, _DESCRIPTORS)
        if not data:
            return None
        for fd in fds:
            os.set_inheritable(fd, False)
        value: dict[str, Any] = json.loads(data)
        progress, lifeline, log, status = fds
        return WorkerRequest(
            value["needs"], value["ahead"], value["task"], value["folder"], progress, lifeline, log, status
        )

    def _forked(self, request: WorkerRequest) -> bool:
        """Fork; return whether this is the worker."""
        gc.freeze()
        try:
            pid = os.fork()
        except OSError:
            # The closed status tells the parent that no worker came of it.
            _close(request.progress, request.lifeline, request.log, request.status)
            return False
        if pid:
            self._statuses[pid] = request.status
            _close(request.progress, request.lifeline, request.log)
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        _close(self._wake_read, self._wake_write, *self._statuses.values())
        os.setsid()
        return True

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass
        if self._reaping:  # a signal came meanwhile; its byte in the pipe brings the loop here again
            return
        self._reaping = True
        try:
            for pid in list(self._statuses):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    fd = self._statuses.pop(pid)
                    with suppress(BrokenPipeError):
                        os.write(fd, f"exit {os.waitstatus_to_exitcode(status)}\n".encode())
                    os.close(fd)
        finally:
            self._reaping = False


def preload(modules: Iterable[str]) -> None:
    """Import modules; what cannot be imported is told by the worker, which imports it again."""
    # Imports keep nearly all they make; looking for garbage meanwhile took a sixth of their time.
    gc.disable()
    try:
        for name in modules:
            with suppress(Exception):
                importlib.import_module(name)
    finally:
        gc.enable()


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _work(request: WorkerRequest) -> int:
    """Become the worker of a request: its folder, its log, its arguments."""
    os.chdir(request.folder)
    for standard in (1, 2):
        os.dup2(request.log, standard)
    os.close(request.log)
    os.write(request.status, f"pid {os.getpid()}\n".encode())
    os.close(request.status)
    sys.argv[1:] = [request.task]
    pipes = ["--progress-fd", str(request.progress), "--lifeline-fd", str(request.lifeline)]
    return worker.main([request.task, *pipes])


def main() -> int:
    """Serve on the socket whose descriptor is the first argument; in a worker, return its exit code."""
    request = ForkServer(socket.socket(fileno=int(sys.argv[1]))).run()
    return 0 if request is None else _work(request)


if __name__ == "__main__":
    sys.exit(main())
