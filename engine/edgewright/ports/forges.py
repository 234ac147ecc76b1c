"""Forges: where pull requests live. Implemented by ``forges``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

StatusState = Literal["pending", "success", "failure", "error"]


@dataclass(frozen=True, slots=True)
class PullRequest:
    """An open or closed pull request (GitLab: merge request)."""

    number: int
    title: str
    head: str
    """The commit at its head."""
    head_ref: str
    """The ref, in the repository it was made to, that leads to its head: ``refs/pull/7/head``."""
    base: str
    """The branch it is to be merged into."""
    is_open: bool
    url: str
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that was written."""

    id: str
    url: str


class ForgeReader(Protocol):
    """Reads pull requests of one repository.

    Raises (all): ForgeUnavailable when it does not answer, answers with 5xx or 429 (then with when to come again), or
    with something that is not its API's (an HTML page of a proxy); ForgeError when the token is refused or lacks
    rights, or the repository or pull request is not there.
    """

    @property
    def comment_limit(self) -> int:
        """The longest comment it takes, in characters."""
        ...

    def pull_request(self, number: int) -> PullRequest:
        """Look one up."""
        ...

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open ones, newest first; all pages."""
        ...

    def find_comment(self, number: int, marker: str) -> str | None:
        """The body of the first comment by the token's own user that contains ``marker``."""
        ...


class ForgeWriter(Protocol):
    """Writes what people see. Every call may be repeated. Raises as ForgeReader."""

    def put_comment(self, number: int, marker: str, body: str) -> Comment:
        """Write the one comment that contains ``marker``: edit it in place, or make it. Unchanged text is not sent."""
        ...

    def set_status(self, commit: str, context: str, state: StatusState, description: str, url: str = "") -> None:
        """Set a commit's status; the description is cut to what the forge takes."""
        ...


class Forge(ForgeReader, ForgeWriter, Protocol):
    """Both sides."""

    def close(self) -> None:
        """End its connections."""
        ...
