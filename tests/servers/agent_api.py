"""edgewright's server as devices see it: real HTTP and TLS on the loopback, with failures on demand.

Repository, long-polls, reports, enrollment and renewal, as the contract between agent and server says.
"""

import gzip
import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment, RenewalRequest
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Report
from servers.authority import Authority

BASE = "/agent/default"
LONGEST_WAIT = 60.0


@dataclass
class Known:
    """A device the server has heard of."""

    fingerprint: str
    state: str = "pending"
    labels: dict[str, str] = field(default_factory=dict)
    device_class: str = ""


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: Message
    body: bytes
    connection: int
    """Which connection it came by."""
    status: int
    at: float = field(default_factory=time.monotonic)


class AgentServer:
    """The server; its attributes are the knobs."""

    def __init__(self, repository: Path, authority: Authority | None = None, certificate: Path | None = None) -> None:
        self.repository = repository
        self.authority = authority or Authority()
        self.tls = certificate is not None
        self.devices: dict[str, Known] = {}
        self.tokens: set[str] = set()
        self.reports: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.poll: float | None = None
        self.life = timedelta(days=90)
        self.not_before: datetime | None = None
        self.long_polls = True
        self.ranges = True
        self.tags = True
        self.break_after: int | None = None
        """Blobs break off after so many bytes of an answer."""
        self.silent = threading.Event()
        """While set, answers do not come."""
        self.instead: dict[str, tuple[int, dict[str, str], bytes]] = {}
        """By the path's end: what is answered instead, until it is taken away."""
        self.asked_again: dict[str, str] = {"Retry-After": "0"}
        """Headers of a pending enrollment's answer."""
        self.waiting = 0
        """Requests that wait for a change now."""
        self.connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._http = _Server(("127.0.0.1", 0), self, certificate)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The base of the default environment."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._http.server_port}{BASE}"

    def decide(self, device: str, state: str) -> None:
        self.devices[device].state = state

    def report(self, device: str) -> Report | None:
        data = self.reports.get(report_name(device))
        return None if data is None else Report.from_bytes(data)

    def asked(self, end: str, method: str = "GET") -> list[Seen]:
        """Requests for what ends so, in their order."""
        return [seen for seen in list(self.seen) if seen.method == method and seen.path.endswith(end)]

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until something holds; looked at whenever a request was answered, and now and then."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not holds():
                self._changed.wait(0.05)
                assert time.monotonic() < deadline, "it did not come true in time"

    def break_connections(self) -> None:
        """Close every connection, as a server does with those that were idle for long."""
        for connection in list(self.connections):
            connection.shutdown(socket.SHUT_RDWR)
        self.until(lambda: not self.connections)

    def tell(self) -> None:
        """Make whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_change(self, path: Path, tag: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._changed:
            self.waiting += 1
            self._changed.notify_all()
            while tag_of(path) == tag and (left := until - time.monotonic()) > 0 and not self._http.ended:
                self._changed.wait(min(left, 0.02))
            self.waiting -= 1

    def __enter__(self) -> "AgentServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.silent.clear()
        self._http.ended = True
        self.tell()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def tag_of(path: Path) -> str:
    return f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"' if path.is_file() else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], state: AgentServer, certificate: Path | None) -> None:
        super().__init__(address, _Handler)
        self.state = state
        self.ended = False
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self.context.verify_mode = ssl.CERT_OPTIONAL
            self.context.load_verify_locations(cadata=state.authority.pem)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are none of the server's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _connections: ClassVar[list[int]] = [0]

    def setup(self) -> None:
        self._connections[0] += 1
        self.connection_number = self._connections[0]
        self.device = ""
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            shown = self.request.getpeercert(binary_form=True)
            if shown:
                subject = x509.load_der_x509_certificate(shown).subject
                self.device = str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        super().setup()
        self.state.connections.add(self.connection)

    def finish(self) -> None:
        self.state.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @property
    def state(self) -> AgentServer:
        return self.server.state

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _answer(self, body: bytes) -> None:
        while self.state.silent.is_set() and not self.server.ended:
            time.sleep(0.01)
        instead = next((what for end, what in self.state.instead.items() if self.path.endswith(end)), None)
        if instead is not None:
            self._send(instead[0], instead[1], instead[2], body)
        elif self.command == "GET":
            self._file(body)
        else:
            text = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            status, headers, said = self._posted(self.path.removeprefix(BASE), text)
            self._send(status, headers, json.dumps(said).encode(), text)

    def _send(self, status: int, headers: dict[str, str], data: bytes, asked: bytes, most: int | None = None) -> None:
        seen = Seen(self.command, self.path, self.headers, asked, self.connection_number, status)
        self.state.seen.append(seen)
        self.send_response(status)
        if self.state.poll is not None:
            self.send_header("Edgewright-Poll", f"{self.state.poll:g}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status != 304:
            self.wfile.write(data if most is None else data[:most])
        if most is not None and most < len(data):
            self.close_connection = True
        self.state.tell()

    # ── the published repository ─────────────────────────────────────────────────────────────────────────────

    def _file(self, body: bytes) -> None:
        prefix = f"{BASE}/repository/"
        path = self.state.repository / unquote(self.path.removeprefix(prefix))
        if not self.path.startswith(prefix) or not path.is_file() or ".." in path.parts:
            self._send(404, {}, b'{"error": "not found"}', body)
            return
        headers = {}
        wait = re.fullmatch(r"wait=(\d+)", self.headers.get("Prefer", ""))
        known = self.headers.get("If-None-Match", "")
        if wait and self.state.long_polls and path.name == "timestamp.json":
            granted = min(float(wait[1]), LONGEST_WAIT)
            headers["Preference-Applied"] = f"wait={granted:g}"
            if known:
                self.state.wait_for_change(path, known, granted)
        data = path.read_bytes()
        tag = tag_of(path)
        if self.state.tags:
            headers["ETag"] = tag
        if known and known == tag and self.state.tags:
            self._send(304, headers, b"", body)
            return
        most = self.state.break_after if "/blobs/" in self.path else None
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if begin and self.state.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(begin[1])
            if start >= len(data):
                self._send(416, {**headers, "Content-Range": f"bytes */{len(data)}"}, b"", body)
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, headers, data[start:], body, most)
            return
        self._send(200, headers, data, body, most)

    # ── reports and certificates ─────────────────────────────────────────────────────────────────────────────

    def _posted(self, path: str, text: bytes) -> tuple[int, dict[str, str], Any]:
        match path:
            case "/reports":
                return self._reports(text)
            case "/enroll":
                return self._enroll(EnrollmentRequest.from_bytes(text))
            case "/renew":
                return self._renew(RenewalRequest.from_bytes(text))
            case _:
                return 404, {}, {"error": "not found"}

    def _reports(self, text: bytes) -> tuple[int, dict[str, str], Any]:
        if self.state.tls and (refused := self._refused()):
            return refused
        reports = json.loads(text)["reports"]
        for number, report in enumerate(reports):
            if self.state.tls and report["device"] != self.device:
                return 403, {}, {"error": f"report {number} is of {report['device']}", "reason": "OtherDevice"}
            self.state.reports[report_name(report["device"])] = json.dumps(report).encode()
        return 200, {}, {"accepted": len(reports)}

    def _refused(self) -> tuple[int, dict[str, str], Any] | None:
        known = self.state.devices.get(self.device)
        if not self.device or known is None:
            return 401, {}, {"error": "no valid certificate"}
        if known.state == "retired":
            return 403, {}, {"error": "it is retired", "reason": "Retired"}
        return None

    def _enroll(self, asked: EnrollmentRequest) -> tuple[int, dict[str, str], Any]:
        request = x509.load_pem_x509_csr(asked.csr.encode())
        names = [str(name.value) for name in request.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        if not request.is_signature_valid or names != [asked.device]:
            return 422, {}, {"error": "the request is not this device's"}
        public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        fingerprint = f"sha256:{hashlib.sha256(public).hexdigest()}"
        known = self.state.devices.setdefault(asked.device, Known(fingerprint))
        known.labels, known.device_class = asked.labels, asked.device_class
        if known.fingerprint != fingerprint:
            return 403, {}, {"error": "it has another key", "reason": "OtherKey"}
        if known.state == "pending" and asked.token in self.state.tokens:
            known.state = "enrolled"
        match known.state:
            case "pending":
                pending = PendingEnrollment(fingerprint=fingerprint, token_accepted=False if asked.token else None)
                return 202, self.state.asked_again, json.loads(pending.to_bytes())
            case "rejected" | "retired":
                return 403, {}, {"error": "no", "reason": known.state.capitalize()}
            case _:
                return 200, {}, self._issue(request)

    def _renew(self, asked: RenewalRequest) -> tuple[int, dict[str, str], Any]:
        if refused := self._refused():
            return refused
        return 200, {}, self._issue(x509.load_pem_x509_csr(asked.csr.encode()))

    def _issue(self, request: x509.CertificateSigningRequest) -> Any:
        certificate = self.state.authority.sign(request, self.state.life, self.state.not_before)
        chain = certificate.public_bytes(Encoding.PEM).decode()
        issued = IssuedCertificate(
            certificate=chain, ca=self.state.authority.pem, not_after=certificate.not_valid_after_utc
        )
        return json.loads(issued.to_bytes())


@contextmanager
def plain_server(repository: Path) -> Iterator[AgentServer]:
    """Without TLS: reports are taken from whoever says who they are."""
    with AgentServer(repository) as server:
        yield server


@contextmanager
def tls_server(repository: Path, home: Path, authority: Authority | None = None) -> Iterator[AgentServer]:
    """With TLS; its authority is written to ``home/ca.crt``."""
    authority = authority or Authority()
    certificate, _ = authority.server(home)
    authority.write(home / "ca.crt")
    with AgentServer(repository, authority, certificate) as server:
        yield server
