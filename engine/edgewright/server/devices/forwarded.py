"""Requests that a proxy passes on, seen as their senders made them: scheme, host, port, address. In front of ``app``.

Devices get links in answers; they must lead to the proxy. Its ``X-Forwarded-*`` are believed from the addresses that
the command line names, and from nobody else.
"""

import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from edgewright.server.devices.peers import Peers
from edgewright.server.request_log import logger

_PROTO, _HOST, _PORT, _FOR = b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-for"
_IS_HOST = re.compile(r"(?:[\w.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_HAS_PORT = re.compile(r"(?:\]|[^:\]]):[0-9]{1,5}\Z")
_USUAL = {"http": "80", "https": "443"}


class ForwardedApp:
    """An application behind proxies.

    Args:
        app: Answers the requests.
        peers: Knows the proxies.
    """

    def __init__(self, app: ASGIApp, peers: Peers) -> None:
        self._app = app
        self._peers = peers
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as its sender made it."""
        if scope["type"] == "http" and self._peers.is_proxy(str((scope.get("client") or ("",))[0])):
            headers = dict(scope["headers"])
            if _PROTO not in headers and not self._warned:
                self._warned = True
                logger().warning(
                    "the proxy does not pass X-Forwarded-Proto on: links for devices may lead to the wrong address",
                    hint="set X-Forwarded-Proto and the Host header with its port there, or declare spec.delivery.url",
                )
            scope = self._seen(scope, headers)
        await self._app(scope, receive, send)

    def _seen(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Scope:
        proto = _last(headers.get(_PROTO, b"")).lower()
        scheme = proto if proto in _USUAL else scope["scheme"]
        host = _last(headers.get(_HOST, b"")) or headers.get(b"host", b"").decode("latin-1")
        port = _last(headers.get(_PORT, b""))
        if port.isdigit() and len(port) < 6 and port != _USUAL[scheme] and host and not _HAS_PORT.search(host):
            host = f"{host}:{port}"
        seen = {**scope, "scheme": scheme}
        if _IS_HOST.fullmatch(host):
            kept = [(name, value) for name, value in scope["headers"] if name != b"host"]
            seen["headers"] = [(b"host", host.encode("latin-1")), *kept]
        if sender := self._sender(headers.get(_FOR, b"")):
            seen["client"] = (sender, 0)
        return seen

    def _sender(self, forwarded: bytes) -> str:
        """Return the last address in the list that is no proxy of ours."""
        for address in reversed(forwarded.decode("latin-1").split(",")):
            if address.strip() and not self._peers.is_proxy(address.strip()):
                return address.strip()
        return ""


def _last(value: bytes) -> str:
    """Return what the nearest proxy wrote, where several wrote into one header."""
    return value.decode("latin-1").rpartition(",")[2].strip()
