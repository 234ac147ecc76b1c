"""The accepted revision: the newest one of what an environment follows whose signatures and specs are valid.

A revision that is refused stops itself and nothing else: the last accepted one stays in force. Used by ``cli`` for
runs, and by the controller.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from edgewright.core.signatures import SignatureState
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.source import SourceReason, SourceStatus
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError, SourceError, SourceUnavailable, SpecError, Transient
from edgewright.ports import ControlReader, ControlWriter, Upstream
from edgewright_schemas.environment import Environment, Follow
from edgewright_schemas.repository import Repository

SIGNED = "+signed"
"""Marks, in the store, an accepted revision whose signature was checked: trust then never starts anew."""
_PROBLEMS: Mapping[SignatureState, SourceReason] = {
    SignatureState.MISSING: "SignatureMissing",
    SignatureState.UNKNOWN: "SignatureUnknown",
    SignatureState.REVOKED: "SignatureRevoked",
    SignatureState.EXPIRED: "SignatureExpired",
    SignatureState.BAD: "SignatureBad",
}


def accepted(reader: ControlReader) -> str | None:
    """The revision that an environment accepted last."""
    return (reader.accepted_revision() or "").removesuffix(SIGNED) or None


def follow_of(repository: Repository | None, name: str) -> Environment:
    """Find a declared environment.

    Raises:
        SourceError: It is not declared, with the nearest that is.
    """
    declared = repository.spec.environments if repository else ()
    found = next((environment for environment in declared if environment.name == name), None)
    if found is None:
        names = [environment.name for environment in declared]
        hint = suggestion(name, names) if names else "edgewright.yaml declares no environments; leave --env out"
        raise SourceError(f"there is no environment {name!r}", hint=hint)
    return found


def declared_by(upstream: Upstream, revision: str, trusted: str | None) -> Repository | None:
    """Read what the default branch declares; where it is not signed as it must be, what the trusted revision does.

    Raises:
        SourceError, SpecError: It cannot be read.
    """
    if trusted is not None and trusted != revision and not upstream.check(None, revision, trusted).accepted:
        revision = trusted
    return upstream.declared(revision)


def fetch_follow(
    upstream: Upstream, environment: str, ref: str | None, stale: Callable[[SourceUnavailable], None] | None = None
) -> Follow | None:
    """Fetch a repository once, and return what an environment follows there (None: the default branch).

    Args:
        upstream: The repository.
        environment: One that it declares, or empty.
        ref: Followed in place of what the environment declares.
        stale: Told that it does not answer, where what was fetched before will do.

    Raises:
        SourceError: No such environment, or the repository refuses.
        SourceUnavailable: It does not answer.
    """
    fetch = partial(_fetch, upstream, stale)
    if ref is not None:
        return _follow_ref(upstream, ref, fetch)
    fetch(())
    if not environment:
        return None
    follow = follow_of(upstream.declared(upstream.resolve(None)), environment).follow
    fetch((follow,))
    return follow


def _fetch(upstream: Upstream, stale: Callable[[SourceUnavailable], None] | None, follows: Iterable[Follow]) -> None:
    try:
        upstream.fetch(follows)
    except SourceUnavailable as error:
        if stale is None:
            raise
        try:
            upstream.resolve(None)
        except SourceError:
            raise error from None
        stale(error)


def _follow_ref(upstream: Upstream, ref: str, fetch: Callable[[Iterable[Follow]], object]) -> Follow:
    """Understand a ref a person wrote: a branch, else a tag, else a commit.

    Raises:
        SourceError: It is none of them.
        SourceUnavailable: The remote does not answer.
    """
    if len(ref) == 40 and all(letter in "0123456789abcdef" for letter in ref):
        follow = Follow(commit=ref)
        fetch((follow,))
        return follow
    tried = (Follow(branch=ref), Follow(tag=ref))
    fetch(tried)
    for follow in tried:
        try:
            upstream.resolve(follow)
        except SourceError:
            continue
        return follow
    upstream.resolve(tried[0])
    return tried[0]


class AcceptedSource:
    """Implements ports.SnapshotSource over the revision in force. Safe to use from several threads."""

    def __init__(
        self,
        upstream: Upstream,
        environment: str,
        ref: str | None,
        reader: ControlReader,
        writer: ControlWriter,
        clock: Callable[[], datetime],
        anchor: Callable[[], str | None] = lambda: None,
        *,
        eager: bool = False,
    ) -> None:
        """Create the source; nothing is read before ``look``.

        Args:
            upstream: The repository, which someone else fetches.
            environment: One that it declares, or empty.
            ref: Followed in place of what the environment declares.
            reader: Knows what was accepted before.
            writer: Keeps what is accepted; its lease must be held when ``look`` is called.
            clock: Gives aware times.
            anchor: Gives a revision accepted by another environment, as ``accepted_revision`` keeps it: where this
                one has accepted none yet, trust does not start anew.
            eager: Look at every ``revision``, where nobody fetches and says so.
        """
        self._eager = eager
        self._anchor = anchor
        self._unfetched: EdgewrightError | None = None
        self._rewritten = False
        self._upstream = upstream
        self._environment = environment
        self._ref = ref
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._in_force = ""
        self._signed = False
        self._refused = ""
        self._lock = threading.Lock()
        self._look_again = threading.Event()
        self._look_again.set()
        self._source = upstream.source(self._force, environment)
        self.follow: Follow | None = None
        """What is followed, as of the last look."""
        self.status = SourceStatus(in_force=None, candidate=None)

    def touch(self) -> None:
        """Mark the repository as possibly changed; the next ``revision`` looks."""
        self._look_again.set()

    def fetched(self, *, rewritten: bool = False, error: EdgewrightError | None = None) -> None:
        """Record the result of a fetch; the next ``revision`` looks.

        Args:
            rewritten: Whether what is followed was force-pushed.
            error: Why nothing could be fetched.
        """
        self._unfetched = error
        self._rewritten = rewritten or (self._rewritten and error is not None)
        self.touch()

    def look(self) -> SourceStatus:
        """Take up what is followed, if it may be.

        Raises:
            LeaseLost, StorageFull: The store could not keep what was accepted.
        """
        with self._lock:
            self._look_again.clear()
            now = self._clock()
            before = self.status
            problem: SourceReason
            try:
                candidate, problem, message = self._verify_or_restart()
            except SpecError as error:
                candidate, problem, message = self._refused, "SpecInvalid", str(error)
            except Transient as error:
                candidate, problem, message = before.candidate or "", "SourceUnavailable", str(error)
                self._look_again.set()
            except SourceError as error:
                candidate, problem, message = "", "RefMissing", str(error)
            if not problem and self._unfetched is not None:
                is_transient = isinstance(self._unfetched, Transient)
                problem = "SourceUnavailable" if is_transient else "SourceRefused"
                message = str(self._unfetched)
            elif not problem and self._rewritten:
                problem, message = "HistoryRewritten", "what is followed was rewritten"
            elif not problem and (ignored := self._upstream.overlooked(self.follow)):
                problem, message = "TagIgnored", ignored
            since = before.since if before.reason == problem and before.candidate == candidate else now
            self.status = SourceStatus(
                in_force=self._in_force or None,
                candidate=candidate or None,
                reason=problem,
                message=message,
                since=since,
                fetched_at=now if self._unfetched is None else before.fetched_at,
            )
            return self.status

    def _verify_or_restart(self) -> tuple[str, SourceReason, str]:
        """Judge the candidate; where the revision in force was lost (as by ``git gc``), as a new process would.

        Raises:
            SpecError, SourceError, Transient: As in _verify and _restore.
        """
        if not self._in_force:
            self._restore()
        try:
            return self._verify()
        except SourceError:
            lost = self._in_force
            if not lost or self._is_at_hand(lost):
                raise
        self._in_force = ""
        try:
            self._restore()
            return self._verify()
        finally:
            self._in_force = self._in_force or lost

    def _is_at_hand(self, revision: str) -> bool:
        try:
            self._upstream.bring(revision)
        except SourceError:
            return False
        return True

    def _restore(self) -> None:
        """Take up what was in force before this process began.

        A signed revision that cannot be had any more must not make trust start anew.
        """
        kept = self._reader.accepted_revision() or ""
        revision, signed = kept.removesuffix(SIGNED), kept.endswith(SIGNED)
        if not revision:
            return
        try:
            self._upstream.bring(revision)
        except SourceError as error:
            if signed:
                raise SourceError(
                    f"revision {revision[:12]}, whose keys are trusted, is no longer in the repository",
                    hint="push it back, or name a revision to trust with --accept",
                ) from error
            return
        self._in_force, self._signed = revision, signed

    def accept(self, revision: str) -> None:
        """Put a revision in force on a person's word.

        Raises:
            SourceError, SpecError: It is not there, or wrong.
        """
        commit = self._upstream.bring(revision)
        signed = self._declares_verification(commit)
        self._upstream.source(lambda: commit, self._environment).snapshot()
        self._take(commit, signed=signed)

    def _declares_verification(self, commit: str) -> bool:
        declared = self._upstream.declared(commit)
        return declared is not None and declared.spec.verification is not None

    def _verify(self) -> tuple[str, SourceReason, str]:
        """Look at the candidate: (revision, problem, message); without a problem it is in force now.

        Raises:
            SpecError, SourceError, Transient: It cannot be taken up; ``_refused`` names it where it is known.
        """
        self._refused = ""
        self.follow = self._follows()
        candidate = self._upstream.resolve(self.follow)
        if candidate == self._in_force:
            return candidate, "", ""
        self._refused = candidate
        signature = self._upstream.check(self.follow, candidate, self._trusted())
        if not signature.accepted:
            return candidate, _PROBLEMS[signature.state], str(signature)
        self._upstream.source(lambda: candidate, self._environment).snapshot()
        self._take(candidate, signed=self._declares_verification(candidate))
        return candidate, "", ""

    def _trusted(self) -> str | None:
        """The revision whose rules and keys apply."""
        if self._in_force:
            return self._in_force
        anchor = self._anchor() or ""
        return anchor.removesuffix(SIGNED) if anchor.endswith(SIGNED) else None

    def _take(self, revision: str, *, signed: bool) -> None:
        self._writer.accept_revision(revision + (SIGNED if signed else ""))
        self._in_force, self._signed = revision, signed

    def _follows(self) -> Follow | None:
        """Find what is followed, as declared by the default branch, or else by the revision in force."""
        if self._ref is not None:
            return self.follow or _follow_ref(self._upstream, self._ref, self._upstream.fetch)
        if not self._environment:
            return None
        declaring = self._upstream.resolve(None)
        return follow_of(declared_by(self._upstream, declaring, self._trusted()), self._environment).follow

    def _force(self) -> str:
        if not self._in_force:
            status = self.status
            raise SourceError(
                f"no revision is in force: {status.message or 'nothing was looked at yet'}",
                hint="see the condition of the repository in edgewright status",
            )
        return self._in_force

    # ── ports.SnapshotSource ──────────────────────────────────────────────────────────────────────────────────

    def revision(self) -> str:
        """The revision in force; looks first where the repository may have changed.

        Raises:
            SourceError: None ever was.
        """
        if self._eager or self._look_again.is_set():
            try:
                self.look()
            except Transient:
                self._look_again.set()
        return self._force()

    def snapshot(self) -> Snapshot:
        """Read what is in force.

        Raises:
            SourceError: None ever was.
        """
        self.revision()
        return self._source.snapshot()

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        """As ports.SnapshotSource."""
        self._source.materialize(revision, paths, into)

    def read(self, revision: str, path: str) -> bytes:
        """As ports.SnapshotSource."""
        return self._source.read(revision, path)


def raise_for(status: SourceStatus) -> None:
    """Turn a refusal into what a command ends with.

    Raises:
        EdgewrightError: The candidate was refused.
    """
    if status.reason:
        raise EdgewrightError(status.message, hint="the last accepted revision stays in force")
