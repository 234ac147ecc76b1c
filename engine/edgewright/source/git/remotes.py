"""A remote repository's address: checked, shown without secrets, and what git needs to reach it.

Called by ``transports`` and ``upstreams``.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from edgewright.errors import SourceError
from edgewright.source.git.commands import environment
from edgewright.source.git.credentials import Credentials

_SCP_LIKE = re.compile(r"[A-Za-z0-9._-]+@(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<path>[^\s]+)")
_SCHEMES = ("https", "http", "ssh", "file")
_FORMS = "write https://host/path, ssh://git@host/path, git@host:path, file:///path, or a path"
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n"'
    ' "$EDGEWRIGHT_ASKED_USERNAME" "$EDGEWRIGHT_ASKED_PASSWORD"; }; f'
)
_ALLOWED = {"https": "https:ssh", "http": "http:https:ssh", "ssh": "ssh:https", "file": "file"}


def is_remote(location: str) -> bool:
    """Return whether a location is an address, not a path."""
    return "://" in location or _SCP_LIKE.fullmatch(location) is not None


@dataclass(frozen=True, slots=True)
class Remote:
    """A checked address."""

    url: str
    scheme: str
    host: str
    """With the port, where one is named; empty for ``file``."""

    @classmethod
    def parse(cls, url: str) -> "Remote":
        """Check an address.

        Raises:
            SourceError: It is of a kind that is not supported, or holds a password.
        """
        if not url.isprintable() or " " in url or url.startswith("-"):
            raise SourceError("the repository's address has characters that no address has", hint=_FORMS)
        found = _SCP_LIKE.fullmatch(url)
        if found is not None and "://" not in url:
            return cls(url, "ssh", found["host"])
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - raises where it is no number
        except ValueError as error:
            raise SourceError(f"the repository's address is no URL: {error}", hint=_FORMS) from error
        shown = _shown(parts)
        if parts.scheme not in _SCHEMES:
            raise SourceError(f"cannot follow {shown}: {parts.scheme or 'no'} is not a known scheme", hint=_FORMS)
        if parts.scheme != "file" and not parts.hostname:
            raise SourceError(f"{shown} names no host", hint=_FORMS)
        if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
            hint = "take them out; set EDGEWRIGHT_GIT_USERNAME and EDGEWRIGHT_GIT_PASSWORD, or EDGEWRIGHT_GIT_TOKEN"
            raise SourceError(f"the address of {shown} holds credentials", hint=hint)
        return cls(url, parts.scheme, parts.netloc.rpartition("@")[2])

    def __str__(self) -> str:
        """Return it for messages, without user and query."""
        return _shown(urlsplit(self.url)) if "://" in self.url else self.url

    def environment(self, credentials: Credentials, stalled: float) -> Mapping[str, str]:
        """Make the environment in which git reaches it.

        Args:
            credentials: To offer, to this host alone.
            stalled: Seconds without a byte after which a transfer is given up.
        """
        settings = {
            "protocol.version": "2",
            "fetch.recurseSubmodules": "false",
            "fetch.unpackLimit": "1",
            "fetch.writeCommitGraph": "false",
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(max(1, round(stalled))),
        }
        added = {}
        if self.scheme in {"http", "https"}:
            if credentials.password is not None:
                # Git asks helpers for this scheme and host alone, so a redirect elsewhere is told nothing.
                settings["credential.helper"] = ""
                settings[f"credential.{self.scheme}://{self.host}.helper"] = _HELPER
                added["EDGEWRIGHT_ASKED_USERNAME"] = credentials.username
                added["EDGEWRIGHT_ASKED_PASSWORD"] = credentials.password.reveal()
            if credentials.ca is not None:
                added["GIT_SSL_CAINFO"] = str(credentials.ca)
        variables = environment(settings, personal=True) | added
        variables |= {"GIT_ALLOW_PROTOCOL": _ALLOWED[self.scheme], "GIT_ASKPASS": "false", "SSH_ASKPASS": "false"}
        variables |= {"GIT_LFS_SKIP_SMUDGE": "1", "GIT_SSH_VARIANT": "ssh"}
        variables["GIT_SSH_COMMAND"] = shlex.join(_ssh(credentials, stalled))
        return variables


def _ssh(credentials: Credentials, stalled: float) -> list[str]:
    alive = max(1, round(stalled / 4))
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
    ]
    options += [f"ConnectTimeout={max(1, round(stalled))}", f"ServerAliveInterval={alive}", "ServerAliveCountMax=3"]
    if credentials.known_hosts is not None:
        options += [f'UserKnownHostsFile="{credentials.known_hosts}"', f"GlobalKnownHostsFile={os.devnull}"]
    command = ["ssh", *(part for option in options for part in ("-o", option))]
    if credentials.ssh_key is not None:
        command += ["-i", str(credentials.ssh_key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    return command


def _shown(parts: SplitResult) -> str:
    user, at, host = parts.netloc.rpartition("@")
    kept = f"{user}@" if at and parts.scheme == "ssh" and ":" not in user else ""
    return f"{parts.scheme}://{kept}{host}{parts.path}"
