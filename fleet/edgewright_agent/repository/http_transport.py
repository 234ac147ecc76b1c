"""Published repository and report drop behind HTTP. Opened by ``http_wiring``; pass ``tests/contract/transport``.

The repository may be on any web server, site cache or CDN: everything in it is signed or named by its digest. Reports
go to edgewright's server, which knows a device by its certificate.
"""

import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import unquote

from edgewright_agent.errors import CertificateRefused, Changed, NotEnrolled, NotFound, TransportError
from edgewright_agent.http.answers import BUSY, GONE, entity_tag, range_start, retry_after, said
from edgewright_agent.http.client import ERROR_BODY, HttpClient, HttpResponse
from edgewright_agent.identity.enrollment import report_error
from edgewright_agent.identity.enrollment_client import Identities
from edgewright_agent.identity.files import Identity
from edgewright_wire.layout import METADATA

CHUNK = 64 * 1024
TIMESTAMP = f"{METADATA}/timestamp.json"
SMALL = 64 * 1024
"""Bytes of the longest file that is kept to be asked for conditionally."""
PATIENCE = 120.0
"""Seconds that one file outside blobs/ may take altogether."""
COMPRESSED_FROM = 512
_TAGS_KEPT = 16


def wall_clock() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


def _nobody(_told: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class _Tag:
    """A file's entity tag, and whether the server was seen to change it while the file was fetched."""

    tag: str
    steady: bool = True


class HttpRepository:
    """A published repository on a web server.

    Args:
        url: Its base.
        client: How to get there.
        discarded: Told of bytes of blobs that came over the wire only to be thrown away.
        heard: Shown each answer's headers.
    """

    def __init__(
        self,
        url: str,
        client: HttpClient,
        discarded: Callable[[int], None] = _nobody,
        heard: Callable[[Mapping[str, str]], None] = _nobody,
    ) -> None:
        self._url = url.rstrip("/")
        self._client = client
        self._discarded = discarded
        self._heard = heard
        self._tags: dict[str, _Tag] = {}
        self._timestamp: tuple[str, bytes] | None = None

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """As in RepositoryReader; a file that changed since it was begun raises Changed."""
        pure = PurePosixPath(unquote(path))
        if pure.is_absolute() or ".." in pure.parts:
            raise NotFound("NotFound", f"{path}: not a path inside the repository")
        answer = self._client.get(f"{self._url}/{path}", self._conditions(path, offset))
        try:
            self._heard(answer.headers)
            yield from self._bytes(path, offset, answer)
        finally:
            answer.close()

    def _conditions(self, path: str, offset: int) -> dict[str, str]:
        if path == TIMESTAMP and not offset and self._timestamp is not None:
            return {"If-None-Match": self._timestamp[0]}
        if not offset:
            return {}
        known = self._tags.get(path)
        # A tag that changed once already tells the servers of a name apart, not its bytes; their digest is checked.
        condition = {"If-Range": known.tag} if known is not None and known.steady else {}
        return {"Range": f"bytes={offset}-", **condition}

    def _bytes(self, path: str, offset: int, answer: HttpResponse) -> Iterator[bytes]:
        match answer.status:
            case 200:
                yield from self._whole(path, offset, answer)
            case 206 if range_start(answer.headers) == offset:
                self._remember(path, entity_tag(answer.headers))
                yield from _patiently(path, answer)
            case 206:
                raise _unreachable(f"{answer.url}: answered with another range than was asked for; is a cache broken?")
            case 304 if self._timestamp is not None:
                yield self._timestamp[1]
            case 416 if offset:
                return
            case _:
                raise _refusal(answer)

    def _whole(self, path: str, offset: int, answer: HttpResponse) -> Iterator[bytes]:
        tag, known = entity_tag(answer.headers), self._tags.get(path)
        if offset and known is not None and known.steady and tag and tag != known.tag:
            self._remember(path, tag, steady=False)
            raise Changed("FetchFailed", f"{answer.url}: changed since it was begun; fetching it anew")
        self._remember(path, tag)
        if path == TIMESTAMP and not offset:
            yield from self._keeping(answer)
            return
        # A server without ranges sends everything from the beginning on.
        skip = offset
        for chunk in _patiently(path, answer):
            if skip:
                self._discarded(min(skip, len(chunk)))
            if skip < len(chunk):
                yield chunk[skip:]
            skip = max(0, skip - len(chunk))

    def _keeping(self, answer: HttpResponse) -> Iterator[bytes]:
        kept = b""
        self._timestamp = None
        for chunk in _patiently(TIMESTAMP, answer):
            kept = kept + chunk if len(kept) <= SMALL else kept
            yield chunk
        if (tag := answer.headers.get("ETag")) and len(kept) <= SMALL:
            self._timestamp = (tag, kept)

    def _remember(self, path: str, tag: str, *, steady: bool = True) -> None:
        known = self._tags.pop(path, None)
        if tag:
            self._tags[path] = _Tag(tag, steady and (known is None or known.steady))
        while len(self._tags) > _TAGS_KEPT:
            del self._tags[next(iter(self._tags))]


def _patiently(path: str, answer: HttpResponse) -> Iterator[bytes]:
    """Yield a body's chunks; small files have to come within a time, blobs as long as something comes."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise _unreachable(f"{answer.url}: comes compressed ({encoding}) though it was not asked to; switch that off")
    until = time.monotonic() + PATIENCE
    while chunk := answer.read(CHUNK):
        yield chunk
        if not path.startswith("blobs/") and time.monotonic() > until:
            raise _unreachable(f"{answer.url}: did not come to its end within {PATIENCE:g} s")


def _refusal(answer: HttpResponse) -> TransportError:
    status = answer.status
    text = said(answer.body(ERROR_BODY))
    more = f": {text}" if text else ""
    if status in GONE:
        return NotFound("NotFound", f"{answer.url}: not in the repository (HTTP {status}{more})")
    pause = retry_after(answer.headers, wall_clock())
    if status in BUSY:
        return TransportError("RepositoryBusy", f"{answer.url}: the server is busy (HTTP {status}{more})", pause)
    return _unreachable(f"{answer.url}: answered with HTTP {status}{more}", pause)


def _unreachable(message: str, pause: float = 0.0) -> TransportError:
    return TransportError("RepositoryUnreachable", message, pause)


class HttpReports:
    """A server that takes reports.

    Args:
        url: Where they are posted.
        identities: The certificates to report with, and who hears how the server takes them.
        connect: Makes a client that shows a certificate.
        heard: Shown each answer's headers.
    """

    def __init__(
        self,
        url: str,
        identities: Identities,
        connect: Callable[[Identity | None], HttpClient],
        heard: Callable[[Mapping[str, str]], None] = _nobody,
    ) -> None:
        self._url = url
        self._identities = identities
        self._connect = connect
        self._heard = heard
        self._shown: Identity | None = None
        self._client: HttpClient | None = None

    def send(self, device: str, report: bytes) -> None:
        """As in ReportDrop.

        Raises:
            NotEnrolled: The device may not report, or not yet.
            CertificateRefused: The server does not know the certificate any more.
        """
        del device  # the report names it, and the certificate proves it
        identity = self._identities.current()
        body = b'{"reports":[' + report + b"]}"
        headers = {"Content-Type": "application/json"}
        if len(body) >= COMPRESSED_FROM:
            body, headers["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"
        try:
            answer = self._client_for(identity).post(self._url, body, headers)
            self._heard(answer.headers)
            text = answer.body(ERROR_BODY)
            wait = retry_after(answer.headers, wall_clock())
            if trouble := report_error(self._url, answer.status, text, said(text), wait):
                raise trouble
        except (CertificateRefused, NotEnrolled) as error:
            self._identities.refused(error)
            raise

    def _client_for(self, identity: Identity | None) -> HttpClient:
        if self._client is None or identity != self._shown:
            if self._client is not None:
                self._client.close()
            self._client, self._shown = self._connect(identity), identity
        return self._client
