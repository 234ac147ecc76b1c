"""GitLab's REST API, version 4; any installation. Opened by ``opening``.

Endpoints: docs.gitlab.com "Merge requests API", "Notes API", "Commits API: set commit pipeline status".
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote

from edgewright.errors import ForgeError
from edgewright.forges import commenting
from edgewright.forges.client import DEFAULT_OPTIONS, ForgeClient, HttpOptions
from edgewright.forges.commenting import Note
from edgewright.forges.fields import cut, field, moment, text
from edgewright.forges.settings import ForgeSettings
from edgewright.ports import Comment, PullRequest, StatusState

_READ = "the scope `read_api` or `api`, and the role Reporter"
_COMMENT = "the scope `api`, and the role Reporter"
_STATUS = "the scope `api`, and the role Developer (for a protected branch, one that may push to it)"
_LONGEST_DESCRIPTION = 255
_STATES: Mapping[StatusState, str] = {
    "pending": "running",  # from ``pending``, some versions refuse to go on to ``success``
    "success": "success",
    "failure": "failed",
    "error": "failed",
}
_STAYS = re.compile(r"Cannot transition status via :\w+ from :(\w+)")


class GitLab:
    """One project at GitLab."""

    comment_limit = 1_000_000
    """Its default for the size of comments ("GitLab application limits")."""

    def __init__(self, settings: ForgeSettings, options: HttpOptions = DEFAULT_OPTIONS) -> None:
        headers = {"PRIVATE-TOKEN": settings.token.reveal()} if settings.token is not None else {}
        self._settings = settings
        self._client = ForgeClient("GitLab", settings, headers, options)
        self._project = f"/projects/{quote(settings.repository, safe='')}"

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def pull_request(self, number: int) -> PullRequest:
        """Look one up."""
        about = f"merge request {number} in {self._settings.repository}"
        found = _pull_request(self._client.get(f"{self._project}/merge_requests/{number}", about=about, right=_READ))
        if found is None:
            raise ForgeError(f"{about} has no commits", hint="push some to its branch")
        return found

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open ones that have commits, newest first; all pages."""
        about = f"merge requests in {self._settings.repository}"
        items = self._client.pages(f"{self._project}/merge_requests", about=about, right=_READ, state="opened")
        found = [one for item in items if (one := _pull_request(item)) is not None]
        return sorted(found, key=lambda one: one.number, reverse=True)

    def find_comment(self, number: int, marker: str) -> str | None:
        """The body of the first comment by the token's own user that contains ``marker``."""
        return commenting.find(_Notes(self, number), marker)

    def put_comment(self, number: int, marker: str, body: str) -> Comment:
        """Write the one comment that contains ``marker``: edit it in place, or make it."""
        return commenting.put(_Notes(self, number), marker, body, limit=self.comment_limit, forge="GitLab")

    def set_status(self, commit: str, context: str, state: StatusState, description: str, url: str = "") -> None:
        """Set a commit's status; the description is cut to 255 characters. One that is so already is done."""
        wanted = _STATES[state]
        body = {"state": wanted, "name": context, "description": cut(description, _LONGEST_DESCRIPTION)}
        try:
            self._client.send(
                "POST",
                f"{self._project}/statuses/{commit}",
                body | ({"target_url": url} if url else {}),
                about=f"status of commit {commit[:12]} in {self._settings.repository}",
                right=_STATUS,
            )
        except ForgeError as error:
            stays = _STAYS.search(error.message)
            if stays is None or stays[1] != wanted:
                raise

    @cached_property
    def me(self) -> str:
        """The name of the token's own user; of a project's or group's token, its bot."""
        if self._settings.user:
            return self._settings.user
        return field(self._client.get("/user", about="user of the token", right=_READ), "username", str)

    def page_of(self, number: int) -> str:
        """Return the URL of a merge request's page."""
        return f"{self._settings.url.removesuffix('/api/v4')}/{self._settings.repository}/-/merge_requests/{number}"


class _Notes:
    """The notes of one merge request, those of the system left out."""

    def __init__(self, forge: GitLab, number: int) -> None:
        self._forge = forge
        self._client = forge._client
        self._page = forge.page_of(number)
        self._about = f"comments of merge request {number} in {forge._settings.repository}"
        self._list = f"{forge._project}/merge_requests/{number}/notes"

    def own(self) -> Sequence[Note]:
        me = self._forge.me
        items = self._client.pages(self._list, about=self._about, right=_READ, sort="asc", order_by="created_at")
        return [
            self._note(item)
            for item in items
            if text(item, "author.username") == me and not (isinstance(item, Mapping) and item.get("system"))
        ]

    def create(self, body: str) -> Note:
        sent = {"body": body}
        return self._note(
            self._client.send("POST", self._list, sent, about=self._about, right=_COMMENT, idempotent=False)
        )

    def edit(self, note: int, body: str) -> Note | None:
        answer = self._client.change("PUT", f"{self._list}/{note}", {"body": body}, about=self._about, right=_COMMENT)
        return None if answer is None else self._note(answer)

    def delete(self, note: int) -> None:
        self._client.remove(f"{self._list}/{note}", about=self._about, right=_COMMENT)

    def _note(self, item: Any) -> Note:
        number = field(item, "id", int)
        return Note(number, text(item, "body"), f"{self._page}#note_{number}")


def _pull_request(item: Any) -> PullRequest | None:
    """Read one; None when it has no commits."""
    number = field(item, "iid", int)
    head = text(item, "sha")
    if not head:
        return None
    return PullRequest(
        number=number,
        title=text(item, "title"),
        head=head,
        head_ref=f"refs/merge-requests/{number}/head",
        base=field(item, "target_branch", str),
        is_open=text(item, "state") in {"opened", "locked"},
        url=text(item, "web_url"),
        updated_at=moment(item, "updated_at"),
    )
