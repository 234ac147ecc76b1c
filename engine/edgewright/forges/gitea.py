"""Gitea's API, version 1; Forgejo's is the same. Opened by ``opening``.

Endpoints: docs.gitea.com "API", and ``/api/swagger`` of any installation.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from edgewright.forges import commenting
from edgewright.forges.answers import Asker
from edgewright.forges.commenting import Note
from edgewright.forges.fields import cut, field, moment, text
from edgewright.forges.http import PATIENT, Api, Patience
from edgewright.forges.settings import ForgeSettings
from edgewright.ports import Comment, PullRequest, StatusState

_READ = "the scopes `read:repository` and `read:issue`"
_COMMENT = "the scope `write:issue`, and to be a user who may comment"
_STATUS = "the scope `write:repository`, and to be a user who may write to the repository"
_USER = "the scope `read:user`; or set EDGEWRIGHT_FORGE_USER to the name of its user"
_LONGEST_DESCRIPTION = 255


class Gitea:
    """One repository at Gitea or Forgejo."""

    comment_limit = 60_000
    """Neither documents one. Installations that began with MySQL before Gitea 1.15 keep comments in 65,535 bytes."""

    def __init__(self, settings: ForgeSettings, patience: Patience = PATIENT) -> None:
        headers = {"Authorization": f"token {settings.token.reveal()}"} if settings.token is not None else {}
        self._name = settings.kind.capitalize()
        self._settings = settings
        self._api = Api(
            Asker(self._name, settings.host, settings.token, settings.variable), settings.url, headers, patience
        )
        self._repo = f"/repos/{settings.repository}"

    def close(self) -> None:
        """End its connections."""
        self._api.close()

    def pull_request(self, number: int) -> PullRequest:
        """Look one up."""
        about = f"pull request {number} in {self._settings.repository}"
        return _pull_request(self._api.get(f"{self._repo}/pulls/{number}", about=about, right=_READ))

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open ones, newest first; all pages."""
        about = f"pull requests in {self._settings.repository}"
        items = self._api.pages(f"{self._repo}/pulls", about=about, right=_READ, state="open")
        return sorted(map(_pull_request, items), key=lambda one: one.number, reverse=True)

    def find_comment(self, number: int, marker: str) -> str | None:
        """The body of the first comment by the token's own user that contains ``marker``."""
        return commenting.find(_Notes(self, number), marker)

    def put_comment(self, number: int, marker: str, body: str) -> Comment:
        """Write the one comment that contains ``marker``: edit it in place, or make it."""
        return commenting.put(_Notes(self, number), marker, body, limit=self.comment_limit, forge=self._name)

    def set_status(self, commit: str, context: str, state: StatusState, description: str, url: str = "") -> None:
        """Set a commit's status; the description is cut to 255 characters."""
        body = {"state": state, "context": context, "description": cut(description, _LONGEST_DESCRIPTION)}
        self._api.send(
            "POST",
            f"{self._repo}/statuses/{commit}",
            body | ({"target_url": url} if url else {}),
            about=f"status of commit {commit[:12]} in {self._settings.repository}",
            right=_STATUS,
        )

    @cached_property
    def me(self) -> str:
        """The login of the token's own user."""
        if self._settings.user:
            return self._settings.user
        return field(self._api.get("/user", about="user of the token", right=_USER), "login", str)


class _Notes:
    """The comments of one pull request, which is an issue too."""

    def __init__(self, forge: Gitea, number: int) -> None:
        self._forge = forge
        self._api = forge._api
        self._about = f"comments of pull request {number} in {forge._settings.repository}"
        self._list = f"{forge._repo}/issues/{number}/comments"
        self._one = f"{forge._repo}/issues/comments"

    def own(self) -> Sequence[Note]:
        me = self._forge.me
        items = self._api.pages(self._list, about=self._about, right=_READ)
        return [_note(item) for item in items if text(item, "user.login") == me]

    def create(self, body: str) -> Note:
        sent = {"body": body}
        return _note(self._api.send("POST", self._list, sent, about=self._about, right=_COMMENT, repeatable=False))

    def edit(self, note: int, body: str) -> Note | None:
        sent = {"body": body}
        answer = self._api.change("PATCH", f"{self._one}/{note}", sent, about=self._about, right=_COMMENT)
        return None if answer is None else _note(answer)

    def delete(self, note: int) -> None:
        self._api.remove(f"{self._one}/{note}", about=self._about, right=_COMMENT)


def _note(item: Any) -> Note:
    return Note(field(item, "id", int), text(item, "body"), text(item, "html_url"))


def _pull_request(item: Any) -> PullRequest:
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
