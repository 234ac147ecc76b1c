"""Reads where a Git remote's URL leads: https, ssh and the short form of ssh. Used by ``settings``."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_SHORT = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s\[\]]{2,}):(?P<path>[^/\s].*)")
"""``git@host:owner/name``; one letter before the colon is a Windows drive."""
_SSH_ONLY = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com", "altssh.codeberg.org": "codeberg.org"}
"""Hosts that take SSH at port 443."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository on a server; no user, no password."""

    web: str
    """The server's own address, ``https://host``; plain http and a port only where the remote has them."""
    host: str
    path: str
    """``owner/name``, or more."""


def read_remote(url: str) -> Remote | None:
    """Read a URL; None where it leads to no server (a folder, a bundle)."""
    if "://" not in url:
        short = _SHORT.fullmatch(url)
        return _remote("https", short["host"], None, short["path"]) if short is not None else None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https", "ssh", "git+ssh", "ssh+git", "git"} or not host:
        return None
    web = parts.scheme in {"http", "https"}
    return _remote(parts.scheme if web else "https", host, port if web else None, parts.path)


def _remote(scheme: str, host: str, port: int | None, path: str) -> Remote | None:
    host = _SSH_ONLY.get(host.lower(), host.lower())
    shown = f"[{host}]" if ":" in host else host
    name = unquote(path).strip("/").removesuffix(".git").strip("/")
    return Remote(f"{scheme}://{shown}" + (f":{port}" if port else ""), host, name) if name else None
