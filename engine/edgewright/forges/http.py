"""What all forges share: one HTTP API with a token, bounded in time, size, attempts and pages.

The token travels in a header, to the API's own address only, and appears in no message.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import tenacity

from edgewright.errors import ForgeError, ForgeUnavailable
from edgewright.forges.answers import Again, Answer, Asker, judge
from edgewright.secret import redact

LARGEST = 8 * 1024 * 1024
"""Bytes of the longest answer that is read."""
PAGE = 50
"""Items on a page: the most that Gitea gives by default."""
MOST_PAGES = 100
_MOST_REDIRECTS = 3
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a forge is waited for, in seconds."""

    attempts: int = 4
    first: float = 0.5
    """Before the second attempt; it doubles from there, give or take a half."""
    longest: float = 15.0
    """The longest wait between attempts. A forge that asks for more is not waited for here."""
    silence: float = 20.0
    """Between two signs of life."""
    whole: float = 60.0
    """For one answer."""


PATIENT = Patience()


class Api:
    """One forge's API.

    Raises (all calls): ForgeUnavailable when it does not answer, answers with 5xx or 429 after all attempts, asks to
    wait for long, or something answers that is not the API; ForgeError when it refuses.
    """

    def __init__(self, asker: Asker, base: str, headers: Mapping[str, str], patience: Patience = PATIENT) -> None:
        _check_headers(asker, headers)
        self._asker = asker
        self._base = httpx.URL(base.rstrip("/"))
        self._patience = patience
        self._client = httpx.Client(
            headers={"User-Agent": "edgewright", "Accept-Encoding": "identity", "Accept": "application/json"}
            | dict(headers),
            timeout=httpx.Timeout(patience.silence, connect=min(10.0, patience.silence)),
            follow_redirects=False,
        )

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def get(self, path: str, *, about: str, right: str, **params: str | int) -> Any:
        """Read one thing. ``about`` names it for people; ``right`` is what a token needs for it."""
        return self._call("GET", path, about, right, params=params).body

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        about: str,
        right: str,
        repeatable: bool = True,
    ) -> Any:
        """Write. What is not repeatable is sent again only when it cannot have arrived, or was refused for now."""
        return self._call(method, path, about, right, body=body, repeatable=repeatable).body

    def remove(self, path: str, *, about: str, right: str) -> None:
        """Delete; what is gone already is fine."""
        self._call("DELETE", path, about, right, absent=True)

    def change(self, method: str, path: str, body: Mapping[str, object], *, about: str, right: str) -> Any | None:
        """Write to something that may have gone; None when it has."""
        answer = self._call(method, path, about, right, body=body, absent=True)
        return None if answer.status == httpx.codes.NOT_FOUND else answer.body

    def pages(self, path: str, *, about: str, right: str, **params: str | int) -> Iterator[Any]:
        """All items of a list, page by page, asked for by number: addresses that a server gives are not followed.

        Raises:
            ForgeError: There are more than 100 pages.
        """
        seen = 0
        for number in range(1, MOST_PAGES + 1):
            asked = {"per_page": PAGE, "limit": PAGE, "page": number} | params
            answer = self._call("GET", path, about, right, params=asked)
            if not isinstance(answer.body, list):
                raise answer.not_the_api(self._asker)
            yield from answer.body
            seen += len(answer.body)
            if not answer.body or not answer.has_more(seen):
                return
        raise ForgeError(
            f"{self._asker.forge} has more than {MOST_PAGES} pages of {about}", hint="close or remove some"
        )

    def _call(
        self,
        method: str,
        path: str,
        about: str,
        right: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        repeatable: bool = True,
        absent: bool = False,
    ) -> Answer:
        request = self._client.build_request(method, f"{self._base}{path}", params=params or None, json=body)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._patience.attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, Again) and (repeatable or error.refused_for_now)
            ),
            reraise=True,
        )
        try:
            answer = retrying(self._once, request)
        except Again as again:
            raise again.error from again.__cause__
        if absent and answer.status == httpx.codes.NOT_FOUND:
            return answer
        answer.check(self._asker, about, right)
        return answer

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.error.retry_after if isinstance(error, Again) else None
        jittered = tenacity.wait_exponential(self._patience.first) + tenacity.wait_random(0, self._patience.first)
        return max(min(jittered(state), self._patience.longest), asked or 0.0)

    def _once(self, request: httpx.Request) -> Answer:
        """Ask once, follow redirects inside the API, and judge what may be tried again.

        Raises:
            Again: It may be tried again.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._exchange(request)
            if answer.location is None:
                return judge(answer, self._asker, longest=self._patience.longest)
            request = self._redirected(request, answer)
        raise ForgeError(f"{self._asker} redirects in circles", hint="check EDGEWRIGHT_FORGE_URL")

    def _redirected(self, request: httpx.Request, answer: Answer) -> httpx.Request:
        """The request to the new place, on the same host. The token goes nowhere else.

        Raises:
            ForgeError: It leads to another host, or would turn a change into a question.
        """
        target = request.url.join(answer.location or "")
        own = (self._base.scheme, self._base.host, self._base.port)
        if (target.scheme, target.host, target.port) != own:
            raise ForgeError(
                f"{self._asker} redirects to {target.scheme}://{target.host}, where the token is not sent",
                hint="set EDGEWRIGHT_FORGE_URL to the API's address as it is now",
            )
        if request.method != "GET" and answer.status not in {307, 308}:
            raise ForgeError(
                f"{self._asker} says that the repository has moved to {target.path}",
                hint="set EDGEWRIGHT_FORGE_REPOSITORY to its name as it is now",
            )
        content = request.content or None
        kept = {"Content-Type": "application/json"} if content else {}
        return self._client.build_request(request.method, target, content=content, headers=kept)

    def _exchange(self, request: httpx.Request) -> Answer:
        end = time.monotonic() + self._patience.whole
        body = bytearray()
        try:
            response = self._client.send(request, stream=True)
            try:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST:
                        raise ForgeUnavailable(f"{self._asker} answers with more than {LARGEST // 2**20} MiB")
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout("the answer takes too long", request=request)
            finally:
                response.close()
        except (httpx.RequestError, httpx.StreamError) as error:
            reason = redact(str(error), [self._asker.token]) or type(error).__name__
            raise Again(
                ForgeUnavailable(f"{self._asker} does not answer: {reason}", hint="check the address and the network"),
                refused_for_now=isinstance(error, _NEVER_SENT),
            ) from error
        return Answer(response.status_code, response.headers, bytes(body))


def _check_headers(asker: Asker, headers: Mapping[str, str]) -> None:
    """Refuse a token that no header can carry: the HTTP library's own message would show it."""
    if any(not value.isascii() or not value.isprintable() for value in headers.values()):
        raise ForgeError(
            f"the token in {asker.variable} has characters that no token has", hint="write it again, on one line"
        )
