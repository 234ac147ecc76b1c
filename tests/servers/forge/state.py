"""What a forge remembers about one repository. Used by ``forge_server`` and the dialects it speaks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import RLock
from typing import Literal

Right = Literal["read", "comment", "status", "user"]
ALL_RIGHTS: frozenset[Right] = frozenset({"read", "comment", "status", "user"})


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a token."""

    login: str
    rights: frozenset[Right] = ALL_RIGHTS
    is_app: bool = False
    """A token of an App: GitHub tells such a one who it is by GraphQL only."""


@dataclass(slots=True)
class Pull:
    """A pull request."""

    number: int
    title: str
    head: str
    base: str
    head_branch: str
    updated_at: datetime
    is_open: bool = True
    is_merged: bool = False


@dataclass(slots=True)
class StoredComment:
    """A comment."""

    id: int
    number: int
    author: str
    body: str
    edits: int = 0


@dataclass(slots=True)
class StoredStatus:
    """A status of a commit; ``state`` in the forge's own words."""

    commit: str
    context: str
    state: str
    description: str
    url: str


@dataclass
class ForgeState:
    """One repository and its people."""

    repository: str
    users: dict[str, User] = field(default_factory=dict)
    """By token."""
    pulls: dict[int, Pull] = field(default_factory=dict)
    comments: list[StoredComment] = field(default_factory=list)
    statuses: list[StoredStatus] = field(default_factory=list)
    """Oldest first; GitLab changes one that is not finished, the others add."""
    lock: RLock = field(default_factory=RLock)
    began: datetime = datetime(2026, 1, 5, 8, tzinfo=UTC)
    _ids: Iterator[int] = field(default_factory=lambda: count(100))
    _ticks: Iterator[int] = field(default_factory=count)

    def now(self) -> datetime:
        """A clock that ticks once a look."""
        return self.began + timedelta(seconds=next(self._ticks))

    def add_comment(self, number: int, author: str, body: str) -> StoredComment:
        """Somebody comments."""
        with self.lock:
            comment = StoredComment(next(self._ids), number, author, body)
            self.comments.append(comment)
            return comment

    def comment(self, wanted: int) -> StoredComment | None:
        """Find one."""
        return next((comment for comment in self.comments if comment.id == wanted), None)

    def newest_first(self, *, only_open: bool) -> Iterable[Pull]:
        """Pull requests."""
        found = sorted(self.pulls.values(), key=lambda pull: pull.number, reverse=True)
        return [pull for pull in found if pull.is_open or not only_open]
