"""The HTTP API of a customer's server: requests, and errors in terms of deliveries.

Nothing is retried here: the worker of a server makes its whole pass again, later. Credentials travel in a header to
the server's own address only, and appear in no message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.delivery.relayed.errors import Busy, Refused
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright.http.client import HttpClient, Params
from edgewright.http.errors import HttpError, InvalidRequest
from edgewright.http.limits import Limits
from edgewright.http.response import Response
from edgewright.secret import Secret, redact

_LONGEST_WAIT = 3600.0
_URL_HINT = "check the url in the fleet, and proxies or sign-in pages on the way"


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """A server and the user that signs in there, for messages."""

    server: str
    """``hawkBit at https://hawkbit.example.com``"""
    user: str
    """``the user edgewright``"""
    secret: Secret
    rights: str
    """How to give the user the rights that are missing."""


class ServerClient:
    """One server's API.

    Raises (all calls): Refused when the server does not accept the user, or forbids it; Busy when it asks to wait;
    DeliveryUnavailable when it does not answer, fails, or something else answers in its place; DeliveryError for what
    else it refuses.
    """

    def __init__(
        self, account: ServerAccount, base: str, headers: Mapping[str, str], limits: Limits | None = None
    ) -> None:
        self.account = account
        try:
            self._http = HttpClient(
                account.server,
                base,
                headers={"Accept": "application/json"} | dict(headers),
                secrets=[account.secret],
                limits=limits,
            )
        except InvalidRequest as error:
            raise Refused(error.message, hint=error.hint) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(
        self, path: str, params: Params | None = None, *, expect: Sequence[int] = (), kind: str = "json"
    ) -> Response:
        """Read. ``expect``: statuses beside 2xx to return; ``kind``: part of the content type that is expected."""
        return self._call("GET", path, params=params, expect=expect, kind=kind)

    def send(self, method: str, path: str, body: Any = None, *, expect: Sequence[int] = ()) -> Response:
        """Write JSON, or nothing."""
        return self._call(method, path, json=body, expect=expect)

    def delete(self, path: str, params: Params | None = None, *, expect: Sequence[int] = ()) -> Response:
        """Delete, or cancel."""
        return self._call("DELETE", path, params=params, expect=expect)

    def upload(
        self, path: str, fields: Mapping[str, str], name: str, file: Path, as_: str, *, expect: Sequence[int] = ()
    ) -> Response:
        """Send a form whose last part is a file, read as it is sent.

        Raises:
            DeliveryUnavailable: The file cannot be read, too.
        """
        try:
            with file.open("rb") as stream:
                part = {name: (as_, stream, "application/octet-stream")}
                return self._call("POST", path, form=fields, files=part, expect=expect)
        except OSError as error:
            raise DeliveryUnavailable(f"{file} cannot be read: {error.strerror or error}") from error

    def _call(
        self, method: str, path: str, *, expect: Sequence[int] = (), kind: str = "json", **parts: Any
    ) -> Response:
        try:
            response = self._http.request(method, path, **parts)
        except HttpError as error:
            raise DeliveryUnavailable(error.message, hint=error.hint) from None
        if response.status in expect:
            return response
        if response.status >= 300:
            raise self._refusal(f"{method} {path}", response)
        if response.content and kind not in response.headers.get("content-type", kind):
            raise _foreign(response)
        return response

    def _refusal(self, request: str, response: Response) -> DeliveryError | DeliveryUnavailable:
        account, status = self.account, response.status
        is_page = response.body is None and "html" in response.content_type
        if is_page and status in {400, 403, 404, 405, 406, 409}:
            return _foreign(response)
        if status == 401 or 300 <= status < 400 or (status == 403 and not _is_quota(response)):
            return self._refused(request, response)
        if not _is_quota(response) and (error := response.unavailable()) is not None:
            seconds = None if error.retry_after is None else min(error.retry_after, _LONGEST_WAIT)
            return Busy(error.message, hint=error.hint, retry_after=seconds)
        return DeliveryError(f"{account.server} refuses {request}: {status}{response.quote}")

    def _refused(self, request: str, response: Response) -> Refused:
        account = self.account
        if response.status == 401:
            return Refused(
                f"{account.server} does not accept {account.user}{response.quote}",
                hint="check the secret that the fleet names; it may have expired or been revoked",
            )
        if response.status == 403:
            return Refused(
                f"{account.server} forbids {account.user}: {request}{response.quote}",
                hint=account.rights,
                reason="Forbidden",
            )
        return Refused(
            f"{account.server} redirects, where no credentials are sent",
            hint="write the address as it is now into the fleet",
            reason="Redirected",
        )


def listed(response: Response, name: str = "") -> list[dict[str, Any]]:
    """Return the objects of a list, which is the body, or its member ``name``.

    Raises:
        DeliveryUnavailable: There is none: something else has answered.
    """
    found = response.body.get(name) if name and isinstance(response.body, dict) else response.body
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        begin = redact(response.text, response.secrets)[:80]
        raise DeliveryUnavailable(
            f"{response.server} should answer with a list, and answers with {begin!r}",
            hint="check the url in the fleet",
        )
    return found


def _foreign(response: Response) -> DeliveryUnavailable:
    error = response.foreign(_URL_HINT)
    return DeliveryUnavailable(error.message, hint=error.hint)


def _is_quota(response: Response) -> bool:
    """Return whether a 4xx is a limit that waiting does not lift."""
    code = response.body.get("errorCode") if response.status < 500 and isinstance(response.body, dict) else None
    return isinstance(code, str) and "quota" in code.lower()
