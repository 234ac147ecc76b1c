"""The HTTP client: one request, one response, bounded in time and size, with secrets kept to the server and out of
messages and logs.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

import httpx

from edgewright.http.errors import InvalidRequest, RedirectRefused, RetryableError, UnusableResponse
from edgewright.http.limits import Limits
from edgewright.http.response import Response
from edgewright.http.transport_errors import no_response
from edgewright.secret import Secret, redact

Params = Mapping[str, str | int] | Sequence[tuple[str, str | int]]

_MOST_REDIRECTS = 3
_HEADERS = {"User-Agent": "edgewright", "Accept-Encoding": "identity"}
_muted: ContextVar[bool] = ContextVar("_muted", default=False)


class _MuteOwnRequests(logging.Filter):
    """Keeps httpx from logging the URLs of this client's requests: some are secrets. Others log as they please."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _muted.get()


logging.getLogger("httpx").addFilter(_MuteOwnRequests())


class HttpClient:
    """A client of one server. Threads may share it.

    Args:
        server: The server in words, for messages: ``GitHub at api.github.com``.
        base: The address that paths are appended to.
        headers: Sent with every request; credentials among them.
        secrets: Hidden in every message.
        limits: Bounds on time and size.
        follow_redirects: Follow up to three redirects on the same server; else a redirect is a response like others.

    Raises:
        InvalidRequest: The address or a header cannot be sent.
    """

    def __init__(
        self,
        server: str,
        base: str,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[Secret | None] = (),
        limits: Limits | None = None,
        follow_redirects: bool = False,
    ) -> None:
        self.server = server
        self.limits = limits or Limits()
        self._secrets = tuple(secret for secret in secrets if secret is not None)
        self._base = base
        self._origin = _origin(check_url(server, base))
        self._follow_redirects = follow_redirects
        _check_headers(server, headers or {})
        timeout = httpx.Timeout(self.limits.idle, connect=min(self.limits.connect, self.limits.idle))
        self._client = httpx.Client(headers=_HEADERS | dict(headers or {}), timeout=timeout, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str = "",
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> Response:
        """Send one request and read its response, whatever its status.

        Args:
            method: ``GET``.
            path: Appended to the base.
            params: The query.
            headers: Beside the client's own.
            json: A body to write as JSON; or
            content: a body as it is; or
            form: fields of a multipart form, and
            files: its files by field: name, open stream, media type.

        Raises:
            InvalidRequest: The address or a header cannot be sent.
            RedirectRefused: It leads to another server, turns a write into a read, or in circles.
            UnusableResponse: The body is over the limit.
            NotSent: There is no connection.
            RetryableError: There is no response, or it broke off.
        """
        _check_headers(self.server, headers or {})
        try:
            request = self._client.build_request(
                method,
                self._base.rstrip("/") + path if path else self._base,
                params=_query(params) if params else None,
                headers=dict(headers or {}),
                json=json,
                content=content,
                data=form,
                files=files,
            )
        except httpx.InvalidURL:
            raise InvalidRequest(f"{self.server} has no address {path!r}: it is not part of a URL") from None
        response = self._exchange(request)
        if not self._follow_redirects:
            return response
        for _ in range(_MOST_REDIRECTS):
            if response.redirect is None:
                return response
            request = self._redirected(request, response, response.redirect)
            response = self._exchange(request)
        if response.redirect is not None:
            raise RedirectRefused(f"{self.server} redirects in circles", target=self._shown(response.redirect))
        return response

    def _redirected(self, request: httpx.Request, response: Response, location: str) -> httpx.Request:
        """Return the request to the redirect's target, on the same server. Credentials go nowhere else.

        Raises:
            RedirectRefused: It leads to another server, or would turn a write into a read.
        """
        try:
            target = request.url.join(location)
        except httpx.InvalidURL:
            raise RedirectRefused(f"{self.server} redirects to an address that is none", target="") from None
        if _origin(target) != self._origin:
            there = self._shown(f"{target.scheme}://{target.host}")
            raise RedirectRefused(f"{self.server} redirects to {there}, where credentials are not sent", target=there)
        if request.method not in {"GET", "HEAD"} and response.status not in {307, 308}:
            there = self._shown(target.path)
            raise RedirectRefused(f"{self.server} has moved {there}", target=there, changes_method=True)
        content = request.content or None
        headers = {"Content-Type": request.headers["Content-Type"]} if content else {}
        return self._client.build_request(request.method, target, content=content, headers=headers)

    def _exchange(self, request: httpx.Request) -> Response:
        try:
            with _without_httpx_log():
                response = self._client.send(request, stream=True)
                try:
                    content = self._read(response)
                finally:
                    response.close()
        except (httpx.RequestError, httpx.StreamError) as error:
            raise no_response(self.server, error, self.limits, self._secrets) from None
        return Response(self.server, response.status_code, response.headers, content, self._secrets)

    def _read(self, response: httpx.Response) -> bytes:
        """Read the body within the limits.

        Raises:
            UnusableResponse: It is too large.
            RetryableError: It takes too long.
            httpx.RequestError: It breaks off.
        """
        end = time.monotonic() + self.limits.total
        body = bytearray()
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > self.limits.max_bytes:
                    if self.limits.excerpt:
                        break
                    raise UnusableResponse(f"{self.server} answers with more than {_size(self.limits.max_bytes)}")
                if time.monotonic() > end:
                    if self.limits.excerpt:
                        break
                    raise RetryableError(f"{self.server} takes longer than {self.limits.total:g} s to answer")
        except httpx.RequestError:
            if not self.limits.excerpt:
                raise
        return bytes(body[: self.limits.max_bytes])

    def _shown(self, text: str) -> str:
        return redact(text, self._secrets)


def check_url(server: str, url: str) -> httpx.URL:
    """Parse a server's address.

    Raises:
        InvalidRequest: It is no http:// or https:// URL; the message does not quote it.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidRequest(f"the URL of {server} is not valid", hint="write a whole https:// URL")
    return parsed


def _check_headers(server: str, headers: Mapping[str, str]) -> None:
    """Refuse values that no header can carry: the HTTP library's own message would show them.

    Raises:
        InvalidRequest: There is one; the message does not quote it.
    """
    if any(not value.isascii() or not value.isprintable() for value in headers.values()):
        raise InvalidRequest(
            f"the secret for {server} has characters that no header can carry", hint="write it again, on one line"
        )


def _query(params: Params) -> list[tuple[str, str | int | float | bool | None]]:
    return list(params.items() if isinstance(params, Mapping) else params)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count:,} bytes"


@contextmanager
def _without_httpx_log() -> Iterator[None]:
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)
