"""Posts a notice over HTTP. Used by ``chat`` and ``webhook``.

The URL is a secret: it is in no error and in no log, redirects are not followed, and what the receiver answers is
shown without it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.secret import Secret, redact

_TIMEOUT_SECONDS = 10.0
_ATTEMPTS = 3
_LONGEST_WAIT_SECONDS = 24 * 3600.0
"""What a receiver may ask to be left alone for."""
_SHOWN = 200
"""Characters of an answer."""
_READ = 4096
_TOO_MANY = 429
_quiet: ContextVar[bool] = ContextVar("_quiet", default=False)


class _NoSecretUrls(logging.Filter):
    """Keeps httpx from logging the URLs of receivers; other clients of httpx log as they please."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _quiet.get()


logging.getLogger("httpx").addFilter(_NoSecretUrls())


@contextmanager
def _quietly() -> Iterator[None]:
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


class _Again(NotificationUnavailable):
    """Worth another try at once."""


class Poster:
    """Posts JSON to one receiver."""

    def __init__(self, who: str, url: Secret, *, pause: Callable[[float], None] = time.sleep) -> None:
        """Remember where to.

        Args:
            who: The receiver in words, for errors.
            url: Where it listens.
            pause: Waits between attempts; seconds.

        Raises:
            NoticeError: The URL is none.
        """
        self._who = who
        self._url = url
        self._retrying = Retrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(multiplier=0.5, max=2),
            sleep=pause,
            reraise=True,
        )
        try:
            parsed = httpx.URL(url.reveal())
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise NotificationError(f"the URL of {who} is none", hint="the secret must hold a whole https:// URL")

    def post(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> None:
        """Post, and once more and once again where the receiver does not answer or answers 5xx.

        Args:
            body: JSON.
            headers: Gives those beside Content-Type, anew for every attempt.

        Raises:
            NoticeUnavailable: It did not answer, or answered 5xx or 429; says for how long it asked to wait.
            NoticeError: It refused, or redirected.
        """
        self._retrying(self._post_once, body, headers)

    def _post_once(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> None:
        given = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "edgewright", **headers()}
        with _quietly():
            try:
                with (
                    httpx.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client,
                    client.stream("POST", self._url.reveal(), content=body, headers=given) as response,
                ):
                    status, asked = response.status_code, response.headers.get("Retry-After")
                    said = "" if response.is_success else self._read(response)
            except httpx.TimeoutException:
                raise _Again(f"{self._who} did not answer within {_TIMEOUT_SECONDS:.0f} s") from None
            except httpx.RequestError as error:
                raise _Again(
                    f"{self._who} cannot be reached ({type(error).__name__})",
                    hint="look at the host in its secret, its certificate, and the way there",
                ) from None
        self._judge(status, said, asked)

    def _judge(self, status: int, said: str, asked: str | None) -> None:
        if 200 <= status < 300:
            return
        answer = f"{self._who} answered {status}" + (f": {said}" if said else "")
        if status == _TOO_MANY or (status >= 500 and asked is not None):
            raise NotificationUnavailable(answer, retry_after=_seconds(asked))
        if status >= 500:
            raise _Again(answer)
        if 300 <= status < 400:
            raise NotificationError(answer, hint="redirects are not followed; put the final URL into the secret")
        raise NotificationError(answer, hint="look at the URL in the secret, and whether the receiver still exists")

    def _read(self, response: httpx.Response) -> str:
        """Read the beginning of an answer, as one line without secrets."""
        said = b""
        for part in response.iter_raw(_READ):
            said += part
            if len(said) >= _READ:
                break
        text = redact(said[:_READ].decode(errors="replace"), [self._url])
        return " ".join(text.split())[:_SHOWN]


def _seconds(asked: str | None) -> float | None:
    """Read ``Retry-After``: seconds or a date; None for anything else."""
    if asked is None:
        return None
    try:
        seconds = float(asked) if asked.strip().isdigit() else _until(asked)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def _until(date: str) -> float:
    when = parsedate_to_datetime(date)
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return (when - datetime.now(UTC)).total_seconds()
