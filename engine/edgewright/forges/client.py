"""A forge's HTTP API with a token, for all forges: retries, pages, and errors in the forge's terms.

The token travels in a header, to the API's own address only, and appears in no message.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgewright.errors import ForgeError, ForgeUnavailable
from edgewright.forges.settings import ForgeSettings
from edgewright.http.client import HttpClient
from edgewright.http.errors import HttpError, HttpUnavailable, InvalidRequest, RedirectRefused
from edgewright.http.limits import Limits, RetryPolicy
from edgewright.http.response import Response
from edgewright.http.retry import retry

PAGE = 50
"""Items on a page: the most that Gitea gives by default."""
MOST_PAGES = 100
LIMITS = Limits(idle=20.0, total=60.0, max_bytes=8 * 1024 * 1024)
_NOT_FOUND = 404
_ADDRESS_HINT = "check EDGEWRIGHT_FORGE_URL, and proxies or sign-in pages on the way"
_BODYLESS = frozenset({201, 204, 205})


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Limits and retries for a forge."""

    limits: Limits = LIMITS
    retries: RetryPolicy = field(default_factory=RetryPolicy)


DEFAULT_OPTIONS = HttpOptions()


class ForgeClient:
    """One forge's API.

    Raises (all calls): ForgeUnavailable when it does not answer, answers with 5xx or 429 after all attempts, asks to
    wait for long, or something answers that is not the API; ForgeError when it refuses.
    """

    def __init__(
        self, forge: str, settings: ForgeSettings, headers: Mapping[str, str], options: HttpOptions = DEFAULT_OPTIONS
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            forge: The forge's name, ``GitHub``.
            settings: Its address and token.
            headers: Carry the token.
            options: Bounds and retries.

        Raises:
            ForgeError: The address or the token cannot be sent.
        """
        self._forge = forge
        self._settings = settings
        self._server = f"{forge} at {settings.host}"
        self._retries = options.retries
        try:
            self._http = HttpClient(
                self._server,
                settings.url,
                headers={"Accept": "application/json"} | dict(headers),
                secrets=[settings.token],
                limits=options.limits,
                follow_redirects=True,
            )
        except InvalidRequest as error:
            hint = f"check EDGEWRIGHT_FORGE_URL, and the token in {settings.variable}: {error.hint}"
            raise ForgeError(error.message, hint=hint) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
        idempotent: bool = True,
    ) -> Any:
        """Write. What is not idempotent is sent again only when it cannot have arrived, or was refused for now."""
        return self._call(method, path, about, right, body=body, idempotent=idempotent).body

    def remove(self, path: str, *, about: str, right: str) -> None:
        """Delete; what is gone already is fine."""
        self._call("DELETE", path, about, right, may_be_absent=True)

    def change(self, method: str, path: str, body: Mapping[str, object], *, about: str, right: str) -> Any | None:
        """Write to something that may have gone; None when it has."""
        response = self._call(method, path, about, right, body=body, may_be_absent=True)
        return None if response.status == _NOT_FOUND else response.body

    def pages(self, path: str, *, about: str, right: str, **params: str | int) -> Iterator[Any]:
        """Yield the items of a list, page by page, by number: addresses that a server gives are not followed.

        Raises:
            ForgeError: There are more than 100 pages.
        """
        seen = 0
        for number in range(1, MOST_PAGES + 1):
            query = {"per_page": PAGE, "limit": PAGE, "page": number} | params
            response = self._call("GET", path, about, right, params=query)
            if not isinstance(response.body, list):
                raise _unavailable(response.foreign(_ADDRESS_HINT))
            yield from response.body
            seen += len(response.body)
            if not response.body or not _has_next_page(response, seen):
                return
        raise ForgeError(f"{self._forge} has more than {MOST_PAGES} pages of {about}", hint="close or remove some")

    def _call(
        self,
        method: str,
        path: str,
        about: str,
        right: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        idempotent: bool = True,
        may_be_absent: bool = False,
    ) -> Response:
        def attempt() -> Response:
            response = self._http.request(method, path, params=params, json=body)
            if (error := response.unavailable()) is not None:
                raise error
            return response

        try:
            response = retry(self._retries, attempt, idempotent=idempotent)
        except HttpError as error:
            raise self._mapped(error) from None
        if not (may_be_absent and response.status == _NOT_FOUND):
            self._check(response, about, right)
        return response

    def _mapped(self, error: HttpError) -> ForgeError | ForgeUnavailable:
        match error:
            case HttpUnavailable():
                return _unavailable(error)
            case RedirectRefused(changes_method=True):
                hint = "set EDGEWRIGHT_FORGE_REPOSITORY to the repository's name as it is now"
                return ForgeError(f"{self._server} says that the repository has moved to {error.target}", hint=hint)
            case RedirectRefused():
                return ForgeError(error.message, hint="set EDGEWRIGHT_FORGE_URL to the API's address as it is now")
            case _:
                return ForgeError(error.message, hint=error.hint)

    def _check(self, response: Response, about: str, right: str) -> None:
        """Raise for a response that is not the API's, or refuses.

        Raises:
            ForgeUnavailable: Something answered that is not the API.
            ForgeError: It was refused.
        """
        if not (response.is_json if response.content else response.status in _BODYLESS or response.status >= 400):
            raise _unavailable(response.foreign(_ADDRESS_HINT))
        if response.status < 300:
            return
        if response.status in {401, 403}:
            raise self._refused(response, about, right)
        if response.status in {404, 410}:
            raise ForgeError(
                f"{self._server} has no {about}, or the token may not see it{response.quote}",
                hint=f"check EDGEWRIGHT_FORGE_REPOSITORY, and that the token in {self._settings.variable} may read it",
            )
        raise ForgeError(f"{self._server} refuses {about}: {response.status}{response.quote}")

    def _refused(self, response: Response, about: str, right: str) -> ForgeError:
        variable = self._settings.variable
        if self._settings.token is None:
            return ForgeError(
                f"{self._server} refuses {about} without a token", hint=f"set {variable}: it needs {right}"
            )
        if response.status == 401:
            return ForgeError(
                f"{self._server} does not accept the token in {variable}{response.quote}",
                hint=f"create a new one with {right}; it may have expired or been revoked",
            )
        return ForgeError(
            f"the token in {variable} may not do this at {self._server}: {about}{response.quote}",
            hint=f"it needs {right}",
        )


def _unavailable(error: HttpUnavailable) -> ForgeUnavailable:
    return ForgeUnavailable(error.message, hint=error.hint, retry_after=error.retry_after)


def _has_next_page(response: Response, seen: int) -> bool:
    """Return whether another page follows, after so many items on this and the earlier ones."""
    link = response.headers.get("link")
    if link is not None:
        return 'rel="next"' in link or "rel=next" in link
    if next_page := response.headers.get("x-next-page"):
        return next_page.isdigit()
    total = response.headers.get("x-total-count") or response.headers.get("x-total") or ""
    return total.isdigit() and seen < int(total)
