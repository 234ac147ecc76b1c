"""What the agent can fail with; everything else is a bug.

::

    AgentError(reason, message)
    ├── SettingsError       a wrong agent.toml or command line: a person has to correct it
    └── Transient           may pass by itself: the agent keeps what it has and tries again
        ├── TransportError  the repository or the report drop cannot be reached
        │   └── NotFound    it can be reached, but has no such file
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
    """May pass by itself; retried with backoff."""


class TransportError(Transient):
    """The repository or the report drop cannot be reached."""


class NotFound(TransportError):
    """There is no such file."""


class Untrusted(Transient):
    """What was read does not hold against the trusted metadata."""


class LocalError(Transient):
    """The device's own disk fails."""


def local_error(error: OSError, doing: str) -> LocalError:
    """Name a failure of the device's disk."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LocalError("NoSpace", f"no space left on the device while {doing}: free some; the agent tries again")
    return LocalError("DiskError", f"the device's disk failed while {doing}: {error}")
