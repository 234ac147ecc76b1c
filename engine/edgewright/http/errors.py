"""Errors of outgoing HTTP requests.

::

    HttpError                      the request cannot succeed as it is
    ├── InvalidRequest             an address or a header that cannot be sent
    ├── RedirectRefused            the server redirects to where credentials are not sent
    └── HttpUnavailable            also Transient: no usable response now
        ├── UnusableResponse       too large, or not from the API: retrying at once does not help
        └── RetryableError         an idempotent request may be sent again at once
            ├── NotSent            no connection: any request may be sent again
            ├── RateLimited        refused for now: any request may be sent again, after a wait
            └── ServerFailed       5xx

Whoever uses the client maps them to its own errors. No message holds a secret that the client was told of.
"""

from edgewright.errors import EdgewrightError, Transient


class HttpError(EdgewrightError):
    """An HTTP request cannot succeed as it is."""


class InvalidRequest(HttpError):
    """An address or a header that cannot be sent."""


class RedirectRefused(HttpError):
    """A redirect that is not followed: credentials would leave the server, or a write would become a read."""

    def __init__(self, message: str, *, target: str, changes_method: bool = False) -> None:
        super().__init__(message, hint="use the server's address as it is now")
        self.target = target
        """Its origin, ``https://host``; its path where it stays on the server."""
        self.changes_method = changes_method


class HttpUnavailable(HttpError, Transient):
    """There is no usable response now."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds that the server asked to wait, at most a day; None where it did not."""


class UnusableResponse(HttpUnavailable):
    """The response is too large, or does not come from the API."""


class RetryableError(HttpUnavailable):
    """The response did not arrive, or may be better the next time."""


class NotSent(RetryableError):
    """The connection was not made, so the request did not arrive."""


class RateLimited(RetryableError):
    """The server refuses for now, without having done anything."""


class ServerFailed(RetryableError):
    """The server answered 5xx."""
