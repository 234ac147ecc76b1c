"""A mirror of a remote repository, as small as can be: the commits that are followed, without their history.

Implements ``ports.Upstream`` for ``upstreams``. Every fetch asks for the remote's refs, takes the objects that are not
at hand, and puts refs of our own on them, so that accepted commits stay readable whatever happens to the remote.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from edgewright.core.signatures import Signature
from edgewright.errors import EdgewrightError, SourceError, SourceUnavailable
from edgewright.ports.sources import Fetched, Merge
from edgewright.source.git.commands import AGAIN, Commands, GitFailed, environment
from edgewright.source.git.credentials import Credentials
from edgewright.source.git.folder import KEPT, Folder
from edgewright.source.git.history import is_rewritten
from edgewright.source.git.merging import merge_commits
from edgewright.source.git.refs import Found, Refs, overlooked_text
from edgewright.source.git.remotes import Remote
from edgewright.source.git.repositories import GitRepository
from edgewright.source.git.transports import Damaged, GoneThere, Limits, NotGiven, Transport
from edgewright.source.upstream_reader import UpstreamReader, UpstreamSource
from edgewright_schemas.environment import Follow
from edgewright_schemas.repository import Repository

_TRIES = 3
"""How often the refs are asked for again when the remote changes while we fetch."""
_BROUGHT = "refs/edgewright/brought"


class Mirror:
    """Follows a remote repository."""

    def __init__(
        self, url: str, folder: Path, credentials: Credentials, *, cache: Path | None, limits: Limits | None = None
    ) -> None:
        """Open a mirror; nothing is fetched yet.

        Args:
            url: ``https://``, ``http://``, ``ssh://``, ``git@host:path`` or ``file://``.
            folder: Where the mirror is, or is made.
            credentials: To reach it with.
            cache: The folder to keep parsed specs in; by default below ``folder``.
            limits: How long anything may take.

        Raises:
            SourceError: The address is wrong, or holds credentials.
        """
        self._limits = limits or Limits()
        self._transport = Transport(Remote.parse(url), credentials, self._limits)
        self._commands = Commands()
        self._folder = Folder(folder.absolute(), self._commands)
        self._cache = cache or folder / "cache"
        self._reader: UpstreamReader | None = None
        self._opening = threading.Lock()
        self._identity = (0, 0)
        self._is_checked = False
        self._refused: dict[str, str] = {}
        self._sources: weakref.WeakSet[UpstreamSource] = weakref.WeakSet()

    def fetch(self, follows: Iterable[Follow]) -> Fetched:
        """Fetch the followed commits, as in ports.Upstream."""
        wanted = [None, *dict.fromkeys(follows)]
        accepted = self._accepted()
        with self._held():
            is_new = self._folder.prepare()
            damaged = not is_new and not self._is_sound()
            refs, found = self._take(wanted, damaged, accepted)
            self._is_checked = True
            fetched, leads = self._compare(refs, wanted, found)
            known = [commit for commit in accepted if self._has(commit)]
            self._folder.keep([*(each.object for each in found.values()), *known])
            self._write(refs, leads)
            self._folder.tidy()
        if fetched.changed:
            self._open().repository.close()
        return fetched

    def resolve(self, follow: Follow | None) -> str:
        """Resolve a follow to its commit, as in ports.Upstream."""
        refs = self._read()
        if refs is None:
            raise SourceError(f"{self._transport.remote} was not fetched yet", hint="fetch it first")
        found = self._found(refs, follow)
        if self._has(f"{found.commit}^{{commit}}"):
            return found.commit
        if found.commit in self._refused:
            hint = "follow a branch or tag that leads to it, or let the server give commits by id"
            raise SourceError(f"{follow} cannot be had: {self._refused[found.commit]}", hint=hint)
        if self._has(found.commit):
            raise SourceError(f"{refs.label(follow)} leads to no commit", hint="follow one that does")
        raise SourceError(f"{refs.label(follow)} was not fetched yet", hint="fetch it first")

    @property
    def folder(self) -> str:
        """The folder of specs, as in ports.Upstream: of a remote repository, its top."""
        return ""

    def branches(self, prefix: str) -> Mapping[str, str]:
        """List branches, as in ports.Upstream."""
        return (self._read() or Refs()).branches(prefix)

    def overlooked(self, follow: Follow | None) -> str:
        """Name tags that are no versions, as in ports.Upstream."""
        refs = self._read()
        found = refs.overlooked(follow) if refs is not None else []
        return overlooked_text(found) if found else ""

    def default_branch(self) -> str:
        """Name the default branch, as in ports.Upstream."""
        refs = self._read()
        if refs is None:
            raise SourceError(f"{self._transport.remote} was not fetched yet", hint="fetch it first")
        return refs.default_branch()

    def check(self, follow: Follow | None, commit: str, trusted: str | None) -> Signature:
        """Check signatures, as in ports.Upstream."""
        found, refs = None, self._read()
        if refs is not None:
            with suppress(SourceError):
                found = refs.find(follow)
        return self._open().check(self._folder.git_dir, follow, found, commit, trusted)

    def declared(self, commit: str) -> Repository | None:
        """Read a revision's Repository document alone, as in ports.Upstream."""
        return self._open().declared(commit)

    def bring(self, ref: str) -> str:
        """Fetch one more ref or commit, as in ports.Upstream."""
        is_commit = len(ref) == 40 and all(letter in "0123456789abcdef" for letter in ref)
        with self._held():
            self._folder.prepare()
            if is_commit and self._has(ref):
                self._folder.keep([ref])
                return ref
            if not is_commit:
                self._check_name(ref)
            self._fetch({ref: _BROUGHT}, shown=ref)
            commit = self._peeled(_BROUGHT)
            if commit is None:
                raise SourceError(f"{ref} leads to no commit", hint="name a branch, a tag or a commit")
            self._folder.keep([commit])
            with suppress(GitFailed):
                self._commands.run(self._folder.git_dir, "update-ref", "-d", _BROUGHT)
            return commit

    def merge(self, base: str, head: str) -> Merge:
        """Merge two commits, as in ports.Upstream."""
        with self._held():
            self._folder.prepare()
            for commit in (base, head):
                if not self._has(commit):
                    self._fetch({commit: KEPT + commit}, shown=commit)
            merged = merge_commits(self._commands, self._folder.git_dir, base, head, self._deepen)
            self._folder.keep([base, head, *([merged.revision] if merged.revision else [])])
        return merged

    def source(self, revision: Callable[[], str], environment: str = "") -> UpstreamSource:
        """Make a source, as in ports.Upstream."""
        source = self._open().source(revision, environment)
        self._sources.add(source)
        return source

    def close(self) -> None:
        """End what runs; a later call starts it again."""
        self._transport.stop()
        self._commands.stop()
        if self._reader is not None:
            self._reader.close()

    # ── fetching, while the folder is held ──────────────────────────────────────────────────────────────────────

    def _take(self, wanted: list[Follow | None], damaged: bool, accepted: list[str]) -> tuple[Refs, dict[str, Found]]:
        """List the remote's refs and fetch what is followed; into a new mirror where this one is damaged."""
        for attempt in range(_TRIES):
            refs = self._transport.list(
                self._folder.git_dir, known=self._read() is not None, passed=(self._folder.descriptor,)
            )
            found: dict[str, Found] = {}
            for follow in wanted:
                with suppress(SourceError):
                    found[refs.label(follow)] = refs.find(follow)
            try:
                if damaged:
                    self._renew(found, accepted)
                else:
                    self._get(self._folder.git_dir, found, accepted)
            except Damaged as error:
                if attempt == _TRIES - 1:
                    raise SourceUnavailable(f"{self._transport.remote} sent what git cannot use: {error}") from error
                damaged = True
            except NotGiven as error:
                if attempt == _TRIES - 1:
                    raise SourceUnavailable(f"{self._transport.remote} keeps changing: {error}", hint=AGAIN) from error
            else:
                return refs, {label: each for label, each in found.items() if self._has(f"{each.commit}^{{commit}}")}
        raise AssertionError("the last try returns or raises")

    def _get(self, git_dir: Path, found: Mapping[str, Found], accepted: list[str]) -> None:
        """Fetch the objects that are missing. A commit named by its id is fetched alone: it may be refused."""
        named = {each.object for each in found.values() if each.ref}
        missing = [name for name in sorted(named) if not self._has(name, git_dir)]
        if missing:
            wanted = {name: KEPT + name for name in missing}
            self._transport.fetch(git_dir, wanted, depth=1, passed=(self._folder.descriptor,))
        by_id = {each.commit for each in found.values() if not each.ref}
        for commit in sorted((by_id | set(accepted)) - named):
            if self._has(commit, git_dir):
                continue
            try:
                self._transport.fetch(git_dir, {commit: KEPT + commit}, depth=1, passed=(self._folder.descriptor,))
                self._refused.pop(commit, None)
            except (NotGiven, SourceError) as error:
                self._refused[commit] = str(error)

    def _renew(self, found: Mapping[str, Found], accepted: list[str]) -> None:
        """Fetch into a new mirror, and put it in the place of this one; what only this one has is taken along."""
        fresh = self._folder.path / "fresh.git"
        self._folder.make(fresh)
        self._get(fresh, found, accepted)
        for commit in accepted:
            if not self._has(commit, fresh) and self._has(commit):
                with suppress(GitFailed):
                    spec = f"{commit}:{KEPT}{commit}"
                    old = f"file://{self._folder.git_dir}"
                    variables = environment({"protocol.version": "2"})
                    self._commands.run(fresh, "fetch", "--quiet", "--update-shallow", old, spec, variables=variables)
        self._folder.replace()
        self._look()

    def _compare(
        self, refs: Refs, wanted: list[Follow | None], found: Mapping[str, Found]
    ) -> tuple[Fetched, Mapping[str, str]]:
        """Compare the refs with the last fetch; return the changes, and the object of every follow."""
        before = self._leads()
        leads = before | {label: each.commit for label, each in found.items()}
        labels = list(dict.fromkeys(refs.label(follow) for follow in wanted))
        changed = [label for label in labels if label in found and before.get(label) != found[label].commit]
        gone = [label for label in labels if label in before and label not in found]
        rewritten = [
            label
            for label in changed
            if label.startswith("branch ")
            and label in before
            and self._has(before[label])
            and is_rewritten(
                self._commands, self._folder.git_dir, before[label], found[label].commit, self._deepen_quietly
            )
        ]
        return Fetched(tuple(changed), tuple(rewritten), tuple(gone)), leads

    def _deepen_quietly(self, commits: tuple[str, ...], depth: int) -> None:
        """Fetch history for what is only nice to know: whatever hinders it counts as not given."""
        wanted = {commit: KEPT + commit for commit in commits}
        try:
            self._transport.fetch(self._folder.git_dir, wanted, depth=depth, passed=(self._folder.descriptor,))
        except (Damaged, EdgewrightError) as error:
            raise NotGiven(str(error)) from error

    def _deepen(self, commits: tuple[str, ...], depth: int) -> None:
        """Fetch history.

        Raises:
            SourceUnavailable, SourceError: As in fetch.
        """
        wanted = {commit: KEPT + commit for commit in commits}
        with suppress(GoneThere, NotGiven):
            self._transport_fetch(wanted, depth)
            return
        # A merged commit that we made, or one that is gone there: each for itself, as far as the remote has it.
        for commit in commits:
            with suppress(GoneThere, NotGiven):
                self._transport_fetch({commit: KEPT + commit}, depth)

    def _fetch(self, wanted: Mapping[str, str], shown: str) -> None:
        try:
            self._transport_fetch(wanted, 1)
        except GoneThere as error:
            raise SourceError(f"{self._transport.remote} has no {shown}", hint="it may be deleted") from error
        except NotGiven as error:
            hint = "fetch a branch or tag that leads to it, or let the server give commits by id"
            raise SourceError(f"{self._transport.remote} does not give {shown}: {error}", hint=hint) from error

    def _transport_fetch(self, wanted: Mapping[str, str], depth: int) -> None:
        try:
            self._transport.fetch(self._folder.git_dir, wanted, depth=depth, passed=(self._folder.descriptor,))
        except Damaged as error:
            self._is_checked = False
            message = f"the mirror of {self._transport.remote} is damaged: {error}"
            raise SourceUnavailable(message, hint="the next fetch makes it anew") from error

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._folder.held(self._limits.waiting):
            try:
                yield
            except GitFailed as error:
                self._is_checked = False
                message = f"the mirror in {self._folder.path} cannot be used: {error.reason}"
                raise SourceUnavailable(message, hint="the next fetch checks it") from error

    # ── what is at hand ─────────────────────────────────────────────────────────────────────────────────────────

    def _is_sound(self) -> bool:
        """Return whether every kept object is there; the first time in this process, down to the last file's name."""
        git_dir = self._folder.git_dir
        if self._reader is not None and self._reader.repository.is_damaged:
            return False
        try:
            # Says the type of each, so that each is looked at.
            wanted = "--format=%(objectname) %(objecttype)"
            listed = [
                line.split()[0] for line in self._commands.run(git_dir, "for-each-ref", wanted, KEPT).splitlines()
            ]
            if self._is_checked:
                return True
            refs = self._read() or Refs()
            current = {*self._leads().values(), *refs.objects.values()}
            heads = [name for name in listed if name in current]
            if heads:
                options = ("--objects", "--quiet", "--no-walk", "--stdin")
                self._commands.run(git_dir, "rev-list", *options, given="\n".join(heads))
        except GitFailed:
            return False
        return True

    def _has(self, name: str, git_dir: Path | None = None) -> bool:
        try:
            self._commands.run(git_dir or self._folder.git_dir, "cat-file", "-e", name)
        except GitFailed:
            return False
        return True

    def _peeled(self, ref: str) -> str | None:
        with suppress(GitFailed):
            return self._commands.run(self._folder.git_dir, "rev-parse", "--verify", f"{ref}^{{commit}}").strip()
        return None

    def _check_name(self, ref: str) -> None:
        try:
            self._commands.run(self._folder.path, "check-ref-format", "--allow-onelevel", ref)
        except GitFailed as error:
            raise SourceError(f"{ref!r} is no name of a ref", hint="write it as refs/pull/7/head") from error

    def _found(self, refs: Refs, follow: Follow | None) -> Found:
        try:
            return refs.find(follow)
        except SourceError as error:
            raise SourceError(f"{self._transport.remote}: {error.message}", hint=error.hint) from error

    def _accepted(self) -> list[str]:
        """Ask the sources that were handed out what they show; before the folder is held, as they may wait for it."""
        commits = []
        for source in list(self._sources):
            with suppress(EdgewrightError):
                commits.append(source.revision())
        return [commit for commit in dict.fromkeys(commits) if len(commit) == 40]

    def _open(self) -> UpstreamReader:
        with self._opening:
            if self._reader is None:
                if not self._folder.is_settled():
                    with self._held():
                        self._folder.prepare()
                variables = {name: value for name, value in environment().items() if name.startswith("GIT_")}
                variables["GIT_DIR"] = str(self._folder.git_dir)
                repository = GitRepository(self._folder.git_dir, variables)
                self._identity = self._folder.identity()
                self._reader = UpstreamReader(repository, self._cache, self._look)
        self._look()
        return self._reader

    def _look(self) -> None:
        """Read the mirror that is there now, should another process have replaced it."""
        identity = self._folder.identity()
        if self._reader is not None and identity != self._identity:
            self._reader.repository.close()
            self._reader.repository.is_damaged = False
            self._identity = identity

    # ── what the last fetch found ───────────────────────────────────────────────────────────────────────────────

    def _read(self) -> Refs | None:
        found = self._folder.read("listing.json")
        refs = found.get("refs")
        if found.get("url") != self._transport.remote.url or not isinstance(refs, dict):
            return None
        return Refs(str(found.get("head", "")), str(found.get("headCommit", "")), refs)

    def _leads(self) -> dict[str, str]:
        found = self._folder.read("listing.json")
        leads = found.get("leads")
        return leads if found.get("url") == self._transport.remote.url and isinstance(leads, dict) else {}

    def _write(self, refs: Refs, leads: Mapping[str, str]) -> None:
        values = {"url": self._transport.remote.url, "head": refs.head, "headCommit": refs.head_commit}
        self._folder.write("listing.json", {**values, "refs": refs.objects, "leads": leads})
