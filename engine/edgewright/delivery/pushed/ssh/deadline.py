"""Ends what takes too long. Called by ``connecting``.

paramiko waits without a limit in places (for the answer to a command, for room in a window). What never waits in vain
is a closed socket: so a pass has one ``Deadline``, which closes its sockets when the time is over.
"""

import contextlib
import socket
import threading

from edgewright.delivery.pushed.ssh.errors import Stopped


class Deadline:
    """The end of one pass. Thread-safe."""

    def __init__(self) -> None:
        self.held = False
        """The device is being changed: leave it a moment to come to its end."""
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer: threading.Timer | None = None
        self._why: Exception | None = None

    def limit(self, seconds: float, why: Exception) -> None:
        """Give what follows so much time, in place of what was left before; then it ends with this."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(seconds, self._cut, [why])
            self._timer.daemon = True
            self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Close this, too, when the time is over."""
        with self._lock:
            self._sockets.append(connection)
            over = self._why is not None
        if over:
            _close(connection)

    def stop(self) -> None:
        """End at once: the controller is ending."""
        self._cut(Stopped())

    def close(self) -> None:
        """It is done; nothing is cut any more."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._sockets, self._timer = [], None

    def check(self) -> None:
        """Say why it was ended, where it was.

        Raises:
            Trouble, Stopped: It was.
        """
        if self._why is not None:
            raise self._why

    def _cut(self, why: Exception) -> None:
        with self._lock:
            if self._why is None:
                self._why = why
            sockets = list(self._sockets)
        for connection in sockets:
            _close(connection)


def _close(connection: socket.socket) -> None:
    # Wakes whoever reads or writes; the transport's own thread closes it then.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
