"""A forge in memory, for tests of what uses one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edgewright.errors import EdgewrightError, ForgeError
from edgewright.ports import Comment, PullRequest, StatusState


@dataclass(frozen=True, slots=True)
class Said:
    """One comment; ``edits`` counts how often it was changed."""

    id: int
    author: str
    body: str
    edits: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """One status that was set."""

    state: StatusState
    description: str
    url: str


@dataclass
class MemoryForge:
    """Implements ``ports.Forge``."""

    user: str = "edgewright-bot"
    comment_limit: int = 65_536
    failures: list[EdgewrightError] = field(default_factory=list)
    """Raised by the next calls, one each."""
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    said: dict[int, list[Said]] = field(default_factory=dict)
    """By pull request."""
    set: dict[str, dict[str, list[Set]]] = field(default_factory=dict)
    """By commit and context, oldest first."""
    is_closed: bool = False

    def open_pull_request(self, *, head: str = "3" * 40, base: str = "main", title: str = "Train longer") -> int:
        """Somebody opens one; gives its number."""
        number = max(self.pulls, default=0) + 1
        url = f"https://forge.example/acme/shelves/pull/{number}"
        at = datetime(2026, 1, 5, 8, number % 60, tzinfo=UTC)
        self.pulls[number] = PullRequest(number, title, head, f"refs/pull/{number}/head", base, True, url, at)
        return number

    def push_to(self, number: int, head: str) -> None:
        """Its branch has a new commit."""
        self.pulls[number] = replace(self.pulls[number], head=head)

    def close_pull_request(self, number: int) -> None:
        """It is closed or merged."""
        self.pulls[number] = replace(self.pulls[number], is_open=False)

    def comment_as(self, author: str, number: int, body: str) -> None:
        """Somebody comments."""
        known = self.said.setdefault(number, [])
        known.append(Said(100 + sum(map(len, self.said.values())), author, body))

    def pull_request(self, number: int) -> PullRequest:
        """Look one up."""
        self._fail()
        if number not in self.pulls:
            raise ForgeError(f"there is no pull request {number}")
        return self.pulls[number]

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open ones, newest first."""
        self._fail()
        return [pull for _, pull in sorted(self.pulls.items(), reverse=True) if pull.is_open]

    def find_comment(self, number: int, marker: str) -> str | None:
        """The body of the first own comment with the marker."""
        found = self._own(number, marker)
        return found.body if found is not None else None

    def put_comment(self, number: int, marker: str, body: str) -> Comment:
        """Edit it in place, or make it."""
        if len(body) > self.comment_limit:
            raise ForgeError(f"a comment of {len(body)} characters is too long", hint="shorten it")
        if not marker or marker not in body:
            raise ForgeError("the comment does not contain its marker")
        found = self._own(number, marker)
        if found is None:
            self.comment_as(self.user, number, body)
        elif found.body != body:
            notes = self.said[number]
            notes[notes.index(found)] = replace(found, body=body, edits=found.edits + 1)
        kept = self._own(number, marker)
        assert kept is not None
        return Comment(str(kept.id), f"{self.pulls[number].url}#comment-{kept.id}")

    def set_status(self, commit: str, context: str, state: StatusState, description: str, url: str = "") -> None:
        """Set a commit's status."""
        self._fail()
        self.set.setdefault(commit, {}).setdefault(context, []).append(Set(state, description[:140], url))

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True

    def _own(self, number: int, marker: str) -> Said | None:
        self.pull_request(number)
        own = (one for one in self.said.get(number, []) if one.author == self.user)
        return next((one for one in own if marker in one.body), None)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
