"""Posts a notification over HTTP. Used by ``chat`` and ``webhook``.

The URL is a secret: it is in no error and in no log, redirects are not followed, and what the receiver answers is
quoted without it.
"""

import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.http.client import HttpClient, check_url
from edgewright.http.errors import HttpUnavailable, InvalidRequest, NotSent
from edgewright.http.limits import Limits, RetryPolicy
from edgewright.http.response import Response
from edgewright.http.retry import retry
from edgewright.secret import Secret

_LIMITS = Limits(connect=10.0, idle=10.0, total=10.0, max_bytes=4096, excerpt=True)
_RETRIES = RetryPolicy(attempts=3, first=0.5, longest=2.0, jitter=False, honors_retry_after=False)
_CONTENT_TYPE = {"Content-Type": "application/json; charset=utf-8"}


class Poster:
    """Posts JSON to one receiver."""

    def __init__(self, receiver: str, url: Secret, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare to post; nothing is connected to yet.

        Args:
            receiver: The receiver in words, for errors.
            url: Its address.
            sleep: Waits between attempts; seconds.

        Raises:
            NotificationError: The URL is not valid.
        """
        self._receiver = receiver
        self._url = url
        self._sleep = sleep
        try:
            check_url(receiver, url.reveal())
        except InvalidRequest as error:
            raise NotificationError(error.message, hint="the secret must hold a whole https:// URL") from None

    def post(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> None:
        """Post, up to three times where the receiver does not answer or answers 5xx.

        Args:
            body: JSON.
            headers: Returns those beside Content-Type, anew for every attempt.

        Raises:
            NotificationUnavailable: It did not answer, or answered 5xx or 429; has the wait that it asked for.
            NotificationError: It refused, or redirected.
        """
        try:
            response = retry(_RETRIES, lambda: self._attempt(body, headers), sleep=self._sleep)
        except HttpUnavailable as error:
            hint = error.hint
            if isinstance(error, NotSent):
                hint = f"{error.hint}; the address is in the receiver's secret"
            raise NotificationUnavailable(error.message, hint=hint, retry_after=error.retry_after) from None
        except InvalidRequest as error:
            raise NotificationError(error.message, hint=error.hint) from None
        if not 200 <= response.status < 300:
            raise self._refused(response)

    def _attempt(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> Response:
        with HttpClient(self._receiver, self._url.reveal(), secrets=_parts(self._url), limits=_LIMITS) as client:
            response = client.request("POST", content=body, headers={**_CONTENT_TYPE, **headers()})
        if (error := response.unavailable()) is not None:
            raise error
        return response

    def _refused(self, response: Response) -> NotificationError:
        message = f"{self._receiver} answers {response.status}{response.quote}"
        if response.status < 400:
            return NotificationError(message, hint="redirects are not followed; put the final URL into the secret")
        return NotificationError(message, hint="check the URL in the secret, and whether the receiver still exists")


def _parts(url: Secret) -> list[Secret]:
    """Return the URL and what is secret of it when a receiver quotes it without its host."""
    split = urlsplit(url.reveal())
    return [url, *(Secret(part) for part in (split.path, split.query) if len(part) > 1)]
