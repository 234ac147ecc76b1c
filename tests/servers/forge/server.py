"""A forge that answers as GitHub, GitLab, Gitea or Forgejo do, over HTTP on this machine, and that can misbehave.

``with ForgeServer("gitlab") as forge:`` has one repository, one user with a token and no pull request. ``deliver``
sends what the forge would send to a webhook.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx

from edgewright.forges.settings import ForgeKind, ForgeSettings
from edgewright.secret import Secret
from samples.forge_payloads import EventName, payload, sign
from servers.forge.dialects import Dialect, GiteaDialect, GitHubDialect, GitLabDialect, Question, Reply
from servers.forge.state import ALL_RIGHTS, ForgeState, Pull, Right, StoredComment, StoredStatus, User

FaultName = Literal[
    "error", "limit", "limit-403", "html", "html-error", "hang", "cut", "lost", "redirect", "huge", "odd"
]
"""``lost``: it is done, and the answer does not arrive. ``odd``: JSON of another shape."""
TOKEN = "token-of-edgewright"
USER = "edgewright-bot"


@dataclass(frozen=True, slots=True)
class Fault:
    """How the next request goes wrong."""

    name: FaultName
    method: str = ""
    """Only of this method."""
    retry_after: int | str | None = None
    reset_in: int | None = None
    """Seconds, in ``X-RateLimit-Reset``."""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    """As it was sent, with the query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any


class ForgeServer:
    """One forge with one repository."""

    def __init__(self, kind: ForgeKind, *, repository: str = "acme/shelves") -> None:
        self.kind: ForgeKind = kind
        dialects: Mapping[ForgeKind, Dialect] = {
            "github": GitHubDialect(),
            "gitlab": GitLabDialect(),
            "gitea": GiteaDialect(),
            "forgejo": GiteaDialect(),
        }
        self._dialect = dialects[kind]
        self.state = ForgeState(repository, {TOKEN: User(USER)})
        self.requests: list[Seen] = []
        self.largest_page = 50
        self._faults: deque[Fault] = deque()
        self._meanwhile: deque[tuple[str, Callable[[], object]]] = deque()
        self._closing = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> "ForgeServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def web(self) -> str:
        """The server's own address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The API's address."""
        return self.web + self._dialect.prefix

    def settings(self, *, token: str | None = TOKEN, user: str = "") -> ForgeSettings:
        """What a client needs."""
        secret = Secret(token) if token is not None else None
        return ForgeSettings(self.kind, self.url, self.state.repository, secret, user=user)

    def environment(self, *, token: str = TOKEN) -> dict[str, str]:
        """The same as variables, for programs."""
        return {
            "EDGEWRIGHT_FORGE": self.kind,
            "EDGEWRIGHT_FORGE_URL": self.url,
            "EDGEWRIGHT_FORGE_REPOSITORY": self.state.repository,
            "EDGEWRIGHT_FORGE_TOKEN": token,
        }

    def add_user(self, login: str, token: str, rights: Sequence[Right] = (), *, is_app: bool = False) -> User:
        """Another user, with all rights unless some are named."""
        user = User(login, frozenset(rights) or ALL_RIGHTS, is_app)
        self.state.users[token] = user
        return user

    def open_pull_request(
        self, *, head: str = "3" * 40, base: str = "main", title: str = "Train longer", head_branch: str = "longer"
    ) -> int:
        """Somebody opens one; gives its number."""
        with self.state.lock:
            number = max(self.state.pulls, default=0) + 1
            self.state.pulls[number] = Pull(number, title, head, base, head_branch, self.state.now())
            return number

    def push_to(self, number: int, head: str) -> None:
        """Its branch has a new commit."""
        pull = self.state.pulls[number]
        pull.head, pull.updated_at = head, self.state.now()

    def close_pull_request(self, number: int, *, merged: bool = False) -> None:
        """It is closed, or merged."""
        pull = self.state.pulls[number]
        pull.is_open, pull.is_merged, pull.updated_at = False, merged, self.state.now()

    def comments(self, number: int) -> list[StoredComment]:
        """What people see, oldest first."""
        with self.state.lock:
            return [replace(comment) for comment in self.state.comments if comment.number == number]

    def statuses(self, commit: str) -> dict[str, StoredStatus]:
        """The newest status of each context."""
        with self.state.lock:
            return {one.context: replace(one) for one in self.state.statuses if one.commit == commit}

    def fail(
        self,
        name: FaultName,
        times: int = 1,
        *,
        method: str = "",
        retry_after: int | str | None = None,
        reset_in: int | None = None,
        location: str = "",
    ) -> None:
        """Let the next requests go wrong."""
        self._faults.extend([Fault(name, method, retry_after, reset_in, location)] * times)

    def meanwhile(self, action: Callable[[], object], *, method: str = "POST") -> None:
        """Do this when the next request of this method is about to be answered, before it is: somebody is quicker."""
        self._meanwhile.append((method, action))

    def asked(self, method: str) -> list[str]:
        """The paths that were asked for by a method."""
        return [urlsplit(seen.path).path for seen in self.requests if seen.method == method]

    def deliver(self, url: str, event: EventName, secret: str, **facts: Any) -> httpx.Response:
        """Send to a webhook what the forge would send, signed with the secret."""
        known = {"repository": self.state.repository, "host": self.web}
        headers, body = payload(self.kind, event, **(known | facts))
        return httpx.post(url, headers=sign(self.kind, secret, headers, body), content=body, timeout=10)

    def _answer(self, seen: Seen) -> tuple[Reply, Fault | None]:
        parts = urlsplit(seen.path)
        with self.state.lock:
            self.requests.append(seen)
            fault = self._next_fault(seen.method)
            if fault is not None and fault.name != "lost":
                return Reply(200), fault
            if self._meanwhile and self._meanwhile[0][0] == seen.method:
                self._meanwhile.popleft()[1]()
            if parts.path == "/api/graphql":
                path = "/graphql"
            elif parts.path.startswith(self._dialect.prefix):
                path = parts.path.removeprefix(self._dialect.prefix)
            else:
                return Reply(404, {"message": "Not Found"}), fault
            query = dict(parse_qsl(parts.query))
            question = Question(seen.method, path, query, seen.headers, seen.body, self.url)
            return self._dialect.answer(self.state, question, largest_page=self.largest_page), fault

    def _next_fault(self, method: str) -> Fault | None:
        if self._faults and self._faults[0].method in {"", method}:
            return self._faults.popleft()
        return None


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a ForgeServer, which ``_handler`` binds."""

    forge: ForgeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, json.loads(content) if content else None)
        reply, fault = self.forge._answer(seen)
        if fault is None:
            self._send(reply.status, _json(reply.body), dict(reply.headers))
        else:
            self._misbehave(fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server calls them so

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], promised: int | None = None) -> None:
        self.send_response(status)
        kind = {"Content-Type": "application/json; charset=utf-8"} if content else {}
        for name, value in (kind | dict(headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(promised if promised is not None else len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _misbehave(self, fault: Fault) -> None:
        page = {"Content-Type": "text/html"}
        extra = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
        if fault.reset_in is not None:
            extra |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + fault.reset_in)}
        match fault.name:
            case "error":
                self._send(500, b'{"message": "Server Error"}', extra)
            case "limit":
                self._send(429, b'{"message": "Too Many Requests"}', extra)
            case "limit-403":
                self._send(403, b'{"message": "You have exceeded a secondary rate limit."}', extra)
            case "html":
                self._send(200, b"<html>Please sign in</html>", page)
            case "html-error":
                self._send(403, b"<html>Blocked by policy</html>", page)
            case "redirect":
                self._send(302, b"", {"Location": fault.location})
            case "odd":
                self._send(200, b'{"ok": true}', {})
            case "huge":
                self._send(200, b'["' + b"x" * (9 * 2**20) + b'"]', {})
            case "hang":
                self.forge._closing.wait()
                self.close_connection = True
            case "lost":
                self.close_connection = True
            case "cut":
                self._send(200, b'{"id": 1', {}, promised=1000)
                self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client went away; its test says whether that is right
            self.close_connection = True


def _handler(forge: ForgeServer) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"forge": forge})


def _json(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()
