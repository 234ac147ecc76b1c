"""Servers of Git repositories on this machine: ``git http-backend`` behind HTTP, and sshd."""

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from clients import require_client
from samples.repositories import run_git

Trouble = Literal["", "500", "hang", "html", "cut"]
"""``cut``: the connection ends after ``cut_after`` bytes of a pack."""


@dataclass
class Asked:
    """One request that was answered."""

    method: str
    path: str
    sent: int = 0
    """Bytes of the answer's body."""


@dataclass
class GitServer:
    """Serves the repositories below a folder over HTTP, as a forge does; pushes are taken, too."""

    folder: Path
    username: str = ""
    password: str = ""
    """Empty: anyone may read and write."""
    certificate: tuple[Path, Path] | None = None
    """Certificate and key, for https."""
    trouble: Trouble = ""
    cut_after: int = 1000
    asked: list[Asked] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    """Set by the first request that finds the server in trouble."""

    def __enter__(self) -> Self:
        require_client("git-http-backend")
        self._over = threading.Event()
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, name: str = "repo.git") -> str:
        """The address of a repository."""
        scheme = "https" if self.certificate is not None else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}/{name}"

    def add(self, work: Path, name: str = "repo.git") -> Path:
        """Serve a copy of a repository, and make it the remote ``origin`` of the one it was copied from."""
        bare = self.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        run_git(self.folder, "clone", "-q", "--bare", str(work), str(bare))
        run_git(work, "remote", "add", "origin", str(bare))
        return bare

    def hang(self) -> None:
        """Wait until the server is closed, or those who wait are released."""
        self._over.wait(60)

    def release(self) -> None:
        """Let go of the requests that hang."""
        over, self._over = self._over, threading.Event()
        over.set()


class _Handler(BaseHTTPRequestHandler):
    fake: GitServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def _answer(self, body: bytes) -> None:
        self.close_connection = True
        asked = Asked(self.command, self.path)
        self.fake.asked.append(asked)
        trouble = self.fake.trouble
        if trouble and trouble != "cut":
            self.fake.arrived.set()
        if self.fake.password and not self._is_known():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif trouble == "500":
            self.send_error(500)
        elif trouble == "hang":
            self.fake.hang()
        elif trouble == "html":
            page = b"<html><body>Please sign in</body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        else:
            self._git(body, asked)

    def _is_known(self) -> bool:
        wanted = base64.b64encode(f"{self.fake.username}:{self.fake.password}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _git(self, body: bytes, asked: Asked) -> None:
        parts = urlsplit(self.path)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {
            "GIT_PROJECT_ROOT": str(self.fake.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH_INFO": unquote(parts.path),
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": self.fake.username or "someone",
        }
        done = subprocess.run(
            [require_client("git-http-backend")], input=body, env=environment, capture_output=True, check=False
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode("latin-1").split("\r\n") if ": " in line]
        status = next((value for name, value in headers if name.lower() == "status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            if name.lower() != "status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.fake.trouble == "cut" and b"PACK" in answer:
            answer = answer[: self.fake.cut_after]
            self.fake.arrived.set()
        self.wfile.write(answer)
        asked.sent = len(answer)


@dataclass(frozen=True)
class SshServer:
    """An sshd that lets one key in."""

    port: int
    key: Path
    known_hosts: Path

    def url(self, repository: Path) -> str:
        """The address of a repository anywhere on this machine."""
        user = os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip()
        return f"ssh://{user}@127.0.0.1:{self.port}{repository}"


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run sshd on loopback, as the user the tests run as."""
    import socket

    sshd = require_client("sshd")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
    (folder / "authorized").write_bytes((folder / "client.pub").read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": f'"{folder / "host"}"',
        "SetEnv": f'"HOME={folder}"',  # what the user has in ~/.bashrc is not for tests
        "AuthorizedKeysFile": f'"{folder / "authorized"}"',
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    command = [sshd, "-D", "-e", "-f", "/dev/null", *(p for n, v in options.items() for p in ("-o", f"{n}={v}"))]
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "Server listening" in line:
                    break
            else:
                raise AssertionError("sshd did not start")
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            yield SshServer(port, folder / "client", folder / "known_hosts")
        finally:
            process.terminate()
            process.wait()
