"""Errors of the agent; everything else is a bug.

::

    AgentError(reason, message)
    ├── SettingsError       a wrong agent.toml or command line: a person has to correct it
    └── Transient           may pass by itself: the agent keeps what it has and tries again
        ├── TransportError  the repository or the report drop cannot be reached
        │   ├── NotFound    it can be reached, but has no such file
        │   ├── Changed     the file is not the one any more that was begun
        │   ├── CertificateRefused   the server does not know this device by its certificate
        │   └── NotEnrolled          the device has no certificate to report with, or may not report
        ├── Untrusted       signatures, versions, expiry or digests do not hold
        └── LocalError      the device's own disk fails: full, read-only, …

``reason`` is one word that goes into reports; ``message`` says what, where and what to do.
"""

import errno


class AgentError(Exception):
    """Base of the tree."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class SettingsError(AgentError):
    """The agent's own settings are wrong."""

    def __init__(self, message: str) -> None:
        super().__init__("Settings", message)


class Transient(AgentError):
    """May pass by itself; retried with backoff.

    ``retry_after`` is how many seconds the other side asks to wait; 0 leaves it to whoever tries again.
    """

    def __init__(self, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class TransportError(Transient):
    """The repository or the report drop cannot be reached."""


class NotFound(TransportError):
    """There is no such file."""


class Changed(TransportError):
    """The file is not the one that was begun: what was read of it before is worth nothing."""


class CertificateRefused(TransportError):
    """The server does not know this device by its certificate, or by none."""


class NotEnrolled(TransportError):
    """The device has no certificate to report with, or may not report."""


class Untrusted(Transient):
    """The bytes read do not verify against the trusted metadata."""


class LocalError(Transient):
    """The device's own disk fails."""


def local_error(error: OSError, doing: str) -> LocalError:
    """Name a failure of the device's disk."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LocalError(
            "NoSpace", f"no space left on the device while {doing}: free some; what was begun goes on from there"
        )
    return LocalError("DiskError", f"the device's disk failed while {doing}: {error}")
