"""Judging URLs that a person wrote or a server named. Pure."""

import ipaddress
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def is_http(url: str) -> bool:
    """Return whether the scheme is http or https."""
    return urlsplit(url).scheme in _PORTS


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port, the port even where the URL leaves it out."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def is_loopback(url: str) -> bool:
    """Return whether the host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_plain_http(url: str) -> bool:
    """Return whether it is HTTP without TLS to another machine."""
    return urlsplit(url).scheme == "http" and not is_loopback(url)


def problem_of_url(url: str) -> str:
    """Return why an http or https URL cannot be a base for paths; empty when it can."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    if not parts.hostname or port == 0:
        return f"{url!r} names no host"
    if parts.username is not None or parts.password is not None:
        return "a user name and password in a URL end up in logs; they are not supported"
    if parts.query or parts.fragment:
        return f"{url!r}: what follows '?' or '#' cannot be part of a base URL"
    return ""
