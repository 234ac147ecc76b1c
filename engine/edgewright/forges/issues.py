"""Common parts of the APIs of GitHub, Gitea and Forgejo, where a pull request is an issue too.

Used by ``github`` and ``gitea``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.forges.client import ForgeClient
from edgewright.forges.commenting import Note
from edgewright.forges.fields import field, moment, text
from edgewright.ports import PullRequest


@dataclass(frozen=True, slots=True)
class IssueNotes:
    """The comments of one pull request; implements commenting.Notes."""

    client: ForgeClient
    repository: str
    """``owner/name``."""
    number: int
    me: Callable[[], str]
    """The login of the token's own user."""
    read: str
    """The right that reading needs, in words."""
    write: str

    @property
    def _about(self) -> str:
        return f"comments of pull request {self.number} in {self.repository}"

    @property
    def _list(self) -> str:
        return f"/repos/{self.repository}/issues/{self.number}/comments"

    def _one(self, note: int) -> str:
        return f"/repos/{self.repository}/issues/comments/{note}"

    def own(self) -> Sequence[Note]:
        """Return the comments of the token's own user."""
        me = self.me()
        items = self.client.pages(self._list, about=self._about, right=self.read)
        return [_note(item) for item in items if text(item, "user.login") == me]

    def create(self, body: str) -> Note:
        """Create a comment. Not idempotent."""
        sent = {"body": body}
        return _note(self.client.send("POST", self._list, sent, about=self._about, right=self.write, idempotent=False))

    def edit(self, note: int, body: str) -> Note | None:
        """Edit a comment; None when it is gone."""
        answer = self.client.change("PATCH", self._one(note), {"body": body}, about=self._about, right=self.write)
        return None if answer is None else _note(answer)

    def delete(self, note: int) -> None:
        """Delete a comment, if it is still there."""
        self.client.remove(self._one(note), about=self._about, right=self.write)


def _note(item: Any) -> Note:
    return Note(field(item, "id", int), text(item, "body"), text(item, "html_url"))


def pull_request_of(item: Any) -> PullRequest:
    """Parse a pull request as these APIs return it.

    Raises:
        ForgeUnavailable: It is not of these APIs' form.
    """
    number = field(item, "number", int)
    return PullRequest(
        number=number,
        title=text(item, "title"),
        head=field(item, "head.sha", str),
        head_ref=f"refs/pull/{number}/head",
        base=field(item, "base.ref", str),
        is_open=text(item, "state") == "open",
        url=text(item, "html_url"),
        updated_at=moment(item, "updated_at"),
    )
