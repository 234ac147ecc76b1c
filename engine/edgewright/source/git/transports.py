"""Asks a remote repository, and says in plain words why it did not answer. Called by ``mirrors``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import EdgewrightError, SourceError, SourceUnavailable
from edgewright.secret import redact
from edgewright.source.git import credentials as names
from edgewright.source.git.commands import AGAIN, Commands, GitFailed, GitTimedOut
from edgewright.source.git.credentials import Credentials
from edgewright.source.git.refs import Refs, parse_remote
from edgewright.source.git.remotes import Remote


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of Git's transfers, in seconds."""

    listing: float = 60.0
    """Asking which refs there are."""
    transfer: float = 900.0
    """Fetching objects."""
    stalled: float = 45.0
    """Without a byte."""
    waiting: float = 900.0
    """For another process that is fetching."""


class Damaged(Exception):
    """The mirror cannot be used as it is; internal to ``source``."""


class NotGiven(Exception):
    """The remote does not give an object by its id; the text says why. Internal to ``source``."""


class GoneThere(NotGiven):
    """The remote has no such object any more."""


_DAMAGED = re.compile(
    r"is corrupt|loose object .{0,300} (is|at) |packfile .{0,300} (cannot be|does not match|is truncated|claims|index)"
    r"|bad pack|index file .{0,300} is too small|non-monotonic index|unable to (unpack|parse|read) [0-9a-f]"
    r"|bad tree object|bad object|bad config|not a git repository: '|unable to read tree|inflate: |bad signature"
    r"|bad shallow|garbage at end of loose|object file .{0,300} is empty|missing (blob|tree|commit)|shallow file"
    r"|Could not read [0-9a-f]"
    r"|error: refs/.{0,300} does not point to a valid object|pack has \d+ unresolved deltas|expected shallow",
)
_GONE = re.compile(r"not our ref|no such remote ref|couldn't find remote ref|remote error: .{0,300}not our ref", re.I)
_NOT_BY_ID = re.compile(r"does not allow request for unadvertised|unadvertised object", re.I)
_REFUSED = re.compile(
    r"Authentication failed|returned error: 40[13]|HTTP Basic: Access denied"
    r"|Permission denied \(|Permission denied, please|Too many authentication failures|Load key .{0,300}: ",
    re.I,
)
_UNKNOWN_HOST_KEY = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")
_CERTIFICATE = re.compile(
    r"SSL certificate problem|certificate verif|self.signed certificate|SSL: no alternative", re.I
)
_NO_REPOSITORY = re.compile(
    r"repository '.{0,300}' not found|Repository not found|returned error: (404|410)"
    r"|does not appear to be a git repository"
    r"|No such file or directory|project you were looking for could not be found",
    re.I,
)
_NOT_GIT = re.compile(r"not valid: is this a git repository|not valid: could not determine hash algorithm", re.I)
_NO_SSH = re.compile(r"cannot run ssh|remote helper 'https?'|unable to find remote helper", re.I)
_ASKS = re.compile(r"could not read (Username|Password)", re.I)
_DUMB = re.compile(r"dumb http transport does not support", re.I)
_SHOWN = 400
"""Characters of what git says."""


class Transport:
    """Runs git against one remote."""

    def __init__(self, remote: Remote, credentials: Credentials, limits: Limits) -> None:
        self.remote = remote
        self.limits = limits
        self._credentials = credentials
        self._commands = Commands()

    def list(self, folder: Path, *, known: bool, passed: Sequence[int]) -> Refs:
        """Ask for branches and tags.

        Args:
            folder: A repository to run in.
            known: Whether it has answered before as a Git repository.
            passed: As in Commands.run.

        Raises:
            SourceUnavailable: It does not answer.
            SourceError: It refuses, or is no Git repository, or one with SHA-256 ids.
        """
        try:
            text = self._list(folder, self._variables(), passed)
            is_git = bool(text) or self._speaks_git(folder, passed)
        except GitFailed as error:
            raise self._explained(error, known) from error
        if not is_git:
            raise self._explained(GitFailed(-1, "the answer is not valid: is this a git repository?", ""), known)
        return parse_remote(text)

    def _list(self, folder: Path, variables: Mapping[str, str], passed: Sequence[int]) -> str:
        command = ("ls-remote", "--quiet", "--symref", "--", self.remote.url)
        return self._commands.run(folder, *command, variables=variables, seconds=self.limits.listing, passed=passed)

    def _speaks_git(self, folder: Path, passed: Sequence[int]) -> bool:
        """Check that an empty list of refs is a repository's, not a page that git took for an old server's list."""
        if self.remote.scheme not in {"http", "https"}:
            return True
        packets = folder / "packets.log"
        packets.unlink(missing_ok=True)
        try:
            self._list(folder, {**self._variables(), "GIT_TRACE_PACKET": str(packets)}, passed)
            return packets.is_file() and b"version " in packets.read_bytes()
        finally:
            packets.unlink(missing_ok=True)

    def fetch(self, folder: Path, wanted: Mapping[str, str], *, depth: int, passed: Sequence[int]) -> None:
        """Fetch objects or refs, each to a ref of its own, with so many commits of history.

        Args:
            folder: The repository they come into.
            wanted: Refs of the repository, by what the remote is asked for.
            depth: In commits.
            passed: As in Commands.run.

        Raises:
            NotGiven, Damaged: What they say.
            SourceUnavailable, SourceError: As in list.
        """
        specs = "".join(f"+{asked}:{ref}\n" for asked, ref in wanted.items())
        options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance")
        try:
            self._commands.run(
                folder,
                *("fetch", *options, "--update-shallow", f"--depth={depth}", "--stdin", "--", self.remote.url),
                variables=self._variables(),
                seconds=self.limits.transfer,
                given=specs,
                passed=passed,
            )
        except GitFailed as error:
            if _GONE.search(error.reason):
                raise GoneThere(self._said(error)) from error
            if _NOT_BY_ID.search(error.reason):
                raise NotGiven(self._said(error)) from error
            if _DAMAGED.search(error.reason) and not isinstance(error, GitTimedOut):
                raise Damaged(self._said(error)) from error
            raise self._explained(error, known=True) from error

    def stop(self) -> None:
        """End what runs."""
        self._commands.stop()

    def _variables(self) -> Mapping[str, str]:
        return self.remote.environment(self._credentials, self.limits.stalled)

    def _explained(self, error: GitFailed, known: bool) -> EdgewrightError:
        said, remote = self._said(error), self.remote
        if isinstance(error, GitTimedOut):
            return SourceUnavailable(f"{remote} did not answer: {said}", hint=AGAIN)
        known_hosts = f"put it into the file that {names.KNOWN_HOSTS} names (see ssh-keyscan), or into your known_hosts"
        cases = (
            (_UNKNOWN_HOST_KEY, f"the host key of {remote} is not known, or has changed", known_hosts),
            (
                _CERTIFICATE,
                f"the certificate of {remote} is not trusted: {said}",
                f"set {names.CA} to a file with its authority's certificate",
            ),
            (_DUMB, f"{remote} serves files, not Git", "serve it with git http-backend, or a forge"),
            (_ASKS, f"{remote} asks for credentials, and there are none", self._what_to_set()),
            (_REFUSED, f"{remote} refused: {said}", self._what_to_set()),
            (_NO_SSH, f"cannot reach {remote}: {said}", "install openssh-client and git's http support"),
            (
                _NO_REPOSITORY,
                f"there is no repository {remote}, or it is not shown to us",
                f"correct the address; if it is private, {self._what_to_set()}",
            ),
        )
        for pattern, message, hint in cases:
            if pattern.search(error.reason):
                return SourceError(message, hint=hint)
        if _NOT_GIT.search(error.reason) and not known:
            return SourceError(f"{remote} is no Git repository", hint="correct the address")
        return SourceUnavailable(f"{remote} cannot be read: {said}", hint=AGAIN)

    def _what_to_set(self) -> str:
        if self.remote.scheme == "ssh":
            if self._credentials.ssh_key is None:
                return f"set {names.SSH_KEY} to a private key that may read it"
            return f"the key in {names.SSH_KEY} is not accepted; let it read the repository (no passphrase)"
        if self.remote.scheme == "file":
            return "let this user read it"
        if self._credentials.password is None:
            return f"set {names.TOKEN}, or {names.USERNAME} and {names.PASSWORD}"
        return f"correct {names.TOKEN}, or {names.USERNAME} and {names.PASSWORD}"

    def _said(self, error: GitFailed) -> str:
        lines = [line.removeprefix("fatal: ").removeprefix("error: ") for line in error.reason.splitlines() if line]
        text = redact("; ".join(lines), (self._credentials.password,))
        text = text.replace(self.remote.url, str(self.remote))
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
