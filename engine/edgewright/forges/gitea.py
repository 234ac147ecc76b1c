"""Gitea's API, version 1; Forgejo's is the same. Opened by ``opening``.

Endpoints: docs.gitea.com "API", and ``/api/swagger`` of any installation.
"""

from collections.abc import Sequence
from functools import cached_property

from edgewright.forges import commenting
from edgewright.forges.client import DEFAULT_OPTIONS, ForgeClient, HttpOptions
from edgewright.forges.fields import cut, field
from edgewright.forges.issues import IssueNotes, pull_request_of
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

    def __init__(self, settings: ForgeSettings, options: HttpOptions = DEFAULT_OPTIONS) -> None:
        headers = {"Authorization": f"token {settings.token.reveal()}"} if settings.token is not None else {}
        self._name = settings.kind.capitalize()
        self._settings = settings
        self._client = ForgeClient(self._name, settings, headers, options)
        self._repo = f"/repos/{settings.repository}"

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def pull_request(self, number: int) -> PullRequest:
        """Look one up."""
        about = f"pull request {number} in {self._settings.repository}"
        return pull_request_of(self._client.get(f"{self._repo}/pulls/{number}", about=about, right=_READ))

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open ones, newest first; all pages."""
        about = f"pull requests in {self._settings.repository}"
        items = self._client.pages(f"{self._repo}/pulls", about=about, right=_READ, state="open")
        return sorted(map(pull_request_of, items), key=lambda one: one.number, reverse=True)

    def find_comment(self, number: int, marker: str) -> str | None:
        """The body of the first comment by the token's own user that contains ``marker``."""
        return commenting.find(self._notes(number), marker)

    def put_comment(self, number: int, marker: str, body: str) -> Comment:
        """Write the one comment that contains ``marker``: edit it in place, or make it."""
        return commenting.put(self._notes(number), marker, body, limit=self.comment_limit, forge=self._name)

    def set_status(self, commit: str, context: str, state: StatusState, description: str, url: str = "") -> None:
        """Set a commit's status; the description is cut to 255 characters."""
        body = {"state": state, "context": context, "description": cut(description, _LONGEST_DESCRIPTION)}
        self._client.send(
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
        return field(self._client.get("/user", about="user of the token", right=_USER), "login", str)

    def _notes(self, number: int) -> IssueNotes:
        repository = self._settings.repository
        return IssueNotes(self._client, repository, number, lambda: self.me, read=_READ, write=_COMMENT)
