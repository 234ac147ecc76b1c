"""GitHub's REST API, version 2022-11-28; also GitHub Enterprise. Opened by ``opening``.

Endpoints: docs.github.com "REST API endpoints for pull requests", "… for issue comments", "… for commit statuses".
"""

from collections.abc import Sequence
from functools import cached_property

from edgewright.errors import ForgeError
from edgewright.forges import commenting
from edgewright.forges.client import DEFAULT_OPTIONS, ForgeClient, HttpOptions
from edgewright.forges.fields import cut, field
from edgewright.forges.issues import IssueNotes, pull_request_of
from edgewright.forges.settings import ForgeSettings
from edgewright.ports import Comment, PullRequest, StatusState

_READ = "`pull_requests: read` (classic tokens: the scope `repo`)"
_COMMENT = "`pull_requests: write` (classic tokens: the scope `repo`)"
_STATUS = "`statuses: write` (classic tokens: the scope `repo`)"
_LONGEST_DESCRIPTION = 140


class GitHub:
    """One repository at GitHub."""

    comment_limit = 65_536

    def __init__(self, settings: ForgeSettings, options: HttpOptions = DEFAULT_OPTIONS) -> None:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.reveal()}"
        self._settings = settings
        self._client = ForgeClient("GitHub", settings, headers, options)
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
        return commenting.put(self._notes(number), marker, body, limit=self.comment_limit, forge="GitHub")

    def set_status(self, commit: str, context: str, state: StatusState, description: str, url: str = "") -> None:
        """Set a commit's status; the description is cut to 140 characters."""
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
        """The login of the token's own user. An App's token, like that of GitHub Actions, knows it by GraphQL only."""
        if self._settings.user:
            return self._settings.user
        try:
            return field(self._client.get("/user", about="user of the token", right="to be valid"), "login", str)
        except ForgeError:
            graphql = "/../graphql" if self._settings.url.endswith("/v3") else "/graphql"
            query = {"query": "{viewer{login}}"}
            answer = self._client.send("POST", graphql, query, about="user of the token", right="to be valid")
            return field(answer, "data.viewer.login", str)

    def _notes(self, number: int) -> IssueNotes:
        repository = self._settings.repository
        return IssueNotes(self._client, repository, number, lambda: self.me, read=_READ, write=_COMMENT)
