"""Receivers of notifications: in memory, over HTTP and over SMTP, each a real one as far as the sender can tell."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.ports import Notification


@dataclass
class InMemoryNotifier:
    """Implements ports.Notifier: keeps notifications, or raises what it was told to."""

    notifications: list[Notification] = field(default_factory=list)
    trouble: NotificationError | NotificationUnavailable | None = None
    refuses: set[str] = field(default_factory=set)
    """Messages it will never take."""

    def send(self, notification: Notification) -> None:
        if self.trouble is not None:
            raise self.trouble
        if notification.message in self.refuses:
            raise NotificationError("the receiver does not take this")
        self.notifications.append(notification)


@dataclass(frozen=True, slots=True)
class Request:
    """One that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """Keeps what is posted to it, and answers what it was told to; 200 by default."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """The next ones; the last of them stays."""

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        """Choose another answer, after those chosen before."""
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode()))

    def always(self, status: int, body: str = "") -> None:
        """Forget the answers chosen before, and give this one."""
        self.answers = [(status, {}, body.encode())]

    def next_answer(self) -> tuple[int, dict[str, str], bytes]:
        if not self.answers:
            return 200, {}, b"ok"
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def http_receiver(path: str = "/hooks/T0/secret-path") -> Iterator[HttpReceiver]:
    """Run an HTTP receiver on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, headers, answer = receiver.next_answer()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = HttpReceiver(f"http://127.0.0.1:{server.server_port}{path}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


USER, PASSWORD = "edgewright", "correct horse"


@dataclass
class SmtpReceiver:
    """Keeps mail, and answers what it was told to."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[tuple[str, ...]] = field(default_factory=list)
    protected: list[bool] = field(default_factory=list)
    """Of each mail: whether it came through TLS."""
    answer: str = "250 OK"
    refused: dict[str, str] = field(default_factory=dict)
    """Answers to recipients."""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            mail = message_from_bytes(content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(tuple(envelope.rcpt_tos))
            assert server.transport is not None
            self.protected.append(server.transport.get_extra_info("sslcontext") is not None)
        return self.answer


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
    assert isinstance(given, LoginPassword)
    good = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def smtp_receiver(
    certificate: Path | None = None, *, starttls: bool = False, auth: bool = False
) -> Iterator[SmtpReceiver]:
    """Run an SMTP server on this machine.

    Args:
        certificate: A file with a key and a certificate, for TLS.
        starttls: TLS begins on request; otherwise with the connection, where there is a certificate.
        auth: Ask for USER and PASSWORD.
    """
    receiver = SmtpReceiver()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {"auth_required": auth, "auth_require_tls": starttls}
    if auth:
        options["authenticator"] = _authenticate
    if starttls:
        options["tls_context"] = context
    controller = _AnyPort(receiver, "127.0.0.1", 0, ssl_context=None if starttls else context, **options)
    controller.start()
    receiver.port = controller.bound
    try:
        yield receiver
    finally:
        controller.stop()


class _AnyPort(Controller):
    """A server on a free port."""

    @property
    def bound(self) -> int:
        assert isinstance(self.server, asyncio.Server)
        return int(self.server.sockets[0].getsockname()[1])

    def _trigger_server(self) -> None:
        self.port = self.bound
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd's own


def write_certificate(file: Path) -> Path:
    """Write a key and a certificate for this machine, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    return file
