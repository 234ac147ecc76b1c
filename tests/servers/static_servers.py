"""Web servers of other vendors, as processes, that serve a folder as a published repository."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients import require_client

_NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {home}/access.log;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  server {{ listen 127.0.0.1:{port}; location /repository/ {{ alias {folder}/; }} {more} }}
}}
"""


@contextmanager
def nginx(folder: Path, home: Path, more: str = "") -> Iterator[str]:
    """Serve a folder with nginx; yields the repository's URL."""
    program = require_client("nginx")
    home.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (home / "nginx.conf").write_text(_NGINX.format(home=home, port=port, folder=folder, more=more))
        command = [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                if answers(process, port):
                    yield f"http://127.0.0.1:{port}/repository"
                    return
            finally:
                process.terminate()
    raise AssertionError(f"nginx does not start: {(home / 'error.log').read_text()}")


def answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until a server listens; False when it ends instead."""
    for _ in range(2000):
        if process.poll() is not None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return True
        except ConnectionRefusedError:
            try:
                process.wait(0.005)
            except subprocess.TimeoutExpired:
                continue
    return False


@contextmanager
def python_server(folder: Path) -> Iterator[str]:
    """Serve a folder with Python's http.server, which knows neither ranges nor entity tags."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            match = re.search(r"port (\d+)", said)
            assert match is not None, said
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            process.terminate()
