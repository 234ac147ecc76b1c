"""A response, read whole: its JSON, the server's own words, and whether the server is available."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from edgewright.http.errors import RateLimited, RetryableError, ServerFailed, UnusableResponse
from edgewright.http.retry_after import rate_limit_wait, retry_after
from edgewright.secret import Secret, redact

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_QUOTE = 200


@dataclass(frozen=True)
class Response:
    """One response."""

    server: str
    """The server in words, for messages: ``GitHub at api.github.com``."""
    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    content: bytes
    secrets: tuple[Secret, ...] = field(default=(), repr=False)
    """Hidden in quotations."""

    @cached_property
    def _parsed(self) -> tuple[bool, Any]:
        try:
            return True, json.loads(self.content)
        except (ValueError, RecursionError):
            return False, None

    @property
    def is_json(self) -> bool:
        """True where the body is JSON."""
        return self._parsed[0]

    @property
    def body(self) -> Any:
        """The parsed JSON; None where there is none."""
        return self._parsed[1]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", errors="replace")

    @property
    def content_type(self) -> str:
        """``text/html``, without parameters; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def redirect(self) -> str | None:
        """The target of a redirect, as the server writes it."""
        return self.headers.get("location") if self.status in _REDIRECTS else None

    @property
    def error_text(self) -> str:
        """The server's own words about an error, on one line, shortened and redacted; empty where it has none."""
        if isinstance(self.body, dict):
            words = self.body.get("message") or self.body.get("error") or ""
            text = words if isinstance(words, str) else json.dumps(words)
        else:
            text = self.text if self.content_type in {"", "text/plain"} else ""
        return redact(" ".join(text.split()), self.secrets)[:_LONGEST_QUOTE]

    @property
    def quote(self) -> str:
        """``error_text`` in brackets, to follow a message; empty where there is none."""
        return f" ({text})" if (text := self.error_text) else ""

    @property
    def is_rate_limited(self) -> bool:
        """True for 429, and for a 403 that is a rate limit, as GitHub sends it."""
        if self.status != 403:
            return self.status == 429
        words = self.body.get("message", "") if isinstance(self.body, dict) else ""
        spent = "retry-after" in self.headers or self.headers.get("x-ratelimit-remaining") == "0"
        return spent or "rate limit" in str(words).lower()

    def unavailable(self) -> RetryableError | None:
        """Return the error of a rate limit or a 5xx, with the wait that the server asks for; None for any other."""
        if self.is_rate_limited:
            seconds = rate_limit_wait(self.status, self.headers)
            message = f"{self.server} asks to retry later{_in(seconds)}{self.quote}"
            return RateLimited(message, retry_after=seconds)
        if self.status >= 500:
            seconds = retry_after(self.headers)
            message = f"{self.server} answers with a server error, {self.status}{_in(seconds)}{self.quote}"
            return ServerFailed(message, retry_after=seconds)
        return None

    def foreign(self, hint: str) -> UnusableResponse:
        """Return the error of a response that does not come from the API, but from a proxy or a sign-in page."""
        kind = self.content_type or "no content type"
        return UnusableResponse(
            f"{self.server} answers {self.status} with {kind}, which is not its API: something between answered",
            hint=hint,
        )


def _in(seconds: float | None) -> str:
    return f", in {seconds:.0f} s" if seconds else ""
