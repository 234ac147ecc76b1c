"""The whole error tree.

::

    EdgewrightError                what, where, what to do next; ends a command with exit code 1
    ├── SpecError                  the repository's content is wrong; carries every problem found
    ├── SourceError                no repository, unknown ref, unreadable object
    ├── StateError                 the state store cannot be used
    │   ├── StateTooNew            written by a newer edgewright
    │   ├── LeaseHeld              another process changes this state
    │   └── LeaseLost              our lease expired or was taken; stop at once
    ├── PlanRefused                a saved plan is stale, used or for something else
    ├── BlobCorrupt                a blob's bytes do not match its digest
    ├── StepFailed                 a step cannot succeed until something it depends on changes
    │   └── UserCodeFailed         the repository's own code raised
    ├── DeliveryError              a delivery to devices was refused or cannot be used
    ├── PreviewStopped             a pull request's preview takes more time or memory than it may
    ├── ForgeError                 a forge refused: token, rights, or no such repository or pull request
    ├── NotificationError          a receiver of notifications refused, or a secret for it is missing
    ├── Cancelled                  stopped on purpose; the work can resume
    └── Transient                  may succeed when tried again
        ├── SourceUnavailable      a remote or URL did not answer
        ├── StorageFull            no space, or the disk failed
        ├── DeliveryUnavailable    a repository, share or server did not answer
        ├── StateUnavailable       the database did not answer, or the connection broke
        ├── ForgeUnavailable       a forge did not answer, or asked to come again later
        └── NotificationUnavailable  a receiver of notifications did not answer, or asked to come again later

What may be tried again is exactly what derives from ``Transient``.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    path: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """Write ``file:line:column: message (hint)``, leaving out what is not known."""
        where = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{where}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class EdgewrightError(Exception):
    """Base of errors shown to users without a traceback."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Write the message and, on a line of its own, what to do next."""
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class SpecError(EdgewrightError):
    """The repository's content is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(EdgewrightError):
    """No repository, an unknown ref, or an object that cannot be read."""


class StateError(EdgewrightError):
    """The state store cannot be used."""


class StateTooNew(StateError):
    """The state store was written by a newer edgewright."""


class LeaseHeld(StateError):
    """Another process is applying."""


class LeaseLost(StateError):
    """Our lease expired or was taken by another process."""


class PlanRefused(EdgewrightError):
    """A saved plan is stale, used, or made for something else."""


class BlobCorrupt(EdgewrightError):
    """A blob's bytes do not match its digest."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"blob {digest} does not match its digest", hint="it is set aside; apply rebuilds it")
        self.digest = digest


class StepFailed(EdgewrightError):
    """A step cannot succeed until something it depends on changes."""


class UserCodeFailed(StepFailed):
    """The repository's own code raised; the hint holds its own frames."""


class DeliveryError(EdgewrightError):
    """A delivery to devices was refused or cannot be used."""


class PreviewStopped(EdgewrightError):
    """A pull request's preview takes more time or memory than it may."""


class ForgeError(EdgewrightError):
    """A forge refused: the token, its rights, or there is no such repository or pull request."""


class NotificationError(EdgewrightError):
    """A receiver of notifications refused, or a secret for it is missing."""


class Cancelled(EdgewrightError):
    """Stopped on purpose; the work can resume."""


class Transient(EdgewrightError):
    """May succeed when tried again."""


class SourceUnavailable(Transient):
    """A remote or a URL did not answer."""


class StorageFull(Transient):
    """No space is left, or the disk failed."""


class DeliveryUnavailable(Transient):
    """A repository, a share or a server did not answer."""


class StateUnavailable(Transient):
    """The database did not answer, or the connection broke."""


class _AskedToWait(Transient):
    """A server did not answer usefully, and may have given a time to retry."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds; None where none was given."""


class ForgeUnavailable(_AskedToWait):
    """A forge did not answer, or asked to come again later."""


class NotificationUnavailable(_AskedToWait):
    """A receiver of notifications did not answer, or asked to come again later."""
