"""Time limit of a session: closes its sockets when the time is over. Called by ``connection``.

paramiko waits without a limit in places (for the answer to a command, for room in a window). A closed socket ends every
such wait: so a session has one ``Deadline``, which shuts its sockets down when the time is over.
"""

import contextlib
import socket
import threading

from edgewright.delivery.pushed.ssh.errors import Stopped


class Deadline:
    """The time limit of one session. Thread-safe."""

    def __init__(self) -> None:
        self.critical = False
        """The device is being changed: on shutdown, give the session a moment to finish."""
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer: threading.Timer | None = None
        self._error: Exception | None = None

    def limit(self, seconds: float, error: Exception) -> None:
        """Set the time that is left, replacing an earlier limit; ``error`` is raised when it is over."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(seconds, self._expire, [error])
            self._timer.daemon = True
            self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Add a socket to shut down when the time is over."""
        with self._lock:
            self._sockets.append(connection)
            is_over = self._error is not None
        if is_over:
            _shut_down(connection)

    def stop(self) -> None:
        """End the session at once: the controller is shutting down."""
        self._expire(Stopped())

    def close(self) -> None:
        """Cancel the limit: the session has ended."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._sockets, self._timer = [], None

    def check(self) -> None:
        """Raise the error that ended the session, if it was ended.

        Raises:
            DeviceError, Stopped: It was.
        """
        if self._error is not None:
            raise self._error

    def _expire(self, error: Exception) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
            sockets = list(self._sockets)
        for connection in sockets:
            _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    # Wakes threads that read or write; the transport's own thread closes the socket then.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
