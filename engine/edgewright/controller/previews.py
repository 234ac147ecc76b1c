"""Pull-request previews: one comment and one commit status that say what a merge would do. Called by the controller.

Level-triggered: every call looks at what is there and writes what differs, so that calls may be lost, repeated or come
too often. Nothing of a pull request is run (``preview_reports``).
"""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from edgewright.controller.merge_queues import MergeQueue
from edgewright.controller.preview_process import PreviewComputer, PreviewRequest, compute_here, rendered
from edgewright.controller.preview_reports import Change, PreviewTarget, following, nothing_follows
from edgewright.core.address import Address
from edgewright.core.review.previews import status_context
from edgewright.errors import Cancelled, EdgewrightError, ForgeError, ForgeUnavailable, PreviewStopped, Transient
from edgewright.ports import Event, Forge, Merge, PullRequest, StatusState, Upstream
from edgewright.render.preview_markdown import marker
from edgewright.render.quantities import short
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Previews

__all__ = ["CONTEXT", "PreviewTarget", "Previewed", "Previewer"]

CONTEXT = "edgewright/plan"
_MOST = 20
"""Pull requests that one call computes; the next call goes on with the others."""
_UNANSWERED = 3
"""Pull requests whose commits the remote did not give, after which a call gives up."""
_BACKOFF = timedelta(seconds=30)
_LONGEST_BACKOFF = timedelta(minutes=15)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Previewed:
    """Findings on one pull request."""

    number: int
    head: str
    state: StatusState | None
    """None: it is closed, and was left alone."""
    description: str = ""
    comment: str = ""
    url: str = ""
    """Of the comment."""
    wrote: bool = False
    """Whether the forge was told anything new."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The comment and the status written last, and their inputs."""

    key: tuple[object, ...] | None
    previewed: Previewed


def _ignore(event: Event) -> None:
    _log.warning("preview.trouble", reason=event.reason, message=event.message)


class Previewer:
    """Keeps the comments and statuses of pull requests as they should be. Use from one thread at a time."""

    def __init__(
        self,
        upstream: Upstream,
        forge: Forge,
        targets: Callable[[], Sequence[PreviewTarget]],
        clock: Callable[[], datetime],
        *,
        settings: Callable[[], Previews] = Previews,
        report: Callable[[Event], None] = _ignore,
        repository: str = "repository",
        most: int = _MOST,
        stopping: Callable[[], bool] = lambda: False,
        compute: PreviewComputer | None = None,
    ) -> None:
        """Wire it; nothing is asked yet.

        Args:
            upstream: Where the commits are.
            forge: Where the pull requests are.
            targets: The environments there are now.
            clock: Gives aware UTC times.
            settings: What the repository declares of previews now.
            report: Is given an event for each trouble that is new.
            repository: The Repository document's name, for events.
            most: How many pull requests one call computes.
            stopping: Asked before each; the others are left for another time.
            compute: Computes what a change does; by default in this process.
        """
        self._upstream = upstream
        self._forge = forge
        self._targets = targets
        self._clock = clock
        self._settings = settings
        self._report = report
        self._address = str(Address("repository", repository))
        self._marker = marker(upstream.folder)
        self._context = status_context(CONTEXT, upstream.folder)
        self._compute = compute or compute_here(upstream)
        self._queue = MergeQueue(upstream, forge, targets, clock, self._context, self._report_group, self._compute)
        self._most = most
        self._stopping = stopping
        self._stopped: dict[int, tuple[str, str, PreviewStopped]] = {}
        """Base and head of those that are over a limit: they are not tried again."""
        self._known: dict[int, _Known] = {}
        self._merges: dict[int, tuple[str, str, Merge]] = {}
        self._looked: dict[int, int] = {}
        self._rounds = 0
        self._computed = 0
        self._unanswered = 0
        self._left: set[int] = set()
        self._troubles: dict[int, str] = {}
        self._failures = 0
        self._resume_at: datetime | None = None

    # ── all of them ───────────────────────────────────────────────────────────────────────────────────────────

    def preview_all(self, numbers: Set[int] | None = None) -> tuple[Previewed, ...]:
        """Preview open pull requests that changed, or whose base or live state did.

        Never raises for what a forge, a remote or a pull request does: that becomes an event, once, and the others are
        previewed. A forge that does not answer is left alone until it asked to be called again, or for a growing time.

        Args:
            numbers: Look only at these (a webhook named them); None: at all open ones.
        """
        now = self._clock()
        if not self._settings().enabled or (self._resume_at is not None and now < self._resume_at):
            self._left |= numbers or set()
            return ()
        self._rounds += 1
        try:
            self._set_group_statuses()
            done = self._round(numbers, now)
        except ForgeUnavailable as error:
            self._back_off(error, now)
            self._left |= numbers or set()
            return ()
        if self._resume_at is None or now >= self._resume_at:
            self._failures, self._resume_at = 0, None
        return done

    def _set_group_statuses(self) -> None:
        """Set the statuses of merge groups, which a forge waits for.

        Raises:
            ForgeUnavailable: The forge does not answer.
        """
        try:
            self._queue.set_statuses()
        except ForgeUnavailable:
            raise
        except EdgewrightError as error:
            _log.warning("preview.merge_groups_wait", message=error.message)

    def _report_group(self, message: str, head: str) -> None:
        self._report(Event(self._clock(), "PreviewFailed", self._address, message, {}, head))

    def _round(self, numbers: Set[int] | None, now: datetime) -> tuple[Previewed, ...]:
        try:
            pulls = self._open(numbers)
        except EdgewrightError as error:
            if isinstance(error, ForgeUnavailable):
                raise
            self._trouble(0, error.message, "")
            return ()
        self._troubles.pop(0, None)
        oldest = now - self._settings().max_age
        due = [pull for pull in pulls if pull.is_open and (pull.updated_at is None or pull.updated_at >= oldest)]
        due.sort(key=lambda pull: self._looked.get(pull.number, 0))
        done: list[Previewed] = []
        before, self._unanswered = self._computed, 0
        for index, pull in enumerate(due):
            enough = self._computed - before >= self._most or self._unanswered >= _UNANSWERED
            if enough or self._stopping():
                self._left |= {waiting.number for waiting in due[index:]}
                break
            try:
                done.append(self._one(pull))
            except ForgeUnavailable as error:
                self._back_off(error, now)
                self._left |= {waiting.number for waiting in due[index:]}
                break
        return tuple(done)

    def _open(self, numbers: Set[int] | None) -> Sequence[PullRequest]:
        if numbers is None:
            pulls = self._forge.open_pull_requests()
            self._left.clear()
            self._forget(set(self._known) - {pull.number for pull in pulls})
            return pulls
        wanted, self._left = sorted(self._left | numbers), set()
        return [pull for pull in map(self._looked_up, wanted) if pull is not None]

    def _looked_up(self, number: int) -> PullRequest | None:
        try:
            return self._forge.pull_request(number)
        except ForgeError as error:
            self._trouble(number, error.message, "")
            return None

    def _one(self, pull: PullRequest) -> Previewed:
        """Preview one; what goes wrong with it stays with it.

        Raises:
            ForgeUnavailable: The forge does not answer.
        """
        self._looked[pull.number] = self._rounds
        try:
            done = self._preview(pull)
        except ForgeUnavailable:
            raise
        except Cancelled as error:
            return Previewed(pull.number, pull.head, None, error.message)
        except EdgewrightError as error:
            self._unanswered += isinstance(error, Transient)
            self._trouble(pull.number, error.message, pull.head)
            return Previewed(pull.number, pull.head, None, error.message)
        except Exception as error:  # noqa: BLE001  # what a stranger's pull request does must not stop the others
            _log.exception("preview.failed", number=pull.number)
            self._trouble(pull.number, f"unexpected {type(error).__name__}; the log has the details", pull.head)
            return Previewed(pull.number, pull.head, None, type(error).__name__)
        self._troubles.pop(pull.number, None)
        return done

    def _back_off(self, error: ForgeUnavailable, now: datetime) -> None:
        grown = min(_BACKOFF * 2 ** min(self._failures, 10), _LONGEST_BACKOFF)
        asked = timedelta(seconds=error.retry_after) if error.retry_after is not None else timedelta()
        self._failures += 1
        self._resume_at = now + max(grown if error.retry_after is None else asked, timedelta(seconds=1))
        _log.warning("preview.forge_unavailable", message=error.message, until=self._resume_at.isoformat())

    def _trouble(self, number: int, message: str, head: str) -> None:
        if self._troubles.get(number) == message:
            return
        self._troubles[number] = message
        what = f"pull request {number}: {message}" if number else f"pull requests cannot be listed: {message}"
        data = {"number": number} if number else {}
        self._report(Event(self._clock(), "PreviewFailed", self._address, what, data, head))

    def _forget(self, numbers: Set[int]) -> None:
        for remembered in (self._known, self._merges, self._looked, self._troubles, self._stopped):
            for number in numbers:
                remembered.pop(number, None)

    # ── one of them ───────────────────────────────────────────────────────────────────────────────────────────

    def preview(self, number: int) -> Previewed:
        """Preview one pull request; a closed one is left alone.

        Raises:
            ForgeUnavailable, ForgeError: As in ports.ForgeReader.
            SourceUnavailable, SourceError: Its commits cannot be had.
        """
        pull = self._forge.pull_request(number)
        if not pull.is_open:
            self._forget({number})
            return Previewed(number, pull.head, None, "closed")
        return self._preview(pull)

    def _preview(self, pull: PullRequest) -> Previewed:
        targets = tuple(self._targets())
        reached, others = following(targets, pull.base)
        base_commit = self._upstream.resolve(Follow(branch=pull.base)) if reached else ""
        known = self._known.get(pull.number)
        key = _key(pull, base_commit, targets)
        if known is not None and key is not None and known.key == key:
            return replace(known.previewed, wrote=False)
        stopped = self._stopped.get(pull.number)
        if stopped is not None and stopped[:2] == (base_commit, pull.head):
            raise stopped[2]
        self._computed += 1
        head = self._upstream.bring(pull.head_ref) if reached else pull.head
        comment = known.previewed.comment if known is not None else self._forge.find_comment(pull.number, self._marker)
        if comment is None or short(head) not in comment:
            self._forge.set_status(head, self._context, "pending", "computing what merging this would do")
        try:
            at = self._clock()
            longest = self._forge.comment_limit
            if reached:
                computed = self._compute(
                    PreviewRequest(reached, others, self._change(pull, base_commit, head), at, longest)
                )
            else:
                computed = rendered(self._upstream, nothing_follows(targets, pull.base, head, at), longest)
        except (Transient, Cancelled):
            raise
        except EdgewrightError as error:
            if isinstance(error, PreviewStopped):
                self._stopped[pull.number] = (base_commit, pull.head, error)
            self._forge.set_status(head, self._context, "error", error.message)
            raise
        found = Previewed(pull.number, head, computed.verdict, computed.description, computed.text)
        done = self._tell(pull, comment, found)
        certain = head == pull.head and computed.is_certain
        self._known[pull.number] = _Known(key if certain else None, done)
        return done

    def _change(self, pull: PullRequest, base_commit: str, head: str) -> Change:
        cached = self._merges.get(pull.number)
        if cached is None or cached[:2] != (base_commit, head):
            cached = (base_commit, head, self._upstream.merge(base_commit, head))
            self._merges[pull.number] = cached
        merge = cached[2]
        return Change(pull.base, base_commit, head, merge.revision, merge.conflicts)

    def _tell(self, pull: PullRequest, comment: str | None, done: Previewed) -> Previewed:
        """Write what differs from what is there: the comment first, so that the status can lead to it."""
        known = self._known.get(pull.number)
        same = comment is not None and _timeless(comment) == _timeless(done.comment)
        text = comment if same and comment is not None else done.comment
        url = known.previewed.url if known is not None else ""
        if not same or known is None:
            url = self._forge.put_comment(pull.number, self._marker, text).url
        told = known is not None and _status(known.previewed) == _status(done)
        if not told and done.state is not None:
            self._forge.set_status(done.head, self._context, done.state, done.description, url)
        wrote = not (same and told)
        return Previewed(done.number, done.head, done.state, done.description, text, url, wrote)


def _status(previewed: Previewed) -> tuple[object, ...]:
    return (previewed.head, previewed.state, previewed.description)


def _timeless(comment: str) -> str:
    """Leave out what changes by itself: when it was computed, and how a forge ends lines."""
    return _TIME.sub("", comment).replace("\r\n", "\n").strip()


def _key(pull: PullRequest, base_commit: str, targets: Sequence[PreviewTarget]) -> tuple[object, ...] | None:
    """Name everything a preview depends on; None where a target cannot name its state."""
    if any(target.state is None for target in targets):
        return None
    states = tuple((t.environment, str(t.follow), t.revision(), t.state() if t.state else "") for t in targets)
    return (pull.head, pull.base, base_commit, states)
