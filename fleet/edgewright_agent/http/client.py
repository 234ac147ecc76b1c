"""HTTP as the agent speaks it: connections kept, everything bounded, errors that say what to do. On urllib3.

``repository`` and ``identity`` use it. An answer's status is theirs to judge; what comes as an
exception is that there is no answer. Redirects are followed where that gives nothing away: a GET within its origin or
to https, a POST within its origin.
"""

import socket
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ProtocolError

from edgewright_agent import __version__
from edgewright_agent.background import Abandoned, Caller, directly
from edgewright_agent.errors import CertificateRefused, SettingsError, TransportError
from edgewright_agent.http.answers import one_line
from edgewright_agent.http.errors import explained, looks_like_a_refused_certificate
from edgewright_agent.http.proxies import credentials_of, named, proxy_for
from edgewright_agent.http.urls import origin_of

TIMEOUT = 20.0
REDIRECTS = 5
_KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
MOVED = frozenset({301, 302, 303, 307, 308})
KEEPS_METHOD = frozenset({307, 308})
ERROR_BODY = 16 * 1024

_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # Routers forget connections that are silent for a minute or two; only Linux lets a program choose.
    *((socket.IPPROTO_TCP, getattr(socket, name), seconds) for name, seconds in _KEEP_ALIVE if hasattr(socket, name)),
]


class TlsFiles(Protocol):
    """A certificate to show, and its key."""

    @property
    def certificate(self) -> Path:
        """The chain, PEM."""
        ...

    @property
    def key(self) -> Path:
        """PEM."""
        ...


class HttpResponse:
    """One answer. Read it to its end or close it: only then is the connection free for the next call."""

    def __init__(
        self,
        url: str,
        response: urllib3.BaseHTTPResponse,
        call: Callable[[Callable[[], bytes]], bytes],
        failure: Callable[[Exception, str], TransportError],
    ) -> None:
        self.url = url
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._call = call
        self._failure = failure
        self._ended = response.length_remaining == 0
        self._abandoned = False

    def read(self, most: int) -> bytes:
        """Some more of the body as it came over the wire, as soon as there is any; empty at its end.

        Raises:
            TransportError: It breaks off.
        """
        try:
            data = self._call(lambda: self._response.read1(most, decode_content=False))
        except Abandoned as error:
            self._abandoned = True
            raise self._failure(error, self.url) from error
        except (HTTPError, OSError) as error:
            self._response.close()
            raise self._failure(error, self.url) from error
        self._ended = not data or self._response.length_remaining == 0
        return data or b""

    def body(self, most: int) -> bytes:
        """The whole body, or its first bytes where it is longer than ``most``. The answer is closed then.

        Raises:
            TransportError: It breaks off.
        """
        body = b""
        try:
            while len(body) < most and (more := self.read(most - len(body))):
                body += more
        finally:
            self.close()
        return body

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it."""
        if self._abandoned:
            return
        if not self._ended:
            self._response.close()
        self._response.release_conn()


class HttpClient:
    """Makes requests. Connections are kept between them; safe in several threads.

    Args:
        reason: The reason given when the other side cannot be reached, like RepositoryUnreachable.
        timeout: Seconds for a connection to be made, and between two pieces of an answer.
        ca: The only authorities a server's certificate may come from, PEM; None for the system's.
        identity: The certificate to show.
        call: How calls that block are made.

    Raises:
        SettingsError: ``ca`` cannot be read.
        CertificateRefused: The certificate cannot be used.
    """

    def __init__(
        self,
        reason: str,
        timeout: float = TIMEOUT,
        ca: Path | None = None,
        identity: TlsFiles | None = None,
        call: Caller = directly,
    ) -> None:
        self._reason = reason
        self._timeout = timeout
        self._call = call
        self._identified = identity is not None
        self._context = _context(ca) if identity is None else _with_identity(_new_context(ca), identity)
        self._pools: dict[str, urllib3.PoolManager] = {}

    def get(self, url: str, headers: Mapping[str, str] | None = None, wait: float = 0.0) -> HttpResponse:
        """Ask for something.

        Args:
            url: Where.
            headers: More headers.
            wait: Seconds that the server may take its time before it answers, beside the time-out.

        Raises:
            TransportError: There is no answer, or it leads where it must not.
        """
        for _ in range(REDIRECTS + 1):
            answer = self._send("GET", url, {"Accept-Encoding": "identity", **(headers or {})}, None, wait)
            onward = self._onward(answer, url)
            if onward is None:
                return answer
            if origin_of(onward) != origin_of(url) and urlsplit(onward).scheme != "https":
                raise TransportError(
                    self._reason, f"{url} redirects to {one_line(onward)}: only its own origin and https are followed"
                )
            url = onward
        raise self._circle(url)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Send a POST request, which must be idempotent.

        Raises:
            TransportError: There is no answer, or it leads where it must not.
            CertificateRefused: A certificate was shown, and the server broke off before it answered.
        """
        for _ in range(REDIRECTS + 1):
            answer = self._send("POST", url, headers, body, 0.0)
            onward = self._onward(answer, url)
            if onward is None:
                return answer
            if origin_of(onward) != origin_of(url) or answer.status not in KEEPS_METHOD:
                raise TransportError(
                    self._reason, f"{url} redirects to {one_line(onward)}; if that is right, write it into agent.toml"
                )
            url = onward
        raise self._circle(url)

    def _onward(self, answer: HttpResponse, url: str) -> str | None:
        """Return the target of a redirect; None for any other response."""
        target = answer.headers.get("Location")
        if answer.status not in MOVED or target is None:
            return None
        answer.body(ERROR_BODY)
        try:
            onward = urljoin(url, target)
            origin_of(onward)
        except ValueError as error:
            message = f"{url} redirects to {one_line(target)}, which is no URL: {error}"
            raise TransportError(self._reason, message) from error
        return onward

    def _circle(self, url: str) -> TransportError:
        return TransportError(self._reason, f"{url}: redirected more than {REDIRECTS} times; is it a circle?")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, wait: float) -> HttpResponse:
        pool = self._pool(url)
        timeout = urllib3.Timeout(connect=self._timeout, read=self._timeout + wait)
        within = 2 * self._timeout + wait

        def request() -> urllib3.BaseHTTPResponse:
            return pool.urlopen(
                method,
                url,
                body=body,
                headers={"User-Agent": f"edgewright-agent/{__version__}", **headers},
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=timeout,
            )

        try:
            try:
                response = self._call(request, within)
            except ProtocolError:
                # A server may close a kept connection in the very moment it is used again; once more on a fresh one.
                pool.clear()
                response = self._call(request, within)
        except (HTTPError, OSError, Abandoned) as error:
            failure = self._failure(error, url)
            if self._identified and looks_like_a_refused_certificate(error):
                message = f"{failure.message}; perhaps it refuses this device's certificate"
                raise CertificateRefused("CertificateRefused", message) from error
            raise failure from error
        return HttpResponse(url, response, partial(self._call, within=2 * self._timeout), self._failure)

    def _failure(self, error: Exception, url: str) -> TransportError:
        return TransportError(self._reason, explained(error, url, self._timeout, named(proxy_for(url))))

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url)
        if proxy not in self._pools:
            self._pools[proxy] = self._new_pool(proxy)
        return self._pools[proxy]

    def _new_pool(self, proxy: str) -> urllib3.PoolManager:
        if not proxy:
            return urllib3.PoolManager(
                num_pools=4, maxsize=2, ssl_context=self._context, socket_options=_SOCKET_OPTIONS
            )
        try:
            return urllib3.ProxyManager(
                named(proxy),
                num_pools=4,
                maxsize=2,
                ssl_context=self._context,
                socket_options=_SOCKET_OPTIONS,
                proxy_headers=urllib3.make_headers(proxy_basic_auth=credentials_of(proxy)),
            )
        except (HTTPError, ValueError) as error:
            raise TransportError(
                self._reason, f"the proxy {named(proxy)}, which the environment names, is none: {error}"
            ) from error

    def close(self) -> None:
        """Close connections that are not in use."""
        for pool in self._pools.values():
            pool.clear()


@lru_cache(maxsize=4)
def _context(ca: Path | None) -> ssl.SSLContext:
    """One context for all clients without a certificate: the authorities' certificates take memory."""
    return _new_context(ca)


def _new_context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"ca = {str(ca)!r}: cannot be read as certificates (PEM): {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _with_identity(context: ssl.SSLContext, identity: TlsFiles) -> ssl.SSLContext:
    try:
        context.load_cert_chain(identity.certificate, identity.key)
    except (OSError, ssl.SSLError) as error:
        message = f"{identity.certificate}: cannot be used with {identity.key}: {error}"
        raise CertificateRefused("CertificateUnusable", message) from error
    return context
