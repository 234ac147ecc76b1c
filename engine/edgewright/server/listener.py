"""A listening socket that bounds what it accepts, before anything is spent on a connection. Made by ``serving``.

Connections beyond the bound are closed at once, as they come; so are those beyond the TLS handshakes that may be under
way. A process that has no file left closes them too, instead of filling its log. All calls come from the server's loop.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)
_NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SAID_SECONDS = 60.0


class BoundedListener(socket.socket):
    """Accepts so many connections at once.

    Set before it is used: ``most``, ``handshakes`` and ``established``.
    """

    most = 1 << 30
    """Connections at once."""
    handshakes = 1 << 30
    """Connections at once that are not established."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self.established: Callable[[], int] = lambda: self.accepted
        """Counts the connections that are past their handshake."""
        self.accepted = 0
        """Connections that are open."""
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._said = -_SAID_SECONDS

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: There is none.
            ConnectionAbortedError: It was one too many, and is closed.
        """
        try:
            descriptor, address = self._accept()  # type: ignore[attr-defined]  # of the class that socket wraps
        except OSError as error:
            if error.errno in _NO_FILES:
                self._shed_without_file(error)
            raise
        if self.accepted >= self.most or self.accepted - self.established() >= self.handshakes:
            os.close(descriptor)
            self._say(f"{self.accepted:,} connections are open, and no more are accepted")
            raise ConnectionAbortedError
        self.accepted += 1
        return _Connection(self, descriptor), address

    def close(self) -> None:
        """Stop listening."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        super().close()

    def _shed_without_file(self, error: OSError) -> None:
        """Close the next connection with the file that was kept for it: it would wake the loop again and again.

        Raises:
            ConnectionAbortedError: Always.
        """
        self._say(f"connections are closed as they come: {error.strerror}")
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        try:
            os.close(self._accept()[0])  # type: ignore[attr-defined]  # as above
        except OSError:
            time.sleep(0.01)  # nothing can be done for it, and asking again at once would take a processor
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = None
        raise ConnectionAbortedError from error

    def _say(self, message: str) -> None:
        if time.monotonic() - self._said >= _SAID_SECONDS:
            self._said = time.monotonic()
            log.warning("%s", message)


class _Connection(socket.socket):
    """A connection that its listener counts until it is closed."""

    def __init__(self, listener: BoundedListener, descriptor: int) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=descriptor)
        self._listener: BoundedListener | None = listener

    def close(self) -> None:
        """Close it."""
        super().close()
        if self._listener is not None:
            self._listener.accepted -= 1
            self._listener = None
