"""What a forge's answer means: good, refused, or to be asked for again, and when."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from edgewright.errors import ForgeError, ForgeUnavailable
from edgewright.secret import Secret, redact

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNSPOKEN_WAIT = 60.0
"""GitHub: after a limit without a figure, wait at least a minute ("Best practices for using the REST API")."""
_LONGEST_QUOTE = 300


class Again(Exception):
    """May be asked again; never leaves this package. ``error`` is what is said when it stays so."""

    def __init__(self, error: ForgeUnavailable, *, refused_for_now: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.refused_for_now = refused_for_now
        """It was certainly not done: even what is not repeatable may be sent again."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks whom: for messages."""

    forge: str
    """``GitHub``"""
    host: str
    token: Secret | None
    variable: str
    """Where the token came from."""

    def __str__(self) -> str:
        """Say it in words: ``GitHub at api.github.com``."""
        return f"{self.forge} at {self.host}"


@dataclass(frozen=True)
class Answer:
    """One answer, read whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def location(self) -> str | None:
        """Where it redirects to."""
        return self.headers.get("location") if self.status in _REDIRECTS else None

    @cached_property
    def _parsed(self) -> tuple[bool, Any]:
        if not self.content:
            return self.status in {201, 204, 205} or self.status >= 400, None
        try:
            return True, json.loads(self.content)
        except (ValueError, RecursionError):
            return False, None

    @property
    def is_api(self) -> bool:
        """Whether it is the API's: JSON, or nothing where nothing is due."""
        return self._parsed[0]

    @property
    def body(self) -> Any:
        """What the JSON says."""
        return self._parsed[1]

    def has_more(self, seen: int) -> bool:
        """Whether another page follows, after so many items on this and the earlier ones."""
        link = self.headers.get("link")
        if link is not None:
            return 'rel="next"' in link or "rel=next" in link
        if next_page := self.headers.get("x-next-page"):
            return next_page.isdigit()
        total = self.headers.get("x-total-count") or self.headers.get("x-total") or ""
        return total.isdigit() and seen < int(total)

    def said(self, asker: Asker) -> str:
        """The forge's own words, shortened; empty when it has none."""
        body = self.body
        words = (body.get("message") or body.get("error") or "") if isinstance(body, dict) else ""
        text = words if isinstance(words, str) else json.dumps(words)
        return redact(" ".join(text.split()), [asker.token])[:_LONGEST_QUOTE]

    def not_the_api(self, asker: Asker) -> ForgeUnavailable:
        """Something else answered."""
        kind = self.headers.get("content-type", "").partition(";")[0] or "something without a type"
        return ForgeUnavailable(
            f"{asker} answers {self.status} with {kind} that is not the API's: something between answered",
            hint="check EDGEWRIGHT_FORGE_URL, and proxies or sign-in pages on the way",
        )

    def check(self, asker: Asker, about: str, right: str) -> None:
        """Pass what was done.

        Raises:
            ForgeUnavailable: Something answered that is not the API.
            ForgeError: It was refused.
        """
        if not self.is_api:
            raise self.not_the_api(asker)
        if self.status < 300:
            return
        said = f" ({said})" if (said := self.said(asker)) else ""
        if self.status in {401, 403}:
            raise _refused(self.status, asker, about, right, said)
        if self.status in {404, 410}:
            raise ForgeError(
                f"{asker} has no {about}, or the token may not see it{said}",
                hint=f"check EDGEWRIGHT_FORGE_REPOSITORY, and that the token in {asker.variable} may read it",
            )
        raise ForgeError(f"{asker} refuses {about}: {self.status}{said}")


def _refused(status: int, asker: Asker, about: str, right: str, said: str) -> ForgeError:
    if asker.token is None:
        return ForgeError(f"{asker} refuses {about} without a token", hint=f"set {asker.variable}: it needs {right}")
    if status == 401:
        return ForgeError(
            f"{asker} does not accept the token in {asker.variable}{said}",
            hint=f"make a new one with {right}; it may have expired or been revoked",
        )
    return ForgeError(
        f"the token in {asker.variable} may not do this at {asker}: {about}{said}", hint=f"it needs {right}"
    )


def judge(answer: Answer, asker: Asker, *, longest: float) -> Answer:
    """Pass on what is final.

    Raises:
        Again: It may be asked again within ``longest`` seconds.
        ForgeUnavailable: It may be asked again, but only later.
    """
    limited = answer.status == 429 or (answer.status == 403 and _is_limit(answer))
    if not limited and answer.status < 500:
        return answer
    after = _retry_after(answer, limited=limited)
    what = "asks to come again later" if limited else f"has trouble of its own: {answer.status}"
    said = f" ({said})" if (said := answer.said(asker)) else ""
    wait = f", in {after:.0f} s" if after else ""
    error = ForgeUnavailable(f"{asker} {what}{wait}{said}", retry_after=after)
    if after is not None and after > longest:
        raise error
    raise Again(error, refused_for_now=limited)


def _is_limit(answer: Answer) -> bool:
    """GitHub also says 403 when asked too often."""
    words = answer.body.get("message", "") if isinstance(answer.body, dict) else ""
    return (
        "retry-after" in answer.headers
        or answer.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in str(words).lower()
    )


def _retry_after(answer: Answer, *, limited: bool) -> float | None:
    """Seconds to wait, by ``Retry-After``, else by when the limit begins anew; None where nothing is said."""
    asked = answer.headers.get("retry-after", "").strip()
    if asked.isdigit():
        return float(asked)
    if (moment := _moment(asked)) is not None:
        return max(0.0, moment - _now(answer))
    reset = answer.headers.get("x-ratelimit-reset") or answer.headers.get("ratelimit-reset") or ""
    if limited and reset.isdigit() and answer.headers.get("x-ratelimit-remaining", "0") == "0":
        return max(1.0, float(reset) - _now(answer))
    return _UNSPOKEN_WAIT if limited and answer.status == 403 else None


def _now(answer: Answer) -> float:
    """The forge's own clock where it tells it: ours may differ."""
    told = _moment(answer.headers.get("date", ""))
    return told if told is not None else time.time()


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
