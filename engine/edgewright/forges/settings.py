"""Forge settings: the forge, the repository and the token, from variables, CI or the Git remote.

Imports no HTTP library: commands that only ask whether there is a forge stay quick.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from edgewright.errors import EdgewrightError, ForgeError
from edgewright.forges.remotes import Remote, read_remote
from edgewright.secret import Secret, from_variable

ForgeKind = Literal["github", "gitlab", "gitea", "forgejo"]
KINDS: tuple[ForgeKind, ...] = ("github", "gitlab", "gitea", "forgejo")
TOKEN = "EDGEWRIGHT_FORGE_TOKEN"  # noqa: S105  # a variable's name
_KNOWN: Mapping[str, ForgeKind] = {"github.com": "github", "gitlab.com": "gitlab", "codeberg.org": "forgejo"}
_API: Mapping[str, str] = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1", "forgejo": "/api/v1"}
_NAME = re.compile(r"[\w.~-]+(/[\w.~-]+)+")


@dataclass(frozen=True, slots=True)
class ForgeSettings:
    """Address, repository and token for a forge's API."""

    kind: ForgeKind
    url: str
    """The API's address, without a slash at the end: ``https://api.github.com``, ``https://git.example/api/v4``."""
    repository: str
    """``owner/name``; at GitLab with all groups."""
    token: Secret | None = None
    variable: str = TOKEN
    """Where the token came from, for messages."""
    user: str = ""
    """The token's user; asked for where it is not given."""

    @property
    def host(self) -> str:
        """The API's host, for messages."""
        return urlsplit(self.url).netloc

    @classmethod
    def guess(cls, remote_url: str | None, environment: Mapping[str, str] = os.environ) -> "ForgeSettings | None":
        """Find the settings.

        ``EDGEWRIGHT_FORGE…`` come first, then what GitHub Actions, GitLab CI, Forgejo or Gitea Actions say, then the
        remote's URL. Tokens of CI are used inside CI only.

        Returns:
            None without a token, when nothing says that there should be one.

        Raises:
            ForgeError: Something is missing or wrong; names everything at once.
        """
        return _Guess(environment, read_remote(remote_url) if remote_url else None).settings()


class _Guess:
    """Combines the sources of settings, and collects their problems."""

    def __init__(self, environment: Mapping[str, str], remote: Remote | None) -> None:
        self._environment = {name: value for name, value in environment.items() if value.strip()}
        self._remote = remote
        self._problems: list[str] = []
        self._in_ci = "CI" in self._environment or _ci(self._environment) is not None
        self._ci = self._own_ci(_ci(self._environment))

    def settings(self) -> ForgeSettings | None:
        """Combine them; None without a token when none is needed."""
        token, variable = self._token()
        if token is None and not self._problems and not self._is_wanted():
            return None
        if token is None and not self._problems:
            self._problems.append(f"there is no token: set {TOKEN}, or {TOKEN}_FILE")
        kind = self._kind()
        base = self._base(kind) if kind else ""
        repository = self._repository(kind, base) if kind and base else ""
        if self._problems or kind is None:
            raise ForgeError(
                "the forge is not known well enough:" + "".join(f"\n  - {problem}" for problem in self._problems),
                hint="docs/how-to/connect-a-forge.md lists the variables",
            )
        return ForgeSettings(kind, base, repository, token, variable, self._get("EDGEWRIGHT_FORGE_USER"))

    def _own_ci(self, ci: "_Ci | None") -> "_Ci | None":
        """Return the CI's settings, unless another forge is named: its token must not be sent there."""
        if ci is None:
            return None
        kind, url = self._get("EDGEWRIGHT_FORGE").lower(), self._get("EDGEWRIGHT_FORGE_URL")
        same_kind = not kind or _API.get(kind) == _API[ci.kind]
        return ci if same_kind and (not url or _api_of(url, ci.kind) == ci.url) else None

    def _get(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    def _is_wanted(self) -> bool:
        """Return whether a forge was set up by hand outside CI; in CI, forks have no token."""
        named = ("EDGEWRIGHT_FORGE", "EDGEWRIGHT_FORGE_URL", "EDGEWRIGHT_FORGE_REPOSITORY")
        return not self._in_ci and any(self._get(name) for name in named)

    def _token(self) -> tuple[Secret | None, str]:
        try:
            if (given := from_variable(TOKEN, self._environment)) is not None:
                return given, TOKEN if TOKEN in self._environment else f"{TOKEN}_FILE"
        except EdgewrightError as error:
            self._problems.append(error.message)
        for name in self._ci.tokens if self._ci is not None else ():
            if value := self._get(name):
                return Secret(value), name
        return None, TOKEN

    def _kind(self) -> ForgeKind | None:
        if named := self._get("EDGEWRIGHT_FORGE").lower():
            if named in KINDS:
                return named
            self._problems.append(f"EDGEWRIGHT_FORGE is {named!r}: it must be one of {', '.join(KINDS)}")
            return None
        url = self._get("EDGEWRIGHT_FORGE_URL")
        found = _kind_of_url(url) if url else None
        if found is None and not url and self._ci is not None:
            found = self._ci.kind
        if found is None and not url and self._remote is not None:
            found = _kind_of_host(self._remote.host)
        if found is None:
            host = (urlsplit(url).hostname if url else None) or (self._remote.host if self._remote else "")
            at = f" {host} is" if host else " it is"
            self._problems.append(f"set EDGEWRIGHT_FORGE to what{at}: {', '.join(KINDS)}")
        return found

    def _base(self, kind: ForgeKind) -> str:
        if url := self._get("EDGEWRIGHT_FORGE_URL"):
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
                self._problems.append("EDGEWRIGHT_FORGE_URL is not an address like https://git.example/api/v4")
                return ""
            if "@" in parts.netloc:
                self._problems.append(f"EDGEWRIGHT_FORGE_URL holds a password: put it into {TOKEN}")
                return ""
            return _api_of(url, kind)
        if self._ci is not None and self._ci.url:
            return self._ci.url
        if self._remote is not None:
            return _api_of(self._remote.web, kind)
        self._problems.append(f"set EDGEWRIGHT_FORGE_URL to the address of {kind}'s API: Git has no remote to tell it")
        return ""

    def _repository(self, kind: ForgeKind, base: str) -> str:
        given = self._get("EDGEWRIGHT_FORGE_REPOSITORY") or (self._ci.repository if self._ci is not None else "")
        if not given and self._remote is not None:
            prefix = urlsplit(base).path.removesuffix(_API[kind]).strip("/")
            given = self._remote.path.removeprefix(f"{prefix}/") if prefix else self._remote.path
        if not given:
            self._problems.append("set EDGEWRIGHT_FORGE_REPOSITORY to owner/name: Git has no remote to tell it")
        elif not _NAME.fullmatch(given) or ".." in given or (kind != "gitlab" and given.count("/") != 1):
            self._problems.append(
                f"{given!r} is no repository at {kind}: set EDGEWRIGHT_FORGE_REPOSITORY to owner/name"
            )
        return given


@dataclass(frozen=True, slots=True)
class _Ci:
    kind: ForgeKind
    url: str
    repository: str
    tokens: tuple[str, ...]


def _ci(environment: Mapping[str, str]) -> _Ci | None:
    """Read the variables of the CI; Forgejo and Gitea set GitHub's, and add one of their own."""
    get = environment.get
    if get("GITLAB_CI") == "true":
        return _Ci("gitlab", get("CI_API_V4_URL", "").rstrip("/"), get("CI_PROJECT_PATH", ""), ("GITLAB_TOKEN",))
    forgejo, gitea = get("FORGEJO_ACTIONS") == "true", get("GITEA_ACTIONS") == "true"
    if get("GITHUB_ACTIONS") != "true" and not (forgejo or gitea):
        return None
    kind: ForgeKind = "forgejo" if forgejo else "gitea" if gitea else "github"
    url = get("GITHUB_API_URL", "").rstrip("/")
    if not url and (server := get("GITHUB_SERVER_URL")):
        url = _api_of(server, kind)
    tokens = ("GITHUB_TOKEN",) if kind == "github" else ("FORGEJO_TOKEN", "GITEA_TOKEN", "GITHUB_TOKEN")
    return _Ci(kind, url, get("GITHUB_REPOSITORY", ""), tokens)


def _kind_of_url(url: str) -> ForgeKind | None:
    parts = urlsplit(url)
    known = _kind_of_host((parts.hostname or "").removeprefix("api."))
    if known is not None:
        return known
    ends: Mapping[str, ForgeKind] = {"/api/v3": "github", "/api/v4": "gitlab"}
    return next((kind for end, kind in ends.items() if parts.path.rstrip("/").endswith(end)), None)


def _kind_of_host(host: str) -> ForgeKind | None:
    """Return the forge of a well-known host; None for any other."""
    return "github" if host.endswith(".ghe.com") else _KNOWN.get(host)


def _api_of(url: str, kind: ForgeKind) -> str:
    """Turn a forge's address, or its API's, into its API's."""
    url = url.rstrip("/")
    host = urlsplit(url).hostname or ""
    if kind == "github":
        if host.startswith("api."):
            return url
        if host == "github.com" or host.endswith(".ghe.com"):
            return f"https://api.{host}"
    return url if url.endswith(_API[kind]) else url + _API[kind]
