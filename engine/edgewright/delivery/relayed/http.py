"""A customer's server over HTTP: one request, one judged answer, bounded in time and size.

Nothing is tried again here: the worker of a server makes its whole pass again, later. Credentials travel in a header to
the server's own address only, and appear in no message.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from edgewright.delivery.relayed.errors import Busy, Patience, Refused
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright.secret import Secret, redact

LARGEST = 16 * 1024 * 1024
"""Bytes of the longest answer that is read."""
_MOST_WORDS = 300
_LONGEST_WAIT = 3600.0

Params = Mapping[str, str | int] | Sequence[tuple[str, str | int]]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks whom, for messages."""

    server: str
    """``hawkBit at https://hawkbit.example.com``"""
    user: str
    """``the user edgewright``"""
    secret: Secret
    rights: str
    """Where to look when it is forbidden."""


@dataclass(frozen=True)
class Reply:
    """One answer, read whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @cached_property
    def body(self) -> Any:
        """What the JSON says; None where there is nothing, or no JSON."""
        try:
            return json.loads(self.content) if self.content else None
        except (ValueError, RecursionError):
            return None

    def listed(self, name: str = "") -> list[dict[str, Any]]:
        """The objects of a list, which is the body, or its member ``name``.

        Raises:
            DeliveryUnavailable: There is none: something else has answered.
        """
        found = self.body.get(name) if name and isinstance(self.body, dict) else self.body
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise DeliveryUnavailable(
                f"a list was asked for, and {self.text[:80]!r} came", hint="check the url in the fleet"
            )
        return found

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", errors="replace")

    @property
    def location(self) -> str:
        """The last part of ``Location``: the id of what was made."""
        return self.headers.get("location", "").rstrip("/").rpartition("/")[2]


class Api:
    """One server's API.

    Raises (all calls): Refused when the server does not know who asks, or forbids it; Busy when it asks to wait;
    DeliveryUnavailable when it does not answer, has trouble of its own, or something else answers in its place;
    DeliveryError for what else it refuses.
    """

    def __init__(self, asker: Asker, base: str, headers: Mapping[str, str], patience: Patience | None = None) -> None:
        self.asker = asker
        self._patience = patience or Patience()
        if any(not value.isascii() or not value.isprintable() for value in headers.values()):
            raise Refused(
                f"the secret for {asker.server} has characters that no header can carry", hint="write it again"
            )
        timeout = httpx.Timeout(self._patience.silence, connect=self._patience.connect)
        own = {"User-Agent": "edgewright", "Accept": "application/json", "Accept-Encoding": "identity"}
        self._base = base.rstrip("/")
        self._client = httpx.Client(headers=own | dict(headers), timeout=timeout, follow_redirects=False)

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def get(self, path: str, params: Params | None = None, *, expect: Sequence[int] = (), kind: str = "json") -> Reply:
        """Read. ``expect``: codes beside 2xx that are an answer, too; ``kind``: part of the content type due."""
        return self._call("GET", path, params=params, expect=expect, kind=kind)

    def send(self, method: str, path: str, body: Any = None, *, expect: Sequence[int] = ()) -> Reply:
        """Write JSON, or nothing."""
        content = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if content is not None else {}
        return self._call(method, path, content=content, headers=kind, expect=expect)

    def delete(self, path: str, params: Params | None = None, *, expect: Sequence[int] = ()) -> Reply:
        """Delete, or call off."""
        return self._call("DELETE", path, params=params, expect=expect)

    def upload(
        self, path: str, fields: Mapping[str, str], name: str, file: Path, as_: str, *, expect: Sequence[int] = ()
    ) -> Reply:
        """Send a form whose last part is a file, read as it is sent.

        Raises:
            DeliveryUnavailable: The file cannot be read, too.
        """
        try:
            with file.open("rb") as stream:
                part = {name: (as_, stream, "application/octet-stream")}
                return self._call("POST", path, data=dict(fields), files=part, expect=expect)
        except OSError as error:
            raise DeliveryUnavailable(f"{file} cannot be read: {error.strerror or error}") from error

    def _call(self, method: str, path: str, *, expect: Sequence[int] = (), kind: str = "json", **parts: Any) -> Reply:
        try:
            request = self._client.build_request(method, self._base + path, **parts)
            reply = self._exchange(request)
        except (httpx.RequestError, httpx.StreamError, httpx.InvalidURL) as error:
            raise self._no_answer(error) from error
        if reply.status in expect:
            return reply
        if reply.status >= 300:
            raise self._refusal(method, path, reply)
        if reply.content and kind not in reply.headers.get("content-type", kind):
            raise self._foreign(reply)
        return reply

    def _exchange(self, request: httpx.Request) -> Reply:
        body = bytearray()
        response = self._client.send(request, stream=True)
        end = time.monotonic() + self._patience.whole
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LARGEST:
                    raise DeliveryUnavailable(f"{self.asker.server} answers with more than {LARGEST // 2**20} MiB")
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("the answer takes too long", request=request)
        finally:
            response.close()
        return Reply(response.status_code, response.headers, bytes(body))

    def _no_answer(self, error: Exception) -> DeliveryUnavailable:
        why = redact(str(error), [self.asker.secret]) or type(error).__name__
        hint = "check its address, and the network"
        if "CERTIFICATE" in why or "SSL" in why:
            hint = "check the server's certificate; one of your own CA is trusted through SSL_CERT_FILE"
        return DeliveryUnavailable(f"{self.asker.server} does not answer: {why}", hint=hint)

    def _foreign(self, reply: Reply) -> DeliveryUnavailable:
        kind = reply.headers.get("content-type", "").partition(";")[0] or "something without a type"
        return DeliveryUnavailable(
            f"{self.asker.server} answers {reply.status} with {kind} that is not its API's",
            hint="check the url in the fleet, and proxies or sign-in pages on the way",
        )

    def _refusal(self, method: str, path: str, reply: Reply) -> DeliveryError | DeliveryUnavailable:
        asker, said = self.asker, self._said(reply)
        what = f"{method} {path}"
        is_page = reply.body is None and "html" in reply.headers.get("content-type", "")
        if is_page and reply.status in {400, 403, 404, 405, 406, 409}:
            return self._foreign(reply)
        if reply.status == 401 or 300 <= reply.status < 400 or (reply.status == 403 and not _is_quota(reply)):
            return self._unwelcome(what, reply, said)
        if reply.status >= 500 or (reply.status == 429 and not _is_quota(reply)):
            trouble = "asks to come again later" if reply.status == 429 else f"has trouble of its own: {reply.status}"
            return Busy(f"{asker.server} {trouble}{said}", retry_after=_retry_after(reply))
        return DeliveryError(f"{asker.server} refuses {what}: {reply.status}{said}")

    def _unwelcome(self, what: str, reply: Reply, said: str) -> Refused:
        asker = self.asker
        if reply.status == 401:
            return Refused(
                f"{asker.server} does not accept {asker.user}{said}",
                hint="check the secret that the fleet names; it may have expired or been revoked",
            )
        if reply.status == 403:
            return Refused(f"{asker.server} forbids {asker.user}: {what}{said}", hint=asker.rights, reason="Forbidden")
        return Refused(
            f"{asker.server} redirects, where no credentials are sent",
            hint="write the address as it is now into the fleet",
            reason="Redirected",
        )

    def _said(self, reply: Reply) -> str:
        body = reply.body
        words = (body.get("message") or body.get("error") or "") if isinstance(body, dict) else ""
        text = redact(" ".join(str(words).split()), [self.asker.secret])[:_MOST_WORDS]
        return f" ({text})" if text else ""


def _is_quota(reply: Reply) -> bool:
    """A limit that waiting does not lift."""
    code = reply.body.get("errorCode") if isinstance(reply.body, dict) else None
    return isinstance(code, str) and "quota" in code.lower()


def _retry_after(reply: Reply) -> float | None:
    asked = reply.headers.get("retry-after", "").strip()
    if asked.isdigit():
        return min(float(asked), _LONGEST_WAIT)
    try:
        return min(max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()), _LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None
