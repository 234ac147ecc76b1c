"""The proxies that the environment names: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. Called by ``client``."""

import urllib.request
from urllib.parse import unquote, urlsplit

from edgewright_agent.http.urls import is_loopback


def proxy_for(url: str) -> str:
    """The proxy's URL, which may hold credentials; empty when there is none, or the URL leads to this very machine."""
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.netloc):
        return ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def named(proxy: str) -> str:
    """A proxy's URL as it may be shown."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if proxy else ""


def credentials_of(proxy: str) -> str | None:
    """``user:password`` of a proxy's URL."""
    parts = urlsplit(proxy)
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
