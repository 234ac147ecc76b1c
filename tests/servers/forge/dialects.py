"""The documented answers of GitHub, GitLab and Gitea to what edgewright asks, and their refusals."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote

from servers.forge.state import ForgeState, Pull, Right, StoredComment, StoredStatus, User


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood."""

    method: str
    path: str
    """Without the API's prefix."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    address: str
    """The API's own."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """How one forge speaks."""

    prefix: str

    def answer(self, state: ForgeState, question: Question, *, largest_page: int) -> Reply:
        """Answer one request."""
        ...


def page_of(items: Sequence[Any], question: Question, size_name: str, largest: int, default: int) -> Reply:
    """One page, with a Link header as all three forges write it; Gitea counts, too."""
    size = min(int(question.query.get(size_name, default)), largest)
    number = int(question.query.get("page", 1))
    first, after = (number - 1) * size, number * size
    headers = {"X-Total-Count": str(len(items))} if size_name == "limit" else {}
    if after < len(items):
        # A server behind a proxy may not know its own address.
        headers["Link"] = f'<http://inside.invalid{question.path}?page={number + 1}>; rel="next"'
    elif number > 1:
        headers["Link"] = f'<http://inside.invalid{question.path}?page=1>; rel="first"'
    return Reply(200, list(items[first:after]), headers)


class GitHubDialect:
    """REST v3."""

    prefix = "/api/v3"
    scheme = "Bearer"
    size_name, default_size = "per_page", 30
    longest = 65_536
    longest_description = 140

    def who(self, state: ForgeState, question: Question) -> User | None:
        """Whose token it is."""
        scheme, _, token = question.headers.get("authorization", "").partition(" ")
        return state.users.get(token) if scheme == self.scheme else None

    def answer(self, state: ForgeState, question: Question, *, largest_page: int) -> Reply:
        user = self.who(state, question)
        if user is None:
            return Reply(401, {"message": "Bad credentials", "status": "401"})
        if question.path == "/user":
            return self.whoami(user)
        if question.path == "/graphql":
            return Reply(200, {"data": {"viewer": {"login": user.login}}})
        prefix = f"/repos/{state.repository}/"
        if not question.path.startswith(prefix) or "read" not in user.rights:
            return Reply(404, {"message": "Not Found", "status": "404"})
        return self._route(state, user, question, question.path.removeprefix(prefix), largest_page)

    def _route(self, state: ForgeState, user: User, question: Question, path: str, largest_page: int) -> Reply:
        for method, pattern, right, handler in self.routes():
            match = re.fullmatch(pattern, path)
            if match is not None and method == question.method:
                if right not in user.rights:
                    return self.forbidden(right)
                return handler(state, user, question, match, largest_page)
        return Reply(404, {"message": "Not Found"})

    def routes(self) -> Sequence[tuple[str, str, Right, Callable[..., Reply]]]:
        """What there is."""
        return (
            ("GET", r"pulls", "read", self._pulls),
            ("GET", r"pulls/(\d+)", "read", self._pull),
            ("GET", r"issues/(\d+)/comments", "read", self._comments),
            ("POST", r"issues/(\d+)/comments", "comment", self._create),
            ("PATCH", r"issues/comments/(\d+)", "comment", self._edit),
            ("DELETE", r"issues/comments/(\d+)", "comment", self._delete),
            ("POST", r"statuses/([0-9a-f]{40})", "status", self._status),
        )

    def whoami(self, user: User) -> Reply:
        if user.is_app or "user" not in user.rights:
            return Reply(403, {"message": "Resource not accessible by integration"})
        return Reply(200, {"login": user.login, "id": 1})

    def forbidden(self, right: Right) -> Reply:
        return Reply(403, {"message": "Resource not accessible by personal access token"})

    def _pulls(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        found = state.newest_first(only_open=question.query.get("state", "open") == "open")
        items = [self._shown(state, pull, question) for pull in found]
        return page_of(items, question, self.size_name, largest, self.default_size)

    def _pull(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        pull = state.pulls.get(int(match[1]))
        return Reply(404, {"message": "Not Found"}) if pull is None else Reply(200, self._shown(state, pull, question))

    def _shown(self, state: ForgeState, pull: Pull, question: Question) -> dict[str, Any]:
        return {
            "id": 9000 + pull.number,
            "number": pull.number,
            "title": pull.title,
            "state": "open" if pull.is_open else "closed",
            "html_url": f"{question.address.removesuffix(self.prefix)}/{state.repository}/pull/{pull.number}",
            "head": {"ref": pull.head_branch, "sha": pull.head},
            "base": {"ref": pull.base, "sha": "1" * 40},
            "updated_at": pull.updated_at.isoformat().replace("+00:00", "Z"),
        }

    def _comments(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        if int(match[1]) not in state.pulls:
            return Reply(404, {"message": "Not Found"})
        found = [comment for comment in state.comments if comment.number == int(match[1])]
        items = [self._note(state, comment, question) for comment in found]
        return page_of(items, question, self.size_name, largest, self.default_size)

    def _note(self, state: ForgeState, comment: StoredComment, question: Question) -> dict[str, Any]:
        page = f"{question.address.removesuffix(self.prefix)}/{state.repository}/pull/{comment.number}"
        return {
            "id": comment.id,
            "body": comment.body,
            "user": {"login": comment.author},
            "html_url": f"{page}#issuecomment-{comment.id}",
        }

    def _create(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        if int(match[1]) not in state.pulls:
            return Reply(404, {"message": "Not Found"})
        if len(question.body["body"]) > self.longest:
            return Reply(422, {"message": f"Body is too long (maximum is {self.longest} characters)"})
        comment = state.add_comment(int(match[1]), user.login, question.body["body"])
        return Reply(201, self._note(state, comment, question))

    def _edit(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        comment = state.comment(int(match[1]))
        if comment is None:
            return Reply(404, {"message": "Not Found"})
        if comment.author != user.login:
            return self.forbidden("comment")
        comment.body, comment.edits = question.body["body"], comment.edits + 1
        return Reply(200, self._note(state, comment, question))

    def _delete(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        comment = state.comment(int(match[1]))
        if comment is None:
            return Reply(404, {"message": "Not Found"})
        state.comments.remove(comment)
        return Reply(204)

    def _status(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        body = question.body
        if body["state"] not in {"pending", "success", "failure", "error"}:
            return Reply(422, {"message": "Validation Failed"})
        if len(body.get("description", "")) > self.longest_description:
            return Reply(
                422, {"message": f"description is too long (maximum is {self.longest_description} characters)"}
            )
        status = StoredStatus(
            match[1], body["context"], body["state"], body.get("description", ""), body.get("target_url", "")
        )
        state.statuses.append(status)
        return Reply(201, {"id": len(state.statuses), "state": status.state, "context": status.context})


class GiteaDialect(GitHubDialect):
    """API v1: GitHub's shapes under another scheme, with scopes of its own; comments come whole."""

    prefix = "/api/v1"
    scheme = "token"
    size_name, default_size = "limit", 30
    longest = 1_000_000
    longest_description = 1_000

    def whoami(self, user: User) -> Reply:
        return Reply(200, {"login": user.login, "id": 1}) if "user" in user.rights else self.forbidden("user")

    def forbidden(self, right: Right) -> Reply:
        scope = {"comment": "write:issue", "status": "write:repository", "user": "read:user"}.get(right, right)
        said = f"token does not have at least one of required scope(s), required=[{scope}]"
        return Reply(403, {"message": said, "url": "/api/swagger"})

    def _comments(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        if int(match[1]) not in state.pulls:
            return Reply(404, {"message": "The target couldn't be found."})
        found = [comment for comment in state.comments if comment.number == int(match[1])]
        items = [self._note(state, comment, question) for comment in found]
        return Reply(200, items, {"X-Total-Count": str(len(items))})


class GitLabDialect:
    """REST v4. The project is one encoded part of the path."""

    prefix = "/api/v4"

    def answer(self, state: ForgeState, question: Question, *, largest_page: int) -> Reply:
        user = state.users.get(question.headers.get("private-token", ""))
        if user is None:
            return Reply(401, {"message": "401 Unauthorized"})
        if question.path == "/user":
            shown = {"id": 4, "username": user.login}
            return Reply(200, shown) if "user" in user.rights else Reply(403, {"error": "insufficient_scope"})
        found = re.fullmatch(r"/projects/([^/]+)/(.*)", question.path)
        if found is None or unquote(found[1]) != state.repository or "read" not in user.rights:
            return Reply(404, {"message": "404 Project Not Found"})
        return self._route(state, user, question, found[2], largest_page)

    def _route(self, state: ForgeState, user: User, question: Question, path: str, largest_page: int) -> Reply:
        routes: Sequence[tuple[str, str, Right, Callable[..., Reply]]] = (
            ("GET", r"merge_requests", "read", self._list),
            ("GET", r"merge_requests/(\d+)", "read", self._one),
            ("GET", r"merge_requests/(\d+)/notes", "read", self._notes),
            ("POST", r"merge_requests/(\d+)/notes", "comment", self._create),
            ("PUT", r"merge_requests/(\d+)/notes/(\d+)", "comment", self._edit),
            ("DELETE", r"merge_requests/(\d+)/notes/(\d+)", "comment", self._delete),
            ("POST", r"statuses/([0-9a-f]{40})", "status", self._status),
        )
        for method, pattern, right, handler in routes:
            match = re.fullmatch(pattern, path)
            if match is not None and method == question.method:
                if right not in user.rights:
                    return Reply(403, {"message": "403 Forbidden"})
                if pattern.startswith(r"merge_requests/") and int(match[1]) not in state.pulls:
                    return Reply(404, {"message": "404 Not found"})
                return handler(state, user, question, match, largest_page)
        return Reply(404, {"error": "404 Not Found"})

    def _shown(self, state: ForgeState, pull: Pull, question: Question) -> dict[str, Any]:
        page = f"{question.address.removesuffix(self.prefix)}/{state.repository}/-/merge_requests/{pull.number}"
        return {
            "id": 9000 + pull.number,
            "iid": pull.number,
            "title": pull.title,
            "state": "opened" if pull.is_open else "merged" if pull.is_merged else "closed",
            "sha": pull.head or None,
            "source_branch": pull.head_branch,
            "target_branch": pull.base,
            "web_url": page,
            "updated_at": pull.updated_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }

    def _list(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        found = state.newest_first(only_open=question.query.get("state") == "opened")
        return page_of([self._shown(state, pull, question) for pull in found], question, "per_page", largest, 20)

    def _one(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        return Reply(200, self._shown(state, state.pulls[int(match[1])], question))

    def _note(self, comment: StoredComment) -> dict[str, Any]:
        return {
            "id": comment.id,
            "body": comment.body,
            "author": {"id": 4, "username": comment.author},
            "system": False,
            "noteable_iid": comment.number,
        }

    def _notes(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        found = [self._note(comment) for comment in state.comments if comment.number == int(match[1])]
        system = {"id": 1, "body": "added 1 commit", "author": {"username": user.login}, "system": True}
        return page_of([system, *found], question, "per_page", largest, 20)

    def _create(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        return Reply(201, self._note(state.add_comment(int(match[1]), user.login, question.body["body"])))

    def _edit(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        comment = state.comment(int(match[2]))
        if comment is None:
            return Reply(404, {"message": "404 Not found"})
        if comment.author != user.login:
            return Reply(403, {"message": "403 Forbidden"})
        comment.body, comment.edits = question.body["body"], comment.edits + 1
        return Reply(200, self._note(comment))

    def _delete(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        comment = state.comment(int(match[2]))
        if comment is None:
            return Reply(404, {"message": "404 Not found"})
        state.comments.remove(comment)
        return Reply(204)

    def _status(self, state: ForgeState, user: User, question: Question, match: re.Match[str], largest: int) -> Reply:
        """A status that is not finished is changed; to the state it is in, or back to pending, it cannot go."""
        body = question.body
        wanted = body["state"]
        event = {"pending": "enqueue", "running": "run", "success": "success", "failed": "drop", "canceled": "cancel"}
        if wanted not in event:
            return Reply(400, {"error": "state does not have a valid value"})
        if len(body.get("description", "")) > 255:
            return Reply(400, {"message": {"description": ["is too long (maximum is 255 characters)"]}})
        own = [one for one in state.statuses if (one.commit, one.context) == (match[1], body["name"])]
        last = next((one for one in reversed(own) if one.state in {"pending", "running"}), None)
        if last is not None and wanted in {last.state, "pending"}:
            said = f"Cannot transition status via :{event[wanted]} from :{last.state}"
            reason = f'(Reason(s): Status cannot transition via "{event[wanted]}")'
            return Reply(400, {"message": f"{said} {reason}"})
        told = body.get("description", ""), body.get("target_url", "")
        if last is None:
            state.statuses.append(StoredStatus(match[1], body["name"], wanted, *told))
        else:
            last.state, last.description, last.url = wanted, *told
        return Reply(201, {"id": 1, "status": wanted, "name": body["name"]})
