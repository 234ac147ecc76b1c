"""An HTTP server on this machine that answers what a test scripts, and keeps what it is asked."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted response; ``send``, where given, writes it to the handler in place of the rest."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    send: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class HttpServer:
    """The scripted server. The last answer stays."""

    url: str = ""
    requests: list[HttpRequest] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Append an answer; ``_`` in the names of headers stands for ``-``."""
        self.answers.append(Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()}))

    def send(self, write: Callable[[BaseHTTPRequestHandler], None]) -> None:
        """Append an answer that ``write`` sends itself."""
        self.answers.append(Answer(send=write))

    def _next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0] if self.answers else Answer()


@contextmanager
def http_server(certificate: tuple[Path, Path] | None = None) -> Iterator[HttpServer]:
    """Run one; with TLS where the files of a certificate and its key are given."""
    state = HttpServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append(HttpRequest(self.command, self.path, headers, body))
            answer = state._next()
            if answer.send is not None:
                self.close_connection = True
                answer.send(self)
                return
            self.send_response_only(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
